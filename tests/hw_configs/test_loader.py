"""Chip descriptions: the shipped one loads, a wrong one is refused by file and key."""

from __future__ import annotations

import pytest

from hw_configs import HwConfigError, load_chip


def test_loihi2_registers():
    chip = load_chip()
    assert (chip.activation_max, chip.state_max, chip.bias_max) == (32767, 8388607, 4094)
    assert (chip.threshold_max, chip.decay_one) == (131071, 4096)


@pytest.mark.parametrize(("text", "message"), [
    ("name = ", "not valid TOML"),
    ('name = "x"\nchecked = "y"', "weight_mixed_max: missing"),
    ('name = "x"\nchecked = "y"\n[limits.wheels]\nvalue = 1', "limits.wheels: unknown key"),
    ('name = "x"\nchecked = "y"\n[limits.weight_mixed_max]\nvalue = "many"',
     "limits.weight_mixed_max: value: got 'many', expected a int"),
])
def test_refuses(tmp_path, text, message):
    file = tmp_path / "chip.toml"
    file.write_text(text)
    with pytest.raises(HwConfigError, match=message) as error:
        load_chip(file=file)
    assert "chip.toml" in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(HwConfigError, match="no such hardware description"):
        load_chip(file=tmp_path / "no.toml")
