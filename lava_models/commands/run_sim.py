"""`run-lava --backend sim`: Lava's CPU simulator; run, comparison, results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from hw_configs.files import UserError, check_writable

# Heavy imports late, so that --help is quick.
if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from lava_models.graph.lava_graph import GraphRun
    from lava_models.net.netfile import NetFile
    from lava_models.reference.rule30 import ChipBits


def run_sim(command, arguments: list[str], net: NetFile, out: Path, dataset: str | None, hardware
            ) -> int:
    """Run the command (run_lava.Command) on the simulator; 1 when Lava and the reference differ.

    Raises:
        UserError: whatever is wrong, in one line; nothing is written then.
    """
    from lava_models.commands.console import make_console
    from lava_models.commands.meters import MachineMeters
    from lava_models.commands.test_images import load_images
    from lava_models.graph.compare import Comparison
    from lava_models.net.program import build_program
    from lava_models.reference.rule30 import ChipBits
    from lava_models.reference.simulator import encode_images
    from lava_models.report.results import Finished, save_run

    console = make_console()
    program = build_program(net, command.mode)
    images = graded = None
    if command.mode == "reconstruct":
        images = load_images(dataset, command.data_dir, command.samples, net.image_shape)
        graded = encode_images(net, images)
    check_writable(out)
    lanes, room = (1, "") if command.graph == "stock" else _lanes(command, net)
    target = f"Lava CPU simulator, {command.graph} processes, {lanes} lane{'s' * (lanes > 1)}"
    if command.graph == "stock":
        target += f", {command.convolutions} convolutions"
    console.print(f"running {command.net} on backend {command.backend} ({target}): {command.mode}, "
                  f"{command.samples} samples of {program.schedule.period} timesteps{room}")
    bits = ChipBits.of(net, command.mode, command.seed)
    start, meters = time.perf_counter(), MachineMeters()
    run = _simulate(command, net, bits, graded, lanes, out, console)
    wall_s, machine = time.perf_counter() - start, meters.read()
    check = {"equal": None, "verdict": "not compared", "samples_compared": 0,
             **Comparison(0, (), None).section()}
    try:
        if command.check:
            check = _checked(command, run, net, bits, graded, console)
    except KeyboardInterrupt:  # the images are there: keep them
        check["verdict"] = "not compared: interrupted"
    code = save_run(
        Finished(images=images, graded=graded, voltage=run.voltage,
                 latents=run.by_tick(program.draws[0], program.schedule), counts=run.counts,
                 steps=run.steps, wall_s=wall_s, check=check, cpu=machine["cpu_j"], measured=None,
                 target={"backend": command.backend, "graph": command.graph, "lanes": lanes,
                         "description": f"{target}; not run on hardware"}),
        net=net, net_path=command.net, mode=command.mode, seed=command.seed, dataset=dataset,
        out=out, hardware=hardware, arguments=arguments, console=console)
    if check["verdict"].endswith("interrupted"):
        raise KeyboardInterrupt
    return code


def _lanes(command, net: NetFile) -> tuple[int, str]:
    """Samples side by side, and the memory they take, in words.

    Raises:
        UserError: more than there is room for.
    """
    import psutil

    from lava_models.graph.lava_graph import bytes_needed, choose_lanes

    mode, samples, available = command.mode, command.samples, psutil.virtual_memory().available
    lanes = min(samples, command.lanes or choose_lanes(net, mode, samples, available))
    needed = bytes_needed(net, mode, lanes)
    if needed > available:
        raise UserError(f"--lanes {lanes}: needs about {needed / 2**30:.1f} GiB of memory, "
                        f"{available / 2**30:.1f} are available; use fewer lanes")
    return lanes, f", about {needed / 2**30:.1f} GiB"


def _simulate(command, net: NetFile, bits: ChipBits, graded: np.ndarray | None, lanes: int,
              out: Path, console: Console) -> GraphRun:
    """Run the graph and show its progress.

    Raises:
        Interrupted: Ctrl-C; what was finished is saved.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from lava_models.graph.lava_graph import Interrupted, choose_record, run_graph
    from lava_models.net.program import schedule_for

    period, begin = schedule_for(net, command.mode).period, None
    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.completed}/{task.total} timesteps"), TimeRemainingColumn(),
               TextColumn("{task.fields[speed]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("compiling the graph", total=None, speed="")

        def on_step(done: int, total: int) -> None:
            nonlocal begin
            now, speed = time.perf_counter(), ""
            begin = begin or (now, done)
            if done > begin[1]:
                rate = (done - begin[1]) / (now - begin[0])
                speed = f"{rate * lanes / period:.1f} samples/s, {rate:.0f} timesteps/s"
            progress.update(task, completed=done, total=total, description="running", speed=speed)

        try:
            return run_graph(net, command.mode, bits, command.samples, graded, graph=command.graph,
                             convolutions=command.convolutions or "unrolled", lanes=lanes,
                             record=choose_record(net, command.mode, lanes), on_step=on_step)
        except Interrupted as interrupted:
            progress.stop()
            _save_finished(interrupted, net, out, command.samples, console)
            raise


def _checked(command, run: GraphRun, net: NetFile, bits: ChipBits, graded: np.ndarray | None,
             console: Console) -> dict:
    """The run against the integer reference, as the report's entry."""
    from rich.progress import BarColumn, Progress, TextColumn

    from lava_models.graph.compare import compare_with_reference
    from lava_models.net.program import build_program

    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.completed}/{task.total} lanes"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("comparing with the reference", total=run.lanes)
        verdict = compare_with_reference(
            run, net, command.mode, bits, graded,
            on_lane=lambda done, total: progress.update(task, completed=done))
    program = build_program(net, command.mode)
    return {"equal": verdict.equal, "samples_compared": verdict.samples(program),
            "verdict": verdict.verdict(program), **verdict.section()}


def _save_finished(interrupted, net, out: Path, samples: int, console) -> None:
    """Save the images that were done when Ctrl-C came; no report, whose counts are of all."""
    from lava_models.reference.simulator import decode_images
    from lava_models.report.pictures import save_grid
    from lava_models.report.results import FINISHED, IMAGES, PICTURES, result_set, save_array

    count = len(interrupted.finished)
    if not count:
        return
    images = decode_images(net, interrupted.voltage)
    with result_set(out) as folder:
        save_array(images, folder / IMAGES)
        save_array(interrupted.finished, folder / FINISHED)
        save_grid(images, folder / PICTURES[0])
    console.print(f"{count} of {samples} samples were finished and are in {out / IMAGES} "
                  f"(which ones: {FINISHED}); no report was written")
