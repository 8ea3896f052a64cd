"""Are two runs of a NetX file the same, message for message, at every layer and timestep?"""

from __future__ import annotations

import numpy as np

from lava_models.graph.compare import Comparison
from lava_models.reference.netx_reference import NetxResult


def compare_messages(run: NetxResult, wanted: NetxResult, who: str) -> Comparison:
    """Compare every layer that `run` watched.

    Args:
        wanted: the reference's.
        who: made `run`, in words.
    """
    steps = values = differing = sent = 0
    found: list[tuple[int, str]] = []
    for name, got in run.sent.items():
        expected = wanted.sent[name][:len(got)]
        steps = len(got)
        values += expected.size
        sent += int(np.count_nonzero(expected))
        wrong = np.argwhere(got != expected)
        differing += len(wrong)
        if len(wrong):
            t, lane, neuron = wrong[0]
            where = f"lane {lane}, " if got.shape[1] > 1 else ""
            found.append((t, f"{where}{name}, neuron {neuron}, timestep {t + 1}: {who} "
                          f"{int(got[t, lane, neuron])}, reference "
                          f"{int(expected[t, lane, neuron])}"))
    return Comparison(steps, sent, values, differing, min(found)[1] if found else None)
