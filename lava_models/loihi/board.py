"""Before anything is compiled: is the extension there, which board, does the network suit it."""

from __future__ import annotations

import os

from hw_configs.files import UserError
from lava_models.cost.mapper import Fit
from lava_models.net.layers import LIF_CAN, Glif
from lava_models.net.netfile import NetFile
from lava_models.net.program import schedule_for

CHIP = "Loihi 2"
"""As hw_configs names it."""
ENVIRONMENT = ("SLURM", "NOSLURM", "PARTITION", "BOARD", "LOIHI_GEN", "NXSDKHOST", "HOST_BINARY",
               "NXOPTIONS")
"""Variables that say which board is used; lava.utils.loihi sets them."""


def require_extension() -> None:
    """Raises:
        UserError: the extension is not installed, or is not the one we know.
    """
    from lava.utils import loihi

    from lava_models.loihi.extension import require_all

    if not loihi.is_installed():
        raise UserError(
            "--backend loihi2: needs Intel's Loihi extension (lava-loihi), which is not installed; "
            "members of the Intel Neuromorphic Research Community get it from Intel; --backend sim "
            "computes the same spikes, and --dry-run says what a chip would get")
    require_all()


def use_board(partition: str | None, board: str | None, host: str | None, generation: str
              ) -> dict[str, str]:
    """Tell Lava which system to use; the environment variables that say so afterwards.

    What is not given is taken from the environment, as Lava would clear it there.

    Raises:
        UserError: no such partition, board or host.
    """
    from lava.utils import loihi

    generation = loihi.ChipGeneration[generation]
    host = host or (None if partition or board else os.environ.get("NXSDKHOST"))
    try:
        if host:
            binary = os.environ.get("HOST_BINARY")
            more = {"host_binary_path": binary} if binary else {}
            loihi.use_ethernet_host(host_address=host, loihi_gen=generation, **more)
        else:
            given = partition or board
            loihi.use_slurm_host(
                partition=partition if given else os.environ.get("PARTITION"),
                board=board if given else os.environ.get("BOARD"), loihi_gen=generation)
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"--backend loihi2: no such system: {error}") from None
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def check_for_chip(net: NetFile, mode: str, placed: Fit) -> None:
    """What a chip needs beyond what `netfile.check` proved of every file: registers hold there.

    Raises:
        UserError: what, where, got, limit, what to change.
    """
    for name, layer in net.named_layers():
        if isinstance(layer.neuron, Glif):
            raise UserError(f"{name}: gated neurons, {LIF_CAN}; in the way: "
                            f"{', '.join(layer.neuron.obstacles())}; train with --model glif "
                            "--chip-safe, or use --backend sim")
    if placed.board.chip.name != CHIP:
        raise UserError(f"--hw {placed.board.name}: holds {placed.board.chip.name} chips; "
                        f"--backend loihi2 needs a board of {CHIP} (energy-report models any)")
    schedule = schedule_for(net, mode)
    period, ticks = schedule.period, net.ticks
    if period & (period - 1):
        below = 1 << (ticks.bit_length() - 1)
        raise UserError(
            f"a sample takes {period} timesteps (T = {ticks} ticks x D = {schedule.dilation}); on "
            "a chip the interval after which LIFReset resets must be a power of two; train with "
            f"--ticks {below} or {2 * below}")
    if not placed.fits:
        board = placed.board
        raise UserError(
            f"{placed.network.name}: takes {placed.cores} cores = {placed.chips} chips, "
            f"{board.name} has {board.chips.value:.0f} of {board.cores_per_chip}; most in "
            f"{placed.binds}; use a larger board (--hw) or the other --convolutions")
