"""Overlapping tiles: where they lie, and which cells of each are cells of the image."""
