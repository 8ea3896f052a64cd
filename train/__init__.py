"""Learns: the Fully Spiking VAE and its relatives on lava-dl SLAYER blocks, and their training.

Wings, each importing only those named before it: backends (what runs a layer's neurons), layers
(synapses, neurons, normalisation), models (fsvae and its relatives). Beside them config, settings,
streams, device, run folder, data, checkpoint, journal, trainer and cli.
"""
