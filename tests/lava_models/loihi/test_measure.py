"""What the loggers of Intel's extension gave, from a double that gives published series.
"""

from __future__ import annotations

import numpy as np
import pytest
from loihi_double import profiler

from hw_configs import load_board
from hw_configs.files import UserError
from lava_models.cost.validation import measured_run
from lava_models.loihi.measure import Profilers, measured_section


def test_published_series_give_the_published_numbers(extension):
    """PilotNet-LIF on Oheo Gulch: 0.447 W dynamic, 0.232 W static, 1.66 mJ per inference."""
    run = measured_run()
    measured = measured_section(Profilers.make(10000), run["timesteps"],
                                run["timesteps_per_sample"], load_board("oheogulch"))
    assert measured["power_dynamic_w"]["value"] == pytest.approx(0.447, abs=5e-4)
    assert measured["power_static_w"]["value"] == pytest.approx(0.232, abs=5e-4)
    assert measured["energy_per_sample_j"]["value"] == pytest.approx(1.66e-3, abs=5e-6)
    assert measured["energy_dynamic_per_sample_j"]["value"] == pytest.approx(1.0935e-3, abs=5e-7)
    assert measured["power_vddm_w"]["value"] == pytest.approx(0.422127)
    assert measured["timestep_us"]["value"] == 152.8
    assert measured["timestep_us"]["spread"] == pytest.approx((200.6 - 105) / 2)
    parts = measured["energy_static_per_sample_j"], measured["energy_dynamic_per_sample_j"]
    assert measured["energy_per_sample_j"]["value"] == pytest.approx(
        sum(part["value"] for part in parts))


def test_idle_chips_are_subtracted(extension):
    """Idle is on which the memory logger saw no core: two of the eight are not."""
    profiler.recorded["chip_idx"] = np.repeat([0, 5], 37)
    measured = measured_section(Profilers.make(100), 100, 16, load_board("kapohopoint"))
    assert measured["power_static_w"]["value"] == pytest.approx(0.232078 * 2 / 8)
    assert measured["power_dynamic_w"]["value"] == pytest.approx(0.447156)
    assert "6 of 8 chips idle and subtracted" in measured["power_static_w"]["what"]


@pytest.mark.parametrize("total", [0.275709, 0.285])
def test_noise_is_no_result(extension, total):
    """PilotNet-SDNN's published run: total below static. No number, but why."""
    profiler.recorded.update(total_power=np.full(50, total),
                             static_total_power=np.full(50, 0.281775))
    measured = measured_section(Profilers.make(2000), 2000, 16, load_board("oheogulch"))
    for name in ("power_dynamic_w", "energy_per_sample_j", "energy_dynamic_per_sample_j"):
        assert measured[name]["value"] is None
        assert "within the meter's noise of 10 mW" in measured[name]["why"]
    assert measured["power_static_w"]["value"] == pytest.approx(0.281775)


def test_more_chips_than_the_board_has(extension):
    profiler.recorded["chip_idx"] = np.repeat([0, 5], 37)
    with pytest.raises(UserError, match="ran on 2 chips, Oheo Gulch has 1; name the board"):
        measured_section(Profilers.make(100), 100, 16, load_board("oheogulch"))
