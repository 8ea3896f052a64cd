"""How does it run on a chip? --backend loihi2: board, graph, proof and measurement.

Not run on hardware: everything about the chip's side rests on names seen in public code
(lava_models.loihi.extension) and is tested with a double of it.

- extension: NAMES, load, require_all
- board: require_extension, use_board, check_for_chip
- hardware_graph: run_on_chip, planned_processes, ChipRun
- adapters.edges: SpikesIn, SpikesOut
- netx_hardware: NetxChipGraph, run_netx_on_chip, planned_netx_processes, check_netx_for_chip
- proof: Expected, expect, compare_with_expected
- measure: Profilers, measured_section
"""
