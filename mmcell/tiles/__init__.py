"""Overlapping tiles of an image: where they lie, and which cells of the tiles are cells of the image."""
