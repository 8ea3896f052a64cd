"""What the loggers of Intel's extension gave, from a double that gives the series it is told."""

from __future__ import annotations

import numpy as np
import pytest
from loihi_double import profiler

from hw_configs import load_board
from hw_configs.files import UserError
from lava_models.loihi.measure import Profilers, measured_section


def test_numbers_by_hand(extension):
    """1000 timesteps of 100 us, 20 per sample: 2 ms a sample at 0.4 W above 0.2 W at rest."""
    profiler.recorded.update(
        total_power=np.repeat([0.5, 0.7], 6), static_total_power=np.repeat([0.15, 0.25], 5),
        vdd_power=np.repeat([0.1, 0.3], 5), vddm_power=np.full(10, 0.3),
        vddio_power=np.full(10, 0.1), avg_time_per_step=100.0,
        execution_time_per_step=np.repeat([60.0, 80.0, 100.0], 4),
        syn_ops=np.array([30e3, 10e3]), dendrite_updates=np.array([5e3, 7e3]),
        chip_idx=np.zeros(2), total_mpds=np.array([0.25, 0.75]))
    measured = measured_section(Profilers.make(1000), 1000, 20, load_board("oheogulch"))
    by_hand = {  # value, standard deviation, readings
        "timestep_us": (100, (800 / 3) ** 0.5, 12),
        "power_total_w": (0.6, 0.1, 12),
        "power_static_w": (0.2, 0.05, 10),
        "power_vdd_w": (0.2, 0.1, 10),
        "power_vddm_w": (0.3, 0, 10),
        "power_vddio_w": (0.1, 0, 10),
        "power_dynamic_w": (0.4, (0.1**2 + 0.05**2) ** 0.5, 10),
        "energy_static_per_sample_j": (0.4e-3, 0.1e-3, 10),
        "energy_dynamic_per_sample_j": (0.8e-3, 2e-3 * (0.1**2 + 0.05**2) ** 0.5, 10),
        "energy_per_sample_j": (1.2e-3, 2e-3 * (0.1**2 + 0.05**2) ** 0.5, 10),
        "synops_per_timestep": (40, None, 2),
        "neuron_passes_per_timestep": (12, None, 2),
        "memory_percent": (50, 25, 2),
    }
    assert measured.keys() == by_hand.keys()
    for name, (value, spread, n) in by_hand.items():
        entry = measured[name]
        assert entry["value"] == pytest.approx(value), name
        assert entry.get("spread") == pytest.approx(spread, abs=1e-12), name
        assert (entry["n"], entry["basis"]) == (n, "measured"), name


def test_idle_chips_are_subtracted(extension):
    """Idle is on which the memory logger saw no core: two of the eight are not."""
    profiler.recorded.update(chip_idx=np.repeat([0, 5], 37), total_power=np.full(20, 1.3),
                             static_total_power=np.full(20, 0.8))
    measured = measured_section(Profilers.make(100), 100, 16, load_board("kapohopoint"))
    assert measured["power_static_w"]["value"] == pytest.approx(0.2)
    assert measured["power_dynamic_w"]["value"] == pytest.approx(0.5)
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
