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
from dataclasses import replace

import torch
from torch import Tensor

from train.backends.backend import Backend, GlifValues, Surrogate
from train.backends.choice import backend_for
from train.config import GlifConfig
from train.layers.norm import TdBN

INITIAL_GATES = {"alpha": 0.55, "beta": 0.65, "gamma": 0.55}
"""Of the authors' channel-wise class, after the sigmoid."""
LIF_GATES = {"alpha": 1.0, "beta": 0.0, "gamma": 1.0}
"""At which the equations are those of a LIF with hard reset."""


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
        self.backend: Backend | None = None
        """What runs it; None: what fits the current best."""
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
        v = replace(v, gain=v.gain[done:done + count])
        spikes, u = backend_for(current, chosen=self.backend).gated(current, u, v, self.surrogate)
        return spikes, (u, done + count)
