"""Images with hundreds of cells for benchmarks: a synthetic image, and the fullest images of CoNSeP."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycocotools.mask
import tifffile

from mmcell.layouts.class_maps import find_train_folders, read_train_image
from mmcell.masks.rle import encode_label_map


@dataclass(frozen=True)
class Scene:
    """An image file with its cells.

    Attributes:
        name: The name of the scene in the tables of the benchmarks.
        path: Path of a JSON file with the sample: the dict that a data set passes to its pipeline.
    """

    name: str
    path: str

    def sample(self) -> dict:
        """Reads the sample from its file. Each call returns a new dict, because pipelines change the dict they get."""
        return json.loads(Path(self.path).read_text())


def write_scene(folder: Path, name: str, image: np.ndarray, rles: list[dict]) -> Scene:
    """Writes an image (H, W, 3) uint8 as TIFF and its sample as JSON, and returns the scene; ``rles`` are the cells."""
    stem = name.replace(' ', '_').replace(',', '')
    tifffile.imwrite(folder / f'{stem}.tif', image, photometric='rgb')
    return describe_scene(folder, name, folder / f'{stem}.tif', image.shape[:2], rles)


def describe_scene(folder: Path, name: str, image_path: Path, shape: tuple[int, int], rles: list[dict]) -> Scene:
    """Writes the sample of an existing image file as JSON, and returns the scene.

    Args:
        folder: Where the JSON file is written.
        name: The name of the scene.
        image_path: The image file.
        shape: (height, width) of the image in px.
        rles: The masks of the cells. The cells get the labels 0, 1, 2, 3, 0, 1 … in this order.
    """
    boxes = np.array([pycocotools.mask.toBbox(rle) for rle in rles])
    boxes[:, 2:] += boxes[:, :2]
    instances = [dict(bbox=box, bbox_label=i % 4, ignore_flag=0, mask=rle)
                 for i, (box, rle) in enumerate(zip(boxes.tolist(), rles, strict=True))]
    path = folder / f'{Path(image_path).stem}_{len(rles)}.json'
    path.write_text(json.dumps(dict(img_path=str(image_path), ori_shape=list(shape), img_shape=list(shape),
                                    scale_factor=[1., 1.], instances=instances)))
    return Scene(name, str(path))


def write_synthetic(folder: Path, side: int, per_row: int) -> Scene:
    """Writes a square image of noise, whose cells are ``per_row`` x ``per_row`` discs that nearly touch."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    rles = encode_label_map(grid_of_discs(side, per_row)).rles
    return write_scene(folder, f'{side}x{side}, {len(rles)} discs', image, rles)


def write_fullest_of_consep(consep: Path | None, folder: Path) -> Iterator[Scene]:
    """Writes the two training images of CoNSeP with the most cells, and yields them.

    Args:
        consep: The raw folder of CoNSeP; None: nothing is written.
        folder: Where the scenes are written.
    """
    if consep is None:
        return
    images = [read_train_image(path, consep) for path in find_train_folders(consep)]
    with_rles = [([rle for instances in image.cells.values() for rle in instances.rles], image)
                 for image in images]
    for rles, image in sorted(with_rles, key=lambda pair: -len(pair[0]))[:2]:
        name = Path(image.file_name).parent.name
        # The stock reader does not recognise an alpha channel. Without it, both readers read the same three channels.
        pixels = tifffile.imread(consep / image.file_name)[:, :, :3]
        yield write_scene(folder, f'CoNSeP {name}, {len(rles)} cells', pixels, rles)


def grid_of_discs(side: int, per_row: int) -> np.ndarray:
    """Returns a label map (side, side) int32 of ``per_row`` x ``per_row`` discs that nearly touch, numbered from 1."""
    step = side / per_row
    yy, xx = np.mgrid[:side, :side]
    row, column = (yy // step).astype(np.int32), (xx // step).astype(np.int32)
    inside = (yy - (row + .5) * step) ** 2 + (xx - (column + .5) * step) ** 2 < (step / 2 - .5) ** 2
    return np.where(inside, row * per_row + column + 1, 0).astype(np.int32)
