"""What is described: chips, boards and sets of energy constants as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from hw_configs.files import UserError


class HwConfigError(UserError):
    """A hardware description is malformed; the message names the file and the key."""


MOST = 2**40
"""Of what a limit counts; nothing on a chip is near it."""
LEAST_QUANTITY, MOST_QUANTITY = 1e-9, 1e9
"""Of a constant in its unit; a timestep that takes no time would be divided by."""
MAY_BE_NOTHING = ("pJ", "W")
"""Units of what a set of constants may leave to another: energy and power."""
WIDEST = 64
"""Bits of a register."""


def _in(*units: str, **more):
    """A field that is given in one of these units."""
    return field(metadata={"units": units}, **more)


@dataclass(frozen=True)
class Limit:
    """How much a register or a core holds: at least 1 of it."""

    value: int
    """The limit itself."""
    unit: str
    """What `value` counts."""
    source: str
    """Public file or table the value was read from."""

    def __post_init__(self) -> None:
        most = WIDEST if self.unit.split(",")[0] == "bit" else MOST
        if not 1 <= self.value <= most:
            raise HwConfigError(f"value: got {self.value}, expected 1 to {most} ({self.unit})")


@dataclass(frozen=True)
class LowerLimit(Limit):
    """The least integer that a register holds."""

    def __post_init__(self) -> None:
        if not -MOST <= self.value <= 0:
            raise HwConfigError(f"value: got {self.value}, expected {-MOST} to 0 ({self.unit})")


@dataclass(frozen=True)
class Quantity:
    """One physical constant."""

    value: float
    unit: str
    source: str
    """Where the value was published."""
    conditions: str
    """What it was measured or simulated on."""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        low, high = self.interval
        least = 0.0 if self.unit.split()[0] in MAY_BE_NOTHING else LEAST_QUANTITY
        if not least <= low <= self.value <= high <= MOST_QUANTITY:  # not a number is neither
            raise HwConfigError(f"low, value, high are {self.low}, {self.value}, {self.high}; "
                                f"expected {least:g} <= low <= value <= high <= "
                                f"{MOST_QUANTITY:g} ({self.unit})")

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high; the value itself where they are not known."""
        return (self.value if self.low is None else self.low,
                self.value if self.high is None else self.high)


@dataclass(frozen=True)
class Reading:
    """One published measurement of a quantity."""

    value: float
    unit: str
    source: str
    network: str
    """What ran when it was read."""
    board: str | None = None
    """Name of the board it was read on."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise HwConfigError(f"value: got {self.value}, expected a finite number, 0 or more")


@dataclass(frozen=True)
class CoreLimits:
    """What one neurocore holds, in words of 64 bits and as the compiler counts them.

    None where a chip has no such table.
    """

    neurons: Limit = _in("word")
    synapse_words: Limit = _in("word")
    axon_in: Limit = _in("word", "axon")
    axon_map: Limit = _in("word", "axon")
    axon_mem: Limit | None = _in("word", default=None)
    neuron_groups: Limit | None = _in("group", default=None)
    total_words: Limit | None = _in("word", default=None)


@dataclass(frozen=True)
class Timing:
    """What a timestep waits for; see lava_models.cost.energy."""

    synop: Quantity = _in("ns")
    """One synop on a neurocore."""
    neuron_pass: Quantity = _in("ns")
    """One pass over one neuron."""
    passes: Quantity = _in("passes / neuron / timestep")
    step_one_chip: Quantity = _in("us")
    """Shortest timestep of a single chip (synchronisation)."""
    step_more_chips: Quantity = _in("us")
    """Shortest timestep of several chips."""
    link: Quantity = _in("spikes / us")
    """What one link between chips carries."""
    measured_over_bound: Quantity | None = _in("ratio", default=None)
    """What measured timesteps were, as multiples of the modelled lower bound."""
    host_step: Quantity | None = _in("us", default=None)
    """A timestep that waits for input of the host."""


@dataclass(frozen=True)
class Chip:
    """One chip generation: register limits, what a core holds, power at rest, time."""

    name: str
    checked: str
    """Date on which the values were compared with their sources."""
    neurocores: Limit = _in("core")
    """Cores a network can use."""
    core: CoreLimits
    timing: Timing
    static_power: tuple[Reading, ...] = _in("W / chip")
    power_noise: Quantity = _in("W")
    """Below which a difference of two power readings says nothing."""
    weight_mixed_max: Limit = _in("integer")
    weight_mixed_min: LowerLimit = _in("integer")
    weight_single_sign_max: Limit = _in("integer")
    activation_bits: Limit = _in("bit, signed")
    state_bits: Limit = _in("bit, signed")
    bias_bits: Limit = _in("bit, signed")
    threshold_bits: Limit = _in("bit, unsigned")
    decay_bits: Limit = _in("bit, unsigned")
    activation_shift: Limit = _in("bit")
    older_compilers: dict[str, dict[str, Limit]] = field(default_factory=dict)
    """Core limits that an older compiler had otherwise, by its date."""

    def __post_init__(self) -> None:
        if not self.static_power:
            raise HwConfigError("static_power: no reading, expected at least one")
        for date, limits in self.older_compilers.items():
            for key, limit in limits.items():
                now = vars(self.core).get(key)
                if now is None or limit.unit != now.unit:
                    raise HwConfigError(f"older_compilers.{date}.{key}: in {limit.unit!r}, "
                                        + (f"expected {now.unit!r}" if now else
                                           "but core has no such limit"))

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

    def core_of(self, compiler: str | None) -> CoreLimits:
        """Core limits under a compiler of another date (None: the newest known).

        Raises:
            HwConfigError: no such compiler is described.
        """
        if compiler is None:
            return self.core
        if compiler not in self.older_compilers:
            raise HwConfigError(f"{self.name}: compiler {compiler!r} is not described; known: "
                                f"{', '.join(self.older_compilers) or 'none'}")
        return dataclasses.replace(self.core, **self.older_compilers[compiler])

    def static_power_w(self, board: str | None = None, without: str | None = None) -> Quantity:
        """Power of a chip at rest: mean of the published readings, their range as interval.

        Args:
            board: only its own readings, where there are any.
            without: leaves out the readings of this network, for judging a prediction of it.
        """
        readings = [r for r in self.static_power if r.network != without]
        readings = [r for r in readings if board is not None and r.board == board] or readings
        values = [r.value for r in readings]
        if not values:
            raise HwConfigError(f"{self.name}: static_power has no reading but of {without}")
        return Quantity(sum(values) / len(values), "W / chip", "; ".join(
            r.source for r in readings), ", ".join(r.network for r in readings),
            min(values), max(values))


@dataclass(frozen=True)
class Board:
    """A system that holds chips."""

    name: str
    checked: str
    chip: Chip
    chips: Quantity = _in("chip")
    neurocores: Limit | None = _in("core", default=None)
    """Cores per chip that a network can use, where the system says otherwise than the chip."""

    def __post_init__(self) -> None:
        if self.chips.value < 1 or self.chips.value % 1:
            raise HwConfigError(f"chips: value: got {self.chips.value}, expected a whole number, "
                                "1 or more")

    @property
    def cores_per_chip(self) -> int:
        return (self.neurocores or self.chip.neurocores).value


@dataclass(frozen=True)
class EnergyConstants:
    """One named set of energies per operation."""

    name: str
    checked: str
    technology: str
    """Chip and process the constants are of; said beside every number made with them."""
    synop_dense: Quantity = _in("pJ")
    synop_sparse: Quantity = _in("pJ")
    synop_conv: Quantity = _in("pJ")
    neuron_update: Quantity = _in("pJ")
    """A neuron in a timestep, whether it fires or not."""
    spike: Quantity = _in("pJ")
    """A spike leaving its neuron."""
    message: Quantity = _in("pJ")
    """A spike on its way to one core, hops apart."""
    hop: Quantity = _in("pJ")
    """A message from one tile to the next."""
    fitted_on: str | None = None
    """Network whose measurement the constants were fitted to; they must not be judged on it."""
    measured_over_modelled: Quantity | None = _in("ratio", default=None)
    """Measured dynamic energies of published networks, as multiples of the modelled: widens every
    interval made with the constants."""


@dataclass(frozen=True)
class MacConstants:
    """What a multiply-accumulate of a network without spikes costs."""

    name: str
    checked: str
    technology: str
    mac: Quantity = _in("pJ")


@dataclass(frozen=True)
class QuantisedAnn:
    """What a quantised network without spikes costs: arithmetic on integers, and memory."""

    name: str
    checked: str
    technology: str
    multiply: Quantity = _in("pJ")
    """8 by 8 bits."""
    add: Quantity = _in("pJ")
    """To the accumulator."""
    large_memory: Quantity = _in("pJ / 64 bit")
    """Reading or writing where weights and activations lie."""
    small_memory: Quantity = _in("pJ / 64 bit")
    """Reading what lies beside the multiplier."""
