"""NIR graphs to NetX files and back."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from hw_configs.files import UserError
from lava_models.commands.nir import export_command, import_command
from lava_models.net.netx import read_netx
from lava_models.net.nir_import import read_nir
from lava_models.net.pretrained import PRETRAINED
from lava_models.reference.netx_reference import Drive, NetxReference

DT = 1e-4


def write_graph(path, nodes: dict[str, dict], edges=None):
    """A NIR file as the package nir writes it: /node with nodes, edges and types."""
    names = list(nodes)
    with h5py.File(path, "w") as file:
        file["version"] = "1.0.8"
        file["node/type"] = "NIRGraph"
        file["node/edges"] = np.array(edges or list(zip(names, names[1:])),
                                      dtype=h5py.string_dtype())
        for name, fields in nodes.items():
            for key, value in fields.items():
                file[f"node/nodes/{name}/{key}"] = value
    return path


def lif(n, beta: float = 0.9, threshold: float = 1.0) -> dict:
    """As snnTorch exports its Leaky neuron: tau = dt / (1 - beta), r = tau / dt."""
    tau = np.full(n, DT / (1 - beta))
    return {"type": "LIF", "tau": tau, "r": tau / DT, "v_leak": np.zeros(n),
            "v_threshold": np.full(n, threshold), "v_reset": np.zeros(n)}


def chain(rng: np.random.Generator) -> dict[str, dict]:
    return {
        "input": {"type": "Input", "shape": np.array([2, 8, 8])},
        "conv": {"type": "Conv2d", "input_shape": np.array([8, 8]), "stride": np.array([1, 1]),
                 "weight": rng.normal(size=(3, 2, 3, 3)), "padding": np.array([1, 1]),
                 "dilation": np.array([1, 1]), "groups": 1, "bias": rng.normal(size=3) / 4},
        "lif1": lif((3, 8, 8)),
        "pool": {"type": "SumPool2d", "kernel_size": np.array([2, 2]), "stride": np.array([2, 2]),
                 "padding": np.array([0, 0])},
        "flat": {"type": "Flatten", "start_dim": 0, "end_dim": -1,
                 "input_type": np.array([3, 4, 4])},
        "fc": {"type": "Affine", "weight": rng.normal(size=(6, 48)) / 3, "bias": np.zeros(6)},
        "cuba": {"type": "CubaLIF", "tau_syn": np.full(6, 4 * DT), "tau_mem": np.full(6, 8 * DT),
                 "r": np.full(6, 8.0), "w_in": np.full(6, 4.0), "v_leak": np.full(6, 0.05),
                 "v_threshold": np.ones(6), "v_reset": np.zeros(6)},
        "out": {"type": "Linear", "weight": rng.normal(size=(2, 6))},
        "li": {"type": "LI", "tau": np.full(2, 10 * DT), "r": np.full(2, 10.0),
               "v_leak": np.zeros(2)},
        "output": {"type": "Output", "shape": np.array([2])}}


def euler(nodes: dict[str, dict], spikes: np.ndarray) -> dict[str, np.ndarray]:
    """The graph's equations in floating point, forward Euler, a timestep late at every layer as
    synapses of a chip are: spikes (T, n) per neurons' node."""
    def conv(x, node):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        out = np.zeros((3, 8, 8)) + node["bias"][:, None, None]
        for a, b in np.ndindex(3, 3):
            out += np.einsum("oi,iyx->oyx", node["weight"][:, :, a, b],
                             padded[:, a:a + 8, b:b + 8])
        return out

    sent = {name: [] for name in ("lif1", "cuba", "li")}
    v1, u, v2 = np.zeros((3, 8, 8)), np.zeros(6), np.zeros(6)
    before = np.zeros((2, 8, 8)), np.zeros((3, 8, 8))
    for x in spikes.reshape(-1, 2, 8, 8):
        late, late1 = before
        v1 = 0.9 * v1 + conv(late, nodes["conv"])
        s1 = v1 > 1
        v1[s1] = 0
        pooled = late1.reshape(3, 4, 2, 4, 2).sum(axis=(2, 4))
        u = 0.75 * u + nodes["fc"]["weight"] @ pooled.ravel()
        v2 = 0.875 * v2 + u + 0.05 / 8
        s2 = v2 > 1
        v2[s2] = 0
        sent["lif1"].append(s1.ravel())
        sent["cuba"].append(s2)
        before = x, s1.astype(float)
    return {name: np.array(of) for name, of in sent.items() if of}


def test_an_imported_graph_fires_as_its_equations(tmp_path):
    """Integers round: nearly all spikes of the convolution, and rates of what follows."""
    rng = np.random.default_rng(0)
    nodes = chain(rng)
    path = write_graph(tmp_path / "graph.nir", nodes)
    assert import_command([str(path)]) == 0
    net = read_netx(tmp_path / "graph.net")
    assert [layer.type for layer in net.layers] == ["conv", "dense", "dense"]
    spikes = rng.random((200, 128)) < 0.2
    mine = NetxReference(net).run(Drive(sent=spikes[:, None]), 200).sent
    wanted = euler(nodes, spikes)
    conv, dense, _ = (mine[layer.name][:, 0] for layer in net.layers)
    assert 0.1 < wanted["lif1"].mean() < 0.9 and (conv != wanted["lif1"]).mean() < 0.03
    assert 0.02 < wanted["cuba"].mean() and abs(dense.mean() - wanted["cuba"].mean()) < 0.05


def test_round_trip_keeps_every_integer(tmp_path):
    write_graph(tmp_path / "graph.nir", chain(np.random.default_rng(1)))
    import_command([str(tmp_path / "graph.nir"), "--out", str(tmp_path / "a.net")])
    export_command([str(tmp_path / "a.net"), "--out", str(tmp_path / "again.nir")])
    import_command([str(tmp_path / "again.nir"), "--out", str(tmp_path / "b.net")])
    first, second = (read_netx(tmp_path / name) for name in ("a.net", "b.net"))
    for one, other in zip(first.layers, second.layers, strict=True):
        assert one.neuron == other.neuron and np.array_equal(one.bias, other.bias)
        assert np.array_equal(one.synapses.weight, other.synapses.weight)


def test_the_encoder_of_a_model_net(tmp_path, capsys):
    out = tmp_path / "encoder.nir"
    assert export_command([str(PRETRAINED), "--out", str(out)]) == 0
    assert "transposed convolutions" in capsys.readouterr().out
    with h5py.File(out) as file:
        assert b"noise" in file["node/metadata/left_out_1"][()]
    import_command([str(out), "--out", str(tmp_path / "encoder.net")])
    mine, again = read_netx(PRETRAINED), read_netx(tmp_path / "encoder.net")
    for one, other in zip(mine.layers, again.layers, strict=True):
        assert one.neuron == other.neuron and np.array_equal(one.bias, other.bias)
        assert np.array_equal(one.synapses.weight, other.synapses.weight)


def test_the_package_nir_reads_and_writes_the_same(tmp_path):
    nir = pytest.importorskip("nir", reason="the package nir is not installed")
    write_graph(tmp_path / "graph.nir", chain(np.random.default_rng(2)))
    import_command([str(tmp_path / "graph.nir"), "--out", str(tmp_path / "a.net")])
    export_command([str(tmp_path / "a.net"), "--out", str(tmp_path / "ours.nir")])
    graph = nir.read(tmp_path / "ours.nir")
    nir.write(tmp_path / "theirs.nir", graph)
    (mine, _), (theirs, _) = read_nir(tmp_path / "ours.nir"), read_nir(tmp_path / "theirs.nir")
    assert json.dumps(mine, default=repr) == json.dumps(theirs, default=repr)


@pytest.mark.parametrize(("change", "message"), [
    ({"lif1": {"v_reset": np.full((3, 8, 8), 0.5)}}, r"lif1 \(LIF\): v_reset: .* resets to 0"),
    ({"lif1": {"tau": np.linspace(1, 2, 192) * 1e-3}}, r"lif1 \(LIF\): tau: .* has one for all"),
    ({"lif1": {"tau": np.full((3, 8, 8), 1e-3 + 0j)}}, r"lif1 \(LIF\): tau: holds complex128"),
    ({"lif1": {"type": "Threshold"}}, r"lif1 \(Threshold\): type: known are Input, Output"),
    ({"fc": {"bias": np.ones(6)}}, r"cuba \(CubaLIF\): tau_syn: a bias before it is filtered"),
    ({"li": {"tau": np.full(2, 1e-5)}}, r"li \(LI\): tau: 1e-05 is less than the timestep"),
    ({"conv": {"weight": np.ones((3, 1, 3, 3))}}, r"conv \(Conv2d\): weight: has shape"),
    ({"out": {"weight": np.zeros((2, 6))}}, r"li \(LI\): weight: all weights before it are 0"),
])
def test_what_netx_cannot_say_is_refused(tmp_path, change, message):
    nodes = chain(np.random.default_rng(0))
    for name, fields in change.items():
        nodes[name] = nodes[name] | fields
    with pytest.raises(UserError, match=message) as error:
        import_command([str(write_graph(tmp_path / "a.nir", nodes))])
    assert "\n" not in str(error.value) and not (tmp_path / "a.net").exists()


def test_graphs_that_are_no_chain(tmp_path):
    nodes = chain(np.random.default_rng(0))
    edges = list(zip(list(nodes), list(nodes)[1:]))
    with pytest.raises(UserError, match=r"conv \(Conv2d\): edges: goes to lif1 and pool"):
        read_nir(write_graph(tmp_path / "a.nir", nodes, [*edges, ("conv", "pool")]))
    with pytest.raises(UserError, match="the chain ends here with 8 of 10 nodes"):
        read_nir(write_graph(tmp_path / "a.nir", nodes, edges[:7] + edges[8:]))
    with pytest.raises(UserError, match="no such file"):
        read_nir(tmp_path / "b.nir")
    (tmp_path / "c.nir").write_text("no")
    with pytest.raises(UserError, match="not a readable NIR file"):
        read_nir(tmp_path / "c.nir")


def test_what_nir_cannot_say_is_refused(tmp_path, netx_writer):
    layer = {"type": "dense", "shape": [2], "weight": np.ones((2, 3))}
    for more, message in (
            ({"neuron": {"type": "SDNN", "vThMant": 3}}, "neuron/type: sigma-delta"),
            ({"neuron": {"type": "CUBA", "iDecay": 9, "vDecay": 0, "vThMant": 3}},
             "neuron/vDecay: 0 with a current"),
            ({"delay": np.ones(3), "neuron": {"type": "CUBA", "iDecay": 4096, "vDecay": 9,
                                              "vThMant": 3}}, "delay: delays of synapses")):
        path = netx_writer(tmp_path / "a.net", [layer | more])
        with pytest.raises(UserError, match=message):
            export_command([str(path)])
    assert not (tmp_path / "a.nir").exists()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_pool_before_a_convolution_is_one_convolution(tmp_path, stride):
    """Whole weights stay whole, and the two together sum what they sum one after the other."""
    rng = np.random.default_rng(3)
    nodes = {
        "input": {"type": "Input", "shape": np.array([2, 8, 8])},
        "pool": {"type": "SumPool2d", "kernel_size": np.array([2, 2]), "stride": np.array([2, 2]),
                 "padding": np.array([0, 0])},
        "conv": {"type": "Conv2d", "input_shape": np.array([4, 4]),
                 "stride": np.array([stride] * 2), "weight": rng.integers(-9, 10, (3, 2, 3, 3)),
                 "padding": np.array([1, 1]), "dilation": np.array([1, 1]), "groups": 1,
                 "bias": np.zeros(3)},
        "if": {"type": "IF", "r": np.full((3, 4 // stride, 4 // stride), 1 / DT),
               "v_threshold": np.full((3, 4 // stride, 4 // stride), 30.0)},
        "output": {"type": "Output", "shape": np.array([3, 4 // stride, 4 // stride])}}
    import_command([str(write_graph(tmp_path / "a.nir", nodes))])
    synapses = read_netx(tmp_path / "a.net").layers[0].synapses
    x = rng.integers(0, 5, (2, 8, 8))
    pooled = np.pad(x.reshape(2, 4, 2, 4, 2).sum(axis=(2, 4)), ((0, 0), (1, 1), (1, 1)))
    wanted = np.zeros((3, 4, 4), int)
    for a, b in np.ndindex(3, 3):
        wanted += np.einsum("oi,iyx->oyx", nodes["conv"]["weight"][:, :, a, b],
                            pooled[:, a:a + 4, b:b + 4])
    assert np.array_equal(synapses.matrix() @ x.ravel(), wanted[:, ::stride, ::stride].ravel())


def test_a_graph_of_snntorch(tmp_path):
    """Exported by snnTorch itself; spikes of its Leaky and Synaptic neurons, rounding aside."""
    snn = pytest.importorskip("snntorch", reason="snnTorch is not installed")
    nir = pytest.importorskip("nir")
    torch = pytest.importorskip("torch")
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    common = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    net = torch.nn.Sequential(
        torch.nn.Linear(16, 12), snn.Leaky(beta=0.9 * torch.ones(12), threshold=torch.ones(12),
                                           **common),
        torch.nn.Linear(12, 10, bias=False),
        snn.Synaptic(alpha=0.5 * torch.ones(10), beta=0.8 * torch.ones(10),
                     threshold=torch.ones(10), **common))
    with torch.no_grad():
        for part in (net[0], net[2]):
            part.weight.mul_(3)
        nir.write(tmp_path / "a.nir", export_to_nir(net, torch.rand(16)))
        net[1].reset_hidden(), net[3].reset_hidden()
        spikes = (torch.rand(100, 1, 16) < 0.5).float()
        first = [net[1](net[0](x)) for x in spikes]
        last = [net[3](net[2](x)) for x in first]
    import_command([str(tmp_path / "a.nir")])
    mine = NetxReference(read_netx(tmp_path / "a.net")).run(
        Drive(sent=spikes.numpy() != 0), 102).sent
    for late, (made, wanted) in enumerate(zip(mine.values(), (first, last)), start=1):
        wanted = torch.stack(wanted).numpy() != 0
        assert 0.05 < wanted.mean() and (made[late:late + 100] != wanted).mean() < 0.03
