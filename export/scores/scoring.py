"""The scores of one form of a model: how good it is, how much it does, what it takes on a chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from export.scores.distances import Frechet, FrechetScore, Inception, InceptionScore
from export.scores.forms import Form
from export.scores.operations import (
    ann_operations,
    operations,
    poisson_operations,
    published_operations,
    rates,
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
    reconstruction: float
    """Mean squared error in [-1, 1] over the test images."""
    frechet: FrechetScore | None
    """None without an autoencoder."""
    inception: InceptionScore | None
    """None without its weights."""
    rates: dict[str, dict[str, float]]
    """By mode and layer: spikes per neuron and tick."""
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
               inception: Inception | None, on_images: Callable[[int], None], seed: int = 0
               ) -> tuple[Scores, Tensor | None]:
    """Scores of one form, and its generated images (samples, C, H, W) if it has a prior.

    Args:
        test: test images float (N, C, H, W) in [-1, 1].
        samples: images to generate.
        frechet, inception: the scorers, or None.
        on_images: called with a number of images done.
        seed: of the latents that the cost is counted with.
    """
    error, meters = 0.0, MachineMeters()
    for first in range(0, len(test), BATCH):
        batch = test[first:first + BATCH]
        error += float((form.reconstruct(batch, first) - batch).square().mean()) * len(batch)
        on_images(len(batch))
    energy = {key: entry if entry["value"] is None else
              {**entry, "value": entry["value"] / len(test)} for key, entry in
              meters.read().items()}
    drawn = []
    for first in range(0, samples if "generate" in form.modes else 0, BATCH):
        drawn.append(form.generate(min(BATCH, samples - first), first))
        on_images(len(drawn[-1]))
    drawn = torch.cat(drawn) if drawn else None
    few = test[:RATE_IMAGES]
    fired, work, published = {}, {}, None
    for mode in form.modes:
        if form.activity is None:
            if isinstance(form.model, PoissonVae):
                work[mode] = asdict(poisson_operations(form.model, few, mode))
            else:
                work[mode] = asdict(ann_operations(form.model, mode))
            continue
        heard = form.activity(mode, few)
        fired[mode] = rates(heard, form.model, len(few))
        work[mode] = asdict(operations(form.model, heard, len(few), mode))
        if mode == "reconstruct" and form.name == "float":
            published = asdict(published_operations(form.model, heard, len(few)))
    frechet, inception = (s if drawn is not None else None for s in (frechet, inception))
    scores = Scores(form.name, error / len(test), frechet and frechet.score(drawn),
                    inception and inception.score(drawn), fired, work, published, energy,
                    _cost(form, few[:COST_IMAGES], work, seed), _loss(form, test))
    return scores, drawn


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
