"""Stain normalisation: known stains are found and replaced, the formula in CIELAB, images that stay as they are."""

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab
from support.stains import EOSIN, HAEMATOXYLIN, stained_image

from mmcell.images import stain_normalization as normalization

OTHER_STAINS = np.array([[.55, .74, .38], [.17, .85, .50]])


def unit(rows):
    return np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)


def amounts_of_tissue(seed=0, shape=(120, 160)):
    """Amounts (H, W, 2) of two stains: pixels of each stain, mixtures, and empty glass."""
    rng = np.random.default_rng(seed)
    share = rng.beta(.3, .3, shape)
    return np.stack([share, 1 - share], axis=-1) * rng.uniform(.5, 1.6, (*shape, 1)) * (rng.random((*shape, 1)) > .3)


def stain(amounts, stains):
    return np.rint(240 * np.exp(-amounts @ stains)).astype(np.uint8)


def differences(image, other):
    return np.abs(image.astype(int) - other)


def test_known_stains_and_amounts_are_found():
    stains, amounts = unit([HAEMATOXYLIN, EOSIN]), amounts_of_tissue()
    found = normalization.estimate_stains(stain(amounts, stains))
    # The percentiles leave out 1 % of the angles on each side.
    np.testing.assert_allclose(found.stains, stains, atol=.02)
    tissue = amounts[amounts.any(axis=-1)]
    np.testing.assert_allclose(found.amounts, np.percentile(tissue, 99, axis=0), rtol=.03)


@pytest.mark.parametrize('fraction', [.02, .5])
def test_empty_glass_does_not_change_what_is_found(fraction):
    amounts = amounts_of_tissue()
    amounts[np.random.default_rng(1).random(amounts.shape[:2]) > fraction] = 0
    found = normalization.estimate_stains(stain(amounts, unit([HAEMATOXYLIN, EOSIN])))
    np.testing.assert_allclose(found.amounts, [1.55, 1.55], atol=.1)


def test_the_same_tissue_in_different_stains_becomes_equal():
    amounts = amounts_of_tissue()
    first, second = stain(amounts, unit([HAEMATOXYLIN, EOSIN])), stain(amounts * [1.3, .8], unit(OTHER_STAINS))
    assert np.quantile(differences(first, second), .9) > 20
    normalized = [normalization.normalize_stains(image) for image in (first, second)]
    assert differences(*normalized).max() <= 6 and differences(*normalized).mean() < 1
    np.testing.assert_allclose(normalization.estimate_stains(normalized[0]).stains,
                               normalization.STANDARD_STAINS.stains, atol=.02)
    # One of them normalised to the other one is the other one.
    target = normalization.estimate_stains(second)
    assert differences(normalization.normalize_stains(first, target), second).max() <= 6


@pytest.mark.parametrize(('measure', 'normalize'), [
    (normalization.estimate_stains, normalization.normalize_stains),
    (normalization.measure_colors, normalization.normalize_colors)])
def test_an_image_normalised_to_itself_is_unchanged(measure, normalize):
    image = stained_image(np.random.default_rng(0))
    before = image.copy()
    assert differences(normalize(image, measure(image)), image).max() <= 1
    assert differences(normalize(image), image).max() > 20
    np.testing.assert_array_equal(normalize(image), normalize(image.copy()))
    np.testing.assert_array_equal(image, before)


def test_colors_get_the_means_and_deviations_of_the_target():
    image = stained_image(np.random.default_rng(0))
    found = normalization.measure_colors(image)
    lab = rgb2lab(image)
    np.testing.assert_allclose(found.means, lab.mean(axis=(0, 1)), atol=.2)
    np.testing.assert_allclose(found.deviations, lab.std(axis=(0, 1)), atol=.2)
    # A target inside the colours that RGB can show, so that nothing is clipped.
    target = normalization.ColorTarget(np.array([65., 10, -8]), np.array([6., 4, 3]))
    changed = normalization.normalize_colors(image, target)
    expected = lab2rgb((lab - lab.mean(axis=(0, 1))) / lab.std(axis=(0, 1)) * target.deviations + target.means) * 255
    assert np.abs(changed - expected).max() < 2
    np.testing.assert_allclose(normalization.measure_colors(changed).means, target.means, atol=.2)


GRAY = np.repeat(np.random.default_rng(0).integers(60, 250, (40, 40, 1), np.uint8), 3, axis=2)
DEGENERATE = {
    'white': np.full((40, 40, 3), 255, np.uint8), 'black': np.zeros((40, 40, 3), np.uint8), 'gray': GRAY,
    'one colour': np.full((40, 40, 3), (200, 120, 180), np.uint8),
    'one pixel': np.full((1, 1, 3), (200, 120, 180), np.uint8),
    'fluorescence': np.random.default_rng(0).integers(0, 40, (40, 40, 3), np.uint8)}


@pytest.mark.parametrize('image', DEGENERATE.values(), ids=DEGENERATE)
def test_images_without_stains_are_returned_unchanged(image):
    assert normalization.normalize_stains(image) is image
    assert normalization.normalize_colors(image) is image


def test_one_stain_is_not_taken_for_two():
    amounts = amounts_of_tissue() * [1, 0]
    image = stain(amounts, unit([HAEMATOXYLIN, EOSIN]))
    assert normalization.normalize_stains(image) is image


def test_shades_of_one_dye_are_not_turned_around():
    # Dark nuclei have a little less red density per blue density than the pale background, as if they were eosin.
    rng = np.random.default_rng(0)
    nuclei = rng.random((100, 100, 1)) < .1
    colors = unit([[.62, .74, .25], [.40, .91, .09]])
    amounts = np.where(nuclei, [.1, 1.6], [.5, .05]) * rng.uniform(.8, 1.2, (100, 100, 2))
    image = stain(amounts, colors)
    assert normalization.estimate_stains(image) is not None
    assert normalization.normalize_stains(image) is image


def test_a_speck_of_tissue_is_not_enough():
    image = np.full((100, 100, 3), 245, np.uint8)
    image[:5, :10] = stain(amounts_of_tissue(shape=(5, 10)), unit([HAEMATOXYLIN, EOSIN]))
    assert normalization.normalize_stains(image) is image


def test_red_and_blue_are_not_mixed_up():
    image = stained_image(np.random.default_rng(0))
    swapped = np.ascontiguousarray(image[..., ::-1])
    found, found_swapped = normalization.estimate_stains(image), normalization.estimate_stains(swapped)
    # Haematoxylin absorbs more red than blue, eosin hardly any red.
    assert found.stains[0, 0] > found.stains[0, 2] and found.stains[0, 0] > found.stains[1, 0] + .2
    # What is found in an image whose channels are swapped are the swapped stains: it must be read in the right order.
    order = [0, 1] if np.allclose(found_swapped.stains[0, ::-1], found.stains[0], atol=1e-6) else [1, 0]
    np.testing.assert_allclose(found_swapped.stains[order][:, ::-1], found.stains, atol=1e-6)
    right, wrong = normalization.normalize_stains(image), normalization.normalize_stains(swapped)
    assert differences(right, wrong[..., ::-1]).mean() > 10
