"""Networks and runs that several tests use. Everything is made here; nothing is downloaded."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test process per core, not threads upon them

import h5py
import numpy as np
import pytest

from lava_models import Conv, ConvT, Dense, Glif, Lif, NetFile
from lava_models.net.latents import Thinning
from lava_models.net.layers import MEMORYLESS
from lava_models.net.netfile import PARTS, HostLayer, PoissonLatents, RateLatents

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_report_header() -> str:
    return ("backend: Lava CPU simulator; MNIST and scoring data: "
            + ("present" if SHARED_DATA.is_dir() else "absent, tests that need them skip"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real MNIST; skips where it is absent."""
    if not (SHARED_DATA / "MNIST" / "raw").is_dir():
        pytest.skip("real MNIST is not on this machine (../shared/data)")
    return SHARED_DATA


def make_net(*, lag: int = 1, ticks: int = 4, k: int = 4, random_bits: int = 6, latent: int = 6,
             channels: int = 1, seed: int = 0) -> NetFile:
    """A small random network that fires in every layer: 8x8 images, two convolutions."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-20, 21, shape).astype(np.int32)

    def bias(n: int) -> np.ndarray:
        return 2 * rng.integers(-15, 40, n).astype(np.int32)

    def lif(threshold: int = 60) -> Lif:
        return Lif(3072, threshold)

    def autoregressive(inputs: int) -> tuple[Dense, ...]:
        return (Dense(weights(10, inputs), bias(10), lif()),
                Dense(weights(12, 10), bias(12), lif()),
                Dense(weights(latent * k, 12), bias(latent * k), lif()))

    return NetFile(
        image_shape=(channels, 8, 8), ticks=ticks, lag=lag, latent=latent, k=k,
        random_bits=random_bits, input_scale=16.0, output_scale=5000.0,
        provenance='{"dataset": "digits"}',
        encoder=(Conv(weights(4, channels, 3, 3), bias(4), lif(400), (channels, 8, 8), 2, 1),
                 Conv(weights(6, 4, 3, 3), 9 * bias(6) * 2, lif(), (4, 4, 4), 2, 1),
                 Dense(weights(latent, 24), bias(latent), lif())),
        posterior=autoregressive(2 * latent), prior=autoregressive(latent),
        decoder=(Dense(weights(24, latent), bias(24), lif()),
                 ConvT(weights(6, 4, 3, 3), bias(4), lif(), (6, 2, 2), 2, 1, 1),
                 ConvT(weights(4, 3, 3, 3), bias(3), lif(), (4, 4, 4), 2, 1, 1),
                 ConvT(weights(3, channels, 3, 3), bias(channels), Lif(819, 131071, False),
                       (3, 8, 8), 1, 1, 0)))


def make_gated_net(**arguments) -> NetFile:
    """`make_net` with gated neurons in every layer that fires, parameters differing by channel."""
    net = make_net(**arguments)
    rng = np.random.default_rng(arguments.get("seed", 0))

    def gate(layer):
        if not layer.neuron.spiking:
            return layer
        def draw(low: int, high: int, *shape: int) -> np.ndarray:
            return rng.integers(low, high, (*shape, layer.shape[0])).astype(np.int32)

        unit = 64 * layer.neuron.threshold  # of the membrane
        return dataclasses.replace(layer, neuron=Glif(
            decay=draw(500, 3500), threshold=draw(unit // 2, unit), reset=draw(500, 4096),
            leak=draw(0, unit // 8), subtract=draw(0, unit // 2),
            gain=draw(2000, 4097, net.ticks)))

    return dataclasses.replace(net, **{part: tuple(map(gate, getattr(net, part)))
                                       for part in PARTS})


@pytest.fixture(scope="session")
def gated_net_factory():
    """make_gated_net, for tests that want their own variant."""
    return make_gated_net


def make_poisson_net(*, ticks: int = 4, latent: int = 9, random_bits: int = 10, seed: int = 0
                     ) -> NetFile:
    """A small random Poisson VAE: 8x8 images, a convolution and a matrix on the host."""
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return (0.3 * rng.standard_normal(shape)).astype(np.float32)

    log_prior = np.linspace(-3, 0.5, latent).astype(np.float32)
    host = (HostLayer(floats(2, 1, 3, 3), floats(2), 0.01), HostLayer(floats(latent, 32),
                                                                      floats(latent), 1.0))
    readout = Dense(2 * rng.integers(-100, 101, (64, latent)).astype(np.int32),
                    np.zeros(64, np.int32), Lif(0, 131071, False))
    return NetFile(
        image_shape=(1, 8, 8), ticks=ticks, lag=0, latent=latent, k=0, random_bits=random_bits,
        input_scale=1.0, output_scale=20000.0, provenance='{"dataset": "digits"}', encoder=(),
        posterior=(), prior=(), decoder=(readout,),
        poisson=PoissonLatents(Thinning(random_bits).chances(np.exp(log_prior), ticks), log_prior,
                               5.0, host),
        output_offset=np.full(64, -0.5, np.float32))


@pytest.fixture(scope="session")
def poisson_net_factory():
    """make_poisson_net, for tests that want their own variant."""
    return make_poisson_net


def make_rate_net(*, ticks: int = 4, latent: int = 5, random_bits: int = 6, prior_bits: int = 7,
                  seed: int = 0) -> NetFile:
    """A small random network with rate latents: the encoder and decoder of `make_net`, and a prior
    of four layers, three of which take random bits (none with 0 bits)."""
    rng = np.random.default_rng(seed)
    net = make_net(ticks=ticks, latent=latent, random_bits=random_bits, seed=seed)
    unit, prior, size = 2**random_bits * 4, [], 0

    def lif(**kind) -> Lif:
        return Lif(MEMORYLESS, **kind)

    for width in (9, 8, 7) if prior_bits else ():
        weight = 2 * rng.integers(-20, 21, (width, size + prior_bits)).astype(np.int32)
        bias = 2 * rng.integers(-4, 5, width).astype(np.int32)
        prior.append(Dense(weight, bias, lif(threshold=9)))
        size = width
    if prior_bits:
        last = 2 * rng.integers(-unit // 8, unit // 8, (latent, size)).astype(np.int32)
        prior.append(Dense(last, 2 * rng.integers(0, unit // 3, latent).astype(np.int32),
                           lif(threshold=131071, spiking=False)))
    rate = RateLatents(prior_bits, unit if prior_bits else 0)
    return dataclasses.replace(net, lag=0, k=ticks, posterior=(), prior=tuple(prior), rate=rate)


@pytest.fixture(scope="session")
def rate_net_factory():
    """make_rate_net, for tests that want their own variant."""
    return make_rate_net


@pytest.fixture(scope="session")
def net_factory():
    """make_net, for tests that want their own variant."""
    return make_net


@pytest.fixture()
def replace_layer():
    """Function: a network with one layer's fields changed (unchecked until written or read)."""
    def change(net: NetFile, part: str, index: int, **fields) -> tuple:
        layers = list(getattr(net, part))
        layers[index] = dataclasses.replace(layers[index], **fields)
        return {part: tuple(layers)}

    return change


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """Run folder of a very small FSVAE trained for a few steps on scikit-learn's digits."""
    from train.cli import train_command

    run = tmp_path_factory.mktemp("digits") / "run"
    train_command(["--dataset", "digits", "--run-dir", str(run), "--hidden", "8", "16", "16",
                   "--latent", "8", "--k", "4", "--ticks", "4", "--bottleneck", "16", "24",
                   "--epochs", "2", "--seed", "3", "--device", "cpu"])
    return run


@pytest.fixture
def extension(monkeypatch):
    """A double of Intel's Loihi extension in its place."""
    import loihi_double

    loihi_double.install(monkeypatch)


@pytest.fixture
def netx_writer():
    """Writes a NetX file: netx_writer(path, [{"type": ..., field: value, "neuron": {...}}])."""
    def write(path, layers):
        with h5py.File(path, "w") as file:
            for i, layer in enumerate(layers):
                group = file.create_group(f"layer/{i}")
                for key, value in layer.items():
                    if key == "type":
                        group.create_dataset("type", (1,), "S10", [value.encode()])
                    elif key == "neuron":
                        for name, number in value.items():
                            group[f"neuron/{name}"] = number
                    else:
                        group[key] = value
        return path

    return write
