"""--backend loihi2: board -> graph -> proof, measure; the command puts them together.

Not run on hardware: everything about the chip's side rests on names seen in public code
(lava_models.loihi.extension) and is tested with a double of it.
"""
