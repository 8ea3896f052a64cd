"""Learns: the Fully Spiking VAE on lava-dl SLAYER blocks, and its training.

Reading order: config, neuron, norm, blocks, fsvae, losses, data, trainer, cli; then the other
models (glif, poisson, ann, all of model's kind and named in models), integers (quantisation-aware training), activity (spikes
and synops), autoencoder, scores.
"""
