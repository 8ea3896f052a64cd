"""A double of Intel's Loihi extension: the names lava_models.loihi.extension lists, nothing else.

Adapters pass data on, on the CPU; profilers return the series they were given. `install` puts it in
place for one test. What it shows is that our side is whole, not how a chip behaves.
"""

from __future__ import annotations

import sys
import types

from lava.magma.core import run_configs
from lava.utils import loihi, slurm

from loihi_double import profiler
from loihi_double.adapters import spike, state


class HwConfig(run_configs.Loihi2SimCfg):
    """Loihi2HwCfg's arguments as we use them; selects models of the CPU."""

    started: list[HwConfig] = []

    def __init__(self, *, select_sub_proc_model: bool, callback_fxs: list) -> None:
        super().__init__(select_tag="fixed_pt", select_sub_proc_model=select_sub_proc_model)
        self.loggers = callback_fxs
        HwConfig.started.append(self)


class CompilerOptions:
    """Settings of the neurocore compiler."""

    verbose = False
    show_resource_count = False


def install(monkeypatch, *, delay: int = 0) -> None:
    """Put the double where the extension would be.

    Args:
        delay: timesteps every adapter takes.
    """
    compiler = types.ModuleType("ncproc_compiler")
    compiler.CompilerOptions = CompilerOptions
    for name, module in {
            "lava.proc.embedded_io": types.ModuleType("embedded_io"),
            "lava.proc.embedded_io.spike": spike, "lava.proc.embedded_io.state": state,
            "lava.utils.loihi2_profiler": profiler,
            "lava.magma.compiler.subcompilers.nc": types.ModuleType("nc"),
            "lava.magma.compiler.subcompilers.nc.ncproc_compiler": compiler}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(loihi, "is_installed", lambda module_name="x": True)
    monkeypatch.setattr(slurm, "is_available", lambda: True)
    monkeypatch.setattr(slurm, "get_partition_info",
                        lambda name: types.SimpleNamespace(state="idle") if name == "oheogulch"
                        else None)
    monkeypatch.setattr(slurm, "get_board_info",
                        lambda name: types.SimpleNamespace(state="idle", partition="oheogulch")
                        if name == "ncl-ext-og-01" else None)
    monkeypatch.setattr(slurm, "try_run_command", lambda command: command[1] == "10.0.0.7")
    monkeypatch.setattr(run_configs, "Loihi2HwCfg", HwConfig)
    monkeypatch.setattr(spike, "DELAY", delay)
    monkeypatch.setattr(HwConfig, "started", [])
    monkeypatch.setattr(CompilerOptions, "show_resource_count", False)
    profiler.recorded.clear()
    for variable in ("SLURM", "NOSLURM", "PARTITION", "BOARD", "LOIHI_GEN", "NXSDKHOST",
                     "HOST_BINARY"):  # Lava sets some of them; all go back afterwards
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
