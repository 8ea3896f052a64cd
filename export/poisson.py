"""The Poisson VAE as a model.net: dictionary and readout on the chip, the encoder for the host.

Images leave the decoder in [0, 1] or whitened; both are undone in the dictionary's weights and a
constant per pixel, so that image = voltage / scale + offset in [-1, 1]. Units whose rate is next to
the same for all images (the trained network keeps the mean image in such) go into that constant
with their mean: each would cost as many random bits as any other, and only add noise.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import nn

from export.fold import FloatLayer
from export.quantize import Quantized, quantize
from hw_configs import Chip
from hw_configs.files import UserError
from lava_models.net.latents import Thinning
from lava_models.net.netfile import HostLayer, NetFile, PoissonLatents
from train.models.poisson import PoissonVae

NEGLIGIBLE = 1e-3
"""Units stay at their mean as long as what their rates change in the images is, together, less than
this share of what all change (squared, over training images)."""


def translate_poisson(model: PoissonVae, chip: Chip, random_bits: int, provenance: dict,
                      images: np.ndarray) -> tuple[NetFile, list[Quantized], np.ndarray]:
    """Fold, leave out, quantise and assemble: the network, its integers, the units kept.

    Args:
        images: of the training set, float32 (N, C, H, W) in [-1, 1], to see which units matter.

    Raises:
        UserError: Gaussian latents, which no neuron draws; or a layer the chip cannot hold.
    """
    if model.gaussian:
        raise UserError("Gaussian latents are not spikes; export-netx takes --distribution poisson")
    weight, offset = _to_image(model)
    log_prior = model.log_prior.detach().double().cpu().numpy()
    with torch.no_grad():
        rates = model.rates(model.log_ratio(model.to_pixels(torch.from_numpy(images))))
    rates = rates.double().numpy()
    kept = units_kept(weight, rates)
    constant = np.setdiff1d(np.arange(weight.shape[1]), kept)
    offset = offset + weight[:, constant] @ rates[:, constant].mean(axis=0)
    readout = FloatLayer(name="decoder.0", kind="dense", weight=weight[:, kept],
                         bias=np.zeros(len(weight)), threshold=None, keep_register=4096,
                         input_shape=(len(kept),))
    c = model.config
    done = quantize(readout, chip, c.ticks)
    prior = Thinning(random_bits).chances(np.exp(log_prior[kept]), c.ticks)
    net = NetFile(
        image_shape=model.shape, ticks=c.ticks, lag=0, latent=len(kept), k=0,
        random_bits=random_bits, input_scale=1.0, output_scale=done.scale * 64,
        provenance=json.dumps(provenance), encoder=(), posterior=(), prior=(),
        decoder=(done.layer,), output_offset=offset.astype(np.float32),
        poisson=PoissonLatents(prior, log_prior[kept].astype(np.float32),
                               c.poisson.log_rate_max, tuple(_host_layers(model, kept))))
    return net, [done], kept


def units_kept(weight: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Indices of the units that are not negligible, of dictionary (pixels, K) and rates (N, K)."""
    variance = rates.var(axis=0) * (weight**2).sum(axis=0)
    order = np.argsort(variance)
    negligible = np.cumsum(variance[order]) <= NEGLIGIBLE * variance.sum()
    return np.sort(order[~negligible])


def _to_image(model: PoissonVae) -> tuple[np.ndarray, np.ndarray]:
    """(dictionary (pixels, K), offset (pixels,)) of image = dictionary z + offset in [-1, 1]."""
    weight, mean = model.decoder.weight.detach().double(), model.mean.double()
    if model.config.poisson.whiten:
        weight = torch.linalg.solve(model.whiten.double(), weight)
    return (2 * weight).cpu().numpy(), (2 * mean - 1).cpu().numpy()


def _host_layers(model: PoissonVae, kept: np.ndarray):
    """The encoder from pixels in [0, 1] on; batch normalisation folded into its convolutions."""
    def array(x: torch.Tensor) -> np.ndarray:
        return x.detach().double().cpu().numpy().astype(np.float32)

    whiten, mean = model.whiten.double(), model.mean.double()
    *convs, last = (m for m in model.encoder if isinstance(m, nn.Sequential | nn.Linear))
    if not convs:  # one matrix
        weight = last.weight.detach().double()[kept]
        weight = weight @ whiten if len(whiten) else weight
        yield HostLayer(array(weight), array(-weight @ mean), 1.0)
        return
    if len(whiten):
        yield HostLayer(array(whiten), array(-whiten @ mean), 1.0)
    for conv, norm, slope in convs:
        gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = conv.weight.double() * gain[:, None, None, None]
        bias = (conv.bias.double() - norm.running_mean.double()) * gain + norm.bias.double()
        yield HostLayer(array(weight), array(bias), slope.negative_slope)
    yield HostLayer(array(last.weight[kept]), array(last.bias[kept]), 1.0)
