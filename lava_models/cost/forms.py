"""Which form each convolution takes on the chip: kernel shared over space, or unrolled.

Chosen layer by layer: every convolution starts shared, where it has such a form, and is unrolled
where that lowers what is to be minimised. A layer whose unrolled synapses alone would fill too many
cores is not tried.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from hw_configs import Board
from hw_configs.files import UserError
from lava_models.cost.description import LayerDescription, Network
from lava_models.cost.mapper import Fit, fit
from lava_models.cost.reach import convolution_synapses
from lava_models.cost.words import INDEX_BITS, STORED_BITS, WORD

OBJECTIVES = ("cores", "time", "energy")


def with_forms(network: Network, forms: dict[str, str]) -> Network:
    """The network with the named convolutions "shared" or "unrolled"."""
    return dataclasses.replace(network, layers=tuple(
        dataclasses.replace(layer, form=forms[layer.name]) if layer.name in forms else layer
        for layer in network.layers))


def form_of(network: Network) -> str:
    """"shared" or "unrolled" where all convolutions are, "mixed", or "none" without any."""
    forms = {layer.form for layer in network.layers if layer.kind in ("conv", "convT")}
    return "none" if not forms else forms.pop() if len(forms) == 1 else "mixed"


def choose_forms(network: Network, board: Board,
                 cost: Callable[[Fit], tuple[float, float]] | None = None) -> Fit:
    """The fit of the network in the forms that cost least.

    Args:
        cost: of a fit, to be minimised, and what a layer is tried for that does not lower it alone
            (two layers may have to change before a timestep gets shorter); None: its cores.

    Raises:
        UserError: as `mapper.fit`.
    """
    forms = {la.name: "shared" if _has_shared_form(network, la) else "unrolled"
             for la in network.layers if la.kind in ("conv", "convT")}
    best = fit(with_forms(network, forms), board)
    tried = [name for name, form in forms.items() if form == "shared"
             and _least_cores(network, network.by_name[name], board) < (
                 len(best.by_name[name].cores) if cost is None
                 else board.chips.value * board.cores_per_chip)]
    price = (lambda f: (f.cores,)) if cost is None else cost
    best = _turned(network, board, best, tried, price)
    # Back again, where a form takes more cores and gains nothing.
    return best if cost is None else _turned(network, board, best, tried,
                                             lambda f: (cost(f)[0], f.cores))


def _turned(network: Network, board: Board, best: Fit, tried: list[str],
            price: Callable[[Fit], tuple[float, ...]]) -> Fit:
    """The fit with each of the `tried` layers in its other form where that lowers the price."""
    least = price(best)
    for name in tried:
        now = best.network.by_name[name].form
        other = fit(with_forms(best.network, {
            name: "shared" if now == "unrolled" else "unrolled"}), board)
        if price(other) < least:
            best, least = other, price(other)
    return best


def _has_shared_form(network: Network, layer: LayerDescription) -> bool:
    try:
        network.as_shared(layer)
    except UserError:
        return False
    return True


def _least_cores(network: Network, layer: LayerDescription, board: Board) -> int:
    """Cores that the synapses of an unrolled convolution fill, without headers and roundings."""
    bits = convolution_synapses(network, layer) * (
        STORED_BITS[layer.weight_bits[0]] + INDEX_BITS)
    return math.ceil(bits / WORD / board.chip.core_of(network.compiler).synapse_words.value)
