"""Gated neurons against a plain float64 loop written from the equations, forward and gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from hw_configs.files import UserError
from train.backends.backend import Surrogate
from train.backends.choice import BACKENDS
from train.config import GlifConfig, GlifVaeConfig, RunConfig, SpikingLoss, validate
from train.layers.glif import Glif
from train.layers.neuron import Lif
from train.layers.norm import TdBN
from train.models.fsvae import GlifVae
from train.settings import load_toml, presets, run_of

T, N, C = 5, 7, 4
DEFAULT = GlifConfig()
LINEAR, TRIANGLE = (Surrogate(shape, 0.0, 1.0) for shape in ("rectangle", "triangle"))


def make(config: GlifConfig = DEFAULT, surrogate: Surrogate = TRIANGLE, spread: float = 0.7
         ) -> Glif:
    torch.manual_seed(0)
    neuron = Glif(C, T, config, 0.25, 0.5, surrogate, None)
    with torch.no_grad():
        for parameter in neuron.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return neuron


class Step(torch.autograd.Function):
    """[d > 0]; its derivative as the GLIF paper's code has it."""

    @staticmethod
    def forward(ctx, d, triangle):
        ctx.save_for_backward(d)
        ctx.triangle = triangle
        return (d > 0).double()

    @staticmethod
    def backward(ctx, grad):
        size = ctx.saved_tensors[0].abs()
        slope = (1 - size).clamp(min=0) if ctx.triangle else (size < 0.5).double()
        return grad * slope, None


def equations(x, raw, triangle: bool, hard: bool = False):
    """The gated neuron, a tick at a time, x (T, N, C): spikes (T, N, C)."""
    p = {name: torch.sigmoid(value) for name, value in raw.items()}
    if hard:
        for name in ("alpha", "beta", "gamma"):
            p[name] = (p[name] > 0.5).double() + p[name] - p[name].detach()
    u = s = torch.zeros_like(x[0])
    spikes = []
    for t in range(len(x)):
        current = x[t] * (1 - p["beta"] * (1 - p["conductance"][:, t]))
        u = ((1 - p["alpha"] * (1 - p["tau"])) * u * (1 - p["gamma"] * s)
             - (1 - p["alpha"]) * p["leak"] + current - (1 - p["gamma"]) * p["reset"] * s)
        s = Step.apply(u - p["threshold"], triangle)
        spikes.append(s)
    return torch.stack(spikes)


@pytest.mark.parametrize("backend", ["compiled", "operators"])
@pytest.mark.parametrize("gates", ["soft", "hard"])
@pytest.mark.parametrize("surrogate", [LINEAR, TRIANGLE], ids=["linear", "triangle"])
def test_forward_and_gradients_are_those_of_the_equations(surrogate, gates, backend):
    neuron = make(GlifConfig(gates=gates), surrogate)
    x = torch.randn(T, N, C, requires_grad=True)
    weight = torch.randn(T, N, C)
    neuron.backend = BACKENDS[backend]
    spikes, _ = neuron(x)
    (spikes * weight).sum().backward()

    raw = {n: p.detach().double().requires_grad_() for n, p in neuron.named_parameters()}
    wide = x.detach().double().requires_grad_()
    wanted = equations(wide, raw, surrogate is TRIANGLE, gates == "hard")
    (wanted * weight.double()).sum().backward()
    assert 0.05 < wanted.mean() < 0.95
    assert torch.equal(spikes.double(), wanted)
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=1e-4, atol=1e-5)
    for name, parameter in neuron.named_parameters():
        torch.testing.assert_close(parameter.grad.double(), raw[name].grad, rtol=1e-4, atol=1e-5)
        assert raw[name].grad.abs().max() > 1e-3, name


@pytest.mark.parametrize("backend", ["compiled", "operators"])
def test_tick_by_tick_is_all_at_once_gradients_included(backend):
    neuron = make()
    neuron.backend = BACKENDS[backend]
    x, weight = torch.randn(T, N, C), torch.randn(T, N, C)
    (neuron(x)[0] * weight).sum().backward()
    wanted = [p.grad.clone() for p in neuron.parameters()]
    neuron.zero_grad()
    state, total = None, 0.0
    for t in range(T):
        spikes, state = neuron(x[t:t + 1], state)
        total = total + (spikes[0] * weight[t]).sum()
    total.backward()
    for parameter, grad in zip(neuron.parameters(), wanted):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-5)


def test_a_current_that_stays_is_that_current_at_every_tick():
    neuron = make()
    x = torch.randn(1, N, C, 3, 2, requires_grad=True)
    still, _ = neuron(x, ticks=T)
    still.square().sum().backward()
    grad, x.grad = x.grad, None
    moving, _ = neuron(x.expand(T, -1, -1, -1, -1))
    moving.square().sum().backward()
    assert torch.equal(still, moving)
    torch.testing.assert_close(grad, x.grad, rtol=1e-4, atol=1e-5)


def test_what_it_starts_with():
    v = Glif(C, T, GlifConfig(), 0.25, 0.5, TRIANGLE, None).values()
    expected = {"keep": 1 - 0.55 * 0.75, "leak": 0.45 * 0.0625, "reset": 0.55,
                "subtract": 0.45 * 0.5, "threshold": 0.5, "gain": 1 - 0.65 * 0.5}
    for name, value in expected.items():
        torch.testing.assert_close(getattr(v, name), torch.full_like(getattr(v, name), value))


def test_fixed_as_lif_is_the_lif_and_learns_nothing():
    """alpha = gamma = 1, beta = 0: up to SLAYER's grid, which the other neuron keeps."""
    neuron = Glif(C, T, GlifConfig(parameters="lif"), 0.25, 0.5, TRIANGLE, None)
    assert not any(p.requires_grad for p in neuron.parameters())
    lif = Lif(0.5, 0.25, 80, Surrogate("triangle", 0.5, 1.0), "through")
    x = torch.randint(-4000, 6000, (T, 50, C)) / (64 * 80.0)
    assert torch.equal(neuron(x)[0], lif(x)[0])


def test_chip_safe_has_one_decay_leak_and_threshold_per_layer_and_nothing_else():
    neuron = make(GlifConfig(chip_safe=True))
    assert {n: p.shape.numel() for n, p in neuron.named_parameters()} == {
        "alpha": 1, "tau": 1, "threshold": 1, "leak": 1}
    v = neuron.values()
    assert (v.reset == 1).all() and (v.subtract == 0).all() and (v.gain == 1).all()


@pytest.mark.parametrize("ticks, total, neurons", [(3, 6784931, 103360), (5, 6805603, 124032)])
def test_parameters_of_the_celeba_network_are_the_published_ones(ticks, total, neurons):
    c = load_toml(presets()["celeba"].read_text(), "celeba", run_of("glif"))
    c = load_toml(presets("models")["glif"].read_text(), "glif", c).model
    model = GlifVae(dataclasses.replace(c, ticks=ticks))
    gated = sum(p.numel() for m in model.modules() if isinstance(m, Glif)
                for p in m.parameters(False))
    assert gated == neurons
    # tdBN cancels the biases that the authors' code has in front of it.
    biases = sum(m.beta.numel() for m in model.modules() if isinstance(m, TdBN))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) + biases == total


def test_frozen_parameters_stay_and_learned_ones_move_without_decay():
    from train.config import OptimConfig
    from train.trainer import make_optimizer

    for parameters in ("frozen", "learned"):
        config = GlifVaeConfig(glif=GlifConfig(parameters=parameters), image_size=8, hidden=(4, 4),
                               latent=4, k=2, bottleneck=(4, 4), ticks=3, threshold=0.5)
        model = GlifVae(config, torch.Generator().manual_seed(0))
        optimizer = make_optimizer(model, OptimConfig(weight_decay=0.1))
        own = {p for m in model.modules() if isinstance(m, Glif) for p in m.parameters(False)}
        decayed = {p for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
        assert not own & decayed and len(decayed) > 10
        before = [p.detach().clone() for p in sorted(own, key=id)]
        image, generator = torch.rand(16, 1, 8, 8), torch.Generator().manual_seed(1)
        model.train()
        model.calibrate(image, generator)
        (model(image, generator).image - image).square().mean().backward()
        optimizer.step()
        moved = [not torch.equal(a, b) for a, b in zip(before, sorted(own, key=id))]
        assert any(moved) == (parameters == "learned")


@pytest.mark.parametrize("changes, said", [
    ({"threshold": 1.0}, "between 0 and 1"),
    ({"threshold": 0.5, "glif": GlifConfig(parameters="lif", chip_safe=True)},
     "learned with --chip-safe"),
])
def test_settings_that_do_not_go_together_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        validate(RunConfig(model=GlifVaeConfig(**changes), loss=SpikingLoss()))


def test_readout_of_the_glif_vae_s_code():
    """A leaky sum of tanh, a tick at a time."""
    config = GlifVaeConfig(image_size=8, hidden=(4, 4), latent=4, k=2, bottleneck=(4, 4), ticks=3,
                           threshold=0.5, readout="tanh-per-tick")
    model = GlifVae(config, torch.Generator().manual_seed(0)).eval()
    *_, readout = model.decoder
    x = torch.randint(0, 2, (3, 2, 4, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    u = 0.0
    for t in range(3):
        u = 0.8 * u + torch.tanh(readout.current(x[t:t + 1])[0] + readout.bias[:, None, None])
    # 0.8 is 3277/4096 in the neuron's register.
    torch.testing.assert_close(readout.tanh_per_tick(x), u, atol=1e-3, rtol=0)
    z = torch.zeros(3, 1, 4)
    assert float(model.decode(z).detach().min()) >= -2 * 2.44 - 1
