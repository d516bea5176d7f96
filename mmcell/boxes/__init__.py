"""Boxes: near pairs, fusion, flipped and turned views, anchors."""
