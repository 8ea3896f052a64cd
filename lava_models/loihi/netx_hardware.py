"""A NetX file on a Loihi 2 system: the stock graph between the extension's adapters.

Messages pass in through `SpikesIn`, the last layer's come back through `SpikesOut`; a bias comes
with the network. Not run on hardware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hw_configs.files import UserError
from lava_models.cost.mapper import Fit
from lava_models.graph import runtime
from lava_models.graph.compare import Compared, Comparison
from lava_models.graph.netx_graph import NetxGraph
from lava_models.graph.netx_run import make_drive
from lava_models.net.netx import NetxFile
from lava_models.net.netx_input import NetxInput
from lava_models.net.netx_layers import Cuba, NetxLayer
from lava_models.net.program import Program
from lava_models.reference.netx_reference import Drive

BIAS_MAX, THRESHOLD_MAX = 4095, 131071
"""Of a chip's registers: 13 bits, signed, and 17 bits."""
IN_BITS, OUT_BITS = 16, 24
"""Of graded messages to and from the host."""
DRAIN = 8
"""Timesteps run beyond the last sample, so that its messages reach the host."""


class NetxChipGraph(NetxGraph):
    """The stock graph between the extension's adapters; only the last layer comes back."""

    def __init__(self, net: NetxFile, drive: Drive, steps: int, folder: Path, loggers: tuple = (),
                 wait_s: float = 0.0, on_start: Callable[[], None] = lambda: None) -> None:
        super().__init__(net, drive, steps, True, folder)
        self.loggers, self.wait_s, self.on_start = list(loggers), wait_s, on_start

    def _source(self, sent: np.ndarray):
        from lava_models.loihi.adapters.edges import SpikesIn

        first = self.net.layers[0]
        graded = first.synapses is None or first.synapses.graded
        adapter = SpikesIn(size=sent[0].size, message_bits=IN_BITS * graded, name="outside_in")
        super()._source(sent).connect(adapter.inp)
        return adapter.out

    def _probe(self, layer: NetxLayer, end):
        from lava_models.loihi.adapters.edges import SpikesOut

        if layer is not self.net.layers[-1]:
            return end
        adapter = SpikesOut(size=layer.size, message_bits=OUT_BITS * layer.graded,
                            name="messages_out")
        end.connect(adapter.inp)
        return super()._probe(layer, adapter.out)

    def _chunk(self) -> int:
        return self.steps

    def _start(self) -> None:
        from lava.magma.core.run_configs import Loihi2HwCfg

        from lava_models.loihi.extension import load

        load("CompilerOptions").show_resource_count = True  # its own table, beside our fit
        try:
            with runtime.deadline(self.wait_s):
                runtime.start(self.runner, Loihi2HwCfg(
                    select_sub_proc_model=True, callback_fxs=self.loggers))
        except runtime.TooLate:
            raise UserError(f"--backend loihi2: no board answered within {self.wait_s:g} s; nothing"
                            " was run. Wait longer with --wait") from None
        except UserError:
            raise
        except Exception as error:  # the closed compiler may raise anything
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"--backend loihi2: compiling or starting failed ({said}); nothing was "
                            "run") from error
        self.on_start()


class OfflineNetxGraph(NetxChipGraph):
    """The same graph on the CPU simulator, without the extension."""

    def _start(self) -> None:
        from lava.magma.core.run_configs import Loihi2SimCfg

        from lava_models.loihi.adapters import edges

        runtime.start(self.runner, Loihi2SimCfg(
            select_tag="fixed_pt", select_sub_proc_model=True, exception_proc_model_map={
                edges.SpikesIn: edges.PySpikesIn, edges.SpikesOut: edges.PySpikesOut}))


def check_netx_for_chip(net: NetxFile, placed: Fit) -> None:
    """What a chip needs beyond what the simulator does.

    Raises:
        UserError: what, where, got, limit, what to change.
    """
    for layer in net.layers:
        here = f"{net.name}: {layer.name} ({layer.type})"
        top = int(np.abs(layer.bias).max(initial=0))
        if top > BIAS_MAX:
            raise UserError(f"{here}: a bias of {top}, a chip's have 13 bits: at most {BIAS_MAX}")
        neuron = layer.neuron
        if isinstance(neuron, Cuba):
            interval = 1 if neuron.reset is None else neuron.reset.interval
            if interval & (interval - 1):
                raise UserError(f"{here}: resets every {interval} timesteps; on a chip the interval"
                                " must be a power of two; use another --reset-interval")
            if neuron.threshold > THRESHOLD_MAX and layer is not net.layers[-1]:
                raise UserError(f"{here}: threshold {neuron.threshold}, a chip's have 17 bits: at "
                                f"most {THRESHOLD_MAX}")
    if not placed.fits:
        board = placed.board
        raise UserError(f"{net.name}: takes {placed.cores} cores = {placed.chips} chips, "
                        f"{board.name} has {board.chips.value:.0f} of {board.cores_per_chip}; most "
                        f"in {placed.binds}; use a larger board (--hw)")


def check_row(net: NetxFile, inputs: NetxInput) -> None:
    """On a chip samples run in a row: refuse more than one where that is not the same.

    Raises:
        UserError: says why.
    """
    if inputs.samples == 1:
        return
    parts = [s for layer in net.layers for s in (layer.synapses, layer.recurrent) if s is not None]
    why = None
    if net.enters_neurons:
        why = "its input comes with the network"
    elif not all(isinstance(layer.neuron, Cuba) and layer.neuron.reset for layer in net.layers):
        why = "not every layer is reset between two"
    elif any(s.delay is not None and s.delay.any() for s in parts) or any(
            layer.recurrent for layer in net.layers):
        why = "messages of one would reach the next"
    elif net.options.reset_offset % net.options.reset_interval != 1:
        why = "it is not reset as a sample's first message arrives (--reset-offset 1)"
    if why is not None:
        raise UserError(f"--samples {inputs.samples}: on a chip samples run in a row, and of "
                        f"{net.name} {why}; run one (--samples 1, or --steps)")


def timesteps_in_a_row(program: Program, samples: int) -> int:
    """Timesteps that a run of `samples` samples takes on a chip."""
    return program.schedule.run_length(program.readout.phase, samples) + DRAIN


def run_netx_on_chip(net: NetxFile, program: Program, inputs: NetxInput, *, loggers: tuple = (),
                     wait_s: float = 600.0, on_start: Callable[[], None] = lambda: None
                     ) -> np.ndarray:
    """Run all samples in a row; messages of the last layer as they reached the host, int64
    (timesteps, n). Not run on hardware.

    Raises:
        UserError: no board within `wait_s`, or the run failed.
    """
    period = program.schedule.period
    drive = make_drive(net, inputs, 0, 1, period)
    if drive.sent is not None:
        drive = Drive(sent=np.concatenate([inputs.sent(i, 1, period)
                                           for i in range(inputs.samples)]))
    steps = timesteps_in_a_row(program, inputs.samples)
    with runtime.workspace() as folder, runtime.quiet_lava():
        graph = NetxChipGraph(net, drive, steps, folder, loggers, wait_s, on_start)
        try:
            sent = graph.build().run(lambda done, total: None).sent[net.layers[-1].name]
        except UserError:
            raise
        except Exception as error:  # the closed extension may raise anything
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"--backend loihi2: the run failed ({said}); nothing was written"
                            ) from error
    whole = sent[:, 0].astype(np.int32)
    return (whole << 8) >> 8 if net.layers[-1].graded else whole  # 24 bits, signed


def compare_output(messages: np.ndarray, wanted: np.ndarray, program: Program
                   ) -> tuple[np.ndarray, Comparison, int]:
    """(the last layer's messages (S, P, n), are they the reference's, timesteps they came late).

    Args:
        messages: `run_netx_on_chip`'s.
        wanted: the reference's (S, P, n). How late the adapter is is not public: up to DRAIN
            timesteps are tried.
    """
    samples, period, _ = wanted.shape
    last, begin = program.readout, program.readout.phase - 1
    late = min(range(DRAIN + 1), key=lambda late: np.count_nonzero(
        _windows(messages, begin + late, samples, period) != wanted))
    got = _windows(messages, begin + late, samples, period).astype(wanted.dtype)
    wrong, first = np.argwhere(got != wanted), None
    if len(wrong):
        sample, step, neuron = wrong[0]
        first = (f"{last.name}, sample {sample}, timestep {step + 1}, neuron {neuron}: chip "
                 f"{got[sample, step, neuron]}, reference {wanted[sample, step, neuron]}")
    compared = Compared(last.name, "network", int(np.count_nonzero(wanted)), wanted.size + 1,
                        wanted.size, len(wrong), awaited=True)
    return got, Comparison(period, (compared,), first), late


def _windows(messages: np.ndarray, begin: int, samples: int, period: int) -> np.ndarray:
    return messages[begin:begin + samples * period].reshape(samples, period, -1)


def planned_netx_processes(net: NetxFile, program: Program, inputs: NetxInput
                           ) -> list[tuple[str, str, int, int | None]]:
    """Builds the graph and takes it apart: (process, what a compiler gets, neurons, first
    timestep). Nothing is compiled."""
    from lava.magma.compiler.compiler_graphs import find_processes
    from lava.magma.core.process.process import AbstractProcess

    from lava_models.loihi.adapters import edges
    from lava_models.processes.netx_block import NetxBlock, StockNetxBlock

    adapters = {edges.SpikesIn: "PyToNxAdapter", edges.SpikesOut: "NxToPyAdapter"}
    order = {layer.name.replace(".", "_"): layer for layer in net.layers}
    rows, ends = {}, {}
    with runtime.workspace() as folder:
        drive = make_drive(net, inputs, 0, 1, program.schedule.period)
        graph = OfflineNetxGraph(net, drive, 1, folder).build()
        for process in find_processes(graph.runner):
            if type(process) in adapters:
                ends[process.name] = (process.name, adapters[type(process)], 0, None)
            elif isinstance(process, NetxBlock):
                kinds = Counter(type(part).__name__ for part in vars(
                    StockNetxBlock(process)).values() if isinstance(part, AbstractProcess))
                inside = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
                layer = order[process.name]
                rows[process.name] = (process.name, inside, layer.size, program[layer.name].phase)
    into = [ends["outside_in"]] if "outside_in" in ends else []
    return [*into, *(rows[name] for name in order), ends["messages_out"]]
