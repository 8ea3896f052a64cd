"""What a run of any NetX file leaves in its folder: outputs, pictures, counts, and the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hw_configs.reading import sha256_of
from lava_models.cost.baselines import netx_baselines
from lava_models.cost.counts import count_program, save_counts
from lava_models.cost.estimates import Cost, Hardware, cost_of_program
from lava_models.cost.networks import describe_netx
from lava_models.cost.tables import write_tables
from lava_models.graph.netx_run import NetxRun
from lava_models.net.netx import NetxFile
from lava_models.net.netx_layers import STATE_EXP, Cuba, NetxLayer, SigmaDelta
from lava_models.net.netx_program import MODE
from lava_models.net.program import Program
from lava_models.report.pictures import save_layer_rasters, save_readout
from lava_models.report.record import build_report, write_report
from lava_models.report.render import to_terminal
from lava_models.report.results import (
    COUNTS,
    OUTPUT,
    OUTPUTS,
    RASTER,
    READOUT,
    REPORTS,
    identity,
    result_set,
    save_array,
)

HOST = "what comes in is made by the host, what goes out is read by it"

MOST_CLASSES = 20
"""Output neurons that are named with how many samples have them as their largest."""


@dataclass(frozen=True)
class NetxFinished:
    """A run of a NetX file, and how it came about."""

    run: NetxRun
    inputs: dict
    """The record's inputs.netx, without the options."""
    wall_s: float
    check: dict
    target: dict
    cpu: dict
    measured: dict | None = None
    """As in results.Finished."""


def readout_of(net: NetxFile, run: NetxRun) -> tuple[np.ndarray, str]:
    """(what each sample's output says, float64 (S, n); in words).

    Spikes in the sample, or where the last layer sends none at all its voltage at the end (64 per
    unit of a synaptic sum); of graded neurons the last value, or the sum of what was sent.
    """
    layer = net.layers[-1]
    if isinstance(layer.neuron, Cuba):
        if run.voltage is not None and not run.messages.any():
            return run.voltage / 2.0**STATE_EXP, "voltage at the end of the sample"
        return run.messages.sum(axis=1, dtype=np.float64), "spikes in the sample"
    scale = 2.0**_exponent(net, layer)
    if isinstance(layer.neuron, SigmaDelta):
        return run.messages.sum(axis=1, dtype=np.float64) / scale, "activation (sum of messages)"
    return run.messages[:, -1] / scale, "value at the end of the sample"


def _exponent(net: NetxFile, layer: NetxLayer) -> int:
    """Binary places of its messages: a weight has STATE_EXP, a message before it spike_exp."""
    places = net.options.spike_exp
    return places if isinstance(layer.neuron, SigmaDelta) else places + STATE_EXP


def classes(readout: np.ndarray) -> dict[int, int]:
    """How many samples have each output neuron as their largest."""
    values, counts = np.unique(readout.argmax(axis=1), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def cost_of_netx(net: NetxFile, program: Program, samples: int, counts: dict[str, np.ndarray],
                 hardware: Hardware) -> Cost:
    """The cost of a run of a NetX file, from its counts."""
    return cost_of_program(program, describe_netx(net), samples, counts, hardware)


def netx_quality(messages: np.ndarray, readout: np.ndarray) -> dict:
    """The record's section on the output, from the last layer's messages (S, P, n) and what they
    say (S, n)."""
    return {
        "output_messages_per_sample": {
            "value": float(np.count_nonzero(messages) / len(messages)), "basis": "counted",
            "what": "messages of the last layer; what they are worth is the user's to say"},
        "output_value_mean": {
            "value": float(readout.mean()), "basis": "counted",
            "what": f"of {READOUT}; first sample {_shown(readout[0])}"},
        "samples_by_largest_output": {
            "value": len(readout), "basis": "counted", "what": _classes_shown(readout)}}


def save_netx_run(done: NetxFinished, *, net: NetxFile, net_path: Path, program: Program, out: Path,
                  hardware: Hardware, arguments: list[str], console) -> int:
    """Write everything to `out` and print the report; 1 where the comparison failed."""
    run, samples = done.run, len(done.run.messages)
    readout, what = readout_of(net, run)
    with result_set(out) as folder:
        save_array(run.messages, folder / OUTPUTS)
        save_array(readout, folder / READOUT)
        save_layer_rasters(run.rasters, folder / RASTER, f"{net.name}: messages, first sample")
        save_readout(readout, folder / OUTPUT, what)
        save_counts(run.counts, None, folder / COUNTS)
        cost = cost_of_netx(net, program, samples, run.counts, hardware)
        write_tables(cost, folder / "report")
        record = build_report(
            run=identity(arguments, 0), inputs={
                "net": str(net_path), "net_sha256": sha256_of(net_path), "dataset": None,
                "images_sha256": None, "counts": COUNTS,
                "counts_sha256": sha256_of(folder / COUNTS),
                "netx": {**done.inputs, "options": asdict(net.options)}},
            target=done.target, mode=MODE, samples=samples, first=0, schedule=program.schedule,
            readout=program.readout.phase, steps=run.steps, wall_s=done.wall_s,
            counts=count_program(program, samples, run.counts, None),
            cost=cost,
            baselines=netx_baselines(net, program.schedule.period, samples, done.cpu), host=HOST,
            measured=done.measured,
            quality=netx_quality(run.messages, readout), check=done.check,
            pictures=[RASTER, OUTPUT],
            outputs={name: sha256_of(folder / name)
                     for name in (OUTPUTS, READOUT, RASTER, OUTPUT)})
        write_report(record, folder / "report")
    console.print(to_terminal(record))
    for note in net.notes:
        console.print(f"note: {note}")
    console.print(f"output, {what}: first sample {_shown(readout[0])}; {_classes_shown(readout)}")
    console.print(f"messages: {out / OUTPUTS} (samples, timesteps, neurons)   pictures: "
                  f"{out / RASTER} {out / OUTPUT}   report: {out / 'report' / REPORTS[-1]}")
    return 0 if done.check["equal"] in (True, None) else 1


def _classes_shown(readout: np.ndarray) -> str:
    counts = sorted(classes(readout).items(), key=lambda item: (-item[1], item[0]))
    said = ", ".join(f"{neuron}: {count}" for neuron, count in sorted(counts[:MOST_CLASSES]))
    more = f", and {len(counts) - MOST_CLASSES} more" if len(counts) > MOST_CLASSES else ""
    return f"largest neuron of how many samples: {said}{more}"


def _shown(values: np.ndarray) -> str:
    return " ".join(f"{v:g}" for v in values[:10]) + (" ..." if values.size > 10 else "")
