"""Are two runs of a NetX file the same, message for message, at every layer and timestep?"""

from __future__ import annotations

import numpy as np

from lava_models.graph.compare import Compared, Comparison
from lava_models.reference.netx_reference import NetxResult


def compare_messages(run: NetxResult, wanted: NetxResult, who: str) -> Comparison:
    """Compare every layer that `run` watched, and what states it has at the end.

    Args:
        wanted: the reference's.
        who: made `run`, in words.
    """
    steps, populations = 0, []
    found: list[tuple[int, str]] = []
    for name, got in run.sent.items():
        expected = wanted.sent[name][:len(got)]
        steps = len(got)
        wrong = np.argwhere(got != expected)
        # A sigma-delta layer may well send at every timestep: none is called saturated.
        populations.append(Compared(name, "network", int(np.count_nonzero(expected)),
                                    expected.size + 1, expected.size, len(wrong), awaited=True))
        if len(wrong):
            t, lane, neuron = wrong[0]
            where = f"lane {lane}, " if got.shape[1] > 1 else ""
            found.append((t, f"{where}{name}, neuron {neuron}, timestep {t + 1}: {who} "
                          f"{int(got[t, lane, neuron])}, reference "
                          f"{int(expected[t, lane, neuron])}"))
    for name, got in run.states.items():
        expected = wanted.states[name][-1:]
        wrong = np.argwhere(got != expected)
        populations.append(Compared(name, "network", int(np.count_nonzero(expected)), 0,
                                    expected.size, len(wrong), awaited=bool(expected.any())))
        if len(wrong):
            _, lane, neuron = wrong[0]
            found.append((steps, f"{name}, neuron {neuron}, at the end: {who} "
                          f"{int(got[0, lane, neuron])}, reference "
                          f"{int(expected[0, lane, neuron])}"))
    return Comparison(steps, tuple(populations), min(found)[1] if found else None)
