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
from lava_models.net.netx import NetxOptions, read_netx
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


@pytest.mark.slow
def test_shipped_encoder_in_stock_netx(shared_data):
    """The numbers that README and report name: three MNIST images, every spike of the encoder."""
    net = read_net(PRETRAINED)
    samples, ticks = 3, net.ticks
    images = encode_images(net, load_images("mnist", shared_data, samples, net.image_shape))
    file = read_netx(PRETRAINED, NetxOptions(input_message_bits=16, reset_interval=ticks,
                                             reset_offset=1))
    drive = Drive(sent=np.repeat(images, ticks, axis=0)[:, None])
    steps = samples * ticks + len(file.layers)
    stock = run_stock(PRETRAINED, file, drive, steps).sent
    reference = NetxReference(file).run(drive, steps).sent
    bits = HostBits(0, ticks, net.latent, net.random_bits).samples(0, samples)
    at_d1, own = (Reference(dataclasses.replace(net, lag=lag), "reconstruct").run(
        bits, images).spikes for lag in (4, net.lag))
    compared, others, slower = 0, 0, 0
    for i, layer in enumerate(file.layers):
        window = slice(1 + i, 1 + i + samples * ticks)
        spikes = stock[layer.name][window].reshape(samples, ticks, -1)
        assert np.array_equal(reference[layer.name][window].reshape(spikes.shape), spikes)
        compared += spikes.size
        others += np.count_nonzero(spikes != at_d1[f"encoder.{i}"])
        slower += np.count_nonzero(spikes != own[f"encoder.{i}"])
    assert (compared, others, slower) == (371_712, 0, 48)
