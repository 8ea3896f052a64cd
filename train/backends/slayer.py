"""lava-dl SLAYER's own dynamics and spike function, on a GPU its CUDA kernels.

What it does differently from the others, it does as SLAYER: the gradient ignores the reset, the
spike's derivative is the exponential around the threshold, and membranes handed from one call to
the next carry none. train.config refuses settings that ask for anything else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils import cpp_extension

from hw_configs.files import UserError
from train.backends.backend import GlifValues, LifNeurons, Surrogate
from train.backends.lava_dl import slayer

P_SCALE = 4096
"""SLAYER's registers per 1 of a decay."""
THRESHOLD_MARGIN = 0.01
"""Grid units above V_th at which SLAYER's ">=" is the chip's ">" (slayer/neuron/cuba.py)."""


class Slayer:
    """train.backends.backend.Backend."""

    name = "slayer"

    def takes(self, current: Tensor, norm: nn.Module | None) -> bool:
        """Float32, the type of its kernels."""
        return current.dtype == torch.float32

    def check(self, device: torch.device) -> None:
        """As Backend's; on a GPU also tells lava-dl what to compile its kernels for."""
        if device.type != "cuda":
            return
        if cpp_extension.CUDA_HOME is None:
            raise UserError("--neurons slayer: SLAYER compiles its CUDA kernels with nvcc, which "
                            "is not there; install the CUDA toolkit of torch's version "
                            f"({torch.version.cuda}), or use --neurons triton")
        # lava-dl asks for 8.0 on every newer card.
        major, minor = torch.cuda.get_device_capability(device)
        slayer.jitconfig.TORCH_CUDA_ARCH_LIST = f"{major}.{minor}"

    def lif(self, current: Tensor, r0: Tensor | None, neurons: LifNeurons, ticks: int | None
            ) -> tuple[Tensor, Tensor]:
        """As Backend's; no gradient goes through r0 and the membranes returned."""
        current = neurons.currents(current, ticks)
        integrate, spike = slayer.neuron.dynamics.leaky_integrator, slayer.spike.Spike
        grid, s = neurons.grid, neurons.surrogate
        scale = int(grid.scale)
        threshold = (grid.threshold + THRESHOLD_MARGIN) / grid.scale
        x = current.movedim(0, -1).contiguous()  # SLAYER's order: time last
        state = torch.zeros_like(x[..., 0])
        x = integrate.dynamics(x, x.new_full((1,), P_SCALE), state, scale)  # no current memory
        decay = x.new_full((1,), P_SCALE * (1 - grid.keep))
        v = integrate.dynamics(x, decay, state if r0 is None else r0.detach(), scale, threshold)
        # Its tau and scale, after the factors that its neuron multiplies them with.
        spikes = spike.apply(v, threshold, s.width / 2, s.scale, False, state, 1)
        after = integrate.persistent_state(v[..., -1].detach(), spikes[..., -1].detach())
        return spikes.movedim(-1, 0), after

    def gated(self, current: Tensor, u0: Tensor | None, values: GlifValues, surrogate: Surrogate
              ) -> tuple[Tensor, Tensor]:
        """SLAYER has no gated neurons; train.config refuses them.

        Raises:
            UserError: always.
        """
        raise UserError("--neurons slayer: SLAYER has no gated neurons; use --neurons auto")
