"""The CPU's compiled loops against the same in PyTorch's operators, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.backends import compiled as kernels
from train.backends.backend import Surrogate
from train.backends.choice import BACKENDS
from train.layers.neuron import Lif
from train.layers.norm import TdBN


def _lif(keep, shape, reset, channels=None):
    norm = None if channels is None else TdBN(channels, 0.4)
    return Lif(0.2, keep, 80, Surrogate(shape, 0.1, 0.6, 0.7), reset, norm)


def _both(lif, x, r0, ticks, grad):
    """Outputs, gradients and running statistics of both paths on the same inputs."""
    results = []
    for backend in ("compiled", "operators"):
        for p in lif.parameters():
            p.grad = None
        if lif.norm is not None:
            lif.norm.running_mean = torch.full_like(lif.norm.running_mean, 0.02)
            lif.norm.running_var = torch.full_like(lif.norm.running_var, 0.5)
        a, r = x.clone().requires_grad_(), None if r0 is None else r0.clone().requires_grad_()
        lif.backend = BACKENDS[backend]
        spikes, after = lif(a, r, ticks)
        (spikes * grad[0]).sum().add((after * grad[1]).sum()).backward()
        found = {"spikes": spikes.detach(), "after": after.detach(), "x": a.grad}
        if r is not None:
            found["r0"] = r.grad
        if lif.norm is not None:
            found |= {"gamma": lif.norm.gamma.grad, "beta": lif.norm.beta.grad,
                      "mean": lif.norm.running_mean, "var": lif.norm.running_var}
        results.append(found)
    return results


@pytest.mark.parametrize("reset", ["through", "ignore"])
@pytest.mark.parametrize("shape", ["rectangle", "triangle", "exponential"])
@pytest.mark.parametrize("keep", [0.25, 0.8])
@pytest.mark.parametrize("norm", [None, "batch", "running"])
def test_same_as_operators(norm, keep, shape, reset):
    """Maps with 5 channels (no multiple of a vector), a carried membrane, and a constant frame."""
    generator = torch.Generator().manual_seed(0)
    lif = _lif(keep, shape, reset, None if norm is None else 5)
    if norm is not None:
        lif.norm.gamma.data = torch.linspace(0.5, 1.5, 5)
        lif.norm.beta.data = torch.linspace(-0.1, 0.2, 5)
    lif.train(norm != "running")
    for ticks, frames in ((None, 9), (9, 1)):
        x = torch.randn(frames, 3, 5, 6, 7, generator=generator) * 0.3
        r0 = torch.randn(3, 5, 6, 7, generator=generator) * 0.1
        grad = [torch.randn(9, 3, 5, 6, 7, generator=generator),
                torch.randn(3, 5, 6, 7, generator=generator)]
        ours, theirs = _both(lif, x, r0, ticks, grad)
        assert 0.1 < theirs["spikes"].mean() < 0.6
        differ = ours["spikes"] != theirs["spikes"]
        if norm is None:
            assert not differ.any()
        # With a norm, currents may differ in their last bit and so fall on either side of a grid
        # point; hardly any spike hangs on it, and gradients are compared where none did.
        assert differ.float().mean() < 1e-3
        same = ~differ.any(dim=0)
        for name in theirs:
            a, b = ours[name], theirs[name]
            if name in ("after", "r0"):
                a, b = a[same], b[same]
            elif name == "x":
                a, b = a[:, same], b[:, same]
            if name == "spikes":
                continue
            if name in ("x", "r0") and norm == "batch" and differ.any():
                continue  # one spike moves every gradient a little
            tolerance = 2e-2 if differ.any() else 1e-4
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_layouts_do_not_matter():
    """Channels last, channels first, and dense currents give the same spikes."""
    lif = _lif(0.25, "rectangle", "through", 8)
    x = torch.randn(6, 2, 8, 4, 4) * 0.3
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (6, 2))
    assert torch.equal(lif.eval()(x)[0], lif(last)[0])
    dense = x.permute(0, 1, 3, 4, 2).reshape(6, 32, 8)
    assert torch.equal(lif(dense)[0].view(6, 2, 4, 4, 8), lif(x)[0].permute(0, 1, 3, 4, 2))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_matter(threads):
    """Spikes are the same whatever the number of threads; sums to float64's rounding."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (5, 1001, 33)).astype(np.float32)  # above SERIAL
    ones, zeros = np.ones(33, np.float32), np.zeros(33, np.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        r = np.zeros((1001, 33), np.float32)
        spikes = kernels.fire(x, ones, zeros, r, 5, 5120.0, 0.25, 1024.0)
        sums = kernels.channel_sums(x.reshape(-1, 33))
    finally:
        torch.set_num_threads(before)
    state = np.zeros((1001, 33))
    for t in range(5):
        v = np.trunc(state * 0.25) + np.trunc(x[t] * np.float32(5120))
        assert np.array_equal(spikes[t], v > 1024)
        state = np.where(v > 1024, 0, v)
    assert np.array_equal(r, state)
    wide = x.reshape(-1, 33).astype(np.float64)
    np.testing.assert_allclose(sums, [wide.sum(0), (wide**2).sum(0)], rtol=1e-9, atol=1e-9)
