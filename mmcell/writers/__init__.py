"""Files of cells that other programs open; each format has its own module."""
