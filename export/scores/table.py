"""The scores as a table below the published ones: Markdown for README, rich for a terminal."""

from __future__ import annotations

import itertools

from rich.console import Group
from rich.table import Table
from rich.text import Text

PUBLISHED = {
    "mnist": (("ANN VAE, as published", .048, 17.09), ("FSVAE, as published", .031, 35.54),
              ("ESVAE, as published", .013, 10.99)),
    "fashion-mnist": (("ANN VAE, as published", .050, 18.08), ("FSVAE, as published", .031, 15.75),
                      ("ESVAE, as published", .019, 11.13)),
    "cifar10": (("ANN VAE, as published", .105, 196.9), ("FSVAE, as published", .066, 133.9),
                ("ESVAE, as published", .045, 14.74)),
    "celeba": (("ANN VAE, as published", .059, 156.9), ("FSVAE, as published", .051, 112.9),
               ("ESVAE, as published", .034, 51.93)),
}
"""Reconstruction error in [-1, 1] and autoencoder Fréchet distance (train-mode autoencoder): FSVAE,
AAAI 2022, Table 1; ESVAE, its repository."""

NAMES = {"fsvae": "FSVAE", "esvae": "ESVAE", "glif": "GLIF VAE", "poisson": "Poisson VAE",
         "ann": "ANN"}
_COST_COLUMNS = ("model", "mode", "reconstruction", "Fréchet, train mode", "timesteps", "spikes",
                 "thousand synops", "of these, random bits", "cores", "modelled energy, uJ",
                 "trained")
_COLUMNS = ("model", "reconstruction", "Fréchet, train mode", "Fréchet, eval mode", "spikes / "
            "neuron and tick", "million synops: reconstruct", "generate", "trained")
_FORMS = {"float": "float", "integers": "integers, PyTorch", "chip": "on chip (integer reference)"}


def rows(record: dict) -> list[list[str]]:
    """Cells of the table, published rows first."""
    out = [[name, f"{error:.3f}", f"{frechet:.2f}", "-", "-", "-", "-", "-"]
           for name, error, frechet in PUBLISHED.get(record["dataset"], ())]
    for row in record["rows"]:
        name = f"{_kind(row)}, {_form(row)}" + _inception(row)
        rate = row["rate"].get("reconstruct")
        work = [_work(row["operations"][mode], rate is not None)
                if mode in row["operations"] else "-"
                for mode in ("reconstruct", "generate")]
        out.append([name, with_spread(row, "reconstruction", 4),
                    *(with_spread(row, k, 2) for k in ("train_bn", "eval_bn")),
                    "-" if rate is None else f"{rate:.3f}", *work, row["trained"]])
    return out


def with_spread(row: dict, name: str, digits: int) -> str:
    """A score as "mean ± standard deviation over latent seeds", as far as there were several; "-"
    without one."""
    for scores in (row, row["frechet"], row["inception"]):
        if scores is not None and name in scores:
            deviation = row.get("spread", {}).get(name)
            more = "" if deviation is None else f" ± {deviation:.{digits}f}"
            return f"{scores[name]:.{digits}f}{more}"
    return "-"


def _form(row: dict) -> str:
    return ", ".join(filter(None, (_FORMS[row["form"]], row.get("stage"))))


def _kind(row: dict) -> str:
    lag = f", L = {row['lag']}" if row["kind"] in ("fsvae", "glif") else ""
    return NAMES[row["kind"]] + ("" if row["kind"] == "ann" else f", T = {row['ticks']}{lag}")


def _work(work: dict, spiking: bool) -> str:
    parts = []
    if spiking or work["accumulates"]:
        parts.append(_millions(work["accumulates"]))
    if not spiking and work["multiplies"]:
        parts.append(f"{_millions(work['multiplies'])} MAC")
    return " + ".join(parts)


def _micro(value: float) -> str:
    """Joules as microjoules, to three digits."""
    return f"{value * 1e6:,.0f}" if value >= 1e-4 else f"{value * 1e6:.3g}"


def _millions(count: float) -> str:
    return f"{count / 1e6:.1f}" if count >= 1e6 else f"{count / 1e6:.2g}"


def cost_rows(record: dict) -> list[list[str]]:
    """What an image takes on a chip: two rows, reconstruct and generate, of every model that has
    an exported file; of the ANN its arithmetic."""
    out = []
    for row in record["rows"]:
        for mode, cost in (row.get("cost") or {}).items():
            energy = cost["energy_j"]
            low, value, high = (_micro(energy[key]) for key in ("low", "value", "high"))
            spread = f"{value} ({low} to {high})"
            frechet = with_spread(row, "train_bn", 2)
            counted = ["-"] * 5
            if "spikes" in cost:
                share = cost["random_bits_synops"] / cost["synops"]
                counted = [str(cost["timesteps"]), f"{cost['spikes']:,.0f}",
                           f"{cost['synops'] / 1e3:,.0f}", f"{share:.0%}", str(cost["cores"])]
            else:
                spread += ", arithmetic only"
            stage = f", {row['stage']}" if row.get("stage") else ""
            out.append([
                _kind(row) + stage, mode, *(("-", frechet) if mode == "generate" else
                                    (with_spread(row, "reconstruction", 4), "-")),
                *counted, spread,
                row["trained"] if mode == "reconstruct" else ""])
    return out


def cost_table(record: dict) -> list[str]:
    """Lines of the Markdown table of `cost_rows`, or none."""
    found = cost_rows(record)
    return found and [
        "| " + " | ".join(_COST_COLUMNS) + " |",
        "|-|-" + "|-:" * (len(_COST_COLUMNS) - 3) + "|-|",
        *("| " + " | ".join(cells) + " |" for cells in found)]


def _inception(row: dict) -> str:
    return "" if not row["inception"] else (
        f" (FID {with_spread(row, 'fid', 1)}, IS {with_spread(row, 'inception_score', 2)})")


def deployment(record: dict) -> list[str]:
    """The cost of deployment, one line per model that has a float form and each of its chip
    forms."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in record["rows"]):
        mine = [row for row in record["rows"] if row["model"] == model]
        before = [row for row in mine if row["form"] == "float"]
        for a, b in itertools.product(before, (row for row in mine if row["form"] == "chip")):
            stage = f", {b['stage']}" if b.get("stage") else ""
            line = f"deployment of {model}{stage}: reconstruction " + _change(
                a, b, "reconstruction", 4)
            if a["frechet"]:
                line += ", Fréchet " + _change(a, b, "train_bn", 2)
            lines.append(line)
    return lines


def _change(a: dict, b: dict, name: str, digits: int) -> str:
    """A score of two rows, and how much of the first the second is more."""
    before, after = (row["frechet"][name] if name != "reconstruction" else row[name]
                     for row in (a, b))
    return (f"{with_spread(a, name, digits)} -> {with_spread(b, name, digits)} "
            f"({after / before - 1:+.1%})")


def notes(record: dict) -> list[str]:
    """What the numbers are."""
    lines = [f"reconstruction: mean squared error, pixels in [-1, 1], {record['test_images']} "
             f"test images. Fréchet: {record['samples']} generated images against these, "
             + (f"autoencoder {record['autoencoder']['file']} "
                f"({record['autoencoder']['sha256'][:12]}); train mode as published, which "
                "depends on batches of 256; eval mode does not"
                if record["autoencoder"] else "not computed: no --autoencoder given"),
             "spikes / neuron and tick: over all neurons that a reconstruction needs, z included. "
             "synops: spikes times synapses, borders and strides included, without clocks, random "
             "bits and biases of the chip (run-lava's report has them). The FSVAE's image is "
             "convolved once besides, in multiplications."]
    seeds = record.get("seeds", [])
    if len(seeds) > 1:
        lines.insert(0, f"± is the standard deviation over {len(seeds)} latent seeds ("
                        f"{', '.join(map(str, seeds))}), the same trained weights")
    if cost_rows(record):
        lines.append("on a chip, per image: spikes and synops are counted (clocks, biases and "
                     "random bits included), cores and energy modelled for the smallest Loihi 2 "
                     "board that holds the network, in brackets over all sets of constants; "
                     "nothing was run on hardware. A Poisson VAE's encoder runs on the host and "
                     "is not in it")
    for row in record["rows"]:
        if row.get("loss"):
            v = row["loss"]
            lines.append(f"{row['model']}: negative ELBO {v['negative_elbo']:.2f} = squared error "
                         f"{v['squared_error']:.2f} (pixels in [0, 1], summed) + KL {v['kl']:.2f} "
                         f"nats; {v['silent_units']:.0%} of the units silent (KL below 0.01 nats)")
    if not record["inception"]:
        lines.append("FID and Inception Score: not computed, no --inception weights given")
    for row in record["rows"]:
        if row["published_operations"]:
            p = row["published_operations"]
            lines.append(f"{row['model']} counted as the paper counts (a batch of 250, called an "
                         f"image): {p['additions']:.2e} additions, {p['multiplications']:.2e} "
                         "multiplications")
    for key, what in (("cpu_j", "CPU (RAPL)"), ("gpu_j", "GPU (NVML)")):
        read = {f"{row['model']}, {row['form']}": row["energy_per_image_j"][key]
                for row in record["rows"] if "energy_per_image_j" in row}
        measured = [f"{name} {entry['value']:.3g} J" for name, entry in read.items()
                    if entry["value"] is not None]
        why = next((entry["why"] for entry in read.values() if entry["value"] is None), None)
        if measured or why:
            lines.append(f"energy of this machine per reconstructed image, {what}: "
                         + ("; ".join(measured) + ", measured, idle power included" if measured
                            else f"unavailable, {why}"))
    return lines + record["curves"]


def table(record: dict) -> list[str]:
    """Lines of the Markdown table."""
    return ["| " + " | ".join(_COLUMNS) + " |", "|-" + "|-:" * (len(_COLUMNS) - 2) + "|-|",
            *("| " + " | ".join(cells) + " |" for cells in rows(record))]


def markdown(record: dict) -> str:
    """Table, deployment and notes."""
    body = [f"# Scores on {record['dataset']}", "", *table(record)]
    if cost_rows(record):
        body += ["", "## On a chip, per image", "", *cost_table(record)]
    body += ["", *(f"**{line}**" for line in deployment(record)), "",
             *(f"- {line}" for line in notes(record)), ""]
    body += ["![learning curve](curve.png)", ""]
    for row in record["rows"]:
        body += [f"First {min(64, record['samples'])} samples, unselected, {row['model']}, "
                 f"{_form(row)}:", "", f"![samples]({row['picture']})", ""]
    return "\n".join(body)


def terminal(record: dict) -> Group:
    """The same for a terminal."""
    grid = Table(title="Fréchet: train and eval mode of the autoencoder; rate: spikes per neuron "
                       "and tick; million synops", title_justify="left")
    for i, name in enumerate(("model", "error", "F train", "F eval", "rate", "reconstr.",
                              "generate")):
        grid.add_column(name, justify="right" if i else "left", no_wrap=i > 0)
    for cells in rows(record):
        grid.add_row(*cells[:-1])
    cost = Table(title="on a chip, per image: counted; energy modelled", title_justify="left")
    for i, name in enumerate(("model", "mode", "steps", "spikes", "k synops", "cores", "uJ")):
        cost.add_column(name, justify="right" if i > 1 else "left", no_wrap=i > 0)
    for cells in cost_rows(record):
        cost.add_row(*(cells[i] for i in (0, 1, 4, 5, 6, 8, 9)))
    return Group(grid, *([cost] if cost.row_count else []),
                 *(Text(line, style="bold") for line in deployment(record)),
                 *(Text(line, style="dim") for line in notes(record)))
