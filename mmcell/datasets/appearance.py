"""Transforms that change how an image looks, but not where its cells lie: stain, focus, noise, gamma, JPEG."""

import math
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from mmcell.images import appearance


def check_uint8(name: str, image: np.ndarray) -> None:
    """Refuses an image that is not uint8 for the transform with a name.

    Raises:
        ValueError: The image has another type, as behind ``PhotoMetricDistortion``, whose values reach 350.
    """
    if image.dtype != np.uint8:
        raise ValueError(f'{name} needs images of uint8 values, got {image.dtype}: place it before the transforms that '
                         'return other types, such as PhotoMetricDistortion')


class _AppearanceTransform(BaseTransform):
    """Changes ``img``, (H, W, 3) uint8 RGB, of a fraction ``prob`` of the samples; boxes and masks stay as they are."""

    def __init__(self, prob: float) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        self.prob = prob

    @cache_randomness
    def _is_applied(self) -> bool:
        return np.random.random() < self.prob

    def transform(self, results: dict) -> dict:
        """Changes the image of the sample, or leaves it as it is."""
        if self._is_applied():
            check_uint8(type(self).__name__, results['img'])
            results['img'] = self._change(results['img'])
        return results

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value}' for name, value in vars(self).items() if not name.startswith('_'))
        return f'{type(self).__name__}({arguments})'


def _check_range(name: str, values: Sequence[float], least: float = 0) -> tuple[float, float]:
    low, high = values
    if not least <= low <= high:
        raise ValueError(f'{name} must be (low, high) with {least} <= low <= high, got {tuple(values)}')
    return low, high


@TRANSFORMS.register_module()
class StainJitter(_AppearanceTransform):
    """Changes the amounts of haematoxylin, eosin and DAB at random (HED jitter; Tellez et al. 2019, arXiv:1902.06543).

    For each stain, the amount s becomes alpha * s + beta, with alpha from U(1 - s_alpha, 1 + s_alpha) and beta from
    U(-s_beta, s_beta); see :func:`mmcell.images.appearance.change_stains` for the units. Laboratories differ most in
    stain, and an image whose stain is changed is one that another laboratory could have made.

    The text of the paper could not be checked. Public code that cites it for "HED-light" uses .05 and the units of
    scikit-image's ``rgb2hed``; ranges for a stronger jitter, and the space that the paper works in, were not confirmed.

    Required and modified key: img, (H, W, 3) uint8 RGB.

    Args:
        alpha: Half the width of the range of the factors, 0 to 1.
        beta: Half the width of the range of the added amounts, in optical density (log10). Positive values tint the
            empty background, too. In units of ``skimage.color.rgb2hed``, values are a sixth of these.
        prob: The fraction of images that are changed, 0 to 1.
        brightfield_only: Whether images that are dark or grey, such as fluorescence, are left as they are.

    Raises:
        ValueError: A value is outside of the ranges above.
    """

    def __init__(self, alpha: float = .05, beta: float = .05, prob: float = 1, brightfield_only: bool = True) -> None:
        super().__init__(prob)
        if not 0 <= alpha <= 1 or not 0 <= beta < math.inf:
            raise ValueError(f'alpha must be in [0, 1] and beta at least 0, got {alpha} and {beta}')
        self.alpha, self.beta, self.brightfield_only = alpha, beta, brightfield_only

    @cache_randomness
    def _draw(self) -> tuple[np.ndarray, np.ndarray]:
        return np.random.uniform(1 - self.alpha, 1 + self.alpha, 3), np.random.uniform(-self.beta, self.beta, 3)

    def _change(self, image: np.ndarray) -> np.ndarray:
        factors, offsets = self._draw()
        if self.brightfield_only and not appearance.is_stained_brightfield(image):
            return image
        return appearance.change_stains(image, factors, offsets)


@TRANSFORMS.register_module()
class DefocusBlur(_AppearanceTransform):
    """Blurs with a disc, as a lens out of focus does. For a Gaussian there is ``mmpretrain.GaussianBlur``.

    Required and modified key: img, (H, W, 3) uint8.

    Args:
        radius_px: (low, high), the range of the disc's radius in px, drawn with equal probabilities.
        prob: The fraction of images that are blurred, 0 to 1.

    Raises:
        ValueError: A range or ``prob`` is not as above.
    """

    def __init__(self, radius_px: tuple[float, float] = (.5, 2.5), prob: float = .2) -> None:
        super().__init__(prob)
        self.radius_px = _check_range('radius_px', radius_px)

    @cache_randomness
    def _draw(self) -> float:
        return np.random.uniform(*self.radius_px)

    def _change(self, image: np.ndarray) -> np.ndarray:
        return appearance.defocus(image, self._draw())


@TRANSFORMS.register_module()
class ImageNoise(_AppearanceTransform):
    """Adds the noise of camera and light; see :func:`mmcell.images.appearance.add_noise`.

    Required and modified key: img, (H, W, 3) uint8.

    Args:
        sigma: (low, high), the range of the standard deviation of the camera's noise in grey values.
        photons: (low, high), the range of the photons that white counts: few photons make much noise. Both limits may
            be infinity, for no such noise.
        prob: The fraction of images that get noise, 0 to 1.

    Raises:
        ValueError: A range or ``prob`` is not as above.
    """

    def __init__(self, sigma: tuple[float, float] = (0, 8), photons: tuple[float, float] = (200, 5000),
                 prob: float = .2) -> None:
        super().__init__(prob)
        self.sigma, self.photons = _check_range('sigma', sigma), _check_range('photons', photons, least=1)

    @cache_randomness
    def _draw(self) -> tuple[float, float, int]:
        # The variance is proportional to 1 / photons, which is drawn with equal probabilities.
        inverse = np.random.uniform(1 / self.photons[1], 1 / self.photons[0])
        photons = 1 / inverse if inverse else math.inf
        return np.random.uniform(*self.sigma), photons, np.random.randint(2 ** 31)

    def _change(self, image: np.ndarray) -> np.ndarray:
        sigma, photons, seed = self._draw()
        return appearance.add_noise(image, sigma, photons, np.random.default_rng(seed))


@TRANSFORMS.register_module()
class GammaJitter(_AppearanceTransform):
    """Raises intensities to a random power, which is as often gamma as 1 / gamma.

    Required and modified key: img, (H, W, 3) uint8.

    Args:
        max_gamma: At least 1. The logarithm of the power is drawn from U(-log(max_gamma), log(max_gamma)).
        prob: The fraction of images that are changed, 0 to 1.

    Raises:
        ValueError: ``max_gamma`` is below 1, or ``prob`` is not in [0, 1].
    """

    def __init__(self, max_gamma: float = 1.5, prob: float = 1) -> None:
        super().__init__(prob)
        if not 1 <= max_gamma < math.inf:
            raise ValueError(f'max_gamma must be at least 1, got {max_gamma}')
        self.max_gamma = max_gamma

    @cache_randomness
    def _draw(self) -> float:
        return self.max_gamma ** np.random.uniform(-1, 1)

    def _change(self, image: np.ndarray) -> np.ndarray:
        return appearance.change_gamma(image, self._draw())


@TRANSFORMS.register_module()
class JPEGArtefacts(_AppearanceTransform):
    """Compresses images as JPEG at a random quality, as scanners and file formats of slides do.

    Required and modified key: img, (H, W, 3) uint8 RGB.

    Args:
        quality: (low, high), the range of the quality, whole numbers from 1 to 100, both included.
        prob: The fraction of images that are compressed, 0 to 1.

    Raises:
        ValueError: A range or ``prob`` is not as above.
    """

    def __init__(self, quality: tuple[int, int] = (40, 95), prob: float = .2) -> None:
        super().__init__(prob)
        self.quality = _check_range('quality', quality, least=1)
        if self.quality[1] > 100 or any(value != int(value) for value in self.quality):
            raise ValueError(f'quality must be two whole numbers from 1 to 100, got {quality}')

    @cache_randomness
    def _draw(self) -> int:
        return np.random.randint(self.quality[0], self.quality[1] + 1)

    def _change(self, image: np.ndarray) -> np.ndarray:
        return appearance.compress_as_jpeg(image, self._draw())
