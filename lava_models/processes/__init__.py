"""What runs on the chip, as Lava sees it? Processes and their models, nothing else.

Lava imports every module of this folder to find process models: keep them light, import-safe and
free of torch, and keep nothing else in here.

- layer: SpikingLayer
- selection: LatentSelection
- store: Store
- random_bits: RandomBits
- clock: Clock
- glif: GLIF
- netx_block: NetxBlock
- host: WaveSource, SpikeProbe, MessageProbe, StateProbe, Receiver
"""
