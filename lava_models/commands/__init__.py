"""What can be asked from a shell? One module per command, and what the commands share.

Heavy imports are inside the functions here, so that --help is quick.

- run_lava: run_lava_command
- run_sim: run_sim
- run_loihi: ChipOptions, check_options, run_loihi
- run_netx: NetxCommand, run_netx
- run_netx_loihi: run_netx_loihi
- energy_report: energy_report_command
- fit_network: fit_network
- nir: import_command, export_command
- random_bits_battery: battery_command
- test_images: load_images
- console: make_console
- meters: MachineMeters
"""
