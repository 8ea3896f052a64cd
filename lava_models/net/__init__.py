"""What is a network? Its layers, latents and synapses, when each of them fires, and the file.

- layers: Conv, ConvT, Dense, Lif, Glif, fan_in_bound, membrane_bound, check_layer
- latents: Selection, Thinning, Clipped, HostBits
- synapse: unroll, subpixel, shared_kernel, split_bias, split_exponents, selection_synapses
- ring: Ring, POPULATIONS, ring_synapses, random_bits, spare_bits
- schedule: Schedule, make_schedule, dilate_decay
- netfile: NetFile, PoissonLatents, RateLatents, HostLayer, PARTS, MODES
- populations: Population, Connection, Host, Neurons, Draw, Relays, Gates, Latches, RingNeurons,
  TickNeurons
- program: Program, build_program, schedule_for
- hdf5: read_net, write_net
- pretrained: PRETRAINED, PRETRAINED_COST
"""
