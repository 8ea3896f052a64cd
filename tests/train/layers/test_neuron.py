"""Our time-first LIF against slayer.neuron.cuba and against FSVAE's equations."""

from __future__ import annotations

import pytest
import torch

from train.backends.backend import Surrogate
from train.backends.lava_dl import slayer
from train.layers.neuron import Lif


def _lif(keep=0.25, shape="exponential", center=0.2, width=40.0, area=0.1, reset="ignore",
         scale=80):
    """By default SLAYER's: its exponential has tau = 100 V_th and scale 0.1."""
    return Lif(0.2, keep, scale, Surrogate(shape, center, width, area), reset)


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.8])
def test_forward_and_gradient_are_slayers(keep):
    """Exponential surrogate, reset ignored in the gradient: SLAYER's own neuron, bit for bit."""
    generator = torch.Generator().manual_seed(0)
    theirs = slayer.neuron.cuba.Neuron(threshold=0.2, current_decay=1.0, voltage_decay=1 - keep,
                                       scale=80)
    ours = _lif(keep)
    x = torch.randn(16, 4, 50, generator=generator) * 0.3
    a = x.clone().requires_grad_()
    b = x.permute(1, 2, 0).clone().requires_grad_()  # SLAYER: time last
    spikes, _ = ours(a)
    expected = theirs(b)
    assert 0.1 < spikes.mean() < 0.5
    assert torch.equal(spikes.permute(1, 2, 0), expected)
    grad = torch.randn(spikes.shape, generator=generator)
    spikes.backward(grad)
    expected.backward(grad.permute(1, 2, 0))
    torch.testing.assert_close(a.grad.permute(1, 2, 0), b.grad, atol=1e-7, rtol=1e-5)
    assert ours.device_params == theirs.device_params


def test_gradient_through_reset_is_autograds():
    """FSVAE's u_t = keep u_{t-1} (1 - o_{t-1}) + x_t, differentiated by autograd in float64."""
    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u > 0.2).to(u.dtype)

        @staticmethod
        def backward(ctx, grad):
            (u,) = ctx.saved_tensors
            return grad * (u.abs() < 0.5)

    generator = torch.Generator().manual_seed(1)
    # Inputs on the state's grid, so that rounding plays no part.
    x = torch.randint(-2000, 4000, (10, 3, 20), generator=generator).double() / 5120
    grad = torch.randn(x.shape, generator=generator).double()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    u = o = torch.zeros_like(x[0])
    outputs = []
    for t in range(10):
        u = 0.25 * u * (1 - o) + b[t]
        o = Spike.apply(u)
        outputs.append(o)
    expected = torch.stack(outputs)
    spikes, _ = _lif(shape="rectangle", center=0.0, width=1.0, area=1.0, reset="through",
                     scale=80 << 12)(a)
    assert torch.equal(spikes, expected)
    spikes.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4)


def test_carried_state_equals_one_run():
    """16 ticks at once, or tick by tick with the membrane handed on: same spikes, same gradient."""
    generator = torch.Generator().manual_seed(2)
    lif = _lif(shape="triangle", width=0.5, area=1.0, reset="through")
    x = torch.randn(16, 4, 30, generator=generator) * 0.3
    grad = torch.randn(x.shape, generator=generator)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    whole, _ = lif(a)
    r, parts = None, []
    for t in range(16):
        s, r = lif(b[t:t + 1], r)
        parts.append(s)
    stepped = torch.cat(parts)
    assert torch.equal(whole, stepped)
    whole.backward(grad)
    stepped.backward(grad)
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("shape", ["rectangle", "triangle", "exponential"])
@pytest.mark.parametrize("area", [1.0, 0.1])
def test_the_scale_is_the_area(shape, area):
    v = torch.linspace(-6, 6, 60001, dtype=torch.float64)
    slope = Surrogate(shape, 0.2, 0.4, area).derivative(v)
    assert torch.trapezoid(slope, v).item() == pytest.approx(area, rel=1e-3)


def test_blocks_forward_is_slayers():
    """The whole block, synapse and neuron: SLAYER's own forward on the same weights."""
    from train.layers.blocks import Conv, ConvT, Dense

    generator = torch.Generator().manual_seed(3)
    for block, x in ((Conv(3, 5, _lif()), torch.rand(6, 2, 3, 8, 8, generator=generator)),
                     (ConvT(3, 5, _lif()), torch.rand(6, 2, 3, 4, 4, generator=generator)),
                     (Dense(7, 5, _lif()), torch.rand(6, 2, 7, generator=generator))):
        x = (x > 0.5).float()
        ours = block(x)
        theirs = slayer.neuron.cuba.Neuron(threshold=0.2, current_decay=1.0, voltage_decay=0.75,
                                           scale=80)
        z = block.synapse(x.movedim(0, -1))
        expected = theirs(z).movedim(-1, 0)
        agree = (ours == expected.reshape(ours.shape)).float().mean()
        assert agree == 1, type(block)
