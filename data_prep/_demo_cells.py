"""Synthetic images like H&E stainings, and masks of their cells."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from mmcell.layouts import class_maps

# Optical densities of haematoxylin and eosin in red, green, blue: the reference stains to which the method of
# Macenko et al. 2009 normalises.
HAEMATOXYLIN_OD = np.array([.5626, .7201, .4062])
EOSIN_OD = np.array([.2159, .8012, .5581])


@dataclass(frozen=True)
class CellKind:
    """The appearance of the cells of one class.

    Attributes:
        share: The share of this class in all cells, 0 to 1.
        radius: The least and the greatest radius in px.
        elongation: The greatest ratio of length to width, at least 1; not used for nuclei with several lobes.
        waviness: The greatest relative amplitude of each of the three waves along the outline.
        lobes: The number of round lobes of the nucleus; 1 for an undivided nucleus.
        haematoxylin: The mean amount of haematoxylin, as a multiple of ``HAEMATOXYLIN_OD``.
        eosin: The mean amount of eosin, as a multiple of ``EOSIN_OD``.
        rim: The additional amount of haematoxylin at the outline.
        granularity: The strength of the grains, relative to the amount of haematoxylin.
    """

    share: float
    radius: tuple[float, float]
    elongation: float
    waviness: float
    lobes: int
    haematoxylin: float
    eosin: float
    rim: float
    granularity: float


# Classes 1 to 4 imitate epithelial cells, lymphocytes, neutrophils and macrophages. The last two are rare. Classes look
# similar at times: a small dark epithelial cell hardly differs from a large pale lymphocyte.
KINDS = (
    CellKind(.46, (6.5, 11.), 1.6, .08, 1, .60, .25, .25, .35),
    CellKind(.42, (4.5, 7.), 1.25, .05, 1, 1.0, .20, .15, .20),
    CellKind(.07, (5.5, 7.), 1.0, .03, 3, .85, .45, .00, .15),
    CellKind(.05, (11., 15.), 1.3, .14, 1, .30, .50, .25, .60),
)
# A cell is left out if earlier cells take more than this fraction of its area …
MAX_HIDDEN = .15
# … or if fewer pixels than this number are left.
MIN_VISIBLE_PX = 20


def make_scene(rng: np.random.Generator, mean_side: int, density: float) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Makes one image and its masks.

    Cells touch but do not overlap, since a cell takes only pixels that no earlier cell has. A cell that an earlier cell
    cuts in two keeps both pieces under one id.

    Args:
        rng: The generator of all random choices.
        mean_side: The mean height and width in px.
        density: The number of cells to place per 100 x 100 px.

    Returns:
        The image (H, W, 3) uint8 RGB, and the label map (H, W) int of each class that has a cell, by class number. No
        id occurs in two classes, and ids have gaps, as in the published files.
    """
    height, width = rng.integers(mean_side * 3 // 4, mean_side * 5 // 4 + 1, 2)
    haematoxylin, eosin = background_stains(rng, height, width)
    occupied = np.zeros((height, width), bool)
    label_maps: dict[int, np.ndarray] = {}
    centers: list[tuple[float, float]] = []
    shares = np.array([kind.share for kind in KINDS])
    next_id = 1
    for _ in range(int(density * height * width / 1e4)):
        number = int(rng.choice(len(KINDS), p=shares)) + 1
        center = choose_center(rng, centers, height, width)
        window, is_cell, depth = cell_shape(rng, KINDS[number - 1], center, height, width)
        free = is_cell & ~occupied[window]
        if free.sum() < max(MIN_VISIBLE_PX, (1 - MAX_HIDDEN) * is_cell.sum()):
            continue
        paint_cell(rng, KINDS[number - 1], haematoxylin[window], eosin[window], free, depth)
        occupied[window] |= free
        label_maps.setdefault(number, np.zeros((height, width), int))[window][free] = next_id
        centers.append(center)
        next_id += int(rng.integers(1, 4))
    return render(rng, haematoxylin, eosin), label_maps


def background_stains(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the amounts (H, W) of haematoxylin and eosin in tissue without cells: shading, fibres and smears."""
    def texture(sigma: float | tuple[float, float]) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), sigma, mode='reflect')
        return noise / noise.std()

    eosin = .38 + .10 * texture(24) + .07 * texture((1.2, 5))
    # Smears of the nuclear stain look like nuclei, but belong to no cell.
    haematoxylin = .05 + .15 * np.clip(texture(6) - 1, 0, None)
    return haematoxylin, np.clip(eosin, .05, None)


def choose_center(rng: np.random.Generator, centers: list, height: int, width: int) -> tuple[float, float]:
    """Chooses the centre (y, x) of the next cell in px; half of the cells lie beside an earlier cell, as in crowds."""
    if centers and rng.random() < .5:
        y, x = centers[rng.integers(len(centers))]
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(9, 20)
        return (float(np.clip(y + distance * np.sin(angle), 0, height - 1)),
                float(np.clip(x + distance * np.cos(angle), 0, width - 1)))
    return float(rng.uniform(0, height)), float(rng.uniform(0, width))


def cell_shape(rng: np.random.Generator, kind: CellKind, center: tuple[float, float], height: int,
               width: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Draws the random shape of a cell inside a window of the image.

    Args:
        rng: The generator of all random choices.
        kind: The appearance of cells of the cell's class.
        center: The centre (y, x) of the cell in px.
        height: The height of the image in px.
        width: The width of the image in px.

    Returns:
        The rows and columns of the window, the pixels of the cell in it, (h, w) bool, and the relative distance from
        the centre, (h, w) float: 0 at the centre, 1 at the outline.
    """
    radius = rng.uniform(*kind.radius)
    reach = int(np.ceil(radius * kind.elongation * (1 + 3 * kind.waviness))) + 2
    rows = slice(max(int(center[0]) - reach, 0), min(int(center[0]) + reach + 1, height))
    cols = slice(max(int(center[1]) - reach, 0), min(int(center[1]) + reach + 1, width))
    dy, dx = np.mgrid[rows, cols].astype(float)
    dy, dx = dy - center[0], dx - center[1]
    turn = rng.uniform(0, np.pi)
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    stretch = rng.uniform(1, kind.elongation)
    if kind.lobes > 1:
        depth = lobed_depth(rng, kind.lobes, along, across, radius)
    else:
        theta = np.arctan2(across, along)
        waves = sum(kind.waviness * rng.uniform(0, 1) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
                    for k in (2, 3, 5))
        depth = np.hypot(along / stretch, across) / (radius * (1 + waves))
    return (rows, cols), depth < 1, depth


def lobed_depth(rng: np.random.Generator, lobes: int, along: np.ndarray, across: np.ndarray,
                radius: float) -> np.ndarray:
    """Returns the relative distance from the nearest lobe's centre: 0 at the centre, 1 at the outline.

    The nucleus consists of round lobes, whose centres lie on a circle. Lobes need not touch each other.
    """
    angles = rng.uniform(0, 2 * np.pi) + np.arange(lobes) * 2 * np.pi / lobes
    lobe_radius = radius * rng.uniform(.46, .56)
    return np.min([np.hypot(along - .55 * radius * np.cos(a), across - .55 * radius * np.sin(a)) / lobe_radius
                   for a in angles], axis=0)


def paint_cell(rng: np.random.Generator, kind: CellKind, haematoxylin: np.ndarray, eosin: np.ndarray,
               free: np.ndarray, depth: np.ndarray) -> None:
    """Replaces the amounts of both stains inside one cell, in place.

    Args:
        rng: The generator of all random choices.
        kind: The appearance of cells of the cell's class.
        haematoxylin: The amount of haematoxylin in the window of the cell, (h, w) float.
        eosin: The amount of eosin in the window, (h, w) float.
        free: (h, w) bool, True for the pixels of the cell that belong to no earlier cell.
        depth: The relative distance from the centre, (h, w) float: 0 at the centre, 1 at the outline.
    """
    grains = ndimage.gaussian_filter(rng.standard_normal(free.shape), 1.1) * 2
    strength = rng.uniform(.65, 1.35)
    amount = kind.haematoxylin * strength * (1 + kind.granularity * grains) + kind.rim * np.clip(depth, 0, 1) ** 6
    haematoxylin[free] = np.clip(amount, .05, None)[free]
    eosin[free] = kind.eosin * rng.uniform(.7, 1.3)


def render(rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """Returns the image (H, W, 3) uint8 RGB: light absorbed by both stains (Beer-Lambert law), with blur and noise.

    The strength of the stains and the focus differ from image to image.
    """
    density = (rng.uniform(.75, 1.3) * haematoxylin[..., None] * HAEMATOXYLIN_OD
               + rng.uniform(.75, 1.3) * eosin[..., None] * EOSIN_OD)
    focus = rng.uniform(.5, 1.2)
    light = 245 * np.exp(-ndimage.gaussian_filter(density, (focus, focus, 0)))
    return np.clip(light + rng.normal(0, 5, light.shape), 0, 255).astype(np.uint8)


def write_train_folder(folder: Path, image: np.ndarray, label_maps: dict[int, np.ndarray], channel_order: str) -> None:
    """Writes ``image.tif`` and one ``class<k>.tif`` per class, after removing the masks of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in class_maps.class_files(folder).values():
        stale.unlink()
    write_image(folder / class_maps.IMAGE_FILE, image, channel_order)
    for number, label_map in label_maps.items():
        tifffile.imwrite(folder / f'class{number}.tif', label_map.astype(np.float64), compression='lzw')


def write_image(path: Path, image_rgb: np.ndarray, channel_order: str) -> None:
    """Writes an RGBA TIFF of uint8 with LZW compression; the alpha channel is 255 everywhere."""
    colors = image_rgb if channel_order == 'rgb' else image_rgb[:, :, ::-1]
    alpha = np.full((*image_rgb.shape[:2], 1), 255, np.uint8)
    tifffile.imwrite(path, np.concatenate([colors, alpha], axis=2), photometric='rgb', extrasamples=['unassalpha'],
                     compression='lzw')
