"""How does Lava run it on a CPU? The process graph, its runtime, and the proof that it is right.

- lava_graph: run_graph, GraphRun, Interrupted, choose_lanes, choose_record
- wiring: Wiring
- runtime: start, wait_for, abandon, deadline
- netx_graph: run_netx_graph, NetxGraph
- netx_stock: run_stock
- netx_run: run_samples, NetxRun, steps_of
- netx_compare: compare_messages
- compare: Comparison, compare_with_reference
"""
