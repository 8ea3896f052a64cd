"""The wiring: what feeds what, by hand, and that nothing is left dangling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lava_models.net.netfile import MODES
from lava_models.net.populations import GRADED, SPIKES, Draw, Host, Neurons, TickNeurons
from lava_models.net.program import build_program


def _wired(program) -> set[tuple[str, str, str]]:
    return {(c.source, c.port, c.target) for c in program.connections}


def test_reconstruct_by_hand(net_factory):
    program = build_program(net_factory(), "reconstruct")
    spikes = {w for w in _wired(program) if w[1] not in ("", "tick")}
    assert spikes == {
        ("images", "s_in", "encoder.0"), ("encoder.0", "s_in", "encoder.1"),
        ("encoder.1", "s_in", "encoder.2"), ("encoder.2", "s_in", "posterior.0"),
        ("selection.feedback", "z_in", "posterior.0"), ("posterior.0", "s_in", "posterior.1"),
        ("posterior.1", "s_in", "posterior.2"), ("posterior.2", "zeta_in", "selection"),
        ("posterior.2", "zeta_in", "selection.feedback"),
        ("random_bits.bits", "bits_in", "selection"),
        ("random_bits.bits", "bits_in", "selection.feedback"),
        ("silence", "silence", "selection.feedback"), ("selection", "s_in", "decoder.0"),
        ("decoder.0", "s_in", "decoder.1"), ("decoder.1", "s_in", "decoder.2"),
        ("decoder.2", "s_in", "decoder.3")}
    assert [c.message for c in program.connections if c.source == "images"] == [GRADED]
    assert {c.message for c in program.connections if c.source != "images"} == {SPIKES}
    assert [p.name for p in program.waves if not p.spiking] == ["decoder.3"]


def test_generate_needs_nothing_from_the_host(net_factory):
    program = build_program(net_factory(), "generate")
    assert not program.of(Host)
    assert [c.source for c in program.into("prior.0") if c.port != "tick"] == ["selection.feedback"]
    assert program.into("prior.0")[0].port == "s_in"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lag", [1, 2, 4])
def test_a_wave_arrives_when_it_is_awaited(net_factory, mode, lag):
    """Every source sends its tick one timestep before its target needs it, L ticks late or not."""
    program = build_program(net_factory(lag=lag), mode)
    for c in program.connections:
        source, target = program[c.source], program[c.target]
        if target.waves and (source.waves or isinstance(source.kind, (Host, TickNeurons))):
            late = c.lag * program.schedule.dilation
            assert source.phase + 1 == target.phase + late, f"{c.source} -> {c.target}"


@pytest.mark.parametrize("factory", ["net_factory", "gated_net_factory", "poisson_net_factory"])
@pytest.mark.parametrize("mode", MODES)
def test_synapses_fit_their_ends(request, factory, mode):
    program = build_program(request.getfixturevalue(factory)(), mode)
    for c in program.connections:
        parts = c.synapses.parts()
        assert parts
        for matrix, _ in parts:
            assert matrix.shape == (program[c.target].size, program[c.source].size)
        assert c.fan_out.sum() == sum(matrix.nnz for matrix, _ in parts)
    fed = {c.target for c in program.connections}
    assert fed >= {p.name for p in program.of(Neurons, Draw)}
    sending = {c.source for c in program.connections}
    assert sending == {p.name for p in program.populations} - {program.readout.name}


def test_held_image_comes_with_the_bias(net_factory):
    net = net_factory()
    image = np.random.default_rng(0).integers(-16, 17, math.prod(net.image_shape), np.int32)
    program = build_program(net, "reconstruct", held=image)
    assert not program.of(Host)
    assert [c.port for c in program.into("encoder.0")] == ["tick"]
    carried = sum(matrix.toarray()[:, 0].astype(int) << exponent
                  for matrix, exponent in program.into("encoder.0")[0].synapses.parts())
    free = build_program(net, "reconstruct").into("encoder.0")
    (weights, _), = free[0].synapses.parts()
    bias = sum(matrix.toarray()[:, 0].astype(int) << exponent
               for matrix, exponent in free[1].synapses.parts())
    assert np.array_equal(carried, weights @ image + bias)


def test_constant_chances_ride_on_a_tick_neuron(poisson_net_factory):
    net = poisson_net_factory()
    program = build_program(net, "generate")
    (carrier,) = [c for c in program.into("selection") if c.port == "tick"]
    chances = sum(matrix.toarray()[:, 0].astype(int) << exponent
                  for matrix, exponent in carrier.synapses.parts())
    assert np.array_equal(chances, net.poisson.prior)
    assert not [p for p in program.draws if p.kind.muted]
