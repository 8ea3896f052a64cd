"""What is a network? Its layers, latents and synapses, when each of them fires, and the file.

- layers: Conv, ConvT, Dense, Lif, Glif, Interval, SPIKE, graded, fan_in_bound, membrane_bound
- latents: Selection, Thinning, Clipped, HostBits
- synapse: unroll, subpixel, shared_kernel, split_bias, split_exponents, selection_synapses
- ring: Ring, POPULATIONS, ring_synapses, random_bits, spare_bits
- schedule: Schedule, make_schedule, dilate_decay
- netfile: NetFile, PoissonLatents, RateLatents, HostLayer, origin_of, PARTS, MODES
- populations: Population, Connection, Host, Neurons, Draw, Relays, Gates, Latches, RingNeurons
- program: Program, build_program, schedule_for
- netx_layers: NetxLayer, DenseSynapses, ConvSynapses, Cuba, Delta, SigmaDelta, Sigma, stock_weights
- netx_entry: LayerEntry
- netx: NetxFile, NetxOptions, read_netx
- netx_write: write_netx
- nir_import: read_nir, Imported, TIMESTEP
- nir_export: write_nir, LEFT_OUT
- netx_input: NetxInput, read_input
- netx_program: build_netx_program
- hdf5_input: open_hdf5, is_hdf5, entry_of, values_of, check_heaps
- fields: Field, Reader
- hdf5: read_net, write_net, says_model_net, content_sha256
- pretrained: BEST, NETWORKS, PRETRAINED, PRETRAINED_COST
"""
