"""The energy and time model: identities, hand counts, the published measurement."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import hw_configs
from hw_configs import load_board, load_constants, names
from hw_configs.files import UserError
from lava_models import ChipBits
from lava_models.commands.meters import MachineMeters
from lava_models.cost.baselines import multiply_accumulates
from lava_models.cost.counts import count_run, pixels_used
from lava_models.cost.describe import describe
from lava_models.cost.description import LayerDescription, Network
from lava_models.cost.energy import (
    Interval,
    activity_at_rate,
    activity_of_run,
    estimate,
    total,
)
from lava_models.cost.estimates import ASSUMPTIONS, cost_of_run, load_hardware, time_section
from lava_models.cost.mapper import fit
from lava_models.cost.validation import (
    JUDGES,
    measured_numbers,
    measured_run,
    page,
    predict,
    predicted_numbers,
    sets_for,
)
from lava_models.graph.lava_graph import run_graph
from lava_models.net.synapse import unroll

CONSTANTS = load_constants("loihi1-davies2018")


def _run(net, mode, samples, seed=0):
    rng = np.random.default_rng(5)
    images = None
    if mode == "reconstruct":
        images = rng.integers(-16, 17, (samples, 64)).astype(np.int32)
    run = run_graph(net, mode, ChipBits.of(net, mode, seed), samples, images, lanes=samples)
    return run.counts, pixels_used(images)


@pytest.fixture(scope="module", params=["reconstruct", "generate"])
def case(request, net_factory):
    net = net_factory()
    return net, request.param, 3, *_run(net, request.param, 3)


@pytest.mark.parametrize("form", ["shared", "unrolled"])
def test_activity_is_what_was_counted(case, form):
    net, mode, samples, spikes, pixels = case
    mapped = fit(describe(net, mode, form), load_board("oheogulch"))
    activity = activity_of_run(net, mode, samples, spikes, pixels, mapped)
    counts = {c.name: c for c in count_run(net, mode, samples, spikes, pixels) if c.on_chip}
    synops = dict.fromkeys(counts, 0.0)
    spiked = dict.fromkeys(counts, 0.0)
    for layer in activity.layers:
        name = {"selection.feedback": "selection", "silence": "clock"}.get(layer.name, layer.name)
        synops[name] += layer.synops.sum()
        spiked[name] += layer.spikes
    for name, count in counts.items():
        assert synops[name] == pytest.approx(count.synops.sum() / samples)
        assert spiked[name] == pytest.approx(count.spikes.sum() / samples)
    updates = sum(layer.neurons.sum() for layer in activity.layers) * activity.timesteps * samples
    assert updates == sum(c.neuron_updates for c in counts.values())


def test_synops_stand_at_the_chip_s_timesteps(case):
    """Layers see their waves one timestep apart, whatever the timestep their rows start at."""
    net, mode, samples, spikes, pixels = case
    mapped = fit(describe(net, mode), load_board("oheogulch"))
    activity = activity_of_run(net, mode, samples, spikes, pixels, mapped)
    waves = {layer.name: np.flatnonzero(layer.synops.sum(axis=1)) % 4 for layer in activity.layers}
    chain = [n for n in ("decoder.0", "decoder.1", "decoder.2") if n in waves]
    first = [set(waves[name]) for name in chain]
    assert all(len(s) == 1 for s in first)
    steps = [next(iter(s)) for s in first]
    assert [(b - a) % 4 for a, b in zip(steps, steps[1:])] == [1] * (len(steps) - 1)


def test_totals_are_sums_of_parts(case):
    net, mode, samples, spikes, pixels = case
    for constants in names("energy"):
        cost = cost_of_run(net, mode, samples, spikes, pixels, load_hardware(constants=constants))
        for e in cost.estimates:
            for key in ("value", "low", "high"):
                parts = getattr(total(e.by_part.values()), key)
                assert parts == pytest.approx(getattr(e.dynamic, key))
                assert getattr(e.total, key) == pytest.approx(
                    parts + getattr(e.static, key))
            assert e.total.low <= e.total.value <= e.total.high
            assert sum(e.waits.values()) == pytest.approx(1)


def test_no_spikes_no_synapse_energy(case):
    net, mode, samples, spikes, pixels = case
    mapped = fit(describe(net, mode), load_board("oheogulch"))
    activity = activity_of_run(net, mode, samples, spikes, pixels, mapped)
    silent = dataclasses.replace(activity, links=0 * activity.links, layers=tuple(
        dataclasses.replace(la, synops=0 * la.synops, spikes=0.0, messages=0.0)
        for la in activity.layers))
    e = estimate(silent, mapped, CONSTANTS)
    assert e.by_kind["synapses"] == e.by_kind["messages"] == Interval(0, 0, 0)
    assert e.by_kind["neurons"].value > 0 and e.static.value > 0


def test_the_same_samples_cost_the_same_however_they_ran(net_factory):
    """Side by side or one after the other, where the pipeline fills once."""
    net, bits = net_factory(), ChipBits.of(net_factory(), "generate", 0)
    together, behind = (
        cost_of_run(net, "generate", 4, run_graph(net, "generate", bits, 4, lanes=lanes).counts,
                    None, load_hardware()).estimates[0] for lanes in (4, 1))
    assert together == behind


def test_dynamic_energy_per_sample_is_the_mean_of_runs(net_factory):
    """Of two runs that differ, in samples and in spikes."""
    net = net_factory()
    runs = [(3, _run(net, "generate", 3, seed=0)[0]), (1, _run(net, "generate", 1, seed=1)[0])]
    both = {name: runs[0][1][name] + runs[1][1][name] for name in runs[0][1]}
    a, b, mean = (cost_of_run(net, "generate", samples, counts, None, load_hardware()).estimates[0]
                  for samples, counts in (*runs, (4, both)))
    assert a.dynamic.value != pytest.approx(b.dynamic.value, rel=1e-3)
    assert mean.dynamic.value == pytest.approx((3 * a.dynamic.value + b.dynamic.value) / 4)


def test_dense_layer_by_hand():
    """64 inputs at rate .5 onto 100 neurons on one core, 10 timesteps."""
    network = Network("one", (LayerDescription("in", "input", (64,), on_chip=False),
                              LayerDescription("out", "dense", (100,))))
    mapped = fit(network, load_board("oheogulch"))
    e = estimate(activity_at_rate(network, mapped, 0.5, 10), mapped, CONSTANTS)
    assert e.by_kind["synapses"].value == pytest.approx(0.5 * 64 * 100 * 10 * 23.6e-12)
    assert e.by_kind["neurons"].value == pytest.approx(100 * 10 * 52e-12)
    assert e.by_kind["neurons"].high == pytest.approx(
        100 * 10 * 81e-12 * CONSTANTS.measured_over_modelled.high)
    assert e.by_kind["messages"].value == pytest.approx(0.5 * 64 * 10 * 1.7e-12)
    # 3,200 synops a timestep at 0.66 ns, more than 1.78 us of synchronisation
    assert e.timestep_us.value == pytest.approx(3200 * 0.66e-3)
    bound = load_board("oheogulch").chip.timing.measured_over_bound.high
    assert e.timestep_us.high == pytest.approx(max(3200 * 0.66e-3 + 1.78 + 100 * 2 * 4e-3,
                                                   bound * 3200 * 0.66e-3))
    assert e.waits["synops"] == 1
    assert e.sample_ms.value == pytest.approx(10 * 3200 * 0.66e-6)
    power = load_board("oheogulch").chip.static_power_w("Oheo Gulch").value
    assert e.static.value == pytest.approx(power * 1e-3 * e.sample_ms.value)


def test_rate_counts_every_synapse(net_factory):
    """Rate 1: as many synops as there are synapses, for a network without zero weights."""
    net = net_factory()
    ones = {part: tuple(dataclasses.replace(la, weight=np.full_like(la.weight, 2)) for la in
                        getattr(net, part)) for part in ("encoder",)}
    network = describe(dataclasses.replace(net, **ones), "reconstruct", "unrolled")
    mapped = fit(network, load_board("oheogulch"))
    activity = activity_at_rate(network, mapped, 1.0, 3)
    for i, layer in enumerate(ones["encoder"]):
        mine = next(la for la in activity.layers if la.name == f"encoder.{i}")
        bias = np.prod(layer.shape)  # one synapse of the tick neuron each
        assert mine.synops.sum() == unroll(layer).nnz + bias


def test_links_between_chips():
    """Two layers on different chips: each spike crosses once per chip it goes to."""
    network = Network("two", (LayerDescription("in", "input", (50,)),
                              LayerDescription("out", "dense", (100,))))
    mapped = fit(network, load_board("kapohopoint"))
    apart = dataclasses.replace(mapped, board=dataclasses.replace(
        mapped.board, neurocores=dataclasses.replace(mapped.board.chip.neurocores, value=1)))
    activity = activity_at_rate(network, apart, 0.5, 4)
    assert activity.links[0, 0, 1] == pytest.approx(25) and activity.links.sum() == 25
    assert activity_at_rate(network, mapped, 0.5, 4).links.sum() == 0


def test_fitted_constants_do_not_judge_themselves():
    for name in names("energy"):
        if load_constants(name).fitted_on:
            with pytest.raises(UserError, match="fitted on PilotNet-LIF; it cannot be judged"):
                predict(name, "pilotnet-lif")


@pytest.mark.parametrize("judge", JUDGES)
def test_published_runs_lie_in_the_intervals(judge):
    """Every measured number, by every set of constants; nominal time below it (a lower bound)."""
    run = measured_run(judge)
    assert sum(run[f"{kind}_power_w"] for kind in ("static", "dynamic")) == pytest.approx(
        {"pilotnet-lif": 0.679234, "yolo-kp": 4.669575}[judge], abs=2e-6)
    assert len(sets_for(judge)) >= 2
    for name in sets_for(judge):
        e = predict(name, judge)
        for key, value in measured_numbers(run).items():
            interval = predicted_numbers(e)[key]
            assert interval.low <= value <= interval.high, (name, key)
        assert e.timestep_us.value < run["timestep_us"]
        assert e.dynamic.value == pytest.approx(
            measured_numbers(run)["dynamic energy per inference, uJ"] * 1e-6, rel=0.36)


def test_widening_keeps_the_nominal():
    """Loihi 1's set of nominals, with and without what validation found."""
    network = Network("one", (LayerDescription("in", "input", (64,), on_chip=False),
                              LayerDescription("out", "dense", (100,))))
    mapped = fit(network, load_board("oheogulch"))
    activity = activity_at_rate(network, mapped, 0.5, 10)
    bare = dataclasses.replace(CONSTANTS, measured_over_modelled=None)
    a, b = estimate(activity, mapped, bare).dynamic, estimate(activity, mapped, CONSTANTS).dynamic
    ratio = CONSTANTS.measured_over_modelled
    assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low * ratio.low,
                                                      a.high * ratio.high))


def test_validation_page_is_up_to_date():
    shipped = Path(hw_configs.__file__).parent / "VALIDATION.md"
    assert shipped.read_text("utf-8") == page()


def test_assumptions_say_how_far_the_worst_was_off():
    worst = next(line for line in page().splitlines() if line.startswith("Worst of all"))
    numbers = [part.split()[-1].rstrip(".") for part in worst.split(";")]
    said = next(a for a in ASSUMPTIONS if "every public measurement" in a)
    assert len(numbers) == 4 and all(number in said for number in numbers)


def test_input_of_the_host_has_a_line_of_its_own(case):
    net, mode, samples, spikes, pixels = case
    time = time_section(cost_of_run(net, mode, samples, spikes, pixels, load_hardware()))
    if mode == "generate":
        assert "host_input_sample_ms" not in time
    else:
        assert time["host_input_sample_ms"]["value"] == pytest.approx(31e-3 * 16)


def test_multiply_accumulates(net_factory):
    net = net_factory()
    decoder = multiply_accumulates(net, "generate")
    assert decoder == sum(unroll(dataclasses.replace(la, weight=np.ones_like(la.weight))).nnz
                          for la in net.decoder)
    assert multiply_accumulates(net, "reconstruct") > decoder


def test_meters(tmp_path, monkeypatch):
    """RAPL counters that wrap; sub-zones left out; no counters is said, not 0."""
    for name, energy in (("intel-rapl:0", 900), ("intel-rapl:1", 10), ("intel-rapl:0:0", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")
    meters = MachineMeters(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("50\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("30\n")
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("500\n")
    read = meters.read()["cpu_j"]
    assert read["value"] == pytest.approx((150 + 20) * 1e-6) and read["basis"] == "measured"
    empty = MachineMeters(tmp_path / "none").read()["cpu_j"]
    assert empty["value"] is None and "no RAPL counters" in empty["why"]
