"""The adapters, in a folder of their own: Lava imports every module beside a Process."""
