"""export-netx from the command line: the file appears only when it is proven."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from export.cli import export_command
from lava_models import Reference, UserError, read_net
from lava_models.net.layers import SPIKE, fan_in_bound, membrane_bound
from lava_models.net.synapse import neuron_bias, unroll
from lava_models.reference.rule30 import ChipBits
from train.checkpoint import load, save


@pytest.fixture()
def model(digits_run, tmp_path):
    return shutil.copy(digits_run / "model.pt", tmp_path / "model.pt")


def test_exports_proves_and_says_so(model, tmp_path, capsys):
    assert export_command([str(model), "--prove", "2", "--images", "64"]) == 0
    said = capsys.readouterr().out
    assert "verdict: equal" in said
    assert said.count("equal:") == 4  # model and Lava, reconstruct and generate
    for layer in ("encoder.0", "posterior.2", "prior.0", "decoder.4"):
        assert layer in said
    assert float(re.search(r"float ([\d.]+), integer", said)[1]) > 0
    net = read_net(tmp_path / "model.net")
    assert (net.latent, net.k, net.ticks, net.random_bits) == (8, 4, 4, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.net", "model.pt"]


def test_failed_proof_writes_nothing(model, tmp_path, monkeypatch, capsys):
    (tmp_path / "model.net").write_text("mine")

    def differs(run, *_):
        from lava_models.graph.compare import Compared, Comparison

        one = Compared("encoder.0", "encoder", 1, 2, 1, differing=1, awaited=True)
        return Comparison(run.steps, (one,), "encoder.0, neuron 3, timestep 2")

    monkeypatch.setattr("export.prove.compare_with_reference", differs)
    assert export_command([str(model), "--prove", "1", "--images", "1"]) == 1
    said = capsys.readouterr().out
    assert "verdict: NO" in said and "encoder.0, neuron 3, timestep 2" in said
    assert (tmp_path / "model.net").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.net", "model.pt"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere.pt"], "nowhere.pt: no such file"),
    (["MODEL", "--prove", "0"], "--prove 0"),
    (["MODEL", "--random-bits", "3"], "random_bits = 3: expected 4 to 12"),
])
def test_bad_input(model, arguments, message):
    with pytest.raises(UserError, match=message):
        export_command([str(model) if a == "MODEL" else a for a in arguments])


def test_data_set_that_is_not_there(model, tmp_path):
    state = load(model)
    state["config"]["dataset"] = "mnist"
    save(tmp_path / "model.pt", state)
    with pytest.raises(UserError, match="no mnist there"):
        export_command([str(tmp_path / "model.pt"), "--data-dir", str(tmp_path / "none")])


def test_dead_layer_is_named(model, tmp_path):
    state = load(model)
    for key in list(state["model"]):
        if key.startswith("decoder.1.") and key.endswith("synapse.weight"):
            state["model"][key].zero_()
    save(tmp_path / "model.pt", state)
    with pytest.raises(UserError, match="decoder.1: all weights are zero"):
        export_command([str(tmp_path / "model.pt")])
    assert not (tmp_path / "model.net").exists()




def test_readout_without_a_leak(digits_run, tmp_path):
    """--readout-keep 1: no leak on the chip either; proven on Lava, and its value is the plain sum
    of all ticks', from the spikes and synapses alone."""
    from train.cli import train_command

    train_command(["--dataset", "digits", "--run-dir", str(tmp_path), "--hidden", "8", "16", "16",
                   "--latent", "8", "--k", "4", "--ticks", "4", "--bottleneck", "16", "24",
                   "--epochs", "1", "--limit-batches", "2", "--readout-keep", "1", "--start-from",
                   str(digits_run / "model.pt")])
    assert export_command([str(tmp_path / "model.pt"), "--prove", "2", "--images", "8"]) == 0
    net = read_net(tmp_path / "model.net")
    *firing, readout = net.decoder
    assert readout.neuron.decay == 0 and firing[0].neuron.decay == 3072
    worst = fan_in_bound(readout, SPIKE).max() * 64
    assert membrane_bound(readout, SPIKE, net.ticks) == net.ticks * worst
    bits = ChipBits.of(net, "generate", 5).samples(0, 16)
    result = Reference(net, "generate").run(bits, watch=None)
    spikes = result.spikes[f"decoder.{len(firing) - 1}"].astype(np.int64).sum(axis=1)
    sums = (unroll(readout) @ spikes.T).T + net.ticks * neuron_bias(readout)
    assert spikes.any() and np.array_equal(result.voltage, 64 * sums)
