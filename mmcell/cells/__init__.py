"""Predicted cells of one image as arrays: what they are, and what is selected, measured and outlined of them."""
