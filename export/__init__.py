"""Translates: model.pt to model.net, proven spike for spike before the file is put in place.

Reading order, and above it the wing `scores`:

- fold: FloatLayer, FloatGlif, fold
- quantize: Quantized, quantize, quantize_first
- poisson: translate_poisson
- translate: Translation, translate, quantize_layers
- twin_blocks: GatedTwin, gated_blocks, prior_blocks
- twin_poisson: PoissonTwin
- twin: Twinned, make_twin, integer_twin, compare_twin, give_scales
- prove: Proof, prove, deployment_error
- table: layer_table
- cli: export_command
- finetune: finetune_command
"""
