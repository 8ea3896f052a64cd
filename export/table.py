"""The table export-netx prints: every layer, its integers, and how full its registers can get."""

from __future__ import annotations

import math

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
    selection = Selection(net.k, net.random_bits)
    notes = Text(
        "error: rms of rounding and clipping over rms of the weights. port, v: worst synaptic sum "
        "and membrane over what the register holds. scale: kept share of the least-error scale; "
        f"reduced in {', '.join(limited) or 'no layer'}.\n"
        f"image in: {round(net.input_scale)} steps either side of 0. latents: 1 of {net.k} by "
        f"{net.random_bits} random bits, worst probability error {selection.worst_error} "
        f"= {float(selection.worst_error):.2g}.", style="dim")
    return Group(table, notes)
