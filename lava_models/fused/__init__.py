"""What do the fused processes compute? Synapses and neurons in an arithmetic of their own.

Written apart from the reference, which it must equal: neither wing imports the other (import-linter
holds them to it), so that comparing them compares arithmetic and not one code with itself.

- cells: FusedLayer, FusedDraw, make_cell
- taps: Taps, DenseTaps, make_taps
- registers: fire, fire_gated
"""
