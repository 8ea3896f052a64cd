"""What is a network? Its layers, latents and synapses, when each of them fires, and the file.

- layers: Conv, ConvT, Dense, Lif, Glif, Interval, SPIKE, graded, fan_in_bound, membrane_bound
- latents: Selection, Thinning, Clipped, HostBits
- synapse: unroll, subpixel, shared_kernel, split_bias, split_exponents, selection_synapses
- ring: Ring, POPULATIONS, ring_synapses, random_bits, spare_bits
- schedule: Schedule, make_schedule, dilate_decay
- netfile: NetFile, PoissonLatents, RateLatents, HostLayer, PARTS, MODES
- populations: Population, Connection, Host, Neurons, Draw, Relays, Gates, Latches, TickNeurons
- program: Program, build_program, schedule_for
- fields: Field, Reader
- hdf5: read_net, write_net, says_model_net, content_sha256
- pretrained: PRETRAINED, PRETRAINED_COST
"""
