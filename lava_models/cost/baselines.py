"""What a network is held against: the same layers as ANNs, its host, the network that ships."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from hw_configs import load_mac, load_quantised_ann
from hw_configs.reading import sha256_of
from lava_models.cost.ann import (
    WEIGHT_BITS,
    AnnWork,
    ann_energy,
    break_even,
    work_of_net,
    work_of_network,
)
from lava_models.cost.energy import Interval
from lava_models.cost.estimates import modelled
from lava_models.cost.networks import describe_netx
from lava_models.net.layers import Dense, Layer
from lava_models.net.netfile import NetFile, origin_of
from lava_models.net.netx import NetxFile
from lava_models.net.pretrained import PRETRAINED_COST
from lava_models.net.synapse import unroll

QUANTISED_ANN = "ANN of the same layers, bit-matched, memory included"


def multiply_accumulates(net: NetFile, mode: str) -> int:
    """Of the ANN VAE with the same layers, per image: encoder and decoder once, Gaussian latent."""
    def macs(layer: Layer) -> int:
        if isinstance(layer, Dense):
            return layer.weight.size
        return unroll(dataclasses.replace(layer, weight=np.ones_like(layer.weight))).nnz

    decoder = sum(map(macs, net.decoder))
    if mode == "generate":
        return decoder
    if net.poisson is not None:
        return _host_macs(net) + net.poisson.encoder[-1].weight.size + decoder
    return sum(map(macs, net.encoder)) + macs(net.encoder[-1]) + decoder  # mean and variance


def host_work(net: NetFile, mode: str) -> str:
    """What the host computes in a run, in words."""
    if net.poisson is None:
        return "image encoding, tanh of the readout"
    encoder = (f"the encoder ({_host_macs(net):,} multiply-accumulates per image) and its "
               "exponential, ")
    return (encoder if mode == "reconstruct" else "") + "scale and offset of the readout"


def _host_macs(net: NetFile) -> int:
    """Of the encoder that the host computes, borders of convolutions included."""
    total, (_, h, w) = 0, net.image_shape
    for layer in net.poisson.encoder:
        if layer.weight.ndim == 4:
            h, w = -(-h // 2), -(-w // 2)
            total += layer.weight.size * h * w
        else:
            total += layer.weight.size
    return total


def baseline_section(net: NetFile, mode: str, samples: int, cpu: dict, path: Path) -> list[dict]:
    """What to compare with: the ANN's arithmetic, and what the simulator took on this machine.

    Args:
        cpu: joules of the CPU during the run, an entry of `MachineMeters.read`.
        path: of the network's file.
    """
    count = multiply_accumulates(net, mode)
    return [_arithmetic("ANN VAE of the same layers, arithmetic only", count),
            quantised_ann(work_of_net(net, mode, count)), *_host_rows(samples, cpu),
            *_shipped(net, mode, path)]


def netx_baselines(net: NetxFile, timesteps: int, samples: int, cpu: dict) -> list[dict]:
    """`baseline_section` of a NetX file: its layers as those of an ANN, run once per sample.

    The quantised one's bits are those of spike counts, so not where messages are integers.
    """
    work = work_of_network(describe_netx(net), timesteps)
    spiking = not any(layer.graded for layer in net.layers)
    return [_arithmetic("ANN of the same layers, arithmetic of one pass only", work.macs),
            *([quantised_ann(work)] if spiking else []), *_host_rows(samples, cpu)]


def _arithmetic(name: str, count: int) -> dict:
    """The arithmetic of `count` multiply-accumulates."""
    mac = load_mac()
    return {"name": name, "multiply_accumulates": count,
            "energy_per_sample_j": modelled(Interval.of(mac.mac) * (count * 1e-12)),
            "constants": mac.name, "what": f"{mac.technology}; {mac.mac.source}"}


def _host_rows(samples: int, cpu: dict) -> list[dict]:
    """What the host took."""
    if cpu["value"] is not None:
        cpu = {**cpu, "value": cpu["value"] / samples}
    gpu = {"value": None, "basis": "unavailable", "why": "the simulator does not use a GPU",
           "fix": "score-fsvae --device cuda reads NVML while the float model runs"}
    return [
        {"name": "this simulator, CPU", "multiply_accumulates": None, "energy_per_sample_j": cpu,
         "constants": None, "what": "of the host, not of a chip"},
        {"name": "GPU", "multiply_accumulates": None, "energy_per_sample_j": gpu,
         "constants": None, "what": "of the host, not of a chip"}]


def quantised_ann(work: AnnWork) -> dict:
    """The quantised network without spikes, as a row of `baseline_section`."""
    constants = load_quantised_ann()
    return {"name": QUANTISED_ANN, "multiply_accumulates": work.macs,
            "energy_per_sample_j": modelled(ann_energy(work, constants)),
            "constants": constants.name,
            "what": f"{constants.technology}; weights of {WEIGHT_BITS} bits, activations of "
                    f"{work.activation_bits}; nominal: {work.weights:,} weights and "
                    f"{work.activations:,} activations each moved once; high: nothing reused"}


def break_even_text(dynamic_by_kind: list[dict], ann_j: dict, rate: float,
                    per: str = "tick") -> str:
    """Where the spiking network breaks even with the quantised one, in words.

    Args:
        dynamic_by_kind: as in `energy_section`.
        ann_j: its energy, modelled.
        rate: spikes per neuron and `per` now.
    """
    neurons = sum(kind["value"] for kind in dynamic_by_kind if kind["name"] == "neurons")
    moving = sum(kind["value"] for kind in dynamic_by_kind) - neurons
    least, most = (break_even(neurons, moving, ann_j[key]) for key in ("low", "high"))
    times = (neurons + moving) / ann_j["value"]
    text = (f"dynamic energy {times:.2g} times that of the quantised ANN (no power at rest in "
            f"either); it fires {rate:.3f} spikes per neuron and {per} and breaks even at ")
    if most == 0:
        return text + "no rate: neuron updates alone cost more"
    return text + (f"{least * rate:.4f} if that reuses every word it reads, {most * rate:.4f} if "
                   "none")


def _shipped(net: NetFile, mode: str, path: Path) -> list[dict]:
    """Beside another network of MNIST: the FSVAE that comes with the package."""
    known = json.loads(PRETRAINED_COST.read_text("utf-8"))
    if origin_of(net, "dataset") != known["dataset"] or sha256_of(path) == known["net_sha256"]:
        return []
    row = known[mode]
    return [{"name": known["name"], "multiply_accumulates": None,
             "energy_per_sample_j": row["energy_per_sample_j"], "constants": row["constants"],
             "what": f"{row['spikes']:,.0f} spikes and {row['synops']:,.0f} synops per image; "
                     f"reconstruction error {known['reconstruction']:.4f} in [-1, 1]"}]
