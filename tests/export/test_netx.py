"""Stock NetX opens the file, and its own Conv and Dense give our encoder's spikes at D = 1."""

from __future__ import annotations

import contextlib
import dataclasses
import io

import numpy as np
import pytest
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source

from lava_models import HostBits, Reference, encode_images, read_net, schedule_for, write_net
from lava_models.commands.test_images import load_images
from lava_models.graph.netx_stock import run_stock
from lava_models.net.netx import NetxFile, NetxOptions, read_netx
from lava_models.net.pretrained import PRETRAINED
from lava_models.reference.netx_reference import Drive, NetxReference


def test_stock_network_runs_the_encoder(net_factory, tmp_path):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from lava.lib.dl.netx.hdf5 import Network

    net = net_factory(lag=4, ticks=8)  # D = 1: a tick is a timestep
    write_net(net, tmp_path / "model.net")
    schedule = schedule_for(net, "reconstruct")
    samples = 3
    images = encode_images(net, np.random.default_rng(0).uniform(-1, 1, (samples, 1, 8, 8)))
    bits = HostBits(0, net.ticks, net.latent, net.random_bits)
    ours = Reference(net, "reconstruct").run(bits.samples(0, samples), images)
    wanted = ours.spikes["encoder.2"]
    assert 0.05 < wanted.mean() < 0.95

    network = Network(str(tmp_path / "model.net"), input_message_bits=16,
                      reset_interval=schedule.period, reset_offset=1)
    steps = schedule.run_length(schedule.phases["encoder.2"], samples)
    # One image per sample, held for its T timesteps; NetX's axes are (W, H, C), time last.
    frames = images.reshape(samples, 8, 8).transpose(2, 1, 0)[:, :, None]
    frames = np.repeat(frames, net.ticks, axis=-1)
    frames = np.concatenate([frames, np.zeros((8, 8, 1, steps), frames.dtype)], axis=-1)
    source = Source(data=frames[..., :steps])
    sink = Sink(shape=network.out.shape, buffer=steps)
    source.s_out.connect(network.inp)
    network.out.connect(sink.a_in)
    network.run(condition=RunSteps(num_steps=steps),
                run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    try:
        got = sink.data.get().astype(bool)  # (C, steps)
    finally:
        network.stop()
    for sample in range(samples):
        at = schedule.timesteps(schedule.phases["encoder.2"], sample) - 1
        assert np.array_equal(got[:, at].T, wanted[sample]), f"sample {sample}"


def at_d1_and_own(images: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Spikes of the shipped file's layers, each (S, T, n), with a tick of one timestep, and as the
    file says."""
    net = read_net(PRETRAINED)
    bits = HostBits(0, net.ticks, net.latent, net.random_bits).samples(0, len(images))
    return [Reference(dataclasses.replace(net, lag=lag), "reconstruct").run(bits, images).spikes
            for lag in (4, net.lag)]


def shipped_encoder() -> NetxFile:
    """As stock NetX reads it, reset as each image arrives."""
    return read_netx(PRETRAINED, NetxOptions(
        input_message_bits=16, reset_interval=read_net(PRETRAINED).ticks, reset_offset=1))


def test_shipped_encoder_at_one_timestep_per_tick(shared_data):
    """The numbers in README: every spike of the encoder in 64 MNIST images."""
    net, file, samples = read_net(PRETRAINED), shipped_encoder(), 64
    images = encode_images(net, load_images("mnist", shared_data, samples, net.image_shape))
    sent = NetxReference(file).run(Drive(sent=np.repeat(images[None], net.ticks, axis=0)),
                                   net.ticks + len(file.layers)).sent
    at_d1, own = at_d1_and_own(images)
    compared, others, slower = 0, 0, 0
    for i, layer in enumerate(file.layers):
        spikes = sent[layer.name][1 + i:1 + i + net.ticks].transpose(1, 0, 2)
        compared += spikes.size
        others += np.count_nonzero(spikes != at_d1[f"encoder.{i}"])
        slower += np.count_nonzero(spikes != own[f"encoder.{i}"])
    assert (compared, others, slower) == (7_929_856, 0, 37)


@pytest.mark.slow
def test_shipped_encoder_in_stock_netx(shared_data):
    """Stock NetX itself, three MNIST images one after the other: our spikes at D = 1."""
    net, file, samples = read_net(PRETRAINED), shipped_encoder(), 3
    images = encode_images(net, load_images("mnist", shared_data, samples, net.image_shape))
    drive = Drive(sent=np.repeat(images, net.ticks, axis=0)[:, None])
    stock = run_stock(PRETRAINED, file, drive, samples * net.ticks + len(file.layers)).sent
    at_d1, _ = at_d1_and_own(images)
    compared = 0
    for i, layer in enumerate(file.layers):
        spikes = stock[layer.name][1 + i:1 + i + samples * net.ticks]
        wanted = at_d1[f"encoder.{i}"]
        assert wanted.any() and np.array_equal(spikes.reshape(wanted.shape), wanted), layer.name
        compared += wanted.size
    assert compared == 371_712
