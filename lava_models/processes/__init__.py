"""Lava processes. Lava imports every module of this folder to find process models: keep them
light, import-safe and free of torch, and keep nothing else in here."""
