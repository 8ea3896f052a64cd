"""SLAYER's own dynamics beside the other backends: whole networks, its neuron, what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils import cpp_extension

from hw_configs.files import UserError
from train.backends.backend import Surrogate
from train.backends.choice import BACKENDS, choose
from train.backends.lava_dl import slayer
from train.cli import train_command
from train.config import FsvaeConfig, SpikingLoss
from train.layers.blocks import Conv, ConvT, Dense
from train.layers.neuron import Lif
from train.models.fsvae import FSVAE

CONFIG = FsvaeConfig(image_size=8, hidden=(4, 6), latent=6, k=4, bottleneck=(8, 12), ticks=6,
                     surrogate="exponential", surrogate_center="threshold", surrogate_width=0.5,
                     reset_gradient="ignore")


def _step(neurons: str, posterior: str):
    """Output, losses and gradients of a training step."""
    model = FSVAE(dataclasses.replace(CONFIG, neurons=neurons, posterior=posterior),
                  torch.Generator().manual_seed(0)).train()
    model.choose_neurons(torch.device("cpu"))
    assert model.neurons() == neurons
    image = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    generator, loss = torch.Generator().manual_seed(2), SpikingLoss(scheduled_first_tick=2)
    model.calibrate(image, generator)
    output = model(image, generator, loss, 0.5)
    model.losses(output, image, loss).total.backward()
    return model, output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("posterior", ["one_pass", "two_pass"])
@pytest.mark.parametrize("other", ["compiled", "operators"])
def test_whole_network(other, posterior):
    """All spikes of posterior, prior and latents, running statistics, and every gradient."""
    slayers, mine, gradients = _step("slayer", posterior)
    others, theirs, expected = _step(other, posterior)
    for name in ("posterior", "prior", "latents"):
        assert torch.equal(getattr(mine, name), getattr(theirs, name)), name
        assert 0.02 < getattr(mine, name).mean() < 0.9
    torch.testing.assert_close(mine.image, theirs.image, rtol=1e-5, atol=1e-6)
    for (name, a), b in zip(slayers.named_buffers(), others.buffers()):
        torch.testing.assert_close(a, b, msg=name)
    assert gradients.keys() == expected.keys()
    for name, grad in gradients.items():
        assert grad.abs().max() > 0, name
        torch.testing.assert_close(grad, expected[name], rtol=2e-3,
                                   atol=2e-4 * float(grad.abs().max()), msg=name)


@pytest.mark.parametrize("keep", [0.25, 0.8])
def test_is_slayers_neuron(keep):
    """Its class with tau_grad and scale_grad, against our surrogate's width and scale."""
    theirs = slayer.neuron.cuba.Neuron(threshold=0.2, current_decay=1.0, voltage_decay=1 - keep,
                                       tau_grad=0.02, scale_grad=7.0, scale=80)
    ours = Lif(0.2, keep, 80, Surrogate("exponential", 0.2, 200 * 0.2 * 0.02, 0.1 * 7.0), "ignore")
    ours.backend = BACKENDS["slayer"]
    x = torch.randn(9, 4, 50, generator=torch.Generator().manual_seed(0)) * 0.3
    a, b = x.clone().requires_grad_(), x.movedim(0, -1).clone().requires_grad_()
    spikes, expected = ours(a)[0], theirs(b)
    assert 0.1 < spikes.mean() < 0.5
    assert torch.equal(spikes.movedim(0, -1), expected)
    grad = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(1))
    spikes.backward(grad)
    expected.backward(grad.movedim(0, -1))
    torch.testing.assert_close(a.grad.movedim(0, -1), b.grad)
    whole, r = ours(x)
    parts = [ours(x[:4])]
    parts.append(ours(x[4:], parts[0][1]))
    assert torch.equal(torch.cat([p[0] for p in parts]), whole) and torch.equal(parts[1][1], r)


SLAYERS = {"--surrogate": "exponential", "--surrogate-center": "threshold",
           "--reset-gradient": "ignore", "--arithmetic": "float"}


@pytest.mark.parametrize(("flag", "value"), [
    ("--surrogate", "triangle"), ("--surrogate-center", "zero"), ("--reset-gradient", "through"),
    ("--arithmetic", "integer"), ("--model", "glif")])
def test_refuses_by_name_what_slayer_does_not_do(flag, value, tmp_path):
    flags = {flag: value} if flag == "--model" else {**SLAYERS, flag: value}
    named = "--neurons slayer" if flag == "--model" else f"{flag} {value}"
    with pytest.raises(UserError, match=named):
        train_command(["--neurons", "slayer", "--run-dir", str(tmp_path / "run"),
                       *(word for pair in flags.items() for word in pair)])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_its_kernels_are_compiled_for_the_card(capability, monkeypatch):
    """lava-dl itself says 8.0 to every card from there on."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", "/usr/local/cuda")
    monkeypatch.setattr(slayer.jitconfig, "TORCH_CUDA_ARCH_LIST", "8.0")
    choose("slayer", torch.device("cuda:0"))
    assert slayer.jitconfig.TORCH_CUDA_ARCH_LIST == f"{capability[0]}.{capability[1]}"


def test_without_nvcc_one_line(monkeypatch):
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", None)
    with pytest.raises(UserError, match="nvcc.*--neurons triton"):
        choose("slayer", torch.device("cuda:0"))


def test_compiled_loops_are_for_the_cpu():
    with pytest.raises(UserError, match="--neurons compiled: .*--neurons triton"):
        choose("compiled", torch.device("cuda:0"))
    assert choose("auto", torch.device("cuda:0")) is None


@pytest.mark.parametrize("block", [Dense, Conv, ConvT])
def test_export_of_one_block_is_refused(block):
    neuron = Lif(0.2, 0.25, 80, Surrogate("rectangle", 0.0, 1.0), "through")
    with pytest.raises(UserError, match="^export_hdf5: .*export-netx"):
        block(3, 4, neuron).export_hdf5(None)
