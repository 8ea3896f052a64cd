"""Describes the target: what a chip's registers hold, as data with units and sources.

The TOML files beside this module are the data; `load_chip` is the only way in.
"""

from hw_configs.loader import Chip, HwConfigError, Limit, load_chip

__all__ = ["Chip", "HwConfigError", "Limit", "load_chip"]
