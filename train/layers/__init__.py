"""What is a layer in training? Synapses, neurons with their surrogate gradient, normalisation.

- blocks: Dense, Conv, ConvT, Readout
- neuron: Lif, Surrogate
- glif: Glif
- integers: IntegerLif
- norm: TdBN
- slayer: slayer
"""
