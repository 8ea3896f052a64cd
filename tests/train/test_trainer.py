"""Training: the loss falls, an interrupted run reaches the same weights, the folder is whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import tomli
import torch

from hw_configs.files import UserError
from train import checkpoint
from train.activity import named_blocks
from train.checkpoint import load, load_model
from train.cli import parse, train_command
from train.run_folder import DERIVED, remove_run
from train.streams import stream
from train.trainer import Trainer

SMALL = ["--dataset", "digits", "--device", "cpu", "--hidden", "4", "8", "--latent", "6",
         "--batch-size", "50", "--limit-batches", "3", "--epochs", "2"]
TINY = [*SMALL, "--k", "4", "--ticks", "4", "--bottleneck", "8", "12"]


def _trainer(run_dir, *more, resume=False):
    config = parse([*(SMALL if "ann" in more else TINY), *more]).run
    return Trainer(config, run_dir, resume=resume)


def _weights(run_dir):
    return load(run_dir / "checkpoints" / "last.pt")["model"]


@pytest.mark.parametrize("stop", [(0, 2), (1, 1), (0, 3)])
def test_resume_reaches_the_same_weights(tmp_path, stop):
    """Stopped in the middle of either epoch: the very same weights and metrics."""
    _trainer(tmp_path / "a").run()
    _trainer(tmp_path / "b").run(until=lambda epoch, step: (epoch, step) == stop)
    assert load(tmp_path / "b" / "checkpoints" / "last.pt")["epoch"] < 2
    _trainer(tmp_path / "b", resume=True).run()
    a, b = _weights(tmp_path / "a"), _weights(tmp_path / "b")
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    assert ((tmp_path / "a" / "metrics.jsonl").read_text()
            == (tmp_path / "b" / "metrics.jsonl").read_text())


def test_run_folder(digits_run):
    assert {p.name for p in digits_run.iterdir()} >= {
        "config.toml", "metrics.jsonl", "model.pt", "checkpoints", "samples", "tb"}
    assert tomli.loads((digits_run / "config.toml").read_text())["model"]["latent"] == 8
    rows = [json.loads(line) for line in (digits_run / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [1, 2]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert {p.name for p in (digits_run / "samples").iterdir()} >= {
        "reconstructions-0002.png", "samples-0002.png"}
    assert not list(digits_run.rglob(".*tmp"))
    model, config, state = load_model(digits_run / "model.pt")
    assert not model.training
    assert config.model.latent == 8
    assert state["provenance"]["command"].startswith("train-fsvae --dataset digits")


def test_existing_run_is_not_overwritten(digits_run):
    before = (digits_run / "model.pt").read_bytes()
    with pytest.raises(UserError, match="already holds a run; continue it with --resume"):
        train_command([*TINY, "--run-dir", str(digits_run)])
    assert (digits_run / "model.pt").read_bytes() == before


def test_nothing_to_resume(tmp_path):
    with pytest.raises(UserError, match="no run to resume there"):
        train_command([*TINY, "--run-dir", str(tmp_path / "none"), "--resume"])


@pytest.mark.parametrize(("changed", "said"), [
    (["--batch-size", "25"], "--batch-size 50, not 25"),
    (["--lr", "0.5"], "--lr 0.003, not 0.5"),
    (["--seed", "4"], "--seed 0, not 4"),
    (["--hidden", "4", "6"], "--hidden 4 8, not 4 6"),
    (["--distance", "kld"], "--distance mmd, not kld"),
    (["--limit-batches", "2", "--clip", "1"], "--clip None, not 1.0; --limit-batches 3, not 2"),
    (["--dataset", "mnist"], "--dataset digits, not mnist"),
    (["--start-from", "x.pt"], "--start-from None, not x.pt"),
    (["--config", "CONFIG"], "--k 4, not 5"),
])
def test_resume_refuses_other_settings_by_name(tmp_path, changed, said):
    """Before any data is read; with the old value and the new, and nothing is changed."""
    run = tmp_path / "a"
    _trainer(run, "--lr", "0.003").run(until=lambda epoch, step: step == 1)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    (tmp_path / "more.toml").write_text("[model]\nk = 5\n")
    changed = [str(tmp_path / "more.toml") if c == "CONFIG" else c for c in changed]
    with pytest.raises(UserError, match=f"last.pt: its run has {re.escape(said)}. --resume takes"):
        train_command(["--run-dir", str(run), "--resume", *changed])
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_resume_refuses_a_preset(tmp_path):
    _trainer(tmp_path).run(until=lambda epoch, step: step == 1)
    with pytest.raises(UserError, match="--preset mnist: --resume keeps the run's own settings"):
        train_command(["--run-dir", str(tmp_path), "--resume", "--preset", "mnist"])


def test_resume_takes_and_records_more_epochs(tmp_path):
    """--epochs, --device and --threads; the folder may have moved meanwhile."""
    _trainer(tmp_path / "a").run()
    (tmp_path / "a").rename(tmp_path / "b")
    train_command(["--run-dir", str(tmp_path / "b"), "--resume", "--epochs", "3", "--device",
                   "auto", "--threads", str(torch.get_num_threads())])
    config = tomli.loads((tmp_path / "b" / "config.toml").read_text())
    assert config["optim"]["epochs"] == 3 and config["device"] == "auto"
    assert len((tmp_path / "b" / "metrics.jsonl").read_text().splitlines()) == 3
    state = load(tmp_path / "b" / "checkpoints" / "last.pt")
    assert state["epoch"] == state["config"]["optim"]["epochs"] == 3
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("epochs", [1, 2])
def test_run_cut_before_its_best_model_is_written(tmp_path, monkeypatch, epochs):
    """Killed between last.pt and model.pt, of the last epoch or not: resumed, it is that model."""
    options = ("--epochs", str(epochs), "--lr", "0.01")
    _trainer(tmp_path / "a", *options).run()

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("train.trainer.shutil.copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            _trainer(tmp_path / "b", *options).run()
    assert not (tmp_path / "b" / "model.pt").exists()
    resumed = _trainer(tmp_path / "b", *options, resume=True)
    assert load(tmp_path / "b" / "model.pt")["epoch"] == 1
    resumed.run()
    a, b = (load(tmp_path / x / "model.pt") for x in "ab")
    assert a["epoch"] == b["epoch"]
    assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])


def test_force_leaves_nothing_to_resume_wrongly(tmp_path):
    """A replaced run that dies before its first checkpoint must not resume the old one."""
    run = tmp_path / "a"
    train_command([*TINY, "--run-dir", str(run)])
    (run / "notes.txt").write_text("mine")
    remove_run(run)
    assert [p.name for p in run.iterdir()] == ["notes.txt"]
    train_command([*TINY, "--run-dir", str(run), "--force", "--epochs", "1"])
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1
    assert (run / "notes.txt").read_text() == "mine"


def _derived(run):
    """Files as the other commands leave them beside model.pt, and some of the user's own."""
    mine = ["notes.txt", "generate/mine.png", "scores/samples-mine.png", "samples/mine.png",
            "checkpoints/best.pt", "integer/model.pt", "tb/mine.txt", "other/model.net"]
    made = [p.replace("*", "x").replace("[0-9]", "0") for p in DERIVED]
    for name in (*mine, *made):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    return mine, made


def test_force_clears_what_was_made_of_the_old_model(tmp_path, capsys):
    """In place, in a line, and of the user's own files nothing."""
    run = tmp_path / "a"
    _trainer(run).run()
    mine, made = _derived(run)
    train_command([*TINY, "--run-dir", str(run), "--force", "--epochs", "1"])
    assert [name for name in made if (run / name).exists()] == []
    assert all((run / name).read_text() == name for name in mine)
    assert not (run / "reconstruct").exists() and not list(run.glob("samples/*-0002.png"))
    said = capsys.readouterr().out
    assert (f"{run}: removed what was made of the model before: model.net, generate, reconstruct, "
            "prior.pt, scores\n") in said


def test_resume_clears_it_as_soon_as_the_model_is_another(tmp_path, capsys):
    """A resumed run that finds no better model leaves what is still true of it."""
    run = tmp_path / "a"
    _trainer(run).run()
    mine, made = _derived(run)
    train_command(["--run-dir", str(run), "--resume"])
    assert all((run / name).exists() for name in made)
    before = (run / "model.pt").read_bytes()
    train_command(["--run-dir", str(run), "--resume", "--epochs", "4"])
    assert (run / "model.pt").read_bytes() != before
    assert [name for name in made if (run / name).exists()] == []
    assert all((run / name).exists() for name in mine)
    assert capsys.readouterr().out.count("removed what was made of the model before") == 1


def test_diverged_loss_is_one_line(tmp_path):
    trainer = _trainer(tmp_path / "a")
    with torch.no_grad():
        trainer.model.decoder[-1].bias.fill_(float("nan"))
    with pytest.raises(UserError, match="the loss is nan at epoch 1, step 1: training diverged"):
        trainer.run()


def test_read_only_folder(tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_text", denied)
    with pytest.raises(UserError, match="config.toml: cannot be written: Permission denied"):
        _trainer(tmp_path / "a")


def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    trainer = _trainer(tmp_path / "a")
    trainer.run(until=lambda epoch, step: step == 1)
    last = tmp_path / "a" / "checkpoints" / "last.pt"
    before = last.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match="last.pt: cannot be written: No space left on device"):
        trainer._save_last()
    assert last.read_bytes() == before


def test_streams_are_apart():
    draws = {tuple(torch.randint(2**31, (3,), generator=g).tolist()) for g in (
        stream(0, "init"), stream(0, "order"), stream(0, "order", 1), stream(0, "order", 1, 1),
        stream(1, "init"), stream(1, "order"))}
    assert len(draws) == 6


@pytest.mark.slow()
@pytest.mark.timeout(1800)
def test_loss_falls_as_the_authors_does(tmp_path, shared_data):
    """MNIST, batch 32, the code's surrogate: train MSE from ~.78 below .35 within 150 steps."""
    train_command(["--dataset", "mnist", "--data-dir", str(shared_data), "--run-dir",
                   str(tmp_path / "a"), "--batch-size", "32", "--limit-batches", "25",
                   "--epochs", "6", "--device", "cpu", "--validation", "0.002"])
    rows = [json.loads(line) for line in
            (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["reconstruction"] > 0.5
    assert rows[-1]["reconstruction"] < 0.35


def test_starts_from_other_weights(tmp_path):
    """Same layers, another T and lag; other layers are refused."""
    _trainer(tmp_path / "a").run()
    model = tmp_path / "a" / "model.pt"
    longer = _trainer(tmp_path / "b", "--start-from", str(model), "--ticks", "6", "--lag", "2")
    for name, value in load(model)["model"].items():
        assert torch.equal(longer.model.state_dict()[name], value), name
    longer.run()
    assert load_model(tmp_path / "b" / "model.pt")[1].start_from == model
    with pytest.raises(UserError, match="its layers are not those of this model"):
        _trainer(tmp_path / "c", "--start-from", str(model), "--latent", "7")
    assert not (tmp_path / "c" / "config.toml").exists()


def test_start_from_weights_that_are_shipped(tmp_path, monkeypatch):
    """Half the size, found by name; a training goes on from them, to bfloat16's precision."""
    _trainer(tmp_path / "a").run()
    model, small = tmp_path / "a" / "model.pt", tmp_path / "small.pt"
    checkpoint.ship(model, small)
    monkeypatch.setitem(checkpoint.SHIPPED, "mine", small)
    trainer = _trainer(tmp_path / "b", "--start-from", "mine", "--epochs", "1")
    assert small.stat().st_size < 0.7 * model.stat().st_size
    for (name, mine), theirs in zip(trainer.model.state_dict().items(),
                                    load_model(model)[0].state_dict().values()):
        assert torch.allclose(mine, theirs, rtol=2**-8, atol=0), name
    trainer.run()
    assert load_model(tmp_path / "b" / "model.pt")[2]["provenance"][
        checkpoint.STARTED_FROM] == checkpoint.sha256_of(small)
    with pytest.raises(UserError, match="mnist-rat: no such file"):
        _trainer(tmp_path / "c", "--start-from", "mnist-rat")


def test_leaks_are_the_settings_not_the_weights(tmp_path, capsys):
    """What is in config.toml is what runs, whatever the weights were trained with."""
    _trainer(tmp_path / "a", "--keep", "0.5", "--readout-keep", "0.6").run()
    model = tmp_path / "a" / "model.pt"
    _trainer(tmp_path / "b", "--start-from", str(model), "--readout-keep", "1").run()
    assert "--keep 0.25 (was 0.5), --readout-keep 1.0 (was 0.6)" in capsys.readouterr().out
    trained, config, _ = load_model(tmp_path / "b" / "model.pt")
    assert (config.model.keep, config.model.readout_keep) == (0.25, 1)
    *firing, (_, readout) = trained.named_layers()
    assert {block.neuron.keep_register for _, block in firing} == {1024}
    assert readout.neuron.keep_register == 4096
    assert trained.encoder[1].neuron.grid.keep == 0.25


def test_what_weights_decide_is_refused_by_name(tmp_path):
    """Gated neurons learn their leak: a setting that would do nothing is not taken."""
    gated = ("--model", "glif", "--threshold", "0.5", "--keep", "0.25")
    _trainer(tmp_path / "a", *gated).run()
    model = str(tmp_path / "a" / "model.pt")
    _trainer(tmp_path / "b", *gated, "--start-from", model)
    for flag, value in (("--keep", "0.5"), ("--threshold", "0.4")):
        with pytest.raises(UserError, match=rf"{flag} {value}: is learned, .* began at"):
            _trainer(tmp_path / "c", *gated, flag, value, "--start-from", model)
    assert not (tmp_path / "c" / "config.toml").exists()


def test_learning_rate(tmp_path):
    trainer = _trainer(tmp_path / "a", "--lr", "1", "--lr-schedule", "cosine", "--warmup-steps",
                       "2")
    rates = []
    for trainer.epoch, trainer.step in [(e, s) for e in range(2) for s in range(3)]:
        rates.append(trainer._learning_rate())
    assert rates[0] == pytest.approx(1 / 3)
    assert rates[2] == pytest.approx(0.05 + 0.95 * 0.75)
    assert rates[3] == pytest.approx(0.05 + 0.95 * 0.5)
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)


def test_price_of_synops_is_in_the_loss(tmp_path):
    from train.activity import recording, synops

    free = _trainer(tmp_path / "a", "--synop-weight", "1e-9")
    priced = _trainer(tmp_path / "b", "--synop-weight", "2")
    with recording(priced.model) as heard:
        image = priced._batch(0, 0)
        output = priced.model(image, priced.latents, priced.config.loss, priced._chance())
    loss = priced.model.losses(output, image, priced.config.loss)
    millions = float(synops(heard, priced.fan_out)) / len(image) / 1e6
    priced = _trainer(tmp_path / "c", "--synop-weight", "2")
    priced._train_step()
    assert priced._look().total == pytest.approx(
        float(loss.total) + 2 * millions, rel=1e-4)
    seen = [t.evaluate(t.validation[:20])  # the best epoch is chosen with it
            for t in (free, _trainer(tmp_path / "e", "--synop-weight", "200"))]
    assert seen[0]["reconstruction"] == seen[1]["reconstruction"]
    assert seen[1]["loss"] > seen[0]["loss"] + 100 * millions
    free._train_step()
    assert free._look().total == pytest.approx(float(loss.total), rel=1e-4)
    with pytest.raises(UserError, match="--synop-weight: is no setting of --model ann"):
        parse(["--model", "ann", "--synop-weight", "1"])


def test_firing_rates_are_logged_and_extremes_named(tmp_path, capsys):
    """Of every layer, after every epoch; a layer whose threshold nothing reaches is dead."""
    trainer = _trainer(tmp_path / "a", "--epochs", "1", "--limit-batches", "1")
    trainer.run()
    row = json.loads((tmp_path / "a" / "metrics.jsonl").read_text())
    logged = {name.removeprefix("rate/"): value for name, value in row.items() if "rate/" in name}
    assert set(logged) == {name for name, _ in named_blocks(trainer.model)} | {"selection"}
    assert 0 < logged["encoder.0"] < 1
    capsys.readouterr()
    with torch.no_grad():
        trainer.model.encoder[0].neuron.norm.beta.fill_(-100)
    trainer.config = replace(trainer.config, optim=replace(trainer.config.optim, epochs=2))
    trainer.run()
    said = " ".join(capsys.readouterr().out.split())
    assert "encoder.0 is dead (0.00%)" in said and "spikes per neuron and tick" in said


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_ann_trains_and_resumes(tmp_path, precision):
    options = ("--model", "ann", "--epochs", "3", "--precision", precision)
    _trainer(tmp_path / "a", *options).run()
    _trainer(tmp_path / "b", *options).run(until=lambda epoch, step: (epoch, step) == (1, 2))
    _trainer(tmp_path / "b", *options, resume=True).run()
    a, b = _weights(tmp_path / "a"), _weights(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    rows = [json.loads(r) for r in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
