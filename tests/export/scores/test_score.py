"""score-fsvae: the same scores for every form of a model, and operations counted both ways."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.cli import export_command
from export.finetune import finetune_command
from export.scores.autoencoder import Autoencoder
from export.scores.curve import Point, describe, learning_curve, predict_epochs
from export.scores.operations import ann_operations, operations, published_operations
from export.scores.score import score_command
from export.scores.table import cost_table, deployment, table
from export.translate import seen_images
from lava_models import Reference, UserError, read_net
from lava_models.net.hdf5 import write_net
from lava_models.reference.rule30 import ChipBits
from train.activity import Activity, fan_out, neuron_counts, recording, synops
from train.checkpoint import load, load_model, save
from train.cli import train_command
from train.config import AnnConfig, FsvaeConfig, SpikingLoss
from train.models.ann import AnnVae
from train.models.fsvae import FSVAE

PAPER = FSVAE(FsvaeConfig(), torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def scored(digits_run, tmp_path_factory):
    """Scores of a float model, its fine-tuned integers, both exported, and an ANN."""
    folder = tmp_path_factory.mktemp("scored")
    shutil.copy(digits_run / "model.pt", folder / "model.pt")
    integer, ann = folder / "integer" / "model.pt", folder / "ann" / "model.pt"
    finetune_command([str(folder / "model.pt"), "--epochs", "1", "--limit-batches", "2"])
    export_command([str(integer), "--prove", "1", "--images", "8"])
    train_command(["--dataset", "digits", "--model", "ann", "--run-dir", str(ann.parent),
                   "--epochs", "1", "--limit-batches", "2"])
    poisson = folder / "poisson" / "model.pt"
    train_command(["--dataset", "digits", "--model", "poisson", "--run-dir", str(poisson.parent),
                   "--epochs", "1", "--limit-batches", "4", "--latent", "16"])
    assert export_command([str(poisson), "--prove", "16", "--images", "16"]) == 0
    torch.manual_seed(0)
    torch.save(Autoencoder.for_images(1, 16).state_dict(), folder / "encoder.pth")
    code = score_command([str(folder / "model.pt"), str(integer), str(ann), str(poisson),
                          "--autoencoder", str(folder / "encoder.pth"), "--samples", "300",
                          "--images", "60"])
    assert code == 0
    return folder


def test_record(scored):
    record = json.loads((scored / "scores" / "scores.json").read_text())
    forms = [(row["kind"], row["form"], row["stage"]) for row in record["rows"]]
    rounded, tuned = "post-training", "fine-tuned"
    assert forms == [("fsvae", "float", ""), ("fsvae", "integers", rounded),
                     ("fsvae", "float", ""), ("fsvae", "chip", rounded),
                     ("fsvae", "integers", tuned), ("fsvae", "chip", tuned), ("ann", "float", ""),
                     ("poisson", "float", ""), ("poisson", "chip", rounded)]
    assert record["samples"] == 300 and record["test_images"] == 60 and record["seeds"] == [0, 1, 2]
    for row in record["rows"]:
        assert 0 < row["reconstruction"] < 2 and row["frechet"]["train_bn"] > 0
        assert row["operations"]["reconstruct"]["multiplies"] > 0
        assert (scored / "scores" / row["picture"]).is_file()
        for entry in row["energy_per_image_j"].values():  # a meter's number, or why there is none
            assert entry["value"] > 0 if entry["basis"] == "measured" else entry["why"]
    trained = [row["trained"] for row in record["rows"]]
    longer = "2 epochs of batch 64 at T = 4, then 2 steps of batch 64 at T = 4 in integers"
    assert trained[2:6] == [*["2 epochs of batch 64 at T = 4"] * 2, longer, longer]
    assert trained[-3] == "2 steps of batch 64"
    same = [row["reconstruction"] for row in record["rows"] if row["form"] == "float"][:2]
    assert same[0] == same[1]  # the fine-tuned model's float form is the model it started from
    text = (scored / "scores" / "scores.md").read_text()
    assert f"deployment of {scored}/integer/model.pt, post-training: reconstruction" in text
    assert f"deployment of {scored}/integer/model.pt, fine-tuned: reconstruction" in text
    assert "| ANN, float" in text and "counted as the paper" in text


def test_cost_on_a_chip_is_the_report_s(scored, tmp_path):
    """Spikes, synops, timesteps and energy of a row are those of a run of the same file."""
    from lava_models.commands.run_lava import run_lava_command
    from lava_models.report.record import read_report

    record = json.loads((scored / "scores" / "scores.json").read_text())
    for kind, net in (("fsvae", scored / "integer"), ("poisson", scored / "poisson")):
        row = [r for r in record["rows"] if (r["kind"], r["form"]) == (kind, "chip")][-1]
        for mode in ("reconstruct", "generate"):
            out = tmp_path / kind / mode
            assert run_lava_command([str(net / "model.net"), "--mode", mode, "--samples", "60",
                                     "--out", str(out)]) == 0
            report, cost = read_report(out / "report" / "report.json"), row["cost"][mode]
            on_chip = report["totals"]["on_chip"]
            assert cost["timesteps"] == report["work"]["timesteps_per_sample"]
            assert cost["spikes"] * 60 == pytest.approx(on_chip["spikes"])
            assert cost["synops"] * 60 == pytest.approx(on_chip["synops"])
            assert cost["cores"] == report["fit"]["cores"]
            for key in ("value", "low", "high"):
                assert cost["energy_j"][key] == pytest.approx(
                    report["energy"]["over_all_sets_j"][key])


def test_poisson_numbers_are_in_the_published_units(scored):
    record = json.loads((scored / "scores" / "scores.json").read_text())
    row = next(r for r in record["rows"] if r["kind"] == "poisson" and r["form"] == "float")
    loss = row["loss"]
    assert loss["negative_elbo"] == pytest.approx(loss["squared_error"] + loss["kl"])
    assert loss["squared_error"] == pytest.approx(row["reconstruction"] * 256 / 4, rel=0.1)
    text = (scored / "scores" / "scores.md").read_text()
    assert "negative ELBO" in text and (
        "| Poisson VAE, T = 8, post-training | reconstruct |" in text)
    assert "), arithmetic only" in text


def _again(net, row):
    """Assert a chip row's error from the file alone; what the reference gave for the first seed."""
    from lava_models.commands.test_images import load_images
    from lava_models.reference.simulator import decode_images, encode_images

    images = load_images("digits", Path(), 60, net.image_shape)
    results = [Reference(net, "reconstruct").run(
        ChipBits.of(net, "reconstruct", seed).samples(0, 60), encode_images(net, images))
        for seed in range(3)]
    errors = [np.mean((decode_images(net, r.voltage) - images) ** 2) for r in results]
    assert row["reconstruction"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert row["spread"]["reconstruction"] == pytest.approx(np.std(errors, ddof=1), rel=1e-3)
    assert np.std(errors) > 0
    return results[0]


def _chip_row(scored, stage: str) -> dict:
    record = json.loads((scored / "scores" / "scores.json").read_text())
    return next(r for r in record["rows"] if (r["form"], r["stage"]) == ("chip", stage)
                and "integer" in r["model"])


def test_chip_row_is_the_reference(scored):
    """The chip's score, again from the file alone; its rate is over neurons, not layers."""
    chip = _chip_row(scored, "fine-tuned")
    spikes = _again(read_net(scored / "integer" / "model.net"), chip).spikes
    assert chip["rates"]["reconstruct"]["decoder.1"] == pytest.approx(
        spikes["decoder.1"].mean(), rel=1e-5)
    fired = [spikes[name] for name in chip["rates"]["reconstruct"]]
    over_neurons = sum(s.sum() for s in fired) / sum(s.size for s in fired)
    assert chip["rate"]["reconstruct"] == pytest.approx(over_neurons, rel=1e-5)
    assert abs(over_neurons / np.mean([s.mean() for s in fired]) - 1) > 0.02
    lines = table(json.loads((scored / "scores" / "scores.json").read_text()))
    assert sum(f"| {over_neurons:.3f} |" in line for line in lines) >= 1


@pytest.mark.slow
def test_post_training_row_is_the_float_model_s_export(scored, tmp_path):
    """Not the fine-tuned network's: what export-netx makes of the model it started from."""
    shutil.copy(scored / "model.pt", tmp_path / "model.pt")
    export_command([str(tmp_path / "model.pt"), "--prove", "1", "--images", "8"])
    rounded = _chip_row(scored, "post-training")
    _again(read_net(tmp_path / "model.net"), rounded)
    assert rounded["reconstruction"] != _chip_row(scored, "fine-tuned")["reconstruction"]


def test_scores_are_mean_and_spread_over_latent_seeds(scored, tmp_path):
    """The mean of three seeds is that of three runs of one, in JSON, table and Markdown."""
    alone = []
    for seed in range(3):
        score_command([str(scored / "model.pt"), "--autoencoder", str(scored / "encoder.pth"),
                       "--samples", "300", "--images", "60", "--seed", str(seed), "--seeds", "1",
                       "--out", str(tmp_path)])
        record = json.loads((tmp_path / "scores.json").read_text())
        assert record["seeds"] == [seed] and record["rows"][0]["spread"] == {}
        assert "±" not in (tmp_path / "scores.md").read_text()
        alone.append(record["rows"][0])
    row = json.loads((scored / "scores" / "scores.json").read_text())["rows"][0]
    for name, of in (("reconstruction", lambda r: r), ("train_bn", lambda r: r["frechet"]),
                     ("eval_bn", lambda r: r["frechet"])):
        values = [of(r)[name] for r in alone]
        assert of(row)[name] == pytest.approx(np.mean(values))
        assert row["spread"][name] == pytest.approx(np.std(values, ddof=1))
        assert np.std(values) > 0
    said = f"| {row['reconstruction']:.4f} ± {row['spread']['reconstruction']:.4f} | " \
           f"{row['frechet']['train_bn']:.2f} ± {row['spread']['train_bn']:.2f} |"
    text = (scored / "scores" / "scores.md").read_text()
    assert said in text and "over 3 latent seeds (0, 1, 2)" in text
    assert all(line.count("±") >= 2 for line in text.splitlines() if line.startswith("**deploy"))


def test_frechet_needs_an_autoencoder_and_says_so(digits_run, tmp_path, capsys):
    shutil.copy(digits_run / "model.pt", tmp_path / "model.pt")
    score_command([str(tmp_path / "model.pt"), "--samples", "4", "--images", "4"])
    assert "no --autoencoder given" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.pt"], "nowhere.pt: no such file"),
    (["MODEL", "--seeds", "0"], "--seeds 0: expected at least 1"),
    (["MODEL", "--samples", "1"], "--samples 1: a distance needs"),
    (["MODEL", "--autoencoder", "nowhere.pth"], "nowhere.pth: no such file"),
    (["MODEL", "--inception", "nowhere.pth"], "FID and Inception Score need"),
])
def test_bad_input(scored, tmp_path, arguments, message):
    model = str(scored / "model.pt")
    with pytest.raises(UserError, match=message):
        score_command([model if a == "MODEL" else a for a in arguments]
                      + ["--out", str(tmp_path / "out")])


def test_net_of_an_older_model_is_refused(scored, tmp_path, monkeypatch):
    """A model.net that is not of this very model.pt is refused before anything is scored; so is
    one that does not say what it is of."""
    shutil.copytree(scored / "integer", tmp_path / "run")
    model = tmp_path / "run" / "model.pt"
    state = {k: v for k, v in load(model).items() if k not in ("format", "format_version")}
    state["model"]["decoder.1.synapse.weight"] += 1e-3
    save(model, state)
    monkeypatch.setattr("export.scores.scoring.score_form", None)
    with pytest.raises(UserError, match=r"model.net: is not of .*model.pt as it is now \(its "
                                        r"model_sha256 is [0-9a-f]{12}\); export it again"):
        score_command([str(model), "--samples", "4", "--images", "4"])
    net = read_net(tmp_path / "run" / "model.net")
    write_net(replace(net, provenance="{}"), tmp_path / "run" / "model.net")
    with pytest.raises(UserError, match="its model_sha256 is None"):
        score_command([str(scored / "model.pt"), str(model), "--samples", "4", "--images", "4",
                       "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_retrained_start_is_no_float_form(scored, tmp_path):
    """A fine-tuned model beside another float model than the one it was started from."""
    shutil.copytree(scored / "integer", tmp_path / "run" / "integer")
    model = tmp_path / "run" / "integer" / "model.pt"
    state = {k: v for k, v in load(model).items() if k not in ("format", "format_version")}
    state["config"]["start_from"] = str(tmp_path / "run" / "model.pt")
    save(model, state)
    (tmp_path / "run" / "integer" / "model.net").unlink()
    for change, forms in ((0, ["float", "chip", "integers"]), (1, ["integers"])):
        float_state = {k: v for k, v in load(scored / "model.pt").items()
                       if k not in ("format", "format_version")}
        shutil.copy(scored / "model.pt", tmp_path / "run" / "model.pt")
        if change:
            float_state["epoch"] += 1
            save(tmp_path / "run" / "model.pt", float_state)
        score_command([str(model), "--samples", "4", "--images", "4", "--seeds", "1"])
        record = json.loads((model.parent / "scores" / "scores.json").read_text())
        assert [row["form"] for row in record["rows"]] == forms
    assert record["rows"][0]["trained"].startswith("other weights, then 2 steps")


def test_scoring_chooses_no_integer_by_test_images(scored, monkeypatch):
    """Other test images, the same integers."""
    import export.scores.forms as module

    scales, real = [], module.set_scales

    def heard(integer, model, fill, mean_square):
        scales.append(mean_square)
        real(integer, model, fill, mean_square)

    monkeypatch.setattr(module, "set_scales", heard)
    for images in ("4", "40"):
        score_command([str(scored / "model.pt"), "--samples", "4", "--images", images, "--seeds",
                       "1", "--out", str(scored / "other")])
    seen = seen_images(load_model(scored / "model.pt")[1])
    assert scales == [pytest.approx(float((seen**2).mean()))] * 2


def test_net_of_another_model_is_refused(scored, digits_run, tmp_path):
    train_command(["--dataset", "digits", "--run-dir", str(tmp_path), "--hidden", "8", "16",
                   "--latent", "8", "--k", "4", "--ticks", "8", "--bottleneck", "16", "24",
                   "--epochs", "1", "--limit-batches", "1"])
    shutil.copy(scored / "integer" / "model.net", tmp_path / "model.net")
    with pytest.raises(UserError, match="model.net: is not of"):
        score_command([str(tmp_path / "model.pt"), "--samples", "4", "--images", "4"])


def test_tables_in_the_repository_are_the_commands():
    """README's and the card's tables are what score-fsvae made of its record, to the letter."""
    folder = Path(__file__).parents[3]
    card = folder / "lava_models" / "pretrained"
    record = json.loads((card / "scores.json").read_text())
    for text in ((folder / "README.md").read_text(), (card / "README.md").read_text()):
        assert "\n".join(table(record)) in text
        assert all(line in text for line in deployment(record))


def test_table_of_the_models_is_the_command_s():
    """README's table of what every model takes on a chip is score-fsvae's, to the letter."""
    folder = Path(__file__).parents[3]
    record = json.loads((folder / ".readme" / "models.json").read_text())
    assert {row["kind"] for row in record["rows"]} == {"fsvae", "glif", "poisson", "ann"}
    assert "\n".join(cost_table(record)) in (folder / "README.md").read_text()


def test_cost_of_the_shipped_network_is_that_of_the_table():
    """What reports of other networks show beside their own; the file's hash ties it to its file."""
    from hw_configs.reading import sha256_of
    from lava_models.net.pretrained import PRETRAINED, PRETRAINED_COST

    known = json.loads(PRETRAINED_COST.read_text())
    assert known["net_sha256"] == sha256_of(PRETRAINED)
    record = json.loads((Path(__file__).parents[3] / ".readme" / "models.json").read_text())
    row = next(r for r in record["rows"] if (r["kind"], r["form"]) == ("fsvae", "chip"))
    assert known["reconstruction"] == pytest.approx(row["reconstruction"], abs=1e-4)
    for mode in ("reconstruct", "generate"):
        for key in ("spikes", "synops"):
            assert known[mode][key] == round(row["cost"][mode][key])
        assert known[mode]["energy_per_sample_j"]["value"] == pytest.approx(
            row["cost"][mode]["energy_j"]["value"])


def test_curve_goes_through_all_stages(scored):
    _, config, state = load_model(scored / "integer" / "model.pt")
    curve = learning_curve(config, state)
    assert [p.epoch for p in curve] == [1, 2] and {p.ticks for p in curve} == {4}
    assert (scored / "scores" / "curve.png").stat().st_size > 5000


def test_prediction_of_a_power_law():
    curve = [Point(e, 0.1 * e**-0.5, 8) for e in range(1, 7)]
    assert predict_epochs(curve, 0.025) == pytest.approx(16)
    assert predict_epochs(curve, 0.001) is None  # 10 000 epochs: too far to say
    assert predict_epochs(curve[:2], 0.025) is None
    assert "after about 16" in describe(curve, "it", 0.025)
    assert "is reached" in describe(curve, "it", 0.05)
    flat = [Point(e, 0.1, 8) for e in range(1, 5)]
    assert "does not say" in describe(flat, "it", 0.02)


# --- counting ---


def _uniform(rate: float) -> Activity:
    """Every neuron of the paper's network fires at `rate` for 16 ticks, in one image."""
    counts = neuron_counts(PAPER)
    return Activity({k: torch.full((n,), rate * 16) for k, n in counts.items()},
                    {k: [torch.tensor(rate * n)] * 16 for k, n in counts.items()})


def test_published_table_is_reproduced():
    """At a mean rate of .30: the paper's 5.0e10 additions and 5.6e8 multiplications."""
    p = published_operations(PAPER, _uniform(0.3), 1)
    assert p.additions == pytest.approx(5.14e10, rel=2e-3)
    assert p.multiplications == pytest.approx(5.62e8, rel=2e-3)


def test_fan_out_counts_real_synapses():
    """Sums over the unrolled synapses of an exported network; 1 of them by hand."""
    table = fan_out(PAPER)
    corner = table["decoder.4", "decoder.5"].view(32, 32, 32)
    assert corner[0, 0, 0] == 4 and corner[0, 5, 5] == 9
    assert table["posterior.2", "selection"].unique().tolist() == [2]
    assert int(table["decoder.3", "decoder.4"].sum()) == 2262016  # 2.26 M with borders
    work = operations(PAPER, _uniform(0.3), 1, "reconstruct")
    assert 45e6 < work.accumulates < 55.2e6  # 55.2 M without borders
    assert operations(PAPER, _uniform(0.3), 1, "generate").accumulates < work.accumulates
    assert operations(PAPER, _uniform(0.0), 1, "reconstruct").accumulates == 0


def test_synops_equal_those_of_the_chip(scored):
    """PyTorch's geometric count against lava_models' count of the same file's synapses."""
    from lava_models.net.synapse import unroll

    net = read_net(scored / "integer" / "model.net")
    model = load_model(scored / "integer" / "model.pt")[0]
    table = fan_out(model)
    layers = dict(net.named_layers())
    for (source, target), counts in table.items():
        if target == "selection" or source == "selection":
            continue
        matrix = unroll(layers[target]).tocsc()
        mine = np.diff(matrix.indptr)[:len(counts)]
        ours = counts.numpy()
        assert (mine <= ours).all()  # a weight that rounds to 0 is no synapse
        assert mine.sum() > 0.8 * ours.sum(), (source, target)


def test_ann():
    """1 180 641 parameters; 1.02e7 multiply-accumulates without borders, fewer with them."""
    model = AnnVae(AnnConfig())
    assert sum(p.numel() for p in model.parameters()) == 1180641
    assert 8e6 < ann_operations(model, "reconstruct").multiplies < 1.02e7
    assert ann_operations(model, "generate").multiplies < 6e6


def test_recording_hears_every_layer_once():
    model = FSVAE(FsvaeConfig(image_size=8, hidden=(4, 8), latent=6, k=4, bottleneck=(8, 8),
                              ticks=5), torch.Generator().manual_seed(0)).train()
    image = torch.rand(3, 1, 8, 8) * 2 - 1
    generator = torch.Generator().manual_seed(1)
    model.calibrate(image, generator)
    with recording(model) as heard:
        output = model(image, generator, SpikingLoss(scheduled_first_tick=1), chance=1.0)
    assert set(heard.spikes) == set(neuron_counts(model))
    assert torch.equal(heard.spikes["selection"], output.latents.sum((0, 1)))
    assert torch.equal(heard.spikes["posterior.2"], output.posterior.sum((0, 1)))
    assert torch.equal(heard.spikes["prior.2"], output.prior.sum((0, 1)))  # rehearsals not counted
    assert all(len(ticks) in (1, 5) for name, ticks in heard.ticks.items() if name != "encoder.0")
    price = synops(heard, fan_out(model))
    price.backward()
    assert model.encoder[1].synapse.weight.grad.abs().sum() > 0
    assert float(price) == pytest.approx(
        float(synops(heard, fan_out(model), "prior"))
        + sum(float(heard.spikes[s].flatten() @ n) for (s, t), n in fan_out(model).items()
              if "prior" in s + t))


def test_colour_images(tmp_path):
    """A folder of generated colour pictures goes the same way: model, autoencoder, scores."""
    from PIL import Image

    from export.scores.autoencoder import train_autoencoder_command

    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(40):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((70, 64)).save(tmp_path / "data" / f"{i:02d}.png")
    data = ["--dataset", "folder", "--data-dir", str(tmp_path / "data")]
    train_command([*data, "--run-dir", str(tmp_path / "run"), "--hidden", "4", "4", "4", "4", "4",
                   "--latent", "6", "--k", "4", "--bottleneck", "8", "8", "--ticks", "2",
                   "--epochs", "1", "--limit-batches", "1", "--batch-size", "8"])
    encoder = tmp_path / "encoder.pth"
    train_autoencoder_command([*data, "--out", str(encoder), "--steps", "2", "--batch-size", "4"])
    large = Autoencoder.for_images(3, 64)
    assert len(large.encoder) == 5 and large.latent_layer.out_features == 128
    score_command([str(tmp_path / "run" / "model.pt"), "--autoencoder", str(encoder), "--samples",
                   "8"])
    rows = json.loads((tmp_path / "run" / "scores" / "scores.json").read_text())["rows"]
    assert [row["form"] for row in rows] == ["float", "integers"]
    assert all(row["frechet"]["eval_bn"] > 0 for row in rows)
