"""Operations per image: by real fan-out, and as the FSVAE authors' counter counts them.

The published table (MNIST: 5.0e10 additions, 5.6e8 multiplications) says "single image" but holds
the sum over a batch of 250; it takes a transposed convolution's synapses times stride squared, and
counts the posterior's repeated prefixes, T (T + 1) / 2 ticks of it. Both ways are given, per image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from train.activity import Activity, fan_out, named_blocks, neuron_counts, synops
from train.layers.blocks import Conv, ConvT
from train.models.ann import AnnVae
from train.models.poisson import PoissonVae
from train.models.spiking import SpikingVae

WITHOUT = {"reconstruct": ("prior",), "generate": ("encoder", "posterior")}
"""Parts that do not run in a mode."""


@dataclass(frozen=True)
class Operations:
    """Per image."""

    accumulates: float
    """Additions of a weight: synops."""
    multiplies: float
    """Multiply-accumulates: the image's convolution, once as the image stays, or all of an ANN."""


def operations(model: SpikingVae, activity: Activity, images: int, mode: str) -> Operations:
    """By real fan-out: each spike meets its synapses, borders and strides included.

    Args:
        activity: of `images` images in `mode`.
    """
    table = fan_out(model)
    first = 0.0
    if mode == "reconstruct":
        c = model.config
        x = torch.zeros(1, c.image_channels, c.image_size, c.image_size)
        first = _taps(model.encoder[0].synapse2d, x, model.encoder[0].weight)
    return Operations(float(synops(activity, table, *WITHOUT[mode])) / images, first)


def _taps(function, x: torch.Tensor, weight: torch.Tensor) -> float:
    """Products of an input and a weight that a linear function takes: sum over all-ones inputs."""
    with torch.no_grad():
        return float(function(torch.ones_like(x), torch.ones_like(weight, device="cpu")).sum())


def ann_operations(model: AnnVae, mode: str) -> Operations:
    """Multiply-accumulates of the ANN by real fan-out; normalisation folds into the weights."""
    total, c = 0.0, model.config
    x = torch.ones(1, c.image_channels, c.image_size, c.image_size)
    kinds = (nn.Conv2d, nn.ConvTranspose2d)

    def run(modules, x: torch.Tensor) -> torch.Tensor:
        nonlocal total
        for m in modules:
            if isinstance(m, kinds):
                f = nn.functional.conv2d if isinstance(m, nn.Conv2d) else (
                    nn.functional.conv_transpose2d)
                extra = {} if isinstance(m, nn.Conv2d) else {"output_padding": m.output_padding}
                y = f(torch.ones_like(x), torch.ones_like(m.weight, device="cpu"),
                      stride=m.stride, padding=m.padding, **extra)
                total += float(y.sum())
                x = y
        return x

    if mode == "reconstruct":
        run(model.encoder.modules(), x)
        total += model.mean.weight.numel() + model.log_variance.weight.numel()
    total += model.decoder_input.weight.numel()
    run(model.decoder.modules(), torch.ones(1, *model.bottom))
    return Operations(0.0, total)


def poisson_operations(model: PoissonVae, images: torch.Tensor, mode: str) -> Operations:
    """Of a Poisson VAE: every count adds a column of the dictionary; the encoder multiplies. Of a
    Gaussian one all is multiplied.

    Args:
        images: (N, C, H, W) that set the counts, in reconstruct mode.
    """
    dictionary, encoder = model.decoder.weight, 0.0
    if mode == "reconstruct":
        x = torch.ones(1, *model.shape)
        for layer in model.encoder.modules():
            if isinstance(layer, nn.Conv2d):
                x = nn.functional.conv2d(torch.ones_like(x), torch.ones_like(layer.weight).cpu(),
                                         stride=layer.stride, padding=layer.padding)
                encoder += float(x.sum())
            elif isinstance(layer, nn.Linear):
                encoder += layer.weight.numel()
    if model.gaussian:
        return Operations(0.0, encoder + dictionary.numel())
    with torch.no_grad():
        rates = model.log_prior.exp()
        if mode == "reconstruct":
            rates = model.rates(model.log_ratio(model.to_pixels(images.to(dictionary.device))))
            rates = rates.mean(dim=0)
    return Operations(float(rates.sum()) * len(dictionary), encoder)


@dataclass(frozen=True)
class PublishedOperations:
    """Per batch of 250, as the authors' counter logs them and their table calls an image."""

    additions: float
    multiplications: float


def published_operations(model: SpikingVae, activity: Activity, images: int) -> PublishedOperations:
    """The authors' rule on a reconstruction in which the prior ran as well (as in their test).

    Additions: spikes x k^2 x C_out / s^2 (convolution), x s^2 (transposed), x C_out (dense), one
    per output element for the bias, one per neuron and tick; multiplications: those of the first
    convolution and one per neuron and tick that does not fire.
    """
    c = model.config
    neurons = neuron_counts(model)
    adds = muls = 0.0
    blocks = dict(named_blocks(model))
    order = list(blocks)
    for i, name in enumerate(order):
        block, part = blocks[name], name.split(".")[0]
        weight = block.synapse.weight
        ticks = [float(t) / images for t in activity.ticks[name]]
        # The posterior is run on every prefix of the ticks, and once more on all of them.
        times = [c.ticks - t if part == "posterior" else 1 for t in range(c.ticks)]
        runs = sum(times)
        sources = _sources(name, order[i - 1], c)
        out = weight.shape[1] if isinstance(block, ConvT) else weight.shape[0]
        if name == "encoder.0":
            real = 9 * weight.shape[1] * weight.shape[0] * (c.image_size // 2) ** 2 * c.ticks
            adds, muls = adds + real, muls + real
        else:
            into = sum(n * float(s) / images for source in sources
                       for s, n in zip(activity.ticks[source], times))
            kernel, stride = (1, 1) if not isinstance(block, Conv | ConvT) else (9, 2)
            adds += into * kernel * out * (stride**2 if isinstance(block, ConvT) else stride**-2)
        adds += 2 * neurons[name] * runs  # bias and membrane
        muls += neurons[name] * runs - sum(n * t for n, t in zip(times, ticks))
    last = order[-1]
    adds += sum(map(float, activity.ticks[last])) / images * 9 * c.image_channels
    adds += c.image_channels * c.image_size**2 * c.ticks
    return PublishedOperations(250 * adds, 250 * muls)


def _sources(name: str, before: str, c) -> list[str]:
    """Populations whose spikes reach a layer."""
    if name == "posterior.0":
        return [f"encoder.{len(c.hidden)}", "selection"]
    return ["selection"] if name in ("prior.0", "decoder.0") else [before]


def mean_rate(activity: Activity, model: SpikingVae, images: int, *without: str) -> float:
    """Spikes per neuron and tick over the neurons of all layers that ran, but for the parts
    `without`."""
    counts = neuron_counts(model)
    ran = [name for name in activity.spikes if name.split(".")[0] not in without]
    total = math.fsum(float(activity.spikes[name].sum()) for name in ran)
    return total / (images * model.config.ticks * sum(counts[name] for name in ran))
