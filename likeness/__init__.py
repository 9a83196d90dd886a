"""Likeness: a character's face, kept the same. The domain: no torch, no ComfyUI."""

__version__ = "0.1.0"
