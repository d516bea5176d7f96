"""Functions over arrays that change how an image looks, but not where anything lies: stain, focus, noise, gamma, JPEG.

Images are (H, W, 3) uint8 in the order red, green, blue.
"""

import math

import cv2
import numpy as np

# Optical densities of pure haematoxylin, eosin and DAB (rows) in red, green, blue: Ruifrok and Johnston 2001, and
# skimage.color.rgb_from_hed. They stand here because importing scikit-image's colours takes longer than their use.
RGB_FROM_HED = np.array([[.65, .70, .29], [.07, .99, .11], [.27, .57, .78]])
# Black has no finite density. scikit-image replaces it by the same value.
_LEAST_INTENSITY = 1e-6
# The natural logarithm of the intensity (0 to 1) of each grey value.
_LOGARITHMS = np.log(np.maximum(np.arange(256) / 255, _LEAST_INTENSITY)).astype(np.float32)
# Transmitted light leaves most pixels bright; in fluorescence most of the field is dark. Medians of 102 stained images
# (45 of the challenge, 41 of CoNSeP, 16 of the Data Science Bowl 2018) are 59 to 243, the second lowest 108; of 71
# images in fluorescence (Data Science Bowl 2018) are 0 to 23. All of them and 3 bright grey ones are judged right, and
# so are 1,220 random crops of 256 px of the challenge and CoNSeP.
_BRIGHTFIELD_MEDIAN = 50


def is_stained_brightfield(image: np.ndarray) -> bool:
    """Whether the median of all values is at least 50 of 255, and the image is not grey.

    This rule of thumb leaves out fluorescence and phase contrast, in which there is no stain to separate.
    """
    # About 64 x 64 pixels are enough for a median.
    sample = image[::max(image.shape[0] // 64, 1), ::max(image.shape[1] // 64, 1)]
    return bool(np.median(sample) >= _BRIGHTFIELD_MEDIAN and (sample != sample[..., :1]).any())


def change_stains(image: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    r"""Changes the amounts of haematoxylin, eosin and DAB: s' = factor * s + offset for each of the three.

    With M = :data:`RGB_FROM_HED` and the optical density D = -log10(I / 255), the amounts are s = D M^-1, and the new
    image is I' = 255 * 10^-(s' M). Both maps are linear, and therefore become one:
    D' = D (M^-1 diag(factors) M) + offsets M.

    ``skimage.color.rgb2hed`` gives s / 6, so that an offset there is a sixth of an offset here. It also sets negative
    amounts to 0, which changes colours that the three stains cannot mix even if no stain is changed. Here they stay.

    Args:
        image: (H, W, 3) uint8.
        factors: (3,) factors of haematoxylin, eosin and DAB.
        offsets: (3,) added amounts, in units of optical density (log10).

    Returns:
        (H, W, 3) uint8, rounded and clipped: at most 1 from the formula in float64. Factors of 1 and offsets of 0 give
        the image itself, bit for bit.
    """
    matrix = np.linalg.inv(RGB_FROM_HED) @ np.diag(factors) @ RGB_FROM_HED
    shift = math.log(255) - math.log(10) * (np.asarray(offsets, float) @ RGB_FROM_HED)
    return _map_logarithms(image, _LOGARITHMS, matrix, shift)


def change_densities(image: np.ndarray, matrix: np.ndarray, white: float) -> np.ndarray:
    """Multiplies the optical densities D = -ln(I / white) by a matrix; D' = D matrix, and I' = white * exp(-D').

    Args:
        image: (H, W, 3) uint8. Values of 0 count as 1.
        matrix: (3, 3) float.
        white: The value without any density, 1 to 255.

    Returns:
        (H, W, 3) uint8, rounded and clipped.
    """
    logarithms = np.log(np.maximum(np.arange(256), 1) / white).astype(np.float32)
    return _map_logarithms(image, logarithms, matrix, np.full(3, math.log(white)))


def _map_logarithms(image: np.ndarray, logarithms: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Returns exp(logarithms[image] matrix + shift), rounded and clipped to uint8."""
    values = cv2.LUT(np.ascontiguousarray(image), logarithms)
    changed = cv2.exp(cv2.transform(values, np.column_stack([matrix.T, shift]).astype(np.float32)))
    return np.rint(np.minimum(changed, 255)).astype(np.uint8).reshape(image.shape)


def compress_as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compresses an image as JPEG and reads it again.

    Args:
        image: (H, W, 3) uint8.
        quality: 1 to 100; 100 changes least.
    """
    # OpenCV takes images as blue, green, red; the order matters, because JPEG stores colours more coarsely.
    encoded = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def disc_kernel(radius_px: float) -> np.ndarray:
    """Returns the image (2k + 1, 2k + 1) float32 of a point that is out of focus: a disc with the sum 1.

    Each pixel has the share of its area that lies in the disc, counted on a grid of 9 x 9 points.
    """
    reach = math.ceil(radius_px)
    points = (np.arange((2 * reach + 1) * 9) - 4) / 9 - reach
    inside = points[:, None] ** 2 + points ** 2 <= max(radius_px, .05) ** 2
    kernel = inside.reshape(2 * reach + 1, 9, 2 * reach + 1, 9).mean(axis=(1, 3))
    return (kernel / kernel.sum()).astype(np.float32)


def defocus(image: np.ndarray, radius_px: float) -> np.ndarray:
    """Blurs an image with a disc of a radius in px, as a lens out of focus does; the border is mirrored."""
    return cv2.filter2D(image, -1, disc_kernel(radius_px), borderType=cv2.BORDER_REFLECT).reshape(image.shape)


def add_noise(image: np.ndarray, sigma: float, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Adds the noise of the camera (Gaussian) and of the light (Poisson), independently for pixels and channels.

    The Poisson part is taken as normal with the same variance; for v grey values, v / 255 * photons are counted.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation of the camera's noise in grey values.
        photons: Number of photons that a pixel of value 255 counts; infinity for no such noise.
        rng: Where the numbers come from.

    Returns:
        (H, W, 3) uint8. The noise has the variance sigma^2 + 255 * v / photons before it is rounded and clipped.
    """
    deviations = np.sqrt(sigma ** 2 + np.arange(256) * (255 / photons)).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32) * deviations[image]
    return np.rint(np.clip(image + noise, 0, 255)).astype(np.uint8)


def change_gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    """Returns 255 * (v / 255)^gamma for each value v, rounded; gamma above 1 darkens."""
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table[image]
