"""How good is a model, and what does deployment cost? Every form of it, scored alike.

- forms: Form, forms
- scoring: Scores, score_form, chip_cost
- distances: Frechet, Inception
- autoencoder: Autoencoder, load_autoencoder
- operations: Operations, operations
- curve: learning_curve, draw_curves
- table: markdown, terminal
- score: score_command
- sweep: sweep_command
"""
