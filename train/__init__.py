"""Learns: the Fully Spiking VAE on lava-dl SLAYER blocks, and its training.

Reading order: config, neuron, norm, blocks, fsvae, losses, data, trainer, cli.
"""
