"""The gated leaky integrate-and-fire neuron (GLIF, Yao et al. 2022), time first and stateful.

    I_t = X_t [1 - beta (1 - c_t)]
    u_t = [1 - alpha (1 - tau)] u_{t-1} (1 - gamma s_{t-1}) - (1 - alpha) l + I_t
          - (1 - gamma) v_re s_{t-1}
    s_t = [u_t > V_th]

The gates alpha (exponential against linear leak), beta (conductance) and gamma (hard against soft
reset) and all of tau, l, v_re, V_th, c_t lie in (0, 1): each is the sigmoid of what is learned, per
channel or per layer; c_t is one value per tick. What the equations need of them is
`GlifValues`, and so does everything after training: raw logits stay in here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from train.backends.compiled_glif import fire_gated, fire_gated_backward
from train.config import GlifConfig
from train.layers.neuron import Surrogate, from_rows, to_rows
from train.layers.norm import TdBN

INITIAL_GATES = {"alpha": 0.55, "beta": 0.65, "gamma": 0.55}
"""Of the authors' channel-wise class, after the sigmoid."""
LIF_GATES = {"alpha": 1.0, "beta": 0.0, "gamma": 1.0}
"""At which the equations are those of a LIF with hard reset."""


@dataclass(frozen=True)
class GlifValues:
    """What the equations use, per channel: u_t = keep * u_{t-1} * (1 - reset * s_{t-1}) - leak
    + gain_t * X_t - subtract * s_{t-1}."""

    keep: Tensor
    """1 - alpha (1 - tau): (C,)."""
    leak: Tensor
    """(1 - alpha) l: (C,)."""
    reset: Tensor
    """gamma, the share of the membrane that a spike takes: (C,)."""
    subtract: Tensor
    """(1 - gamma) v_re, what a spike takes besides: (C,)."""
    threshold: Tensor
    """V_th: (C,)."""
    gain: Tensor
    """1 - beta (1 - c_t), of the current at each tick: (T, C)."""


class _Spike(torch.autograd.Function):
    """[d > 0], with the surrogate's derivative."""

    @staticmethod
    def forward(ctx, distance: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad * ctx.surrogate.derivative(ctx.saved_tensors[0]), None


class _Compiled(torch.autograd.Function):
    """The same in the CPU's compiled loops (train.backends.compiled_glif)."""

    @staticmethod
    def forward(ctx, x: Tensor, u0: Tensor | None, surrogate: Surrogate, *values: Tensor
                ) -> tuple[Tensor, Tensor]:
        currents = to_rows(x)
        before = torch.zeros_like(currents[0]) if u0 is None else to_rows(u0[None])[0]
        after = before.clone()
        arrays = [v.contiguous() for v in values]
        spikes = fire_gated(currents.numpy(), after.numpy(), *(a.numpy() for a in arrays))
        ctx.save_for_backward(currents, before, *arrays)
        ctx.surrogate, ctx.shape, ctx.fresh = surrogate, x.shape, u0 is None
        shape = (len(spikes), *x.shape[1:])
        return (from_rows(torch.from_numpy(spikes), shape),
                from_rows(after[None], (1, *x.shape[1:]))[0])

    @staticmethod
    def backward(ctx, grad_spikes: Tensor, grad_u: Tensor):
        currents, before, *values = ctx.saved_tensors
        surrogate, carry = ctx.surrogate, to_rows(grad_u[None])[0].clone()
        grad, sums = fire_gated_backward(
            currents.numpy(), before.numpy(), to_rows(grad_spikes).numpy(), carry.numpy(),
            ctx.fresh, (surrogate.shape, 0.0, surrogate.width, surrogate.scale),
            *(v.numpy() for v in values))
        of_values = torch.from_numpy(sums).to(grad_u.dtype)
        grad_u0 = None if ctx.fresh else from_rows(carry[None], (1, *ctx.shape[1:]))[0]
        return (from_rows(torch.from_numpy(grad), ctx.shape), grad_u0, None, *of_values[:5],
                of_values[5:])


class Glif(torch.nn.Module):
    """Gated neurons of one layer.

    Args:
        channels: C.
        ticks: T, for the conductance.
        config: which parameters there are and which learn.
        keep: tau at the start.
        threshold: V_th and v_re at the start; l starts at an eighth of it.
        surrogate: derivative of the spike; its center counts from the threshold.
        norm: module applied to the input current.
    """

    def __init__(self, channels: int, ticks: int, config: GlifConfig, keep: float,
                 threshold: float, surrogate: Surrogate, norm: TdBN) -> None:
        super().__init__()
        self.channels, self.ticks, self.config = channels, ticks, config
        self.surrogate, self.norm = surrogate, norm
        start = {"tau": keep, "threshold": threshold, "leak": threshold / 8,
                 "reset": threshold, "conductance": 0.5}
        self.fixed: dict[str, float] = {}
        """Gates that are no parameters."""
        if config.chip_safe:
            self.fixed = {name: LIF_GATES[name] for name in ("beta", "gamma")}
        elif config.parameters == "lif":
            self.fixed = dict(LIF_GATES)
        wide = 1 if config.chip_safe or config.shared_per == "layer" else channels
        for name, value in {**INITIAL_GATES, **start}.items():
            unused = name in self.fixed or (
                name == "conductance" and self.fixed.get("beta") == 0) or (
                name == "reset" and self.fixed.get("gamma") == 1) or (
                name == "leak" and self.fixed.get("alpha") == 1)
            if unused:
                continue
            shape = (wide, ticks) if name == "conductance" else (wide,)
            raw = torch.full(shape, math.log(value / (1 - value)))
            self.register_parameter(name, torch.nn.Parameter(
                raw, requires_grad=config.parameters == "learned"))

    def _gate(self, name: str) -> Tensor | float:
        if name in self.fixed:
            return self.fixed[name]
        soft = torch.sigmoid(getattr(self, name))
        if self.config.gates == "soft":
            return soft
        return (soft > 0.5).to(soft.dtype) + soft - soft.detach()  # straight through

    def values(self) -> GlifValues:
        """What acts, after the sigmoids; differentiable."""
        alpha, beta, gamma = (self._gate(name) for name in ("alpha", "beta", "gamma"))
        tau, threshold = torch.sigmoid(self.tau), torch.sigmoid(self.threshold)
        one, zero = torch.ones_like(tau), torch.zeros_like(tau)
        leak, subtract, gain = zero, zero, one.expand(self.ticks, *one.shape)
        if "alpha" not in self.fixed:
            leak = (1 - alpha) * torch.sigmoid(self.leak)
        if "gamma" not in self.fixed:
            subtract = (1 - gamma) * torch.sigmoid(self.reset)
        if "beta" not in self.fixed:
            gain = 1 - beta * (1 - torch.sigmoid(self.conductance).T)

        def spread(v: Tensor) -> Tensor:
            return v.expand(*v.shape[:-1], self.channels)

        return GlifValues(spread(1 - alpha * (1 - tau)), spread(leak), spread(gamma * one),
                          spread(subtract), spread(threshold), spread(gain))

    def forward(self, current: Tensor, state: tuple[Tensor, int] | None = None,
                ticks: int | None = None) -> tuple[Tensor, tuple[Tensor, int]]:
        """Spikes (T, N, C, ...) and the state after the last tick for currents (T, N, C, ...).

        Args:
            state: membranes (N, C, ...) as they were before the reset, and ticks that have passed;
                default none.
            ticks: for a current (1, N, C, ...) that stays the same, the number of ticks.
        """
        if self.norm is not None:
            current = self.norm(current)
        u, done = state if state is not None else (None, 0)
        count = ticks or len(current)
        v = self.values()
        gain = v.gain[done:done + count]
        if self.runs_compiled(current):
            spikes, u = _Compiled.apply(current, u, self.surrogate, v.keep, v.leak, v.reset,
                                        v.subtract, v.threshold, gain)
            return spikes, (u, done + count)
        shape = (-1, *[1] * (current.ndim - 3))
        keep, leak, reset, subtract, threshold = (
            w.view(shape) for w in (v.keep, v.leak, v.reset, v.subtract, v.threshold))
        spikes = []
        if u is None:
            u = s = torch.zeros_like(current[0])
        else:
            s = _Spike.apply(u - threshold, self.surrogate)
        for t in range(count):
            x = current[0 if len(current) == 1 else t]
            u = keep * u * (1 - reset * s) - leak + gain[t].view(shape) * x - subtract * s
            s = _Spike.apply(u - threshold, self.surrogate)
            spikes.append(s)
        return torch.stack(spikes), (u, done + count)

    def runs_compiled(self, current: Tensor) -> bool:
        """Whether the CPU's compiled loops take this current."""
        return current.device.type == "cpu" and current.dtype == torch.float32
