"""Masks of instances as label maps, layers, runs and RLE."""
