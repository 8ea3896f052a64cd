"""The table export-netx prints: every layer, its integers, and how full its registers can get."""

from __future__ import annotations

import math
from fractions import Fraction

from rich.console import Group
from rich.table import Table
from rich.text import Text

from export.translate import Translation
from lava_models.latents import Selection


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
            str(q.bits), str(layer.neuron.threshold) if layer.neuron.spiking else "-",
            f"{q.weight_error:.1%}", f"{q.sum_used:.0%}", f"{q.membrane_used:.0%}",
            f"{q.scale / q.best_scale:.0%}")
        if q.limited_by:
            limited.append(f"{q.name} (by the {q.limited_by})")
    notes = Text(
        "error: rms of rounding and clipping over rms of the weights. port, v: worst synaptic sum "
        "and membrane over what the register holds. scale: kept share of the least-error scale; "
        f"reduced in {', '.join(limited) or 'no layer'}.\n"
        f"image in: {round(net.input_scale)} steps either side of 0.", style="dim")
    return Group(table, notes, draw_table(Selection(net.k, net.random_bits)))


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
