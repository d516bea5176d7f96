from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.stains import DAB, EOSIN, HAEMATOXYLIN, stained_image

from mmcell.images.channel_order import MAX_IMAGES, count_swapped, looks_swapped, nuclear_hue, read_samples
from mmcell.images.image_file import open_image, read_image


def test_nuclei_tell_the_order_and_swapping_reverses_the_sign(rng):
    image = stained_image(rng)
    assert looks_swapped(image) is False and looks_swapped(image[:, :, ::-1]) is True
    assert nuclear_hue(image[:, :, ::-1]) == pytest.approx(-nuclear_hue(image), abs=1e-9)
    # Of the densities of the two stains, haematoxylin has (.65 - .29) / (.65 + .29) = .38.
    assert nuclear_hue(image) == pytest.approx(.38, abs=.05)


def test_large_images_and_weak_stains_tell_it_too(rng):
    assert looks_swapped(np.tile(stained_image(rng), (20, 20, 1))) is False
    assert looks_swapped(stained_image(rng, nuclear_stain=.4 * HAEMATOXYLIN, tissue_stain=.6 * EOSIN)) is False


def colorful_fluorescence(rng):
    """Nuclei in blue and another label in green, on black."""
    image = np.zeros((64, 96, 3), np.uint8)
    bright = stained_image(rng)[:, :, 1] < 120
    image[..., 2] = bright * 220
    image[..., 1] = (np.indices(bright.shape)[0] % 20 < 5) * 160
    return image + rng.integers(0, 9, image.shape).astype(np.uint8)


@pytest.mark.parametrize('make', [
    lambda rng: np.full((40, 50, 3), 240, np.uint8), lambda rng: np.zeros((40, 50, 3), np.uint8),
    lambda rng: rng.integers(0, 256, (40, 50, 1), np.uint8).repeat(3, 2), colorful_fluorescence,
    lambda rng: rng.integers(0, 256, (1, 1, 3), np.uint8), lambda rng: rng.integers(0, 256, (1, 300, 3), np.uint8),
    # Brown nuclei of immunohistochemistry are brown in true colours.
    lambda rng: stained_image(rng, nuclear_stain=DAB, tissue_stain=.3 * HAEMATOXYLIN),
])
def test_other_images_tell_nothing_in_either_order(make, rng):
    image = make(rng)
    assert looks_swapped(image) is None and looks_swapped(image[:, :, ::-1]) is None


def test_files_are_counted_and_bad_ones_skipped(tmp_path, rng):
    paths = []
    for index in range(MAX_IMAGES + 5):
        paths.append(tmp_path / f'{index}.tif')
        tifffile.imwrite(paths[-1], stained_image(rng, (40, 40))[:, :, ::-1], photometric='rgb')
    assert count_swapped(paths) == (13, 0)  # every second file
    paths[0].write_bytes(b'II*')
    assert count_swapped([paths[0], Path('none.tif'), paths[1]]) == (1, 0)
    assert count_swapped([]) == (0, 0)


@pytest.mark.parametrize('shape, expected', [((1300, 1500), (4608, 512)), ((30, 2000), (270, 512))])
def test_samples_of_large_images_are_spread_over_them(tmp_path, shape, expected):
    ramp = np.zeros((*shape, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, shape[1])
    tifffile.imwrite(tmp_path / 'a.tif', ramp, photometric='rgb', tile=(128, 128))
    with open_image(tmp_path / 'a.tif') as opened:
        samples = read_samples(opened)
    assert samples.shape[:2] == expected and samples[..., 0].min() == 0 and samples[..., 0].max() == 255


def verdicts(paths):
    """Returns the numbers of images that look swapped, that look right, and that do not tell."""
    found = [looks_swapped(read_image(path)) for path in paths]
    return tuple(map(found.count, (True, False, None)))


def test_real_images_are_judged_rightly_or_not_at_all(real_data):
    """The numbers of docs/studies/red_and_blue.md; a third of the files, to save time."""
    swapped = [*real_data.glob('hw3/train/*/image.tif'), *real_data.glob('hw3/test_release/*.tif')]
    right = [*real_data.glob('consep/train/*/image.tif'), *real_data.glob('dsb2018/*/*.png')]
    n_swapped, n_wrong, _ = verdicts(sorted(swapped)[::3])
    assert n_wrong == 0 and n_swapped >= 13
    n_wrong, n_right, _ = verdicts(sorted(right)[::3])
    assert n_wrong == 0 and n_right >= 11
