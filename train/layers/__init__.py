"""What is a layer in training? Synapses, neurons with their surrogate gradient, normalisation.

- blocks: Dense, Conv, ConvT, Readout
- neuron: Lif
- glif: Glif
- integers: IntegerLif
- norm: TdBN
"""
