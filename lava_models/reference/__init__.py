"""What does a network mean? The integer reference, which every other way to run it must equal.

- simulator: Reference, LayerCell, DrawCell, GateCell, Result, encode_images, decode_images
- neurons: LifNeurons, GlifNeurons, make_neurons
- sums: Sums, make_sums
- rule30: ChipBits
- netx_sums: make_netx_sums
- netx_neurons: make_netx_neurons
- netx_reference: NetxReference, NetxCell, NetxResult, Drive
- host_encoder: host_rates, host_chances
"""
