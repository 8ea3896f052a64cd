"""What runs a layer's neurons in training? One interface, and one place that chooses.

- backend: Backend, LifNeurons, GlifValues, Surrogate, Grid
- choice: backend_for, choose
- operators: Operators
- loops: CompiledLoops, Kernels
- triton_blocks: TritonBlocks
- triton_kernels: fire, fire_backward, fire_gated, fire_gated_backward
- slayer: Slayer
- lava_dl: slayer
- rows: to_rows, from_rows
- compiled: fire, fire_backward, keep_memory
- compiled_glif: fire_gated, fire_gated_backward
"""
