"""Synthetic images in the colours of haematoxylin and eosin."""

import numpy as np

# Optical densities of the stains for red, green and blue (Ruifrok and Johnston 2001).
HAEMATOXYLIN, EOSIN, DAB = (np.array(values) for values in ((.65, .70, .29), (.07, .99, .11), (.27, .57, .78)))


def stained_image(rng, shape=(64, 96), nuclear_stain=HAEMATOXYLIN, tissue_stain=EOSIN):
    """Returns an image (H, W, 3) uint8, red first: nuclei in pale tissue, and a margin without tissue."""
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    nuclei = (yy % 16 - 8) ** 2 + (xx % 16 - 8) ** 2 <= 25
    amount = np.stack([nuclei * 1.2, (xx > shape[1] // 8) * .5], axis=-1) * rng.uniform(.8, 1.2, (*shape, 1))
    densities = amount @ np.stack([nuclear_stain, tissue_stain])
    return np.clip(245 * np.exp(-densities) + rng.normal(0, 2, (*shape, 3)), 0, 255).astype(np.uint8)
