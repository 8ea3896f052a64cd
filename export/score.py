"""score-fsvae: how good a model is, in floating point, in integers and on the chip's terms.

    score-fsvae runs/mnist-0/model.pt --autoencoder mnist_64.pth
    score-fsvae runs/mnist-0/integer/model.pt runs/ann/model.pt --autoencoder mnist_64.pth

Every form of a model gets the same scores, so that what deployment costs is one line. The last form
is the integer reference running model.net with the chip's own random bits: its spikes are Lava's
(export-netx proves it).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lava_models.files import UserError, check_writable, run_command

BATCH = 256
RATE_IMAGES = 256
"""Images whose spikes are counted."""
COST_IMAGES = 64
"""Images of which spikes and synops on the chip are counted, clocks and random bits included."""
SHOWN = 64
MODES = ("reconstruct", "generate")


def main() -> None:
    """Console script."""
    sys.exit(run_command(lambda: score_command(sys.argv[1:])))


@dataclass(frozen=True)
class Command:
    """Score models: reconstruction error, Fréchet distances, firing rates, operations; for the
    float model, the integer model, and the exported file on the chip's terms."""

    models: tuple[Path, ...]
    """model.pt files; a model.net beside one is scored with it."""
    autoencoder: Path | None = None
    """Autoencoder for the Fréchet distance: the FSVAE authors' file or one of train-autoencoder."""
    inception: Path | None = None
    """Inception v3's weights, for FID and Inception Score."""
    samples: int = 5120
    """Images generated for the distances."""
    images: int | None = None
    """Test images (default: all)."""
    data_dir: Path | None = None
    """Folder of the data set (default: the one each model was trained from)."""
    seed: int = 0
    """Seed of the latents."""
    device: str = "cpu"
    """Where PyTorch's forms run: cpu or cuda. Their energy is read there, if there is a meter."""
    out: Path | None = None
    """Where scores.json, scores.md and pictures go (default: scores/ beside the first model)."""


def score_command(arguments: list[str]) -> int:
    """Run the command.

    Raises:
        UserError: whatever is wrong with the input, in one line.
    """
    import tyro

    command = tyro.cli(Command, args=arguments, prog="score-fsvae",
                       config=(tyro.conf.PositionalRequiredArgs,))
    if not command.models:
        raise UserError("no model.pt given; train-fsvae makes one")
    if command.samples < 2:
        raise UserError(f"--samples {command.samples}: a distance needs at least 2")
    if command.images is not None and command.images < 2:
        raise UserError(f"--images {command.images}: expected at least 2")
    from train.files import UserError as TrainUserError

    try:
        return _score(command, arguments)
    except TrainUserError as error:
        raise UserError(str(error)) from None


def _score(command: Command, arguments: list[str]) -> int:
    import json

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from export.curve import describe, draw_curves, learning_curve
    from export.score_table import PUBLISHED, markdown, terminal
    from lava_models.console import make_console
    from lava_models.files import replacing
    from lava_models.pictures import save_grid
    from train.autoencoder import load_autoencoder
    from train.checkpoint import load_model, provenance
    from train.data import load_images, to_float
    from train.scores import Frechet, Inception
    from train.trainer import pick_device

    device = pick_device(command.device)
    console = make_console()
    loaded = [(path, *load_model(path)) for path in command.models]
    first = loaded[0][2]
    for path, _, config, _ in loaded:
        same = (config.dataset, config.model.image_channels, config.model.image_size)
        if same != (first.dataset, first.model.image_channels, first.model.image_size):
            raise UserError(f"{path}: trained on {same}, the first model on {first.dataset}; score "
                            "models of one data set at a time")
    out = command.out or command.models[0].parent / "scores"
    check_writable(out)
    data = replace(first, data_dir=command.data_dir or first.data_dir)
    test = to_float(load_images(data, "test", command.images))
    frechet = inception = None
    if command.autoencoder is not None:
        frechet = Frechet(load_autoencoder(command.autoencoder), test)
    if command.inception is not None:
        inception = Inception.from_weights(command.inception, test)
    console.print(f"scoring on {first.dataset}: {len(test)} test images, {command.samples} "
                  f"generated, seed {command.seed}")
    rows = []
    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.completed}/{task.total} images"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for path, model, config, state in loaded:
            for form in forms(model, config, path, command.seed, float(test.square().mean()),
                              device):
                name = f"{path}: {form.name}"
                task = progress.add_task(name, total=len(test) + command.samples)
                scores, drawn = score_form(
                    form, test, command.samples, frechet, inception,
                    lambda n, task=task: progress.advance(task, n), command.seed)
                progress.remove_task(task)
                picture = f"samples-{len(rows)}-{form.name.replace(' ', '-')}.png"
                save_grid(drawn[:SHOWN].numpy(), out / picture, columns=8)
                rows.append({"model": str(path), "kind": config.model.kind,
                             "trained": history(config, state, form.name == "float"),
                             "ticks": config.model.ticks, "lag": config.model.lag,
                             "picture": picture, **asdict(scores)})
                console.print(f"{name}: reconstruction {scores.reconstruction:.4f}"
                              + (f", Fréchet {scores.frechet.train_bn:.2f} (train-mode "
                                 f"autoencoder), {scores.frechet.eval_bn:.2f} (eval mode)"
                                 if scores.frechet else ""))
    record = {
        "schema": "lava-fsvae-scores/1", "dataset": first.dataset, "test_images": len(test),
        "samples": command.samples, "seed": command.seed,
        "autoencoder": _source(command.autoencoder), "inception": _source(command.inception),
        "rows": rows, "provenance": provenance(["score-fsvae", *arguments])}
    # A Poisson VAE's error rises while the weight of its KL does: its curve predicts nothing.
    curves = {str(path): learning_curve(config, state) for path, _, config, state in loaded
              if config.model.kind != "poisson"}
    published = [(name, error) for name, error, _ in PUBLISHED.get(first.dataset, ())]
    draw_curves(curves, published, out / "curve.png")
    record["curves"] = [f"{path}: {describe(curve, name, error)}" for path, curve in curves.items()
                        for name, error in published if curve]
    with replacing(out / "scores.json") as file:
        file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    with replacing(out / "scores.md") as file:
        file.write_text(markdown(record), "utf-8")
    console.print(terminal(record))
    console.print(f"table: {out / 'scores.md'}   first {SHOWN} samples of each form: "
                  f"{out}/samples-*.png")
    return 0


def history(config, state: dict, in_float: bool = False) -> str:
    """How a model was trained, in a phrase, with what it started from as far as that is there.

    Args:
        in_float: leave training in integers out.
    """
    phrases: list[tuple[int, str, str]] = []  # (how many, of what, the rest)
    for number, what, rest in _stages(config, state, in_float):
        if phrases and phrases[-1][1:] == (what, rest):
            number += phrases.pop()[0]
        phrases.append((number, what, rest))
    return ", then ".join(
        f"{number} {what[:-1] if number == 1 else what}{rest}" if number else rest
        for number, what, rest in phrases)


def _stages(config, state: dict, in_float: bool) -> list[tuple[int, str, str]]:
    """Stages of training, the first one first, as (how many, of what, the rest)."""
    from train.checkpoint import load_model

    integer = config.model.arithmetic == "integer"
    before: list[tuple[int, str, str]] = []
    if config.start_from is not None:
        before = [(0, "", "other weights")]
        if config.start_from.is_file():
            before = _stages(*load_model(config.start_from)[1:], in_float)
        if integer and in_float:
            return before
    o, epochs = config.optim, state["epoch"]
    ticks = "" if config.model.kind == "ann" else f" at T = {config.model.ticks}"
    rest = f" of batch {o.batch_size}{ticks}{' in integers' * integer}"
    if o.limit_batches is not None:
        return [*before, (epochs * o.limit_batches, "steps", rest)]
    return [*before, (epochs, "epochs", rest)]


def _source(path: Path | None) -> dict | None:
    import hashlib

    return None if path is None else {
        "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


# --- the forms a model takes ---


@dataclass(frozen=True)
class Scores:
    """Scores of one form of one model."""

    form: str
    reconstruction: float
    """Mean squared error in [-1, 1] over the test images."""
    frechet: object | None
    """train.scores.FrechetScore, or None without an autoencoder."""
    inception: object | None
    """train.scores.InceptionScore, or None without its weights."""
    rates: dict[str, dict[str, float]]
    """By mode and layer: spikes per neuron and tick."""
    operations: dict[str, dict[str, float]]
    """By mode: accumulates and multiplies per image (export.operations)."""
    published_operations: dict[str, float] | None
    """As the authors count; FSVAE in floating point only."""
    energy_per_image_j: dict[str, dict]
    """What reconstructing took of this machine, per image: lava_models.meters, {"cpu_j": ...}."""
    cost: dict[str, dict] | None
    """By mode: what an image takes; of the chip form counted and modelled (`chip_cost`), of the ANN
    its arithmetic."""
    loss: dict[str, float] | None
    """Of a Poisson VAE: negative ELBO, squared error and KL as published, share of silent units."""


@dataclass(frozen=True)
class Form:
    """One way to run a model."""

    name: str
    """float, integers or chip."""
    reconstruct: Callable
    """Images (n, C, H, W) and the index of the first -> images."""
    generate: Callable
    """Count and the index of the first -> images."""
    activity: Callable
    """Mode and images -> train.activity.Activity, or None (no spikes)."""
    model: object
    """For its geometry."""
    net: object = None
    """The NetFile of the chip form."""


def forms(model, config, path: Path, seed: int, mean_square: float, device="cpu"
          ) -> Iterator[Form]:
    """Float and integer model, and the model.net beside it if there is one.

    Args:
        mean_square: of the pixels, as in export.quantize.
        device: of PyTorch's forms; the file's reference runs on the CPU.

    Raises:
        UserError: the file is damaged or not this model's.
    """
    from export.finetune import set_scales
    from lava_models.hdf5 import read_net
    from train.checkpoint import load_model
    from train.fsvae import FSVAE

    integer = None
    if config.model.kind != "fsvae":
        yield _torch_form("float", model, seed, device)
    elif config.model.arithmetic == "integer":
        before = config.start_from
        if before is not None and before.is_file():
            yield _torch_form("float", load_model(before)[0], seed, device)
        integer = model
    else:
        yield _torch_form("float", model, seed, device)
        integer = FSVAE(replace(config.model, arithmetic="integer"))
        integer.load_state_dict(model.state_dict(), strict=False)
        set_scales(integer, model, 1.0, mean_square)
    if integer is not None:
        yield _torch_form("integers", integer.eval(), seed, device)
    file = path.with_name("model.net")
    if file.is_file():
        net = read_net(file)
        shape = (config.model.image_channels, config.model.image_size, config.model.image_size)
        m = config.model
        wanted = (m.lag, m.k) if m.kind != "poisson" else (0, 0)
        if (net.image_shape, net.ticks, net.lag, net.k) != (shape, m.ticks, *wanted):
            raise UserError(f"{file}: is not of {path}; export it again with export-netx")
        yield _chip_form(net, model, seed)


def _torch_form(name: str, model, seed: int, device) -> Form:
    import torch

    from train.activity import recording
    from train.fsvae import FSVAE
    from train.trainer import stream

    model = copy.deepcopy(model).to(device)  # the caller's stays where the other forms expect it

    def reconstruct(images, first: int):
        with torch.no_grad():
            return model(images.to(device), stream(seed, "evaluation", 2, first)).image.cpu()

    def generate(count: int, first: int):
        return model.generate(count, stream(seed, "evaluation", 3, first))[0].cpu()

    def activity(mode: str, images):
        with torch.no_grad(), recording(model) as heard:
            if mode == "reconstruct":
                reconstruct(images, 0)
            else:
                generate(len(images), 0)
        return heard

    return Form(name, reconstruct, generate, activity if isinstance(model, FSVAE) else None, model)


def _chip_form(net, model, seed: int) -> Form:
    import torch

    from lava_models.reference import Reference, decode_images, encode_images
    from lava_models.rule30 import ChipBits
    from train.activity import Activity

    bits = {mode: ChipBits.of(net, mode, seed) for mode in ("reconstruct", "generate")}
    reference = {mode: Reference(net, mode) for mode in bits}

    def run(mode: str, first: int, count: int, images=None, watch=()):
        graded = None if images is None else encode_images(net, images.numpy())
        return reference[mode].run(bits[mode].samples(first, count), graded, watch=watch)

    def reconstruct(images, first: int):
        voltage = run("reconstruct", first, len(images), images).voltage
        return torch.from_numpy(decode_images(net, voltage))

    def generate(count: int, first: int):
        return torch.from_numpy(decode_images(net, run("generate", first, count).voltage))

    def activity(mode: str, images):
        heard = Activity()
        for first in range(0, len(images), 32):  # every spike of every layer takes room
            part = images[first:first + 32]
            result = run(mode, first, len(part), part if mode == "reconstruct" else None, None)
            for name, spikes in result.spikes.items():
                heard.add(name, torch.from_numpy(spikes).transpose(0, 1).float())
        return heard

    return Form("chip", reconstruct, generate, activity if net.loops else None, model, net)


def score_form(form: Form, test, samples: int, frechet, inception, on_images: Callable,
               seed: int = 0) -> tuple[Scores, object]:
    """Scores of one form, and its generated images (samples, C, H, W).

    Args:
        test: test images float (N, C, H, W) in [-1, 1].
        samples: images to generate.
        frechet, inception: of train.scores, or None.
        on_images: called with a number of images done.
        seed: of the latents that the cost is counted with.
    """
    import torch

    from export.operations import (
        ann_operations,
        operations,
        poisson_operations,
        published_operations,
        rates,
    )
    from lava_models.meters import MachineMeters
    from train.poisson import PoissonVae

    error, meters = 0.0, MachineMeters()
    for first in range(0, len(test), BATCH):
        batch = test[first:first + BATCH]
        error += float((form.reconstruct(batch, first) - batch).square().mean()) * len(batch)
        on_images(len(batch))
    energy = {key: entry if entry["value"] is None else
              {**entry, "value": entry["value"] / len(test)} for key, entry in
              meters.read().items()}
    drawn = []
    for first in range(0, samples, BATCH):
        drawn.append(form.generate(min(BATCH, samples - first), first))
        on_images(len(drawn[-1]))
    drawn = torch.cat(drawn)
    few, modes = test[:RATE_IMAGES], MODES
    fired, work, published = {}, {}, None
    for mode in modes:
        if form.activity is None:
            if isinstance(form.model, PoissonVae):
                work[mode] = asdict(poisson_operations(form.model, few, mode))
            else:
                work[mode] = asdict(ann_operations(form.model, mode))
            continue
        heard = form.activity(mode, few)
        fired[mode] = rates(heard, form.model, len(few))
        work[mode] = asdict(operations(form.model, heard, len(few), mode))
        if mode == "reconstruct" and form.name == "float":
            published = asdict(published_operations(form.model, heard, len(few)))
    scores = Scores(form.name, error / len(test), frechet and frechet.score(drawn),
                    inception and inception.score(drawn), fired, work, published, energy,
                    _cost(form, few[:COST_IMAGES], work, seed), _loss(form, test))
    return scores, drawn


def _cost(form: Form, images, work: dict, seed: int) -> dict[str, dict] | None:
    from hw_configs import load_mac
    from lava_models.energy import Interval
    from train.ann import AnnVae

    if form.net is not None:
        return {mode: chip_cost(form.net, mode, seed, images.numpy()) for mode in MODES}
    if not isinstance(form.model, AnnVae):
        return None
    mac = load_mac()
    return {mode: {
        "energy_j": (Interval.of(mac.mac) * (work[mode]["multiplies"] * 1e-12)).as_dict(),
        "constants": f"{mac.name}, arithmetic only"} for mode in MODES}


def chip_cost(net, mode: str, seed: int, images) -> dict:
    """What a sample takes on a chip: spikes and synops counted from the integer reference, cores
    and energy modelled for the smallest board that holds the network.

    Args:
        images: float32 (N, C, H, W) in [-1, 1]; in generate mode only N counts.
    """
    from lava_models.cost import cost_of_run, energy_section, load_hardware
    from lava_models.counts import count_run, pixels_used
    from lava_models.loihi.proof import expect
    from lava_models.reference import encode_images
    from lava_models.rule30 import ChipBits
    from lava_models.schedule import schedule_for

    n = len(images)
    graded = encode_images(net, images) if mode == "reconstruct" else None
    spikes = expect(net, mode, ChipBits.of(net, mode, seed), 0, n, graded).counts
    pixels = pixels_used(graded)
    layers = [c for c in count_run(net, mode, n, spikes, pixels) if c.on_chip]
    cost = cost_of_run(net, mode, n, spikes, pixels, load_hardware())
    energy = energy_section(cost)
    return {"timesteps": schedule_for(net, mode).period,
            "spikes": sum(int(c.spikes.sum()) for c in layers) / n,
            "synops": sum(int(c.synops.sum()) for c in layers) / n,
            "random_bits_synops": sum(int(c.synops.sum()) for c in layers
                                      if c.part == "random bits") / n,
            "cores": cost.fit.cores, "chips": cost.fit.chips,
            "energy_j": energy["over_all_sets_j"], "constants": energy["constants"]}


def _loss(form: Form, test) -> dict[str, float] | None:
    """A Poisson VAE's own numbers over test images, counts drawn once per image."""
    import torch

    from train.config import LossConfig
    from train.poisson import SILENT_NATS, PoissonVae
    from train.trainer import stream

    if form.name != "float" or not isinstance(form.model, PoissonVae):
        return None
    model, generator = form.model, stream(0, "evaluation", 4)
    squared = kl = 0.0
    with torch.no_grad():
        for batch in test.split(BATCH):
            loss = model.losses(model(batch.to(model.mean.device), generator), batch, LossConfig())
            squared += float(loss.total - loss.distance) * len(batch) / len(test)
            kl += float(loss.distance) * len(batch) / len(test)
        silent = model.unit_divergence(test.to(model.mean.device)) < SILENT_NATS
    return {"negative_elbo": squared + kl, "squared_error": squared, "kl": kl,
            "silent_units": float(silent.float().mean())}
