"""Integer arithmetic in training against the integer reference: spike for spike."""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from export.finetune import set_scales
from export.fold import fold
from export.translate import translate
from hw_configs import load_chip
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, encode_images
from train.backends.backend import Surrogate
from train.backends.choice import BACKENDS
from train.config import FsvaeConfig, SpikingLoss
from train.layers.integers import IntegerLif
from train.models.fsvae import FSVAE


def _models(lag: int, surrogate: str = "triangle") -> tuple[FSVAE, FSVAE]:
    """A small float model with warm statistics, and its integer twin."""
    settings = dict(image_size=16, hidden=(8, 16), latent=12, k=4, bottleneck=(16, 24), ticks=6,
                    lag=lag, surrogate=surrogate, surrogate_center="threshold")
    generator = torch.Generator().manual_seed(lag)
    model = FSVAE(FsvaeConfig(**settings), generator).train()
    image = torch.rand(32, 1, 16, 16, generator=generator) * 2 - 1
    model.calibrate(image, generator)
    twin = FSVAE(FsvaeConfig(**settings, arithmetic="integer"))
    twin.load_state_dict(model.state_dict(), strict=False)
    model.eval()
    set_scales(twin, model, 0.9, float(image.square().mean()))
    return model, twin


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_same_spikes_as_reference(lag):
    """Every layer, tick and image, and the readout to the truncation of its leaks."""
    _, model = _models(lag)
    c = model.config
    net = translate(model.eval(), load_chip(), random_bits=4,
                    images=np.full((1, 1, 16, 16), 0.3**0.5), provenance={}).net
    generator = torch.Generator().manual_seed(9)
    image = torch.rand(5, 1, 16, 16, generator=generator) * 2 - 1
    bits = ChipBits.of(net, "reconstruct", 0).samples(0, 5)
    result = Reference(net, "reconstruct").run(bits, encode_images(net, image.numpy()))

    def same(name: str, spikes: torch.Tensor) -> None:
        ours = spikes.flatten(2).transpose(0, 1).bool().numpy()
        assert np.array_equal(ours, result.spikes[name]), name

    with torch.no_grad():
        *convs, dense = model.encoder
        frame = torch.round(image * convs[0].neuron.input_max.float())
        x, _ = convs[0].neuron(convs[0].current(frame[None]), ticks=c.ticks)
        same("encoder.0", x)
        for i, conv in enumerate(convs[1:], 1):
            x = conv(x)
            same(f"encoder.{i}", x)
        features = dense(x.flatten(2))
        same(f"encoder.{len(convs)}", features)
        assert torch.equal(features, model.encode(image))
        # The latents are the chip's; everything around them is compared.
        z = torch.from_numpy(result.spikes["selection"]).float().transpose(0, 1).contiguous()
        x = torch.cat([features, model._shifted(z)], dim=-1)
        for i, layer in enumerate(model.posterior.layers):
            x = layer(x)
            same(f"posterior.{i}", x)
        x = model.decoder[0](z).unflatten(2, model.bottom)
        same("decoder.0", x)
        for i, conv in enumerate(model.decoder[1:-1], 1):
            x = conv(x)
            same(f"decoder.{i}", x)
        readout = model.decoder[-1]
        units = readout(x).flatten(1).double().numpy() * net.output_scale
    # Each of T * D leaks truncates less than one unit, and what is left of it leaks away.
    lost = 1 / (1 - readout.neuron.keep_per_leak)
    assert np.abs(units - result.voltage).max() < lost + 1e-3 * np.abs(units).max()
    assert 0.02 < np.mean(result.spikes["decoder.0"]) < 0.9
    assert any(result.spikes["selection"].reshape(-1)) and not result.spikes["selection"].all()


def test_fine_tuning_moves_integers_only_where_weights_move():
    """Gradients reach the float weights behind the integers, gamma and beta."""
    _, model = _models(1)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(8, 1, 16, 16, generator=generator) * 2 - 1
    model.train()
    before = [layer.weight.copy() for layer in fold(model)]
    loss = model.losses(model(image, generator), image, _loss())
    loss.total.backward()
    for name, p in model.named_parameters():
        if not name.endswith("synapse.bias") and p.requires_grad:
            assert p.grad is not None and torch.isfinite(p.grad).all(), name
            assert p.grad.abs().max() > 0, name
    assert all(np.array_equal(a, b.weight) for a, b in zip(before, fold(model)))


def test_gradient_is_that_of_the_float_model():
    """With hardly any rounding the two models agree: their gradients point the same way."""
    model, twin = _models(1)
    model.eval()
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(16, 1, 16, 16, generator=generator) * 2 - 1
    gradients = []
    for m in (model, twin):
        loss = m.losses(m(image, torch.Generator().manual_seed(3)), image, _loss())
        loss.total.backward()
        gradients.append(m.decoder[-1].synapse.weight.grad.flatten())
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize("shape", get_args(get_type_hints(FsvaeConfig)["surrogate"]))
def test_gradients_reach_the_encoder(shape):
    """Whatever the surrogate's shape, in either arithmetic, and as much of it in integers
    as in floating point."""
    image = torch.rand(16, 1, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    sizes = []
    for model in _models(1, shape):
        model.eval()
        loss = model.losses(model(image, torch.Generator().manual_seed(3)), image, _loss())
        loss.total.backward()
        first, last = (p.synapse.weight.grad.norm() for p in (model.encoder[0], model.decoder[-1]))
        assert first > 1e-4 * last > 0, (first, last)
        sizes.append(float(first))
    assert 1 / 3 < sizes[0] / sizes[1] < 3


@pytest.mark.parametrize("shape", get_args(get_type_hints(FsvaeConfig)["surrogate"]))
def test_surrogate_of_integers_is_the_float_one_s(shape):
    """Its slope per unit of the float membrane, at the same membranes."""
    surrogate = Surrogate(shape, 0.2, 0.6, 0.8)
    lif = IntegerLif(0.2, 0.25, 80, surrogate, "through", None, dilation=4)
    lif.set_scale(25.0, 12.0)
    v = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(lif.surrogate.derivative(v * 300) * 300, surrogate.derivative(v))


def _loss():
    return SpikingLoss()


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_compiled_loops_leak_as_the_operators(dilation):
    """Several truncated leaks per tick: values, gradients of both paths, and plain integers."""
    surrogate = Surrogate("triangle", 0.2, 1.0)
    lif = IntegerLif(0.2, 0.25, 80, surrogate, "through", None, dilation=dilation)
    lif.set_scale(300.0)
    generator = torch.Generator().manual_seed(0)
    current = 2 * torch.randint(-40, 60, (9, 3, 5), generator=generator).float()
    grad = torch.randn(9, 3, 5, generator=generator)
    results = []
    for backend in ("compiled", "operators"):
        x = current.clone().requires_grad_()
        lif.backend = BACKENDS[backend]
        spikes, after = lif(x)
        (spikes * grad).sum().backward()
        results.append((spikes.detach(), after.detach(), x.grad))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)
    assert 0.1 < results[0][0].mean() < 0.9
    register = round(4096 * (1 - 0.25 ** (1 / dilation)))  # design: dv of the chip
    v = np.zeros((3, 5), np.int64)
    for t in range(9):
        for _ in range(dilation):
            v = np.sign(v) * (np.abs(v) * (4096 - register) // 4096)
        v = v + 64 * current[t].numpy().astype(np.int64)
        fired = v > 60 * 64
        assert np.array_equal(fired, results[0][0][t].bool().numpy())
        v[fired] = 0
    assert np.array_equal(v, results[0][1].numpy() * 64)
