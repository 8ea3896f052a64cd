"""Describes the target: registers, cores, boards, energy constants, as data with units and sources.

`chips/`, `boards/`, `energy/` hold the TOML files; the loaders are the only way in. `networks/` are
descriptions with published results, which the mapper and the energy model are checked against.
"""

from hw_configs.hardware import (
    Board,
    Chip,
    CoreLimits,
    EnergyConstants,
    HwConfigError,
    Limit,
    MacConstants,
    QuantisedAnn,
    Quantity,
    Reading,
    Timing,
)
from hw_configs.loader import (
    load_board,
    load_chip,
    load_constants,
    load_mac,
    load_quantised_ann,
    names,
)

__all__ = ["Board", "Chip", "CoreLimits", "EnergyConstants", "HwConfigError", "Limit",
           "MacConstants", "QuantisedAnn", "Quantity", "Reading", "Timing", "load_board",
           "load_chip", "load_constants", "load_mac", "load_quantised_ann", "names"]
