"""Translates: model.pt to model.net, proven spike for spike before the file is put in place.

Reading order, and above it the wing `scores`:

- fold: FloatLayer, FloatGlif, fold
- quantize: Quantized, quantize, quantize_first
- poisson: translate_poisson
- translate: Translation, translate, quantize_layers
- twin: Twinned, has_twin, integer_twin, compare_twin, give_scales
- prove: Proof, prove, deployment_error
- table: layer_table
- cli: export_command
- finetune: finetune_command
"""
