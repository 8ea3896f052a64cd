"""What does a run cost? Counted in spikes and synops; modelled in cores, energy and time.

- counts: LayerCount, count_run, save_counts, load_counts
- description: Network, LayerDescription, Synapses
- describe: describe, read_description, to_toml
- networks: read_network, describe_netx
- reach: convolution_reach, convolution_synapses, reach_of_pixels
- words: CoreUse, COLUMNS
- matrices: Rows
- tiles: Tile, Tiles, Convolution
- mapper: Fit, LayerFit, fit, published_differences
- forms: choose_forms, form_of
- energy: Activity, Estimate, Interval, activity_of_run, activity_at_rate, estimate
- ann: AnnWork, work_of_net, work_of_network, ann_energy, break_even
- estimates: Hardware, Cost, load_hardware, place, place_described, cost_of_run, fit_section
- baselines: baseline_section, netx_baselines, quantised_ann, break_even_text, host_work
- tables: TABLES, core_rows, timestep_rows, write_tables
- validation: page
"""
