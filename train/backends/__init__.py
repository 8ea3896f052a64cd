"""What runs a layer's neurons in training? One interface, and one place that chooses.

- backend: Backend, LifNeurons, GlifValues, Surrogate, Grid
- choice: backend_for, only
- operators: Operators
- loops: CompiledLoops
- compiled: fire, fire_backward, keep_memory
- compiled_glif: fire_gated, fire_gated_backward
"""
