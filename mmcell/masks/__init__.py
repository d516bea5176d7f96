"""Masks of instances: as label maps, in layers, as runs of pixels, and as RLE."""
