"""Stain, focus, noise, gamma and JPEG: formulas against other packages, limits, statistics, and the same by seed."""

import io

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from PIL import Image
from scipy import ndimage
from skimage.color import hed2rgb, hed_from_rgb, rgb2hed, rgb_from_hed

from mmcell.images import appearance


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def change_stains_plainly(image, factors, offsets):
    """The formula in float64, step by step."""
    density = -np.log10(np.maximum(image / 255, 1e-6))
    amounts = density @ hed_from_rgb * factors + offsets
    return np.clip(255 * 10 ** -(amounts @ rgb_from_hed), 0, 255)


def test_stain_change_follows_the_formula(image):
    np.testing.assert_array_equal(appearance.RGB_FROM_HED, rgb_from_hed)
    rng = np.random.default_rng(1)
    for _ in range(20):
        factors, offsets = rng.uniform(.7, 1.3, 3), rng.uniform(-.2, .2, 3)
        expected = change_stains_plainly(image, factors, offsets)
        assert np.abs(appearance.change_stains(image, factors, offsets) - expected).max() < .51


def test_no_stain_change_gives_every_grey_value_back():
    values = np.arange(256, dtype=np.uint8)
    image = np.stack(np.meshgrid(values, values), axis=-1)
    image = np.concatenate([image, image[..., :1][::-1]], axis=-1)
    np.testing.assert_array_equal(appearance.change_stains(image, np.ones(3), np.zeros(3)), image)


def test_stain_change_equals_scikit_image_where_no_amount_is_negative():
    amounts = np.random.default_rng(2).uniform(.02, .1, (30, 30, 3))
    image = np.rint(hed2rgb(amounts) * 255).astype(np.uint8)
    factors, offsets = np.array([1.1, .9, 1.05]), np.array([.01, .02, -.005])
    assert (rgb2hed(image) > 0).all()
    expected = hed2rgb(rgb2hed(image) * factors + offsets) * 255
    changed = appearance.change_stains(image, factors, 6 * offsets)
    assert np.abs(changed - expected).max() < .51
    assert np.abs(changed.astype(int) - image).max() > 5


def test_only_stained_brightfield_is_changed(image):
    transform = TRANSFORMS.build(dict(type='StainJitter', alpha=.2, beta=.2))
    gray = np.repeat(np.arange(120, 220, dtype=np.uint8).reshape(10, 10, 1), 3, axis=2)
    for unstained in (image // 6, gray):
        assert transform(dict(img=unstained))['img'] is unstained
    assert (transform(dict(img=image))['img'] != image).any()
    everything = TRANSFORMS.build(dict(type='StainJitter', alpha=.2, beta=.2, brightfield_only=False))
    assert (everything(dict(img=gray))['img'] != gray).any()


def test_stain_ranges():
    transform = TRANSFORMS.build(dict(type='StainJitter', alpha=.1, beta=.03))
    np.random.seed(0)
    factors, offsets = (np.array(values) for values in zip(*(transform._draw() for _ in range(2000)), strict=True))
    for values, low, high in ((factors, .9, 1.1), (offsets, -.03, .03)):
        assert low <= values.min() < low + .02 * (high - low) and high - .02 * (high - low) < values.max() <= high
        np.testing.assert_allclose(values.std(axis=0), (high - low) / 12 ** .5, rtol=.05)
        assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < .1


def test_disc():
    np.testing.assert_array_equal(appearance.disc_kernel(0), [[1]])
    for radius in (1, 2.5, 7):
        kernel = appearance.disc_kernel(radius)
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_array_equal(kernel, kernel.T)
        assert 1 / kernel.max() == pytest.approx(np.pi * radius ** 2, rel=.05)


def test_defocus_is_a_convolution(image):
    blurred = appearance.defocus(image, 2.5)
    kernel = appearance.disc_kernel(2.5)[..., None]
    expected = ndimage.convolve(image.astype(float), kernel, mode='reflect')
    assert np.abs(blurred - expected).max() < .51
    np.testing.assert_array_equal(appearance.defocus(image, 0), image)


@pytest.mark.parametrize(('value', 'sigma', 'photons'), [(100, 6, np.inf), (100, 0, 500), (180, 5, 1000)])
def test_noise_has_the_stated_variance(value, sigma, photons):
    noisy = appearance.add_noise(np.full((200, 200, 3), value, np.uint8), sigma, photons, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(value, abs=.15)
    # Rounding adds 1/12.
    assert noisy.var() == pytest.approx(sigma ** 2 + 255 * value / photons + 1 / 12, rel=.03)
    assert abs(np.corrcoef(noisy.reshape(-1, 3).T)[0, 1]) < .03


def test_no_noise_and_no_gamma_give_the_image_back(image):
    np.testing.assert_array_equal(appearance.add_noise(image, 0, np.inf, np.random.default_rng(0)), image)
    np.testing.assert_array_equal(appearance.change_gamma(image, 1), image)


def test_gamma(image):
    np.testing.assert_array_equal(appearance.change_gamma(image, 1.5), np.rint(255 * (image / 255) ** 1.5))
    transform = TRANSFORMS.build(dict(type='GammaJitter', max_gamma=2.))
    np.random.seed(0)
    logarithms = np.log2([transform._draw() for _ in range(1000)])
    assert -1 <= logarithms.min() < -.98 and .98 < logarithms.max() <= 1 and abs(logarithms.mean()) < .06


def test_jpeg_is_what_another_library_reads(image):
    image = ndimage.gaussian_filter(image, (2, 2, 0))
    errors = []
    for quality in (100, 60, 10):
        compressed = appearance.compress_as_jpeg(image, quality)
        file = io.BytesIO()
        Image.fromarray(image).save(file, 'JPEG', quality=quality)
        difference = compressed.astype(int) - np.asarray(Image.open(file))
        assert np.abs(difference).mean() < 1.5
        errors.append(np.abs(compressed.astype(int) - image).mean())
    assert errors[0] < 3 and errors == sorted(errors) and errors[2] > 2 * errors[0]


ALL = [dict(type='StainJitter', alpha=.2, beta=.1, prob=.5), dict(type='DefocusBlur', prob=.5),
       dict(type='ImageNoise', prob=.5), dict(type='GammaJitter', prob=.5), dict(type='JPEGArtefacts', prob=.5)]


@pytest.mark.parametrize('config', ALL, ids=lambda config: config['type'])
def test_transforms_change_the_stated_fraction_and_nothing_but_the_image(config, image):
    transform = TRANSFORMS.build(config)
    assert repr(transform).startswith(config['type'] + '(') and 'prob=0.5' in repr(transform)
    original = image.copy()
    changed = 0
    for seed in range(200):
        outputs = []
        for _ in range(2):
            np.random.seed(seed)
            results = transform(dict(img=image, img_shape=(40, 50)))
            assert set(results) == {'img', 'img_shape'}
            outputs.append(results['img'])
        np.testing.assert_array_equal(*outputs)
        assert outputs[0].dtype == np.uint8 and outputs[0].shape == image.shape
        changed += (outputs[0] != image).any()
    assert 70 < changed < 130
    np.testing.assert_array_equal(image, original)


@pytest.mark.parametrize('config', ALL, ids=lambda config: config['type'])
@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 7, 3), (9, 1, 3)])
def test_tiny_images(config, shape):
    image = np.full(shape, (200, 150, 180), np.uint8)
    for _ in range(10):
        assert TRANSFORMS.build(config | dict(prob=1))(dict(img=image))['img'].shape == shape


@pytest.mark.parametrize('config', [
    dict(type='StainJitter', alpha=1.1), dict(type='StainJitter', beta=-1), dict(type='DefocusBlur', prob=2),
    dict(type='DefocusBlur', radius_px=(3, 1)), dict(type='ImageNoise', photons=(0, 10)),
    dict(type='ImageNoise', sigma=(-1, 1)), dict(type='GammaJitter', max_gamma=.5),
    dict(type='JPEGArtefacts', quality=(0, 50)), dict(type='JPEGArtefacts', quality=(50, 101)),
    dict(type='JPEGArtefacts', quality=(50.5, 60))])
def test_values_out_of_range_are_refused(config):
    with pytest.raises(ValueError, match='must be'):
        TRANSFORMS.build(config)
