"""Makes synthetic H&E-like images with known cells, in the raw layout of the task."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from mmcell.annotations import raw_layout

EXAMPLE = """example:
  python data_prep/make_demo_data.py work_dirs/demo/data --images 40 --test-images 6
"""

# Optical densities of haematoxylin and eosin in red, green, blue: the reference stains to which the method of
# Macenko et al. 2009 normalises.
HAEMATOXYLIN_OD = np.array([.5626, .7201, .4062])
EOSIN_OD = np.array([.2159, .8012, .5581])


@dataclass(frozen=True)
class CellKind:
    """How the cells of one class look. Lengths in px; stains as multiples of the optical densities above."""

    share: float
    radius: tuple[float, float]
    elongation: float
    waviness: float
    lobes: int
    haematoxylin: float
    eosin: float
    rim: float
    granularity: float


# Class 1 … 4, after epithelial cells, lymphocytes, neutrophils and macrophages. The last two are rare. Looks
# overlap: a dark small epithelial cell and a pale large lymphocyte differ by little.
KINDS = (
    CellKind(.46, (6.5, 11.), 1.6, .08, 1, .60, .25, .25, .35),
    CellKind(.42, (4.5, 7.), 1.25, .05, 1, 1.0, .20, .15, .20),
    CellKind(.07, (5.5, 7.), 1.0, .03, 3, .85, .45, .00, .15),
    CellKind(.05, (11., 15.), 1.3, .14, 1, .30, .50, .25, .60),
)
MAX_HIDDEN = .15
MIN_VISIBLE_PX = 20


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='folder to write to: train/, test_release/ and the test id list')
    parser.add_argument('--images', type=int, default=40, help='training images (default: 40)')
    parser.add_argument('--test-images', type=int, default=6, help='test images (default: 6)')
    parser.add_argument('--size', type=int, default=256, help='mean side in px; sides vary by a quarter (default: 256)')
    parser.add_argument('--density', type=float, default=16.,
                        help='cells tried for each 100 x 100 px; many of them touch (default: 16)')
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument('--channel-order', choices=('rgb', 'bgr'), default='bgr',
                        help="order of the channels in the files; 'bgr' under an RGB tag is how the task's images are "
                             'published (default: bgr)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    seeds = np.random.SeedSequence(args.seed).spawn(args.images + args.test_images)
    scenes = (make_scene(np.random.default_rng(seed), args.size, args.density) for seed in seeds)
    for index in range(args.images):
        write_train_folder(args.out / raw_layout.TRAIN_FOLDER / f'demo_{index:03d}', *next(scenes), args.channel_order)
    test_folder = args.out / raw_layout.TEST_FOLDER
    test_folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for image_id, (image, _) in enumerate(scenes, start=1):
        name = f'demo_test_{image_id:03d}.tif'
        write_image(test_folder / name, image, args.channel_order)
        entries.append({'file_name': name, 'id': image_id, 'height': image.shape[0], 'width': image.shape[1]})
    (args.out / raw_layout.TEST_IDS_FILE).write_text(json.dumps(entries, indent=1), encoding='utf-8')
    print(f'wrote {args.images} training and {args.test_images} test images to {args.out}')


def make_scene(rng: np.random.Generator, mean_side: int, density: float) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """One image (H, W, 3) uint8 RGB and, for each class that is there, its label map (H, W) int.

    Ids run over all classes and have gaps, as in the published files. Outlines touch; cells do not overlap, since
    the later one takes only free pixels. An id whose cell was cut in two by an earlier one keeps both parts.
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
        window, shape, depth = cell_shape(rng, KINDS[number - 1], center, height, width)
        free = shape & ~occupied[window]
        if free.sum() < max(MIN_VISIBLE_PX, (1 - MAX_HIDDEN) * shape.sum()):
            continue
        paint_cell(rng, KINDS[number - 1], haematoxylin[window], eosin[window], free, depth)
        occupied[window] |= free
        label_maps.setdefault(number, np.zeros((height, width), int))[window][free] = next_id
        centers.append(center)
        next_id += int(rng.integers(1, 4))
    return render(rng, haematoxylin, eosin), label_maps


def background_stains(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Amounts (H, W) of haematoxylin and eosin of tissue without cells: fibres and smears over slow shading."""
    def texture(sigma: float | tuple[float, float]) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), sigma, mode='reflect')
        return noise / noise.std()

    eosin = .38 + .10 * texture(24) + .07 * texture((1.2, 5))
    # Smears of nuclear stain that belong to no cell.
    haematoxylin = .05 + .15 * np.clip(texture(6) - 1, 0, None)
    return haematoxylin, np.clip(eosin, .05, None)


def choose_center(rng: np.random.Generator, centers: list, height: int, width: int) -> tuple[float, float]:
    """Where to try the next cell: half of them beside one that is there, which makes crowds."""
    if centers and rng.random() < .5:
        y, x = centers[rng.integers(len(centers))]
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(9, 20)
        return (float(np.clip(y + distance * np.sin(angle), 0, height - 1)),
                float(np.clip(x + distance * np.cos(angle), 0, width - 1)))
    return float(rng.uniform(0, height)), float(rng.uniform(0, width))


def cell_shape(rng: np.random.Generator, kind: CellKind, center: tuple[float, float], height: int,
               width: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Outline of a cell inside its window of the image.

    Returns:
        The window, the shape (h, w) bool, and the depth (h, w): 0 at the middle, 1 at the outline.
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
    """Depth of a nucleus made of round lobes on a circle; lobes may be apart from each other."""
    angles = rng.uniform(0, 2 * np.pi) + np.arange(lobes) * 2 * np.pi / lobes
    lobe = radius * rng.uniform(.46, .56)
    return np.min([np.hypot(along - .55 * radius * np.cos(a), across - .55 * radius * np.sin(a)) / lobe
                   for a in angles], axis=0)


def paint_cell(rng: np.random.Generator, kind: CellKind, haematoxylin: np.ndarray, eosin: np.ndarray,
               free: np.ndarray, depth: np.ndarray) -> None:
    """Adds the stains of one cell inside its free pixels, in place."""
    grains = ndimage.gaussian_filter(rng.standard_normal(free.shape), 1.1) * 2
    strength = rng.uniform(.65, 1.35)
    amount = kind.haematoxylin * strength * (1 + kind.granularity * grains) + kind.rim * np.clip(depth, 0, 1) ** 6
    haematoxylin[free] = np.clip(amount, .05, None)[free]
    eosin[free] = kind.eosin * rng.uniform(.7, 1.3)


def render(rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """Beer-Lambert absorption of the two stains, blur and noise: (H, W, 3) uint8 RGB.

    How strongly it was stained and how well it was focused differ from image to image.
    """
    density = (rng.uniform(.75, 1.3) * haematoxylin[..., None] * HAEMATOXYLIN_OD
               + rng.uniform(.75, 1.3) * eosin[..., None] * EOSIN_OD)
    focus = rng.uniform(.5, 1.2)
    light = 245 * np.exp(-ndimage.gaussian_filter(density, (focus, focus, 0)))
    return np.clip(light + rng.normal(0, 5, light.shape), 0, 255).astype(np.uint8)


def write_train_folder(folder: Path, image: np.ndarray, label_maps: dict[int, np.ndarray], channel_order: str) -> None:
    """Writes ``image.tif`` and ``class<k>.tif``; masks of an earlier run that are not there now are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in raw_layout.class_files(folder).values():
        stale.unlink()
    write_image(folder / raw_layout.IMAGE_FILE, image, channel_order)
    for number, label_map in label_maps.items():
        tifffile.imwrite(folder / f'class{number}.tif', label_map.astype(np.float64), compression='lzw')


def write_image(path: Path, image_rgb: np.ndarray, channel_order: str) -> None:
    """Writes RGBA uint8, LZW."""
    colors = image_rgb if channel_order == 'rgb' else image_rgb[:, :, ::-1]
    alpha = np.full((*image_rgb.shape[:2], 1), 255, np.uint8)
    tifffile.imwrite(path, np.concatenate([colors, alpha], axis=2), photometric='rgb', extrasamples=['unassalpha'],
                     compression='lzw')


if __name__ == '__main__':
    main()
