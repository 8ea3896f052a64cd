"""What does a run leave behind? The record (JSON), its renderings, pictures, and what differs.

- record: build_report, with_cost, validate_report, read_report, write_report
- rows: facts, layer_rows, energy_rows, fit_rows, measured_rows, baseline_rows, si, interval
- render: to_html, to_markdown, to_terminal, fit_to_terminal
- differences: Difference, differences
- netx_results: NetxFinished, save_netx_run, cost_of_netx
- pictures: save_grid, save_pairs, save_raster, save_layer_rasters, save_readout
- file_names: check_file_name, file_of
- recheck: Files, Finding, recheck
- netx_recheck: recheck_netx, netx_of, cost_of_netx_record
- provenance: commit, versions
- results: Finished, save_run
"""
