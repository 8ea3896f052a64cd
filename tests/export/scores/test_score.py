"""score-fsvae: the same scores for every form of a model, and operations counted both ways."""

from __future__ import annotations

import json
import shutil
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
from lava_models import Reference, UserError, read_net
from lava_models.reference.rule30 import ChipBits
from train.activity import Activity, fan_out, neuron_counts, recording, synops
from train.checkpoint import load_model
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
    export_command([str(poisson), "--prove", "1", "--images", "8"])
    torch.manual_seed(0)
    torch.save(Autoencoder.for_images(1, 16).state_dict(), folder / "encoder.pth")
    code = score_command([str(folder / "model.pt"), str(integer), str(ann), str(poisson),
                          "--autoencoder", str(folder / "encoder.pth"), "--samples", "300",
                          "--images", "60"])
    assert code == 0
    return folder


def test_record(scored):
    record = json.loads((scored / "scores" / "scores.json").read_text())
    forms = [(row["kind"], row["form"]) for row in record["rows"]]
    assert forms == [("fsvae", "float"), ("fsvae", "integers"), ("fsvae", "float"),
                     ("fsvae", "integers"), ("fsvae", "chip"), ("ann", "float"),
                     ("poisson", "float"), ("poisson", "chip")]
    assert record["samples"] == 300 and record["test_images"] == 60
    for row in record["rows"]:
        assert 0 < row["reconstruction"] < 2 and row["frechet"]["train_bn"] > 0
        assert row["operations"]["reconstruct"]["multiplies"] > 0
        assert (scored / "scores" / row["picture"]).is_file()
        for entry in row["energy_per_image_j"].values():  # a meter's number, or why there is none
            assert entry["value"] > 0 if entry["basis"] == "measured" else entry["why"]
    trained = [row["trained"] for row in record["rows"]]
    assert trained[2:4] == ["2 epochs of batch 64 at T = 4", "2 epochs of batch 64 at T = 4, then "
                            "2 steps of batch 64 at T = 4 in integers"]
    assert trained[-3] == "2 steps of batch 64"
    same = [row["reconstruction"] for row in record["rows"] if row["form"] == "float"][:2]
    assert same[0] == same[1]  # the fine-tuned model's float form is the model it started from
    text = (scored / "scores" / "scores.md").read_text()
    assert "deployment of" in text and "| ANN, float" in text and "counted as the paper" in text


def test_cost_on_a_chip_is_the_report_s(scored, tmp_path):
    """Spikes, synops, timesteps and energy of a row are those of a run of the same file."""
    from lava_models.commands.run_lava import run_lava_command
    from lava_models.report.record import read_report

    record = json.loads((scored / "scores" / "scores.json").read_text())
    for kind, net in (("fsvae", scored / "integer"), ("poisson", scored / "poisson")):
        row = next(r for r in record["rows"] if (r["kind"], r["form"]) == (kind, "chip"))
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
    assert "negative ELBO" in text and "| Poisson VAE, T = 8 | reconstruct |" in text
    assert "), arithmetic only" in text


def test_chip_row_is_the_reference(scored):
    """The chip's score, again from the file alone."""
    net = read_net(scored / "integer" / "model.net")
    record = json.loads((scored / "scores" / "scores.json").read_text())
    chip = next(row for row in record["rows"] if row["form"] == "chip")
    from lava_models.commands.test_images import load_images
    from lava_models.reference.simulator import decode_images, encode_images

    images = load_images("digits", scored, 60, net.image_shape)
    bits = ChipBits.of(net, "reconstruct", 0).samples(0, 60)
    result = Reference(net, "reconstruct").run(bits, encode_images(net, images))
    error = np.mean((decode_images(net, result.voltage) - images) ** 2)
    assert error == pytest.approx(chip["reconstruction"], rel=1e-5)
    spikes = result.spikes["decoder.1"].mean()
    assert chip["rates"]["reconstruct"]["decoder.1"] == pytest.approx(spikes, rel=1e-5)


def test_frechet_needs_an_autoencoder_and_says_so(digits_run, tmp_path, capsys):
    shutil.copy(digits_run / "model.pt", tmp_path / "model.pt")
    score_command([str(tmp_path / "model.pt"), "--samples", "4", "--images", "4"])
    assert "no --autoencoder given" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.pt"], "nowhere.pt: no such file"),
    (["MODEL", "--samples", "1"], "--samples 1: a distance needs"),
    (["MODEL", "--autoencoder", "nowhere.pth"], "nowhere.pth: no such file"),
    (["MODEL", "--inception", "nowhere.pth"], "FID and Inception Score need"),
])
def test_bad_input(scored, tmp_path, arguments, message):
    model = str(scored / "model.pt")
    with pytest.raises(UserError, match=message):
        score_command([model if a == "MODEL" else a for a in arguments]
                      + ["--out", str(tmp_path / "out")])


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
    from lava_models.cost.estimates import file_sha256
    from lava_models.net.pretrained import PRETRAINED, PRETRAINED_COST

    known = json.loads(PRETRAINED_COST.read_text())
    assert known["net_sha256"] == file_sha256(PRETRAINED)
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
