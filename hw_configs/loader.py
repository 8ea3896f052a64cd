"""Reads a chip description (TOML) into frozen dataclasses and refuses a wrong one by key."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

import tomli


class HwConfigError(ValueError):
    """A hardware description is malformed; the message names the file and the key."""


@dataclass(frozen=True)
class Limit:
    """One register limit."""

    value: int
    """The limit itself."""
    unit: str
    """What `value` counts."""
    source: str
    """Public file or table the value was read from."""


@dataclass(frozen=True)
class Chip:
    """Register limits of one chip generation. Each field is a `[limits.<field>]` table."""

    name: str
    checked: str
    weight_mixed_max: Limit
    weight_mixed_min: Limit
    weight_single_sign_max: Limit
    activation_bits: Limit
    state_bits: Limit
    bias_bits: Limit
    threshold_bits: Limit
    decay_bits: Limit
    activation_shift: Limit

    @property
    def activation_max(self) -> int:
        """Largest synaptic sum the 16-bit port of a neuron takes."""
        return 2 ** (self.activation_bits.value - 1) - 1

    @property
    def state_max(self) -> int:
        """Largest |v|; Lava saturates there (u would wrap)."""
        return 2 ** (self.state_bits.value - 1) - 1

    @property
    def bias_max(self) -> int:
        """Largest bias mantissa, for the even integers we use."""
        return 2 ** (self.bias_bits.value - 1) - 2

    @property
    def threshold_max(self) -> int:
        """Largest threshold mantissa; a neuron that has it is meant never to fire."""
        return 2**self.threshold_bits.value - 1

    @property
    def decay_one(self) -> int:
        """The decay register's value for 1.0 (4096): the state is gone after one step."""
        return 2**self.decay_bits.value


def load_chip(name: str = "loihi2", file: Path | None = None) -> Chip:
    """Load `hw_configs/<name>.toml`, or a user's `file`.

    Raises:
        HwConfigError: the file is missing, is no TOML, or a key is missing, unknown or of the
            wrong type.
    """
    if file is None:
        text, where = (resources.files("hw_configs") / f"{name}.toml"), f"hw_configs/{name}.toml"
    else:
        text, where = Path(file), str(file)
    try:
        data = tomli.loads(text.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HwConfigError(f"{where}: no such hardware description") from None
    except tomli.TOMLDecodeError as error:
        raise HwConfigError(f"{where}: not valid TOML: {error}") from None

    wanted = [f.name for f in fields(Chip) if f.name not in ("name", "checked")]
    limits = data.get("limits", {})
    unknown = sorted(set(limits) - set(wanted))
    if unknown:
        raise HwConfigError(f"{where}: limits.{unknown[0]}: unknown key, known: "
                            f"{', '.join(wanted)}")
    return Chip(
        name=_typed(data, "name", str, where),
        checked=_typed(data, "checked", str, where),
        **{key: _limit(limits, key, where) for key in wanted},
    )


def _limit(limits: dict, key: str, where: str) -> Limit:
    table = _typed(limits, key, dict, where)
    return Limit(**{f: _typed(table, f, t, f"{where}: limits.{key}") for f, t in
                    (("value", int), ("unit", str), ("source", str))})


def _typed(table: dict, key: str, kind: type, where: str):
    if key not in table:
        raise HwConfigError(f"{where}: {key}: missing, expected a {kind.__name__}")
    if not isinstance(table[key], kind) or isinstance(table[key], bool):
        raise HwConfigError(f"{where}: {key}: got {table[key]!r}, expected a {kind.__name__}")
    return table[key]
