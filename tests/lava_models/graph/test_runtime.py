"""What a graph takes to start: models are looked for once per class, and the runtime's own ways are
back afterwards."""

from __future__ import annotations

import gc
from collections import Counter

from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs

from lava_models import ChipBits
from lava_models.graph.lava_graph import run_graph


def test_models_are_found_once(net_factory, monkeypatch):
    net, searched = net_factory(), Counter()
    search = ProcGroupDiGraphs._find_proc_models

    def counted(proc):
        searched[type(proc)] += 1
        return search(proc)

    monkeypatch.setattr(ProcGroupDiGraphs, "_find_proc_models", staticmethod(counted))
    run_graph(net, "generate", ChipBits.of(net, "generate", 0), 1, graph="stock")
    assert len(searched) > 5 and set(searched.values()) == {1}
    assert ProcGroupDiGraphs._find_proc_models is counted
    assert gc.get_freeze_count() == 0
