"""The step on CUDA, proven without a card: fake tensors know devices and shapes, not values.

What mixes devices raises there, and so does whatever needs a value on the host (`.item()`, an `if`
on a tensor). Copies to the host and launches of the Triton kernels, which compute nothing here, are
watched. That the kernels compute the right thing is test_triton.py's.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import train.streams
import train.trainer
from export.scores.forms import torch_form
from train.backends import triton_blocks
from train.config import GlifConfig, OptimConfig, PoissonConfig, RunConfig, validate
from train.layers.integers import IntegerLif
from train.models.build import build_model
from train.settings import run_of
from train.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
CARD = torch.device("cuda:0")
SPIKING = {"image_size": 8, "hidden": (4, 6), "latent": 6, "k": 4, "bottleneck": (8, 12),
           "ticks": 3}
SLAYERS = {"surrogate": "exponential", "surrogate_center": "threshold",
           "reset_gradient": "ignore"}


class _CardsGenerator(torch.Generator):
    """Says that it draws on the card."""

    @property
    def device(self) -> torch.device:
        return CARD


class _Watch(TorchDispatchMode):
    """Counts copies from the card to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.to_host: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name, tensors = str(function), [a for a in args if isinstance(a, torch.Tensor)]
        if name.startswith("aten._to_copy") and tensors[0].is_cuda and not result.is_cuda:
            self.to_host.append(name)
        if name.startswith("aten.copy_") and tensors[1].is_cuda and not tensors[0].is_cuda:
            self.to_host.append(name)
        return result


@pytest.fixture
def card(monkeypatch):
    """A fake mode in which there is a card; gives the names of the kernels launched."""
    launched: list[str] = []

    def launch(kernel, grid, *arguments, **constants) -> None:
        for a in arguments:
            assert not isinstance(a, torch.Tensor) or (a.device == CARD and a.is_contiguous())
        launched.append(kernel.__name__)

    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(triton_blocks, "launch", launch)
    monkeypatch.setattr(train.streams, "Generator", lambda device="cpu": (
        _CardsGenerator() if torch.device(device).type == "cuda" else torch.Generator()))
    monkeypatch.setattr(train.trainer, "pick_device", lambda name: CARD)
    monkeypatch.setattr(train.trainer, "load_images", lambda config, split: torch.randint(
        256, (40, 1, config.model.image_size, config.model.image_size)).to(torch.uint8))
    # A model draws its weights from a seed, which here has no value.
    monkeypatch.setattr(train.trainer, "build_model", lambda config, generator: build_model(config))
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield launched
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def _config(kind: str, model: dict, loss: dict, optim: dict) -> RunConfig:
    base = run_of(kind)
    if kind in ("fsvae", "glif"):
        model = {**SPIKING, **model}
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
    "bfloat16": ("fsvae", {}, {}, {"precision": "bfloat16"}),
    "tf32": ("fsvae", {}, {}, {"precision": "tf32", "optimizer": "adamax"}),
    "operators": ("fsvae", {"neurons": "operators"}, {}, {}),
    "triangle": ("fsvae", {"surrogate": "triangle", "neurons": "triton"}, {}, {}),
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
    """Set-up (calibration included), then steps: nothing waits for the card, nothing mixes
    devices, statistics keep their storage; then validation, pictures' draws, scoring's form."""
    config = _config(*CASES[case])
    trainer = Trainer(config, tmp_path / "run", prepare=_scales)
    model = trainer.model
    assert {p.device for p in (*model.parameters(), *model.buffers())} == {CARD}
    assert trainer.training.device == CARD and trainer.training.dtype == torch.uint8
    state = {name: id(buffer) for name, buffer in model.named_buffers()}
    card.clear()
    with _Watch() as watch:
        for _ in range(2):
            trainer._train_step()
            trainer.step += 1
    assert watch.to_host == []
    assert state == {name: id(buffer) for name, buffer in model.named_buffers()}
    assert trainer.sums.device == CARD and trainer.last.device == CARD
    assert all(p.grad is None or p.grad.device == CARD for p in model.parameters())
    gated, spiking = config.model.kind == "glif", config.model.kind in ("fsvae", "glif")
    own = spiking and config.model.neurons != "operators"
    expected = {"fire_gated", "fire_gated_backward"} if gated else {"fire", "fire_backward"}
    assert expected <= set(card) if own else not card
    if spiking:
        assert model.neurons() == ("triton" if own else "operators")
    if trainer.config.optim.optimizer == "adamw":
        assert trainer.optimizer.param_groups[0]["fused"]
    image, generator = trainer._batch(1, 0), torch.Generator()
    with torch.no_grad():
        output = model.eval()(image, generator)
        assert model.losses(output, image, config.loss).total.device == CARD
        assert model.generate(5, generator)[0].device == CARD
    form = torch_form("float", model, CARD)
    assert form.reconstruct(image.cpu(), 0, 0).device.type == "cpu"
    assert form.generate(3, 0, 0).device.type == "cpu"
    if form.activity is not None:
        for mode in ("reconstruct", "generate"):
            heard = form.activity(mode, image.cpu(), 0)
            assert heard.spikes and all(s.device == CARD for s in heard.spikes.values())
