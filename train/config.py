"""Every setting of a training run, as frozen dataclasses; the sentence under a field is its help.

Each model has settings and a loss of its own: what it would ignore is not in them. Order of
precedence: field default, data-set preset (train/presets/*.toml), what the model wants otherwise
(train/presets/models/*.toml), --config FILE, flags.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, get_args

from hw_configs.files import UserError
from hw_configs.reading import MOST_TICKS

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10", "celeba", "folder")
Kind = Literal["fsvae", "esvae", "glif", "poisson", "ann"]
KINDS = get_args(Kind)
MOST_WIDTH = 2**14
"""Channels or units of a layer; published ones have up to 512."""
MOST_LAYERS, MOST_SIDE = 10, 2**10
"""Of strided convolutions, and of the images that they halve so often."""
MOST_CROPS = 2**12
MOST_THREADS = 2**10
LOOP_DEPTH = 4
"""Timesteps from z back to z on the chip: three layers and the selection."""


@dataclass(frozen=True)
class GlifConfig:
    """Gated neurons (Yao et al. 2022) in place of LIF."""

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
    """The Poisson VAE (Vafaii et al. 2024)."""

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
class LossConfig:
    """The loss: squared error + weight * a distance of the latents."""

    default_weight: ClassVar[float] = 1.0
    synop_weight: ClassVar[float] = 0.0
    """Only what spikes has synops."""

    distance_weight: float | None = None
    """Weight of the distance."""

    @property
    def weight(self) -> float:
        """The distance's weight, as given or by default."""
        return self.default_weight if self.distance_weight is None else self.distance_weight

    def chance(self, done: float) -> float:
        """Scheduled sampling's chance per tick when a share of the epochs is done."""
        return 0.0

    def check(self) -> None:
        """Refuse settings that do not fit together.

        Raises:
            UserError: names the setting, its value and what was expected.
        """


@dataclass(frozen=True)
class SpikingLoss(LossConfig):
    """The loss: mean squared error + weight * distance(posterior, prior) + price of synops."""

    distance: Literal["mmd", "kld"] = "mmd"
    """Distance between posterior and prior."""
    distance_weight: float | None = None
    """Weight of the distance; 2048 is the paper's formula for mmd. Default: the authors' code's: 1
    for mmd, 1e-4 for kld."""
    synop_weight: float = 0.0
    """Weight of the synops: added per million of them and image, over all layers that ran."""
    synapse_time: float = 2.0
    """tau_syn of the post-synaptic potential in the mmd."""
    scheduled_sampling: Literal["code", "paper", "off"] = "code"
    """code: whole batch at once, majority vote; paper: per sample, random pick; off."""
    scheduled_start: float = 0.1
    """Chance per tick at the first epoch that the prior sees its own z; of "paper" it is 0."""
    scheduled_end: float = 0.3
    """Chance per tick towards the last epoch."""
    scheduled_first_tick: int = 5
    """First tick (0-based) at which that happens."""

    @property
    def default_weight(self) -> float:
        return 1.0 if self.distance == "mmd" else 1e-4

    def chance(self, done: float) -> float:
        if self.scheduled_sampling == "off":
            return 0.0
        start = 0.0 if self.scheduled_sampling == "paper" else self.scheduled_start
        return start + (self.scheduled_end - start) * done

    def check(self) -> None:
        _need(self.synop_weight >= 0, "synop_weight", self.synop_weight, "0 or more")
        _positive(self, "synapse_time")


@dataclass(frozen=True)
class EsvaeLoss(LossConfig):
    """The loss: mean squared error + weight * MMD(rates, prior's rates) + price of synops."""

    default_weight: ClassVar[float] = 0.0

    distance_weight: float | None = None
    """How much the MMD pulls the encoder's rates towards the prior's. Default 0: a prior is fitted
    to the rates afterwards; ESVAE's is 1e-3."""
    synop_weight: float = 0.0
    """Weight of the synops: added per million of them and image, over all layers that ran."""

    def check(self) -> None:
        _need(self.synop_weight >= 0, "synop_weight", self.synop_weight, "0 or more")
        _need(self.weight >= 0, "distance_weight", self.weight, "0 or more")


@dataclass(frozen=True)
class PoissonLoss(LossConfig):
    """The loss: squared error + beta * KL, the negative ELBO at beta = 1."""

    distance_weight: float | None = None
    """beta, the weight of the KL from --anneal on (default: 1)."""


@dataclass(frozen=True)
class AnnLoss(LossConfig):
    """The loss: mean squared error + weight * KL."""

    default_weight: ClassVar[float] = 1 / 240

    distance_weight: float | None = None
    """Weight of the KL (default: 1/240, the authors' code's)."""


@dataclass(frozen=True)
class ModelConfig:
    """What every network has."""

    kind: ClassVar[str]
    """Its --model."""
    loss: ClassVar[type[LossConfig]]
    integer: ClassVar[bool] = False
    """Whether it trains with the chip's integers."""
    ticks: ClassVar[int] = 1
    """Steps per image."""
    lag: ClassVar[int] = 0
    """Ticks until latents are fed back; 0 where they are not."""
    k: ClassVar[int] = 0
    """Candidates that a latent is picked from; 0 where it is not."""
    learned: ClassVar[tuple[str, ...]] = ()
    """Settings that say where the learning of weights starts: those of --start-from have them."""

    image_channels: int = 1
    """Image channels: 1 gray, 3 colour."""
    image_size: int = 32
    """Height and width images are resized to; divisible by 2 per layer of strided convolutions."""
    hidden: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of the stride-2 encoder convolutions; a decoder of convolutions mirrors them."""
    latent: int = 128
    """Latent channels C; of the Poisson VAE, its units K."""

    def check(self) -> None:
        """Refuse settings that do not fit together.

        Raises:
            UserError: names the setting, its value and what was expected.
        """
        _at_least_1(self, "latent")
        _need(self.latent <= MOST_WIDTH, "latent", self.latent, f"at most {MOST_WIDTH}")
        _need(self.image_channels in (1, 3), "image_channels", self.image_channels, "1 or 3")
        _need(1 <= len(self.hidden) <= MOST_LAYERS and _widths(self.hidden), "hidden", self.hidden,
              f"1 to {MOST_LAYERS} numbers, each 1 to {MOST_WIDTH}")
        _need(2 <= self.image_size <= MOST_SIDE, "image_size", self.image_size,
              f"2 to {MOST_SIDE}")

    def _check_halving(self) -> None:
        """The decoder doubles what the encoder halved."""
        step = 2 ** len(self.hidden)
        _need(self.image_size >= step and self.image_size % step == 0, "image_size",
              self.image_size, f"a multiple of {step} ({len(self.hidden)} stride-2 layers)")


@dataclass(frozen=True)
class SpikingConfig(ModelConfig):
    """What every network of spiking convolutions has: encoder, decoder and readout."""

    ticks: int = 16
    """T, model steps per image."""
    keep: float = 0.25
    """tau of the LIF neurons: share of the membrane kept per tick; of gated ones at the start."""
    threshold: float = 0.2
    """V_th of the LIF neurons; of gated ones, at the start."""
    readout_keep: float = 0.8
    """Fraction of the readout membrane kept per tick; 1 adds all ticks up."""
    readout: Literal["tanh-of-sum", "tanh-per-tick"] = "tanh-of-sum"
    """tanh-of-sum (FSVAE): image = tanh of the leaky sum over ticks. tanh-per-tick (the GLIF VAE's
    code): leaky sum of tanh, images in [0, 1]; no neuron does that, so it cannot be exported."""
    readout_init: float = 1.0
    """Initial readout weights as a share of torch's default. At 1 (FSVAE) the first images lie far
    in tanh's saturation and learning starts there; 0.1 starts in its middle."""
    surrogate: Literal["rectangle", "triangle", "exponential"] = "rectangle"
    """Shape of the spike's derivative; exponential is SLAYER's, rectangle is GLIF's "linear"."""
    surrogate_width: float = 1.0
    """Full width of the rectangle, half-width of the triangle, twice the decay of the exponential:
    --surrogate-scale over this is the height of each."""
    surrogate_scale: float = 1.0
    """Area under the derivative. SLAYER's own exponential has width 200 V_th and scale 0.1, too
    flat for so many layers."""
    neurons: Literal["auto", "slayer", "operators", "compiled", "triton"] = "auto"
    """What runs the neurons in training: auto is triton on CUDA and compiled on the CPU; slayer:
    lava-dl's own dynamics and CUDA kernels; operators: PyTorch's, anywhere."""

    @property
    def dilation(self) -> int:
        """D, timesteps of the chip per tick."""
        return 1

    def check(self) -> None:
        super().check()
        self._check_halving()
        _check_ticks(self)
        _need(0 < self.keep < 1, "keep", self.keep, "a number between 0 and 1")
        _need(0 < self.readout_keep <= 1, "readout_keep", self.readout_keep,
              "more than 0 and at most 1")
        _positive(self, "threshold", "readout_init", "surrogate_width", "surrogate_scale")


@dataclass(frozen=True)
class AutoregressiveConfig(SpikingConfig):
    """What the Fully Spiking VAE has with neurons of either kind: z, one of k, is fed back."""

    loss: ClassVar[type[LossConfig]] = SpikingLoss

    k: int = 20
    """Candidate spikes per latent channel, of which one is picked at random."""
    bottleneck: tuple[int, ...] = (256, 512)
    """Widths of the first two autoregressive layers of posterior and prior."""
    lag: int = 1
    """L, ticks until z is fed back; 4 makes a tick one chip timestep instead of four."""
    latent_gain: float = 2.0
    """tdBN's alpha in posterior and prior (1 elsewhere)."""
    latent_gradient: Literal["picked", "mean"] = "picked"
    """Candidates of a latent channel that learn from the decoder: the one picked (FSVAE), or all
    k, a k-th each: nearly the same expectation, less noise."""
    posterior: Literal["one_pass", "two_pass"] = "one_pass"
    """Statistics that normalise the sampled posterior while training: one_pass: the running ones,
    as in the pass that draws; two_pass: the batch's, as the authors, in a repeat of all ticks."""

    @property
    def dilation(self) -> int:
        return LOOP_DEPTH // self.lag

    def check(self) -> None:
        super().check()
        _need(len(self.bottleneck) == 2 and _widths(self.bottleneck), "bottleneck",
              self.bottleneck, f"two numbers, each 1 to {MOST_WIDTH}")
        _need(2 <= self.k <= 64, "k", self.k, "2 to 64")
        _need(self.lag in (1, 2, 4), "lag", self.lag,
              "1, 2 or 4 (a divisor of the loop's 4 timesteps)")
        _positive(self, "latent_gain")


SLAYERS_OWN = {"surrogate": "exponential", "surrogate_center": "threshold",
               "reset_gradient": "ignore", "arithmetic": "float"}
"""What SLAYER's neurons do and cannot do otherwise."""


@dataclass(frozen=True)
class LifConfig(SpikingConfig):
    """What a network of SLAYER's LIF neurons has."""

    surrogate_center: Literal["zero", "threshold"] = "zero"
    """Where the derivative is centred; zero is the authors' code, threshold their paper."""
    reset_gradient: Literal["through", "ignore"] = "through"
    """Gradient through the reset: through it (FSVAE), or ignored (SLAYER)."""
    state_scale: int = 80
    """SLAYER's scale: membranes live on a grid of 1/(64 * scale); 80 holds V_th = 0.2 exactly."""
    arithmetic: Literal["float", "integer"] = "float"
    """integer: the chip's weights, thresholds and leaks in the forward pass (of finetune-fsvae)."""

    @property
    def integer(self) -> bool:
        return self.arithmetic == "integer"

    def check(self) -> None:
        super().check()
        _at_least_1(self, "state_scale")
        grid = self.threshold * self.state_scale
        _need(1 <= grid < 2**53 and abs(grid - round(grid)) < 1e-9, "state_scale", self.state_scale,
              f"a scale at which the threshold {self.threshold} is a whole number (SLAYER "
              "truncates it)")
        for name, value in SLAYERS_OWN.items():
            _need(self.neurons != "slayer" or getattr(self, name) == value, name,
                  getattr(self, name), f"{value} with --neurons slayer, which does nothing else")


@dataclass(frozen=True)
class FsvaeConfig(AutoregressiveConfig, LifConfig):
    """The network (FSVAE, AAAI 2022; defaults are the authors' code)."""

    kind: ClassVar[str] = "fsvae"


@dataclass(frozen=True)
class EsvaeConfig(LifConfig):
    """The FSVAE's encoder and decoder with rate latents (ESVAE): z at every tick is a coin flip
    with the chance that the encoder's output neuron fires. Nothing is fed back."""

    kind: ClassVar[str] = "esvae"
    loss: ClassVar[type[LossConfig]] = EsvaeLoss

    ticks: int = 8
    """T, model steps per image. On the chip a power of two draws z exactly."""

    @property
    def k(self) -> int:
        """A channel's spikes are what z picks from."""
        return self.ticks


@dataclass(frozen=True)
class GlifVaeConfig(AutoregressiveConfig):
    """The FSVAE's network with gated neurons, whose surrogate is centred at the threshold."""

    kind: ClassVar[str] = "glif"
    learned: ClassVar[tuple[str, ...]] = ("keep", "threshold")

    glif: GlifConfig = field(default_factory=GlifConfig)

    def check(self) -> None:
        super().check()
        _need(self.threshold < 1, "threshold", self.threshold,
              "a number between 0 and 1 for gated neurons, whose threshold is a sigmoid")
        _need(self.neurons != "slayer", "neurons", self.neurons,
              "another for gated neurons, which SLAYER does not have")
        _need(not self.glif.chip_safe or self.glif.parameters == "learned", "parameters",
              self.glif.parameters, "learned with --chip-safe")


@dataclass(frozen=True)
class PoissonVaeConfig(ModelConfig):
    """The network of the Poisson VAE; --hidden only with --encoder conv."""

    kind: ClassVar[str] = "poisson"
    loss: ClassVar[type[LossConfig]] = PoissonLoss

    ticks: int = 16
    """T, ticks that the exported network spreads an image's counts over."""
    poisson: PoissonConfig = field(default_factory=PoissonConfig)

    def check(self) -> None:
        super().check()
        _check_ticks(self)
        p = self.poisson
        _need(0 < p.temperature_end <= p.temperature_start, "temperature_end", p.temperature_end,
              "more than 0, at most --temperature-start")
        for name in ("anneal", "beta_start"):
            _need(0 <= getattr(p, name) <= 1, name, getattr(p, name), "a share between 0 and 1")
        for name in ("log_rate_start", "log_rate_max"):
            _need(-6 < getattr(p, name) <= 5, name, getattr(p, name), "more than -6, at most 5")
        _need(p.distribution == "poisson" or p.estimator == "sampled", "estimator", p.estimator,
              "sampled with --distribution gaussian")


@dataclass(frozen=True)
class AnnConfig(ModelConfig):
    """The network of the VAE without spikes."""

    kind: ClassVar[str] = "ann"
    loss: ClassVar[type[LossConfig]] = AnnLoss

    def check(self) -> None:
        super().check()
        self._check_halving()


CONFIGS: dict[str, type[ModelConfig]] = {
    c.kind: c for c in (FsvaeConfig, EsvaeConfig, GlifVaeConfig, PoissonVaeConfig, AnnConfig)}
"""The settings of each --model."""


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
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Products of weights and spikes while training; neurons, norms and readout stay float32. tf32:
    CUDA rounds the factors to 10 bits."""


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
    flip: bool = False
    """Flip training images left to right, each with chance 1/2; those of cifar10 and celeba always
    are (the paper's)."""
    download: bool = False
    """Let torchvision download the data set into data_dir."""
    validation: float = 0.05
    """Share of the training set kept aside to choose the best epoch."""
    run_dir: Path | None = None
    """Where the run goes; default runs/<dataset>-<seed>."""
    start_from: Path | None = None
    """Start from the weights of this model.pt, or from mnist-rate or fashion-rate, which come with
    the package; ticks, lag, leaks, thresholds and losses are this run's own and may differ, layers
    not."""
    seed: int = 0
    """Root seed: initial weights, data order, latents and evaluation each get a stream of it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""
    threads: int | None = None
    """CPU threads; default all."""
    deterministic: bool = False
    """On CUDA, sum in a fixed order: the very same weights run after run, more slowly. The CPU
    always does."""
    model: ModelConfig = field(default_factory=FsvaeConfig)
    loss: LossConfig = field(default_factory=SpikingLoss)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        if type(self.loss) is not self.model.loss:
            raise TypeError(f"--model {self.model.kind} takes {self.model.loss.__name__}, not "
                            f"{type(self.loss).__name__}")


def validate(config: RunConfig) -> None:
    """Refuse settings that do not fit together.

    Raises:
        UserError: names the setting, its value and what was expected.
    """
    o = config.optim
    if config.dataset not in DATASETS:
        raise UserError(f"unknown data set {config.dataset!r}{nearest(config.dataset, DATASETS)}; "
                        f"known: {', '.join(DATASETS)}")
    config.model.check()
    config.loss.check()
    _at_least_1(o, "epochs", "batch_size")
    _positive(o, "lr")
    _need(0 <= config.crops <= MOST_CROPS, "crops", config.crops, f"0 to {MOST_CROPS}")
    _need(0 < o.lr_end <= 1, "lr_end", o.lr_end, "a share of the learning rate")
    _need(0 <= o.lr_decay < 1, "lr_decay", o.lr_decay, "a share between 0 and 1")
    _need(o.clip is None or o.clip > 0, "clip", o.clip, "a positive number")
    _need(not config.model.integer or o.precision == "float32", "precision", o.precision,
          "float32 with integer arithmetic")
    sampled = getattr(getattr(config.model, "poisson", None), "estimator", None) == "sampled"
    _need(not (config.deterministic and sampled), "estimator", "sampled", "exact or "
          "straight-through with --deterministic: CUDA has no deterministic sum of arrivals")
    _need(0 < config.validation < 1, "validation", config.validation, "a share between 0 and 1")
    _need(o.limit_batches is None or o.limit_batches >= 1, "limit_batches", o.limit_batches,
          "at least 1")
    _need(o.warmup_steps >= 0, "warmup_steps", o.warmup_steps, "0 or more")
    _need(0 <= config.seed < 2**63, "seed", config.seed, "0 or more, less than 2^63")
    _need(config.threads is None or 1 <= config.threads <= MOST_THREADS, "threads",
          config.threads, f"1 to {MOST_THREADS}")


def flag_of(name: str) -> str:
    """The flag that sets a field."""
    return f"--{name.replace('_', '-')}"


def _need(ok: bool, name: str, value, expected: str) -> None:
    if not ok:
        raise UserError(f"{flag_of(name)} {value}: expected {expected}")


def _widths(numbers: tuple[int, ...]) -> bool:
    return all(1 <= n <= MOST_WIDTH for n in numbers)


def _check_ticks(settings) -> None:
    _need(1 <= settings.ticks <= MOST_TICKS, "ticks", settings.ticks, f"1 to {MOST_TICKS}")


def _at_least_1(settings, *names: str) -> None:
    for name in names:
        _need(getattr(settings, name) >= 1, name, getattr(settings, name), "at least 1")


def _positive(settings, *names: str) -> None:
    for name in names:
        _need(getattr(settings, name) > 0, name, getattr(settings, name), "a positive number")


def nearest(name: str, known) -> str:
    """" (did you mean '...'?)" if something known is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean '{close[0]}'?)" if close else ""
