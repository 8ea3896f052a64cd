"""Names of Intel's Loihi extension that we rely on, each with the public file that shows it.

The extension (lava-loihi) is closed: nothing here was ever imported or run by us. This is the whole
list; what is missing or called otherwise in an installed release is said before anything is run.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass

from hw_configs.files import UserError


@dataclass(frozen=True)
class ExtensionName:
    """One class of the extension."""

    module: str
    name: str
    arguments: tuple[str, ...]
    """Keywords that we call it with."""
    source: str
    """Public code that uses it so."""


NAMES = (
    ExtensionName("lava.proc.embedded_io.spike", "PyToNxAdapter", ("shape", "num_message_bits"),
                  "lava-dl tutorials netx oxford/utils.py: ports inp, out"),
    ExtensionName("lava.proc.embedded_io.spike", "NxToPyAdapter", ("shape", "num_message_bits"),
                  "lava-dl tutorials netx oxford/utils.py: ports inp, out"),
    ExtensionName("lava.proc.embedded_io.state", "Read", ("shape", "interval", "offset"),
                  "lava-dl tutorials netx mnist/run.ipynb: connect_var, port out"),
    ExtensionName("lava.utils.loihi2_profiler", "Loihi2Power", ("num_steps",),
                  "lava-dl tutorials netx pilotnet_snn/benchmark.ipynb: total_power, "
                  "static_total_power, {vdd,vddm,vddio}_power"),
    ExtensionName("lava.utils.loihi2_profiler", "Loihi2ExecutionTime", (),
                  "lava-dl tutorials netx pilotnet_snn/benchmark.ipynb: avg_time_per_step, "
                  "execution_time_per_step"),
    ExtensionName("lava.utils.loihi2_profiler", "Loihi2Activity", (),
                  "lava-dl tutorials netx pilotnet_snn/benchmark.ipynb: syn_ops, "
                  "dendrite_updates"),
    ExtensionName("lava.utils.loihi2_profiler", "Loihi2Memory", (),
                  "lava-dl tutorials netx pilotnet_snn/benchmark.ipynb: chip_idx, total_mpds"),
    ExtensionName("lava.magma.compiler.subcompilers.nc.ncproc_compiler", "CompilerOptions", (),
                  "mbrehove/lava-dl 44f1fbb netx/yolo_kp: verbose, show_resource_count"),
)
_BY_NAME = {entry.name: entry for entry in NAMES}


def load(name: str):
    """A class of the extension.

    Raises:
        UserError: its module or the class is missing, or takes other arguments.
    """
    entry = _BY_NAME[name]
    where = f"Intel's Loihi extension: {entry.module}.{name}"
    try:
        found = getattr(importlib.import_module(entry.module), name)
    except ImportError as error:
        raise UserError(f"{where}: cannot be imported ({error}); install a lava-loihi release that "
                        f"has it, as in {entry.source}") from None
    except AttributeError:
        raise UserError(f"{where}: is not in the installed release, where {entry.source} has "
                        "it") from None
    try:
        inspect.signature(found).bind(**dict.fromkeys(entry.arguments))
    except TypeError as error:
        raise UserError(f"{where}: takes other arguments in the installed release ({error}); "
                        f"expected {', '.join(entry.arguments) or 'none'}, as in "
                        f"{entry.source}") from None
    except ValueError:
        pass  # compiled code shows no signature
    return found


def require_all() -> None:
    """Load every name once, so that what is missing is said before a board is asked for.

    Raises:
        UserError: names what is missing.
    """
    for entry in NAMES:
        load(entry.name)
