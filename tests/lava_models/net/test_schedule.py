"""Phases, dilation and decay spreading, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lava_models import UserError, schedule_for
from lava_models.net.schedule import dilate_decay, make_schedule


@pytest.mark.parametrize(("lag", "dilation"), [(1, 4), (2, 2), (4, 1)])
def test_paper_network(net_factory, lag, dilation):
    schedule = schedule_for(net_factory(lag=lag, ticks=16), "reconstruct")
    assert schedule.dilation == dilation
    assert schedule.period == 16 * dilation
    order = list(schedule.phases.values())
    assert order == list(range(2, 2 + len(order)))
    # z of tick t arrives at the first autoregressive layer exactly with tick t + L.
    drawn, fed = (schedule.timesteps(schedule.phases[name], 0)
                  for name in ("selection", "posterior.0"))
    assert np.array_equal(drawn[:-lag] + 1, fed[lag:])


def test_lag_must_divide_loop():
    with pytest.raises(UserError, match="lag 3 does not divide the loop depth of 4"):
        make_schedule(["a", "b", "c", "z"], "z", "a", ticks=4, lag=3)


def test_decay_of_the_paper():
    assert dilate_decay(3072, 4) == 1200  # tau 0.25 over four timesteps
    assert ((4096 - 1200) / 4096) ** 4 == pytest.approx(0.24989, abs=1e-5)
    assert dilate_decay(3072, 1) == 3072
