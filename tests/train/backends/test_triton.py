"""The Triton kernels: in Triton's interpreter against the CPU's compiled loops, and through its
compiler for cards that are not here. The first kind runs in a process of its own, as the
interpreter must be chosen before the import; none needs a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hw_configs.files import UserError
from train.backends.backend import Surrogate
from train.backends.choice import BACKENDS, backend_for, choose
from train.config import GlifConfig
from train.layers.glif import Glif
from train.layers.integers import IntegerLif
from train.layers.neuron import Lif
from train.layers.norm import TdBN

triton = pytest.importorskip("triton")
from train.backends import triton_blocks, triton_kernels  # noqa: E402

CPU = torch.device("cpu")
interpreted = pytest.mark.skipif(not triton_kernels.INTERPRETED, reason="needs TRITON_INTERPRET=1")
compiled = pytest.mark.skipif(triton_kernels.INTERPRETED, reason="needs Triton's compiler")
# The one thing missing in the interpreter of Triton 2.3: float64's name.
triton.runtime.interpreter.Builder.get_double_ty = lambda self: triton.language.float64
SHAPES = ("rectangle", "triangle", "exponential")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _both(neuron, x, state, ticks, parameters):
    """Outputs, gradients and running statistics with kernels and with the CPU's loops."""
    found = []
    before = {n: b.clone() for n, b in neuron.named_buffers()}
    weights = torch.randn((ticks, *x.shape[1:]), generator=_generator(5))
    last = torch.randn(x.shape[1:], generator=_generator(6))
    for name in ("triton", "compiled"):
        neuron.backend = choose(name, CPU)
        for n, b in neuron.named_buffers():
            b.copy_(before[n])
        neuron.zero_grad()
        a = x.clone().requires_grad_()
        r = None if state is None else state.clone().requires_grad_()
        carried = r if r is None or isinstance(neuron, Lif) else (r, 0)
        spikes, after = neuron(a, carried, ticks)
        after = after if isinstance(neuron, Lif) else after[0]
        ((spikes * weights).sum() + (after * last).sum()).backward()
        found.append({"spikes": spikes.detach(), "after": after.detach(), "x": a.grad,
                      **({} if r is None else {"r": r.grad}),
                      **{n: neuron.get_parameter(n).grad for n in parameters},
                      **{n: b.clone() for n, b in neuron.named_buffers()}})
    return found


def _assert_same(found):
    mine, theirs = found
    assert 0.05 < theirs["spikes"].mean() < 0.9
    assert torch.equal(mine["spikes"], theirs["spikes"])
    for name, value in mine.items():
        assert theirs[name].abs().max() > 0 or not value.any(), name
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-4, msg=name)


@interpreted
@pytest.mark.parametrize(("channels", "side"), [(5, 6), (130, 2)])
@pytest.mark.parametrize("norm", [None, "batch", "running"])
@pytest.mark.parametrize(("keep", "shape", "reset"), [
    (0.25, "rectangle", "through"), (0.8, "triangle", "through"), (0.25, "exponential", "ignore")])
@pytest.mark.parametrize("frames", [4, 1])
def test_lif(frames, keep, shape, reset, norm, channels, side):
    """More rows than a tile has, channels that are no power of two, a membrane handed on, a
    current that stays."""
    tdbn = None if norm is None else TdBN(channels, 0.4)
    lif = Lif(0.2, keep, 80, Surrogate(shape, 0.1, 0.6, 0.7), reset, tdbn).train(norm != "running")
    if tdbn is not None:
        tdbn.gamma.data = torch.linspace(0.5, 1.5, channels)
        tdbn.beta.data = torch.linspace(-0.1, 0.2, channels)
        tdbn.running_mean.fill_(0.02)
        tdbn.running_var.fill_(0.5)
    x = torch.randn(frames, 5, channels, side, side, generator=_generator()) * 0.3
    state = torch.randn(x.shape[1:], generator=_generator(1)) * 0.1
    parameters = [] if norm is None else ["norm.gamma", "norm.beta"]
    _assert_same(_both(lif, x, state, 4, parameters))


@interpreted
@pytest.mark.parametrize("dilation", [2, 4])
def test_several_leaks_per_tick(dilation):
    lif = IntegerLif(0.2, 0.25, 80, Surrogate("triangle", 0.2, 1.0), "through", None,
                     dilation=dilation)
    lif.set_scale(300.0)
    x = 2 * torch.randint(-40, 60, (4, 9, 70), generator=_generator()).float()
    _assert_same(_both(lif, x, None, 4, []))


@interpreted
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frames", [4, 1])
def test_glif(frames, shape, state):
    neuron = Glif(7, 4, GlifConfig(), 0.25, 0.3, Surrogate(shape, 0.0, 0.6, 0.7), TdBN(7, 0.6))
    names = ["alpha", "beta", "gamma", "tau", "threshold", "leak", "reset", "conductance"]
    for i, name in enumerate(names):
        p = neuron.get_parameter(name)
        p.data += 0.3 * torch.randn(p.shape, generator=_generator(i))
    x = torch.randn(frames, 35, 7, 2, 2, generator=_generator()) * 0.5
    u = torch.randn(x.shape[1:], generator=_generator(9)) * 0.5 if state else None
    _assert_same(_both(neuron, x, u, 4, [*names, "norm.gamma", "norm.beta"]))


@interpreted
def test_channel_sums_over_many_tiles(monkeypatch):
    monkeypatch.setattr(triton_blocks, "SUM_TILES", 2)
    x = torch.randn(1500, 33, generator=_generator())
    sums = BACKENDS["triton"].kernels.channel_sums(x)
    wide = x.double()
    torch.testing.assert_close(sums, torch.stack([wide.sum(0), wide.square().sum(0)]))


@compiled
@pytest.mark.slow
def test_all_of_the_above_in_the_interpreter():
    """In one process with the variable set: every test that is skipped here passes there."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        capture_output=True, text=True, timeout=280, cwd=Path(__file__).parents[3],
        env={**os.environ, "TRITON_INTERPRET": "1"})
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert "51 passed" in ran.stdout, ran.stdout[-200:]


@dataclass
class _Kept:
    """In the place of Triton's handle of a compiled kernel, which asks for a driver."""

    launcher: str
    metadata: str


TYPES = {"loops": "i32", "rows": "i32", "channels": "i32", "plane": "i32"}
"""Of arguments that are no arrays; all others of `FLOATS` are float32."""
FLOATS = ("scale", "keep", "threshold", "unit", "fraction", "center", "half", "height", "steep",
          "decay")
LIF = {"T": 4, "STILL": False, "LEAKS": 1, "NARROW": True}
BACK = {"SHAPE": 1, "BARRIER": True}


@compiled
@pytest.mark.parametrize("capability", [75, 80, 90])
@pytest.mark.parametrize(("kernel", "constants"), [
    ("channel_sums", {}), ("affine", {}), ("fire", LIF),
    ("fire", {**LIF, "NARROW": False, "LEAKS": 4, "STILL": True}),
    ("fire_backward", {**LIF, **BACK, "THROUGH": True}),
    ("fire_backward", {"T": 16, "STILL": True, "LEAKS": 2, "NARROW": False, "SHAPE": 2,
                       "BARRIER": True, "THROUGH": False}),
    ("fire_gated", {"T": 5, "STILL": False}),
    ("fire_gated_backward", {**BACK, "T": 5, "STILL": False, "FRESH": True}),
    ("fire_gated_backward", {**BACK, "T": 5, "STILL": True, "FRESH": False, "SHAPE": 0}),
])
def test_compiles_to_machine_code(kernel, constants, capability, tmp_path, monkeypatch):
    """Triton's own compiler and ptxas, to the end: a binary for each generation of cards."""
    from triton.compiler import compiler
    from triton.compiler.backends.cuda import CUDABackend

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(CUDABackend, "make_launcher_stub", lambda self, source, metadata: "")
    monkeypatch.setattr(compiler, "CompiledKernel", _Kept)
    function = getattr(triton_kernels, kernel)
    constants = {**constants, "BR": 8, "BC": 128}
    gated = "gated" in kernel

    def kind(name: str) -> str:
        if name in FLOATS and not (gated and name in ("keep", "threshold")):
            return "fp32"
        return TYPES.get(name, "*fp64" if kernel == "channel_sums" and name == "partial"
                         else "*fp32")

    names = function.arg_names
    signature = {i: kind(n) for i, n in enumerate(names) if n not in constants}
    source = compiler.ASTSource(fn=function, signature=signature,
                                constants={names.index(n): v for n, v in constants.items()})
    compiler.compile(source, target=("cuda", capability))
    (binary,) = tmp_path.rglob(f"{kernel}.cubin")
    assert binary.read_bytes().startswith(b"\x7fELF")


@compiled
def test_on_the_cpu_refused_in_one_line():
    with pytest.raises(UserError, match="--neurons triton: kernels for CUDA; use --neurons comp"):
        choose("triton", CPU)
    assert backend_for(torch.zeros(1)).name == "compiled"


@compiled
def test_cards_that_triton_does_not_compile_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    with pytest.raises(UserError, match="compute capability 7.0"):
        choose("triton", torch.device("cuda:0"))


@compiled
def test_without_a_c_compiler(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(triton_blocks.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs a C compiler"):
        choose("triton", torch.device("cuda:0"))
