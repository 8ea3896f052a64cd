"""Every setting of a training run, as frozen dataclasses; the sentence under a field is its help.

Order of precedence: field default, data-set preset (train/presets/*.toml), what the model wants
otherwise (train/presets/models/*.toml), --config FILE, flags.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints

import tomli
import tyro

from hw_configs.files import UserError

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10", "celeba", "folder")
Kind = Literal["fsvae", "glif", "poisson", "ann"]
KINDS = get_args(Kind)


@dataclass(frozen=True)
class GlifConfig:
    """Gated neurons (Yao et al. 2022) in place of LIF; only with --model glif."""

    gates: Literal["soft", "hard"] = "soft"
    """soft: sigmoids; hard: 0 or 1, their gradients straight through."""
    shared_per: Literal["channel", "layer"] = "channel"
    """What shares one set of the neuron's parameters; of a dense layer every unit is a channel."""
    parameters: Literal["learned", "frozen", "lif"] = "learned"
    """learned; frozen: where they start; lif: frozen, gates such that it is a plain LIF."""
    chip_safe: bool = False
    """Train only what Lava's stock LIF can express: decay, linear leak and threshold per layer,
    hard reset, no conductance."""


@dataclass(frozen=True)
class PoissonConfig:
    """The Poisson VAE (Vafaii et al. 2024); only with --model poisson."""

    encoder: Literal["linear", "conv"] = "linear"
    """linear: one matrix; conv: stride-2 convolutions (--hidden), then one."""
    distribution: Literal["poisson", "gaussian"] = "poisson"
    """gaussian: the Gaussian VAE of the same shape, to compare with."""
    estimator: Literal["sampled", "exact", "straight-through"] = "sampled"
    """sampled: differentiable counts; exact: the expected squared error of a linear decoder in
    closed form; straight-through: true counts, gradient as if they were the rates."""
    window: Literal["sigmoid", "linear", "cubic", "quintic", "cosine"] = "sigmoid"
    """How an arrival near the end of the unit interval counts in part; sigmoid is the paper's."""
    temperature_start: float = 1.0
    """Width of the window at the start."""
    temperature_end: float = 0.05
    """Width of the window from --anneal on."""
    anneal: float = 0.5
    """Share of the training over which temperature falls and the weight of the KL rises."""
    beta_start: float = 1e-4
    """Weight of the KL at the start, as a share of --distance-weight."""
    log_rate_start: float = -4.0
    """Prior log rates start uniformly between -6 and this."""
    log_rate_max: float = 5.0
    """Soft upper bound of a unit's log rate. On the chip a unit fires at most once per tick: rates
    near the number of ticks lose their variance, higher ones are cut."""
    whiten: bool = False
    """Whiten the images (ZCA over the training set, unit variance per pixel)."""


@dataclass(frozen=True)
class ModelConfig:
    """The network (FSVAE, AAAI 2022; defaults are the authors' code)."""

    kind: Annotated[Kind, tyro.conf.arg(name="model")] = "fsvae"
    """fsvae; glif: the same with gated neurons; poisson: the Poisson VAE; ann: the FSVAE authors'
    VAE without spikes that they compare with."""
    glif: GlifConfig = field(default_factory=GlifConfig)
    poisson: PoissonConfig = field(default_factory=PoissonConfig)
    image_channels: int = 1
    """Image channels: 1 gray, 3 colour."""
    image_size: int = 32
    """Height and width images are resized to; divisible by 2 per hidden layer."""
    hidden: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of the stride-2 encoder convolutions; the decoder mirrors them."""
    latent: int = 128
    """C, latent channels; of the Poisson VAE, K units."""
    k: int = 20
    """Candidate spikes per latent channel, of which one is picked at random."""
    bottleneck: tuple[int, ...] = (256, 512)
    """Widths of the first two autoregressive layers of posterior and prior."""
    ticks: int = 16
    """T, model steps per image."""
    lag: int = 1
    """L, ticks until z is fed back; 4 makes a tick one chip timestep instead of four."""
    keep: float = 0.25
    """tau of the LIF neurons: share of the membrane kept per tick; of gated ones at the start."""
    threshold: float = 0.2
    """V_th of the LIF neurons; of gated ones, at the start."""
    readout_keep: float = 0.8
    """Fraction of the readout membrane kept per tick."""
    readout: Literal["tanh-of-sum", "tanh-per-tick"] = "tanh-of-sum"
    """tanh-of-sum (FSVAE): image = tanh of the leaky sum over ticks. tanh-per-tick (the GLIF VAE's
    code): leaky sum of tanh, images in [0, 1]; no neuron does that, so it cannot be exported."""
    readout_init: float = 1.0
    """Initial readout weights as a share of torch's default. At 1 (FSVAE) the first images lie far
    in tanh's saturation and learning starts there; 0.1 starts in its middle."""
    latent_gain: float = 2.0
    """tdBN's alpha in posterior and prior (1 elsewhere)."""
    surrogate: Literal["rectangle", "triangle", "exponential"] = "rectangle"
    """Shape of the spike's derivative; exponential is SLAYER's, rectangle is GLIF's "linear"."""
    surrogate_center: Literal["zero", "threshold"] = "zero"
    """Where the derivative is centred; zero is the authors' code, threshold their paper and the
    only one of gated neurons."""
    surrogate_width: float = 1.0
    """Full width of the rectangle, half-width of the triangle, decay of the exponential."""
    reset_gradient: Literal["through", "ignore"] = "through"
    """Gradient through the reset: through it (FSVAE), or ignored (SLAYER)."""
    latent_gradient: Literal["picked", "mean"] = "picked"
    """Candidates of a latent channel that learn from the decoder: the one picked (FSVAE), or all
    k, a k-th each: nearly the same expectation, less noise."""
    state_scale: int = 80
    """SLAYER's scale: membranes live on a grid of 1/(64 * scale); 80 holds V_th = 0.2 exactly."""
    arithmetic: Literal["float", "integer"] = "float"
    """integer: the chip's weights, thresholds and leaks in the forward pass (of finetune-fsvae)."""
    posterior: Literal["one_pass", "two_pass"] = "one_pass"
    """Sampling while training: one stateful pass normalised by running statistics, or the
    authors' draw-then-repeat, normalised by batch statistics."""


@dataclass(frozen=True)
class LossConfig:
    """The loss: mean squared error + weight * distance(posterior, prior) + price of synops."""

    distance: Literal["mmd", "kld"] = "mmd"
    """Distance between posterior and prior; the Poisson VAE and the ann have their own KL."""
    distance_weight: float | None = None
    """Weight of the distance; 2048 is the paper's formula for mmd. Default: the authors' code's: 1
    for mmd, 1e-4 for kld, 1/240 for the ann's, 1 (beta) for the Poisson VAE's."""
    synop_weight: float = 0.0
    """Weight of the synops: added per million of them and image, over all layers that ran."""
    synapse_time: float = 2.0
    """tau_syn of the post-synaptic potential in the mmd."""
    scheduled_sampling: Literal["code", "paper", "off"] = "code"
    """code: whole batch at once, majority vote; paper: per sample, random pick; off."""
    scheduled_start: float = 0.1
    """Chance per tick at the first epoch that the prior sees its own z."""
    scheduled_end: float = 0.3
    """Chance per tick towards the last epoch."""
    scheduled_first_tick: int = 5
    """First tick (0-based) at which that happens."""


    def weight_for(self, kind: str) -> float:
        """The distance's weight for a kind of model."""
        if self.distance_weight is not None:
            return self.distance_weight
        if kind == "ann":
            return 1 / 240
        if kind == "poisson":
            return 1.0
        return 1.0 if self.distance == "mmd" else 1e-4


@dataclass(frozen=True)
class OptimConfig:
    """Steps of gradient descent."""

    optimizer: Literal["adamw", "adamax"] = "adamw"
    """adamw, or adamax (the Poisson VAE's)."""
    epochs: int = 150
    """Passes over the training set."""
    batch_size: int = 250
    """Images per step."""
    lr: float = 1e-3
    """Learning rate."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0 at the start."""
    lr_schedule: Literal["constant", "cosine", "exponential"] = "constant"
    """cosine falls to --lr-end over all epochs; exponential takes --lr-decay off per epoch."""
    lr_end: float = 0.05
    """Where cosine ends, as a share of lr."""
    lr_decay: float = 0.03
    """What exponential takes off per epoch, as a share."""
    weight_decay: float = 1e-3
    """Weight decay; none on the parameters of gated neurons."""
    clip: float | None = None
    """Largest norm of the gradient."""
    limit_batches: int | None = None
    """Stop each epoch after this many steps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Products of weights and spikes while training; neurons, norms and readout stay float32."""


@dataclass(frozen=True)
class RunConfig:
    """What to train on, where to, and how."""

    dataset: str = "digits"
    """digits, mnist, fashion-mnist, cifar10, celeba or folder."""
    data_dir: Path = Path("data")
    """Folder of the data set (torchvision's root, or a folder of images)."""
    crops: int = 0
    """Cut so many squares of --image-size out of each image, at random places that never change,
    instead of resizing it."""
    download: bool = False
    """Let torchvision download the data set into data_dir."""
    validation: float = 0.05
    """Share of the training set kept aside to choose the best epoch."""
    run_dir: Path | None = None
    """Where the run goes; default runs/<dataset>-<seed>."""
    start_from: Path | None = None
    """Start from the weights of this model.pt; ticks, lag and losses may differ, layers not."""
    seed: int = 0
    """Root seed: initial weights, data order, latents and evaluation each get a stream of it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    threads: int | None = None
    """CPU threads; default all."""
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)


def presets(folder: str = ".") -> dict[str, Path]:
    """Name to file of every preset shipped: of data sets, or in "models" of what models change."""
    folder = resources.files("train") / "presets" / folder
    return {f.name.removesuffix(".toml"): f for f in folder.iterdir() if f.name.endswith(".toml")}


def load_toml(text: str, where: str, base: RunConfig) -> RunConfig:
    """`base` with the settings of a TOML text.

    Raises:
        UserError: no valid TOML, an unknown key (with the nearest name) or a wrong type.
    """
    try:
        return _overlay(base, tomli.loads(text), where, "")
    except tomli.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {error}") from None


def _overlay(base, values: dict, where: str, prefix: str):
    hints, changes = get_type_hints(type(base)), {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            raise UserError(f"{where}: unknown setting '{name}'{nearest(key, hints)}")
        current = getattr(base, key)
        if dataclasses.is_dataclass(current):
            changes[key] = _overlay(current, value, where, f"{name}.")
        else:
            changes[key] = _convert(value, hints[key], where, name)
    return dataclasses.replace(base, **changes)


def _convert(value, hint, where: str, name: str):
    choices = getattr(hint, "__args__", ())
    if getattr(hint, "__origin__", None) is Literal:
        if value not in choices:
            raise UserError(f"{where}: {name} = {value!r}, expected one of {', '.join(choices)}")
        return value
    if hint == tuple[int, ...] and isinstance(value, (list, tuple)) and all(
            type(v) is int for v in value):
        return tuple(value)
    wanted = [t for t in (choices if choices and hint != tuple[int, ...] else (hint,))]
    if Path in wanted and isinstance(value, str):
        return Path(value)
    if float in wanted and type(value) is int:
        return float(value)
    if type(value) in wanted:
        return value
    raise UserError(f"{where}: {name} = {value!r}, expected {getattr(hint, '__name__', hint)}")


def to_dict(config: RunConfig) -> dict:
    """The config as plain values for TOML and checkpoints; None is left out."""
    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if v is not None}
        if isinstance(value, tuple):
            return list(value)
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(config))


def from_dict(values: dict, where: str) -> RunConfig:
    """Inverse of `to_dict`.

    Raises:
        UserError: as `load_toml`.
    """
    return _overlay(RunConfig(), values, where, "")


def validate(config: RunConfig) -> None:
    """Refuse settings that do not fit together.

    Raises:
        UserError: names the setting, its value and what was expected.
    """
    m, o, loss = config.model, config.optim, config.loss
    if config.dataset not in DATASETS:
        raise UserError(f"unknown data set '{config.dataset}'{nearest(config.dataset, DATASETS)}; "
                        f"known: {', '.join(DATASETS)}")

    def need(ok: bool, name: str, value, expected: str) -> None:
        if not ok:
            raise UserError(f"--{name.replace('_', '-')} {value}: expected {expected}")

    for group, names in ((m, ("latent", "ticks", "state_scale")), (o, ("epochs", "batch_size"))):
        for name in names:
            need(getattr(group, name) >= 1, name, getattr(group, name), "at least 1")
    need(m.image_channels in (1, 3), "image_channels", m.image_channels, "1 or 3")
    need(len(m.hidden) > 0 and min(m.hidden, default=0) >= 1, "hidden", m.hidden,
         "at least one positive number")
    need(len(m.bottleneck) == 2 and min(m.bottleneck) >= 1, "bottleneck", m.bottleneck,
         "two positive numbers")
    step = 2 ** len(m.hidden)
    need(m.kind == "poisson" or m.image_size >= step and m.image_size % step == 0, "image_size",
         m.image_size, f"a multiple of {step} ({len(m.hidden)} stride-2 layers)")
    need(m.image_size >= 2, "image_size", m.image_size, "at least 2")
    need(2 <= m.k <= 64, "k", m.k, "2 to 64")
    need(m.lag in (1, 2, 4), "lag", m.lag, "1, 2 or 4 (a divisor of the loop's 4 timesteps)")
    need(m.kind in ("fsvae", "glif") or loss.synop_weight == 0, "synop_weight",
         loss.synop_weight, f"0 for --model {m.kind}")
    need(m.kind == "glif" or m.glif == GlifConfig(), "model", m.kind,
         "glif with settings of gated neurons")
    need(m.kind == "poisson" or m.poisson == PoissonConfig(), "model", m.kind,
         "poisson with settings of the Poisson VAE")
    need(m.kind != "glif" or 0 < m.threshold < 1, "threshold", m.threshold,
         "a number between 0 and 1 for gated neurons, whose threshold is a sigmoid")
    need(not m.glif.chip_safe or m.glif.parameters == "learned", "parameters", m.glif.parameters,
         "learned with --chip-safe")
    p = m.poisson
    need(0 < p.temperature_end <= p.temperature_start, "temperature_end", p.temperature_end,
         "more than 0, at most --temperature-start")
    need(0 <= p.anneal <= 1, "anneal", p.anneal, "a share between 0 and 1")
    need(0 <= p.beta_start <= 1, "beta_start", p.beta_start, "a share between 0 and 1")
    need(-6 < p.log_rate_start <= 5, "log_rate_start", p.log_rate_start, "more than -6, at most 5")
    need(-6 < p.log_rate_max <= 5, "log_rate_max", p.log_rate_max, "more than -6, at most 5")
    need(p.distribution == "poisson" or p.estimator == "sampled", "estimator", p.estimator,
         "sampled with --distribution gaussian")
    need(config.crops >= 0, "crops", config.crops, "0 or more")
    need(0 < o.lr_end <= 1, "lr_end", o.lr_end, "a share of the learning rate")
    need(0 <= o.lr_decay < 1, "lr_decay", o.lr_decay, "a share between 0 and 1")
    need(o.clip is None or o.clip > 0, "clip", o.clip, "a positive number")
    need(loss.synop_weight >= 0, "synop_weight", loss.synop_weight, "0 or more")
    need(m.arithmetic == "float" or o.precision == "float32", "precision", o.precision,
         "float32 with integer arithmetic")
    for name in ("keep", "readout_keep"):
        need(0 < getattr(m, name) < 1, name, getattr(m, name), "a number between 0 and 1")
    for group, names in ((m, ("threshold", "latent_gain", "readout_init", "surrogate_width")),
                         (o, ("lr",)),
                         (loss, ("synapse_time",))):
        for name in names:
            need(getattr(group, name) > 0, name, getattr(group, name), "a positive number")
    grid = m.threshold * m.state_scale
    on_grid = abs(grid - round(grid)) < 1e-9 and round(grid) >= 1
    need(on_grid or m.kind == "poisson", "state_scale", m.state_scale,
         f"a scale at which the threshold {m.threshold} is a whole number (SLAYER truncates it)")
    need(0 < config.validation < 1, "validation", config.validation, "a share between 0 and 1")
    need(o.limit_batches is None or o.limit_batches >= 1, "limit_batches", o.limit_batches,
         "at least 1")
    need(o.warmup_steps >= 0, "warmup_steps", o.warmup_steps, "0 or more")
    need(config.seed >= 0, "seed", config.seed, "0 or more")


def nearest(name: str, known) -> str:
    """" (did you mean '...'?)" if something known is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean '{close[0]}'?)" if close else ""
