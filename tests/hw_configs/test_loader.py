"""Hardware descriptions: the shipped ones load, a wrong one is refused by file and key."""

from __future__ import annotations

from importlib import resources

import pytest

from hw_configs import (
    HwConfigError,
    load_board,
    load_chip,
    load_constants,
    load_mac,
    names,
)


def _text(kind: str, name: str) -> str:
    return (resources.files("hw_configs") / kind / f"{name}.toml").read_text("utf-8")


def test_loihi2_registers():
    chip = load_chip()
    assert (chip.activation_max, chip.state_max, chip.bias_max) == (32767, 8388607, 4094)
    assert (chip.threshold_max, chip.decay_one) == (131071, 4096)


@pytest.mark.parametrize("name", names("boards"))
def test_boards(name):
    board = load_board(name)
    assert board.chips.value >= 1 and board.cores_per_chip >= 120
    assert board.chip.static_power_w().value > 0
    assert board.checked and board.chips.source


@pytest.mark.parametrize("name", names("energy"))
def test_constants(name):
    constants = load_constants(name)
    assert constants.name == name and constants.technology
    assert (constants.fitted_on is None) == name.startswith("loihi1")


def test_multiply_accumulate():
    assert load_mac().mac.interval == (0.23, 4.6)


def test_power_at_rest_leaves_a_network_out():
    chip = load_chip()
    every, vpx = chip.static_power_w(), chip.static_power_w("VPX board")
    assert every.interval == (0.109, 0.461738)
    assert vpx.interval == (vpx.value, vpx.value) == (0.461738, 0.461738)
    assert chip.static_power_w("Oheo Gulch").interval == (0.109, 0.281775)
    # A board without a reading of its own, or none that is left: the span of all others.
    assert chip.static_power_w("Hala Point").interval == every.interval
    assert chip.static_power_w("VPX board", without="YOLO-KP").interval == (0.109, 0.281775)
    with pytest.raises(HwConfigError, match="no reading but of"):
        load_chip("loihi1").static_power_w(without="similarity search on 32 chips")


def test_older_compiler():
    chip = load_chip()
    assert chip.core_of(None).synapse_words.value == 16000
    assert chip.core_of("2023-01").synapse_words.value == 12000
    assert chip.core_of("2023-01").neurons == chip.core.neurons
    with pytest.raises(HwConfigError, match="compiler '1999' is not described; known: 2023-01"):
        chip.core_of("1999")


@pytest.mark.parametrize(("old", "new", "message"), [
    ('name = "Loihi 2"', "name = ", "not valid TOML"),
    ('name = "Loihi 2"', "name = 3", "name: got 3, expected a str"),
    ('name = "Loihi 2"', "", "name: missing"),
    ("[core.neurons]", "[core.wheels]", "core: wheels: unknown key, known: neurons"),
    ("[neurocores]", "[neurocores.x]", "neurocores: x: unknown key"),
    ("value = 120", "value = 1.5", "neurocores: value: got 1.5, expected a int"),
    ("value = 120\n", "value = true\n", "neurocores: value: got True, expected a int"),
    ('unit = "ns"', 'unit = "us"', "timing: synop: unit: got 'us', expected 'ns'"),
    ("low = 1\n", "low = 3\n", "timing: passes: low, value, high are 3.0, 2.0, 2.0; expected"),
    ("value = 0.66", "value = -1", "timing: synop: low, value, high are None, -1.0, None"),
    ("[[static_power]]", "[[power]]", "power: unknown key"),
])
def test_refuses(tmp_path, old, new, message):
    file = tmp_path / "chip.toml"
    text = _text("chips", "loihi2")
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(HwConfigError) as error:
        load_chip(file=file)
    assert str(error.value).startswith(str(file)) and message in str(error.value)


def test_board_of_a_user(tmp_path):
    """A board, its chip beside it."""
    (tmp_path / "mine.toml").write_text(_text("chips", "loihi2").replace("Loihi 2", "Mine"))
    board = _text("boards", "oheogulch")
    (tmp_path / "board.toml").write_text(board.replace('"loihi2"', '"mine.toml"'))
    assert load_board(tmp_path / "board.toml").chip.name == "Mine"
    (tmp_path / "board.toml").write_text(board.replace('"loihi2"', '"loihi9"'))
    with pytest.raises(HwConfigError, match="loihi9.toml: no such hardware description; shipped "
                                            "are loihi1, loihi2"):
        load_board(tmp_path / "board.toml")
    (tmp_path / "board.toml").write_text(board.replace('chip = "loihi2"', "chip = 3"))
    with pytest.raises(HwConfigError, match="board.toml: chip: got 3, expected a chip's name"):
        load_board(tmp_path / "board.toml")


def test_missing_file(tmp_path):
    with pytest.raises(HwConfigError, match="no such file; shipped are loihi1, loihi2, or name"):
        load_chip(file=tmp_path / "no.toml")
    with pytest.raises(HwConfigError, match="shipped are halapoint, kapohopoint, nahuku"):
        load_board("atlantis")
