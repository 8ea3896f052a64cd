"""The scores of one form of a model: how good it is, how much it does, what it takes on a chip."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from torch import Tensor

from export.scores.distances import Frechet, FrechetScore, Inception, InceptionScore
from export.scores.forms import Form
from export.scores.operations import (
    ann_operations,
    mean_rate,
    operations,
    poisson_operations,
    published_operations,
)
from hw_configs import load_mac
from lava_models.commands.meters import MachineMeters
from lava_models.cost.counts import count_run, pixels_used
from lava_models.cost.energy import Interval
from lava_models.cost.estimates import cost_of_run, energy_section, load_hardware
from lava_models.loihi.proof import expect
from lava_models.net.netfile import NetFile
from lava_models.net.program import RANDOM_BITS, schedule_for
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import encode_images
from train.activity import rates
from train.config import PoissonLoss
from train.models.ann import AnnVae
from train.models.poisson import SILENT_NATS, PoissonVae
from train.streams import stream

BATCH = 256
RATE_IMAGES = 256
"""Images whose spikes are counted."""
COST_IMAGES = 64
"""Images of which spikes and synops on the chip are counted, clocks and random bits included."""


@dataclass(frozen=True)
class Scores:
    """Scores of one form of one model."""

    form: str
    stage: str
    """Of integers: export.scores.forms.POST_TRAINING or FINE_TUNED."""
    reconstruction: float
    """Mean squared error in [-1, 1] over the test images, mean over latent seeds."""
    frechet: FrechetScore | None
    """Mean over latent seeds; None without an autoencoder."""
    inception: InceptionScore | None
    """Mean over latent seeds; None without its weights."""
    spread: dict[str, float]
    """Standard deviations over latent seeds: of "reconstruction", and of the numbers of `frechet`
    and `inception` by name; empty with a single seed."""
    rates: dict[str, dict[str, float]]
    """By mode and layer: spikes per neuron and tick."""
    rate: dict[str, float]
    """By mode: the same over the neurons of all layers that an image needs."""
    operations: dict[str, dict[str, float]]
    """By mode: accumulates and multiplies per image (export.scores.operations)."""
    published_operations: dict[str, float] | None
    """As the authors count; FSVAE in floating point only."""
    energy_per_image_j: dict[str, dict]
    """What reconstructing took of this machine, per image: {"cpu_j": ...} of
    lava_models.commands.meters."""
    cost: dict[str, dict] | None
    """By mode: what an image takes; of the chip form counted and modelled (`chip_cost`), of the ANN
    its arithmetic."""
    loss: dict[str, float] | None
    """Of a Poisson VAE: negative ELBO, squared error and KL as published, share of silent units."""


def score_form(form: Form, test: Tensor, samples: int, frechet: Frechet | None,
               inception: Inception | None, on_images: Callable[[int], None],
               seeds: Sequence[int] = (0,)) -> tuple[Scores, Tensor | None]:
    """Scores of one form, and the images (samples, C, H, W) generated with the first seed, if it
    has a prior.

    Args:
        test: test images float (N, C, H, W) in [-1, 1].
        samples: images to generate.
        frechet, inception: the scorers, or None.
        on_images: called with a number of images done.
        seeds: of the latents, one for each repetition; spikes and cost are counted with the first.
    """
    meters = MachineMeters()
    errors = [_error(form, test, seed, on_images) for seed in seeds]
    energy = {key: entry if entry["value"] is None else
              {**entry, "value": entry["value"] / (len(test) * len(seeds))} for key, entry in
              meters.read().items()}
    shown, distances, features = None, [], []
    for seed in seeds if "generate" in form.modes else ():
        drawn = _generated(form, samples, seed, on_images)
        shown = drawn if shown is None else shown
        distances += [frechet.score(drawn)] if frechet else []
        features += [inception.score(drawn)] if inception else []
    few, seed = test[:RATE_IMAGES], seeds[0]
    fired, rate, work, published = {}, {}, {}, None
    for mode in form.modes:
        if form.activity is None:
            if isinstance(form.model, PoissonVae):
                work[mode] = asdict(poisson_operations(form.model, few, mode))
            else:
                work[mode] = asdict(ann_operations(form.model, mode))
            continue
        heard = form.activity(mode, few, seed)
        fired[mode] = rates(heard, form.model, len(few))
        # PyTorch runs the prior beside a reconstruction, which does not need it.
        rate[mode] = mean_rate(heard, form.model, len(few), *["prior"] * (mode == "reconstruct"))
        work[mode] = asdict(operations(form.model, heard, len(few), mode))
        if mode == "reconstruct" and form.name == "float":
            published = asdict(published_operations(form.model, heard, len(few)))
    scores = Scores(form.name, form.stage, statistics.fmean(errors), _mean(distances),
                    _mean(features),
                    _spread([{"reconstruction": e} for e in errors], distances, features), fired,
                    rate, work, published, energy, _cost(form, few[:COST_IMAGES], work, seed),
                    _loss(form, test))
    return scores, shown


def _error(form: Form, test: Tensor, seed: int, on_images: Callable[[int], None]) -> float:
    """Mean squared error of the reconstructions of `test`."""
    error = 0.0
    for first in range(0, len(test), BATCH):
        batch = test[first:first + BATCH]
        error += float((form.reconstruct(batch, first, seed) - batch).square().mean()) * len(batch)
        on_images(len(batch))
    return error / len(test)


def _generated(form: Form, samples: int, seed: int, on_images: Callable[[int], None]) -> Tensor:
    drawn = []
    for first in range(0, samples, BATCH):
        drawn.append(form.generate(min(BATCH, samples - first), first, seed))
        on_images(len(drawn[-1]))
    return torch.cat(drawn)


def _mean(repeated: list):
    """The mean of each number of dataclasses of one type; None of none."""
    if not repeated:
        return None
    return type(repeated[0])(**{f.name: statistics.mean(getattr(r, f.name) for r in repeated)
                                for f in fields(repeated[0])})


def _spread(*repeated: list) -> dict[str, float]:
    """Standard deviation (n - 1) of each number of each list of dicts or dataclasses."""
    found = {}
    for values in repeated:
        rows = [v if isinstance(v, dict) else asdict(v) for v in values]
        if len(rows) > 1:
            found |= {name: statistics.stdev(row[name] for row in rows) for name in rows[0]
                      if name != "images"}
    return found


def _cost(form: Form, images: Tensor, work: dict, seed: int) -> dict[str, dict] | None:
    if form.net is not None:
        return {mode: chip_cost(form.net, mode, seed, images.numpy()) for mode in form.modes}
    if not isinstance(form.model, AnnVae):
        return None
    mac = load_mac()
    return {mode: {
        "energy_j": (Interval.of(mac.mac) * (work[mode]["multiplies"] * 1e-12)).as_dict(),
        "constants": f"{mac.name}, arithmetic only"} for mode in form.modes}


def chip_cost(net: NetFile, mode: str, seed: int, images: np.ndarray) -> dict:
    """What a sample takes on a chip: spikes and synops counted from the integer reference, cores
    and energy modelled for the smallest board that holds the network.

    Args:
        images: float32 (N, C, H, W) in [-1, 1]; in generate mode only N counts.
    """
    n = len(images)
    graded = encode_images(net, images) if mode == "reconstruct" else None
    spikes = expect(net, mode, ChipBits.of(net, mode, seed), 0, n, graded).counts
    pixels = pixels_used(graded)
    layers = [c for c in count_run(net, mode, n, spikes, pixels) if c.on_chip]
    cost = cost_of_run(net, mode, n, spikes, pixels, load_hardware())
    energy = energy_section(cost)
    return {"timesteps": schedule_for(net, mode).period,
            "spikes": sum(int(c.spikes.sum()) for c in layers) / n,
            "synops": sum(int(c.synops.sum()) for c in layers) / n,
            "random_bits_synops": sum(int(c.synops.sum()) for c in layers
                                      if c.part == RANDOM_BITS) / n,
            "cores": cost.fit.cores, "chips": cost.fit.chips,
            "energy_j": energy["over_all_sets_j"], "constants": energy["constants"]}


def _loss(form: Form, test: Tensor) -> dict[str, float] | None:
    """A Poisson VAE's own numbers over test images, counts drawn once per image."""
    if form.name != "float" or not isinstance(form.model, PoissonVae):
        return None
    model, generator = form.model, stream(0, "evaluation", 4)
    squared = kl = 0.0
    with torch.no_grad():
        for batch in test.split(BATCH):
            loss = model.losses(model(batch.to(model.mean.device), generator), batch, PoissonLoss())
            squared += float(loss.total - loss.distance) * len(batch) / len(test)
            kl += float(loss.distance) * len(batch) / len(test)
        silent = model.unit_divergence(test.to(model.mean.device)) < SILENT_NATS
    return {"negative_elbo": squared + kl, "squared_error": squared, "kl": kl,
            "silent_units": float(silent.float().mean())}
