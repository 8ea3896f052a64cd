"""What is a network? Its layers, latents and synapses, when each of them fires, and the file.

- layers: Conv, ConvT, Dense, Lif, Glif, fan_in_bound, membrane_bound, check_layer
- latents: Selection, Thinning, HostBits
- synapse: unroll, subpixel, shared_kernel, split_bias, split_exponents, selection_synapses
- schedule: Schedule, schedule_for, dilate_decay, layer_order
- netfile: NetFile, PoissonLatents, HostLayer, PARTS
- hdf5: read_net, write_net
- pretrained: PRETRAINED, PRETRAINED_COST
"""
