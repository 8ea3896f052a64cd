"""Where do spikes pass between host and chip? Lava imports every module of this folder, as of
lava_models.processes.

- edges: SpikesIn, SpikesOut
"""
