"""The step on a card, proven without one: PyTorch's meta device stands for it.

Its tensors have shapes and a device and no values: whatever needs a value on the host (`.item()`,
an `if` on a tensor, a copy to the CPU) raises, so nothing in a step waits for the card. That no
operation mixes devices is watched here, as is what the Triton kernels are launched with; that they
compute the right thing is test_triton.py's. (Fake tensors on "cuda" would do more, but autograd of
torch 2.3 asks the driver for a stream for them and ends the process where there is none.)
"""

from __future__ import annotations

import contextlib
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import train.streams
import train.trainer
from export.scores.forms import torch_form
from train.backends import triton_blocks
from train.backends.choice import backend_for
from train.config import GlifConfig, OptimConfig, PoissonConfig, RunConfig, validate
from train.layers.integers import IntegerLif
from train.settings import run_of
from train.trainer import Trainer

CARD = torch.device("meta")
SPIKING = {"image_size": 8, "hidden": (4, 6), "latent": 6, "k": 4, "bottleneck": (8, 12),
           "ticks": 3}
SLAYERS = {"surrogate": "exponential", "surrogate_center": "threshold",
           "reset_gradient": "ignore"}


class _CardsGenerator(torch.Generator):
    """Says that it draws on the card."""

    @property
    def device(self) -> torch.device:
        return CARD


class _OneDevice(TorchDispatchMode):
    """Refuses operations on arrays of two devices, which the meta device lets some do."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        flat = [a for b in (*args, *(kwargs or {}).values())
                for a in (b if isinstance(b, (list, tuple)) else [b])]
        devices = {a.device for a in flat if isinstance(a, torch.Tensor) and a.ndim}
        assert len(devices) < 2 or "copy" in str(function), f"{function} on {devices}"
        return function(*args, **(kwargs or {}))


@pytest.fixture
def card(monkeypatch):
    """There is a card, which Triton knows; gives the names of the kernels launched."""
    launched: list[str] = []

    def launch(kernel, grid, *arguments, **constants) -> None:
        for a in arguments:
            assert not isinstance(a, torch.Tensor) or (a.device == CARD and a.is_contiguous())
        launched.append(kernel.__name__)

    monkeypatch.setattr(triton_blocks, "_missing", lambda device: None)
    monkeypatch.setattr(triton_blocks, "launch", launch)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    monkeypatch.setattr(train.streams, "Generator", lambda device="cpu": (
        torch.Generator() if torch.device(device).type == "cpu" else _CardsGenerator()))
    monkeypatch.setattr(train.trainer, "pick_device", lambda name: CARD)
    monkeypatch.setattr(train.trainer, "load_images", lambda config, split: torch.randint(
        256, (40, 1, config.model.image_size, config.model.image_size)).to(torch.uint8))
    library = torch.library.Library("aten", "IMPL", "Meta")  # the one operator it lacks
    library.impl("poisson", lambda rate, generator=None: torch.empty_like(rate))
    with _OneDevice():
        yield launched
    library._destroy()


def _config(kind: str, model: dict, loss: dict, optim: dict) -> RunConfig:
    base = run_of(kind)
    if kind in ("fsvae", "glif"):
        model = {**SPIKING, "neurons": "triton", **model}
    elif kind == "ann":
        model = {"image_size": 8, "hidden": (4, 6), "latent": 6, **model}
    else:
        model = {"image_size": 8, "latent": 6, **model}
    config = dataclasses.replace(
        base, dataset="mnist", device="cuda", model=dataclasses.replace(base.model, **model),
        loss=dataclasses.replace(base.loss, **loss),
        optim=OptimConfig(**{"batch_size": 8, "epochs": 2, **optim}))
    validate(config)
    return config


CASES = {
    "fsvae": ("fsvae", {}, {}, {}),
    "two_pass": ("fsvae", {"posterior": "two_pass", "latent_gradient": "mean"}, {}, {}),
    "lag": ("fsvae", {"lag": 2, "keep": 0.8, "readout_keep": 1.0}, {}, {}),
    "tanh-per-tick": ("fsvae", {"readout": "tanh-per-tick"}, {"distance": "kld"}, {}),
    "paper": ("fsvae", {}, {"scheduled_sampling": "paper", "scheduled_first_tick": 1}, {}),
    "synops": ("fsvae", {}, {"synop_weight": 0.1}, {"clip": 1.0}),
    "adamax": ("fsvae", {}, {}, {"optimizer": "adamax"}),
    "operators": ("fsvae", {"neurons": "operators"}, {}, {}),
    "triangle": ("fsvae", {"surrogate": "triangle"}, {}, {}),
    # SLAYER's own neurons read values of the device in their step: they are left out here.
    "integers": ("fsvae", {"arithmetic": "integer"}, {}, {}),
    "glif": ("glif", {}, {}, {}),
    "glif hard": ("glif", {"glif": GlifConfig(gates="hard", shared_per="layer")}, {}, {}),
    "glif chip-safe": ("glif", {"glif": GlifConfig(chip_safe=True)}, {}, {}),
    "glif operators": ("glif", {"neurons": "operators"}, {}, {}),
    "ann": ("ann", {}, {}, {}),
    "poisson exact": ("poisson", {"poisson": PoissonConfig(estimator="exact")}, {}, {}),
    "poisson straight": ("poisson", {"poisson": PoissonConfig(
        estimator="straight-through", encoder="conv"), "hidden": (4,)}, {}, {}),
    "poisson gaussian": ("poisson", {"poisson": PoissonConfig(distribution="gaussian")}, {}, {}),
}


def _scales(model) -> None:
    """Integers of some size, as finetune-fsvae would choose them."""
    for module in model.modules():
        if isinstance(module, IntegerLif):
            module.set_scale(300.0)


@pytest.mark.parametrize("case", CASES)
def test_a_step_stays_on_the_card(case, card, tmp_path):
    """Set-up, calibration included, and two steps: statistics and sums keep their storage."""
    config = _config(*CASES[case])
    trainer = Trainer(config, tmp_path / "run", prepare=_scales)
    model = trainer.model
    assert {p.device for p in (*model.parameters(), *model.buffers())} == {CARD}
    assert trainer.training.device == CARD and trainer.training.dtype == torch.uint8
    kept = [*model.buffers(), trainer.sums, trainer.last]
    card.clear()
    for _ in range(2):
        trainer._train_step()
        trainer.step += 1
    assert [id(t) for t in (*model.buffers(), trainer.sums, trainer.last)] == [*map(id, kept)]
    assert {t.device for t in kept} == {CARD}
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and {g.device for g in gradients} == {CARD}
    if config.model.kind in ("fsvae", "glif"):
        assert model.neurons() == config.model.neurons
        ours = {"fire_gated", "fire_gated_backward"} if config.model.kind == "glif" else {
            "fire", "fire_backward"}
        assert (ours <= set(card)) == (config.model.neurons == "triton")


@pytest.mark.parametrize("case", CASES)
def test_evaluation_and_scoring_stay_there_until_asked(case, card, tmp_path, monkeypatch):
    config = _config(*CASES[case])
    trainer = Trainer(config, tmp_path / "run", prepare=_scales)
    model, image = trainer.model.eval(), trainer._batch(1, 0)
    with torch.no_grad():
        output = model(image, trainer.latents)
        assert model.losses(output, image, config.loss).total.device == CARD
        assert model.generate(5, trainer.latents)[0].device == CARD
    if config.model.kind == "poisson":
        return  # an evaluation's counts are drawn on the CPU, as its stream is
    # What a form gives is on the host: there a copy is asked for.
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape))
    form = torch_form("float", model, CARD)
    assert form.reconstruct(torch.zeros(image.shape), 0, 0).device.type == "cpu"
    assert form.generate(3, 0, 0).device.type == "cpu"
    if form.activity is not None:
        for mode in ("reconstruct", "generate"):
            heard = form.activity(mode, torch.zeros(image.shape), 0)
            assert heard.spikes and all(s.device == CARD for s in heard.spikes.values())


def test_what_runs_is_chosen_by_where_the_current_is(monkeypatch):
    """--neurons auto on a card, and on one that Triton does not compile for."""
    current = SimpleNamespace(is_cuda=True, device=torch.device("cuda:0"), dtype=torch.float32)
    for capability, name in (((9, 0), "triton"), ((6, 1), "operators")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert backend_for(current).name == name
