"""Energy that this machine itself took, where it can be read: CPU by RAPL, GPU by NVML.

Measured numbers of whole packages, idle power and other programs included. Where there is no meter
the record says why, and no number is made up.
"""

from __future__ import annotations

from pathlib import Path

_NEVER = 2**63
"""Where a 64-bit counter of microjoules wraps."""
RAPL = Path("/sys/class/powercap")


class MachineMeters:
    """Reads the machine's energy counters at construction and again at `read`.

    Args:
        powercap: folder of the kernel's RAPL zones.
    """

    def __init__(self, powercap: Path = RAPL) -> None:
        self.powercap = powercap
        self.cpu, self.gpu = self._cpu(), self._gpu()

    def read(self) -> dict[str, dict]:
        """Joules since construction as the report's entries: {"cpu_j": ..., "gpu_j": ...}."""
        return {"cpu_j": _entry(self.cpu, self._cpu(), "CPU packages, RAPL",
                                "run as root on a machine whose kernel shows intel-rapl"),
                "gpu_j": _entry(self.gpu, self._gpu(), "all GPUs, NVML",
                                "run on a machine with an NVIDIA GPU and nvidia-ml-py")}

    def _cpu(self) -> dict[str, tuple[int, int]] | str:
        """Per package: energy and where its counter wraps, in microjoules; or why there is none."""
        zones = sorted(self.powercap.glob("intel-rapl:[0-9]*"))
        packages = [z for z in zones if z.name.count(":") == 1]  # more colons: parts of a package
        if not packages:
            return f"no RAPL counters in {self.powercap}"
        try:
            return {z.name: (int((z / "energy_uj").read_text()),
                             int((z / "max_energy_range_uj").read_text())) for z in packages}
        except (OSError, ValueError) as error:
            return f"RAPL counters are not readable ({type(error).__name__})"

    @staticmethod
    def _gpu() -> dict[str, tuple[int, int]] | str:
        """The same of all GPUs."""
        try:
            import pynvml
        except ImportError:
            return "nvidia-ml-py is not installed"
        try:
            pynvml.nvmlInit()
            try:
                handles = map(pynvml.nvmlDeviceGetHandleByIndex,
                              range(pynvml.nvmlDeviceGetCount()))
                return {str(i): (1000 * pynvml.nvmlDeviceGetTotalEnergyConsumption(h), _NEVER)
                        for i, h in enumerate(handles)}
            finally:
                pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            return f"NVML: {error}"


def _entry(before, after, what: str, fix: str) -> dict:
    for state in (before, after):
        if isinstance(state, str):
            return {"value": None, "basis": "unavailable", "why": state, "fix": fix}
    if not before or before.keys() != after.keys():
        return {"value": None, "basis": "unavailable", "why": "the machine shows no meter",
                "fix": fix}
    joules = sum((after[k][0] - before[k][0]) % after[k][1] for k in after) * 1e-6
    return {"value": joules, "basis": "measured",
            "what": f"{what}: whole packages, idle power and other programs included"}
