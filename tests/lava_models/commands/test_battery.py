"""The battery passes the chip's bits and a good source, and has the power to reject bad ones.

Level 0.001 for each battery as a whole, seeds fixed: a test that passes once always passes.
"""

from __future__ import annotations

import numpy as np
import pytest

from lava_models import HostBits, UserError, write_net
from lava_models.commands.random_bits_battery import (
    Outcome,
    battery_command,
    bit_tests,
    draw_latents,
    latent_tests,
    make_source,
    rejected,
    repeats_within,
)
from lava_models.net.pretrained import NETWORKS
from lava_models.net.ring import Ring

CHANNELS, WIDTH, TICKS = 24, 8, 8192


def _rejected_bits(source: str, dilation: int = 4, seed: int = 0) -> list[str]:
    bits = make_source(source, seed, TICKS, CHANNELS, WIDTH, dilation).samples(0, 1)[0]
    return [o.name for o in rejected(list(bit_tests(bits)))]


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_chip_passes(dilation):
    assert _rejected_bits("chip", dilation) == []


def test_host_passes():
    assert _rejected_bits("host") == []


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("source", ["neighbours", "every-other"])
def test_bare_cells_are_rejected(source, dilation):
    assert any("correlation of any two bits" in name for name in _rejected_bits(source, dilation))


def test_shared_lfsr_is_rejected():
    names = _rejected_bits("lfsr")
    assert any("correlation of any two bits" in name for name in names)
    assert any("joint distribution" in name for name in names)


@pytest.mark.parametrize(("spoil", "test"), [
    (lambda b, rng: b | (rng.random(b.shape) < 0.06), "monobit"),
    (lambda b, rng: np.where((rng.random(b.shape) < 0.1) & (np.arange(len(b)) % 2 == 1)[
        :, None, None], np.roll(b, 1, axis=0), b), "runs"),
    (lambda b, rng: np.where(rng.random(b.shape) < 0.1, np.roll(b, 50, axis=0), b), "serial"),
    (lambda b, rng: np.where(rng.random(b.shape) < 0.1, np.roll(b, 1, axis=1), b), "any two"),
    (lambda b, rng: np.where(rng.random(b.shape) < 0.02, np.roll(b, 1, axis=1), b), "squared"),
    (lambda b, rng: np.where((rng.random(b.shape[:2]) < 0.01)[:, :, None], 1, b), "all channels"),
    (lambda b, rng: np.where((rng.random(b.shape[:2]) < 0.05)[:, :, None], 1, b), "per channel"),
])
def test_each_test_has_power(spoil, test):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (TICKS, CHANNELS, WIDTH), dtype=np.uint8)
    spoiled = np.asarray(spoil(bits, rng)).astype(np.uint8)
    assert any(test in o.name for o in rejected(list(bit_tests(spoiled))))


def test_joint_test_sees_what_pairs_do_not():
    """R_c+1 = R_c XOR R_c(t+1): every pair is independent, the triple is not."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (TICKS, CHANNELS, WIDTH), dtype=np.uint8)
    bits[:-1, 1::2] = bits[:-1, ::2] ^ bits[1:, ::2]
    assert ["joint" in o.name for o in rejected(list(bit_tests(bits)))] == [True]


def test_p_values_are_uniform_enough():
    """Over 40 perfect sources the battery rejects at level 0.5 about half the time or less."""
    fails = 0
    for seed in range(40):
        bits = HostBits(seed, 2048, 4, 4).sample(0)
        fails += bool(rejected(list(bit_tests(bits)), level=0.5))
    assert 4 <= fails <= 28  # binomial(40, <= 0.5), tails below 0.01


def test_holm():
    tests = [Outcome("a", 1, 0.0004), Outcome("b", 1, 0.00045), Outcome("c", 1, 0.5)]
    assert rejected(tests, 0.001) == []
    tests[0] = Outcome("a", 1, 0.0003)
    assert [o.name for o in rejected(tests, 0.001)] == ["a", "b"]


def test_no_state_comes_back():
    ring = Ring(CHANNELS * WIDTH)
    assert not repeats_within(ring, ring.start(0, 0), 2**16)

    class Small(Ring):
        cells = 7  # its longest period is 63 (Wolfram 1986)

    ring = Small(1)
    assert repeats_within(ring, np.array([1, 0, 0, 0, 0, 0, 0], bool), 200)


def test_latents_from_chip_and_host_are_alike(net_factory):
    """2 000 samples of a small network; and bits that all channels share are told apart."""
    net = net_factory(ticks=8, k=5, random_bits=8)
    args = net.ticks, net.latent, net.random_bits
    host = draw_latents(net, HostBits(1, *args), 2000)
    chip = draw_latents(net, make_source("chip", 0, *args, dilation=4), 2000)
    assert host.shape == (2000, net.ticks, net.latent)
    assert rejected(list(latent_tests(chip, host))) == []
    lfsr = draw_latents(net, make_source("lfsr", 0, *args, dilation=4), 2000)
    assert any("pairs" in o.name for o in rejected(list(latent_tests(lfsr, host))))
    sticky = host.copy()  # same rates, but one spike in five stays for another tick
    stays = np.random.default_rng(0).random(host[:, 1:].shape) < 0.2
    sticky[:, 1:] = np.where(stays, host[:, :-1], host[:, 1:])
    assert any("again after 1 tick" in o.name for o in rejected(list(latent_tests(sticky, chip))))


def test_command(net_factory, tmp_path, capsys):
    write_net(net_factory(), tmp_path / "model.net")
    assert battery_command(["--ticks", "1024", "--net", str(tmp_path / "model.net"),
                            "--samples", "200"]) == 0
    said = capsys.readouterr().out
    assert "verdict: chip passes" in said and "latents: rate per channel" in said
    assert battery_command(["--ticks", "1024", "--channels", "4", "--source", "lfsr"]) == 1
    assert "verdict: lfsr is REJECTED" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--ticks", "10"], "--ticks 10: expected 1024 or more"),
    (["--random-bits", "13"], "--random-bits 13: expected 4 or more, at most 12"),
    (["--net", "nowhere.net"], "nowhere.net: no such file"),
])
def test_bad_input(arguments, message):
    with pytest.raises(UserError, match=message):
        battery_command(arguments)


def test_rate_latents_are_refused():
    with pytest.raises(UserError, match="has rate latents, whose prior draws from bits"):
        battery_command(["--ticks", "1024", "--net", str(NETWORKS["mnist-rate"])])
