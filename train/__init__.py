"""Learns: the Fully Spiking VAE on lava-dl SLAYER blocks, and its training.

Reading order: config, neuron, norm, blocks, fsvae, losses, data, trainer, cli; then the other
models (model, models, glif, poisson, ann), integers (quantisation-aware training), activity (spikes
and synops), autoencoder, scores.
"""
