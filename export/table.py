"""The table export-netx prints: every layer, its integers, and how full its registers can get."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from export.translate import Translation
from lava_models.net.latents import Selection
from lava_models.net.layers import LIF_CAN, Glif, Neuron
from lava_models.net.netfile import NetFile


def layer_table(translation: Translation) -> Group:
    """Layers in file order; percentages are worst cases over all possible inputs."""
    net = translation.net
    table = Table(title="layers on the chip (worst cases by interval bound)")
    for name in ("layer", "type", "shape", "weights", "bits", "vth", "error", "port", "v", "scale"):
        left = name in ("layer", "type", "shape")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    limited = []
    for q in translation.layers:
        layer = q.layer
        table.add_row(
            q.name, layer.type, "x".join(map(str, layer.shape)), str(math.prod(layer.weight.shape)),
            str(q.bits), _threshold(layer.neuron), f"{q.weight_error:.1%}", f"{q.sum_used:.0%}",
            f"{q.membrane_used:.0%}", f"{q.scale / q.best_scale:.0%}")
        if q.limited_by:
            limited.append(f"{q.name} (by the {q.limited_by})")
    notes = Text(
        "error: rms of rounding and clipping over rms of the weights. port, v: worst synaptic sum "
        "and membrane over what the register holds. scale: kept share of the least-error scale; "
        f"reduced in {', '.join(limited) or 'no layer'}.\n"
        + f"image in: {round(net.input_scale)} steps either side of 0." * (net.poisson is None),
        style="dim")
    draws = _thinning(net) if net.poisson else draw_table(net.selection)
    return Group(table, notes, *_gated(translation), draws)


def _thinning(net: NetFile) -> Text:
    """How Poisson latents are drawn, and what that rounds."""
    top = 2**net.random_bits
    rounded = net.poisson.prior.sum() / top * net.ticks
    rates = np.exp(net.poisson.log_prior.astype(float))
    exact, cut = rates.sum(), int((rates > net.ticks).sum())
    more = (f"; {cut} units expect more than a spike per tick and are cut: train with "
            f"--log-rate-max {math.log(net.ticks / 2):.2f}, or with more --ticks") if cut else ""
    return Text(
        f"latents: {net.latent} units that say something (the others stay at their mean), Poisson "
        f"counts as at most one spike at each of {net.ticks} ticks, chances in 1/{top}: "
        f"{rounded:.3f} spikes per image from the prior, {exact:.3f} before rounding; the encoder "
        f"and its exponential run on the host{more}", style="dim")


def _threshold(neuron: Neuron) -> str:
    if isinstance(neuron, Glif):
        low, high = neuron.threshold.min() / 64, neuron.threshold.max() / 64
        return f"{low:.0f}-{high:.0f}"
    return str(neuron.threshold) if neuron.spiking else "-"


def _gated(translation: Translation) -> Iterator[Text]:
    """What the chip's own LIF cannot express, and the rounding of it."""
    gated = [q for q in translation.layers if isinstance(q.layer.neuron, Glif)]
    if not gated:
        return
    worst = max(gated, key=lambda q: q.neuron_error)
    yield Text(f"gated neurons, integers per channel: rounding at most {worst.neuron_error:.2%} "
               f"({worst.name}), of a share or of the threshold. A{LIF_CAN[1:]}: these "
               "layers run on --backend sim only, because of (train with --chip-safe for a chip)",
               style="dim")
    for q in gated:
        yield Text(f"  {q.name}: {', '.join(q.layer.neuron.obstacles())}", style="dim")


def draw_table(selection: Selection) -> Table | Text:
    """How often z fires when n of k candidates did, exactly, and what it should be."""
    k, draws = selection.k, 2**selection.bits
    weights = (f"weights {selection.zeta_weight} per candidate, "
               f"{', '.join(map(str, selection.random_weights))} per random bit, "
               f"threshold {selection.threshold}")
    if not selection.worst_error:
        return Text(f"latents: 1 of {k} by {selection.bits} random bits, P(z = 1 | n) = n/{k} "
                    f"exactly for n = 0..{k}; {weights}", style="dim")
    groups = 3 if k < 32 else 4
    table = Table(title=f"latents: 1 of {k} by {selection.bits} random bits; worst error "
                        f"{selection.worst_error} = {float(selection.worst_error):.2g}",
                  caption=f"P: z fires when n of {k} candidates did, exactly; error: P - n/{k}\n"
                          f"{weights}")
    for _ in range(groups):
        for name in ("n", "P", "error"):
            table.add_column(name, justify="right", no_wrap=True)
    rows = -(-(k + 1) // groups)
    for first in range(rows):
        cells = []
        for n in range(first, k + 1, rows):
            p = selection.probability(n)
            cells += [str(n), f"{int(p * draws)}/{draws}", f"{float(p - Fraction(n, k)):+.1e}"]
        table.add_row(*cells)
    return table
