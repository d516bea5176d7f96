"""Empty glass is told from tissue, whatever the noise and the tint of the lamp."""

import numpy as np
import pytest
from support.stains import stained_image

from mmcell.images.background import shows_only_glass


@pytest.mark.parametrize('color', [(255, 255, 255), (240, 238, 243), (225, 220, 228)])
def test_glass_with_noise_is_glass(rng, color):
    image = np.clip(np.array(color) + rng.normal(0, 6, (300, 410, 3)), 0, 255).astype(np.uint8)
    assert shows_only_glass(image) and shows_only_glass(image[:5, :3])
    # One cell of 12 px.
    image[150:162, 200:212] = (150, 90, 170)
    assert not shows_only_glass(image) and not shows_only_glass(image[:, :, ::-1])


def test_tissue_and_dark_images_are_not(rng):
    assert not shows_only_glass(stained_image(rng))
    assert not shows_only_glass(np.zeros((64, 64, 3), np.uint8))
    assert not shows_only_glass(np.full((64, 64, 3), (245, 225, 235), np.uint8))  # pale eosin
