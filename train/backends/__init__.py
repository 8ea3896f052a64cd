"""What runs a layer's neurons in training? Compiled loops over plain arrays, for the CPU.

- compiled: fire, fire_backward, keep_memory
- compiled_glif: fire_gated, fire_gated_backward
"""
