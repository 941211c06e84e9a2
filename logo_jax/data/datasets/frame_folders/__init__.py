"""A user's own clips, with classes of her own."""

from logo_jax.data.datasets.frame_folders.builder import FrameFolders

__all__ = ["FrameFolders"]
