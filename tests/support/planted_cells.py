"""A small annotated data set of synthetic H&E images, in which tests plant defects."""

import functools
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mmcell.annotations.ground_truth import to_ground_truth
from mmcell.inspection.measuring import measure_pixels
from mmcell.inspection.sets import InspectedSet
from mmcell.masks.rle import encode_label_map

# Optical densities of haematoxylin and eosin for red, green and blue (Ruifrok and Johnston 2001).
_STAINS = np.array([(.65, .70, .29), (.07, .99, .11)])
CLASS_NAMES = ['large', 'small']


@dataclass(frozen=True, eq=False)
class Scene:
    """An image (H, W, 3) uint8, its label map (H, W) int32, and the class (M,) of each cell, 0 or 1, by number."""

    image: np.ndarray
    label_map: np.ndarray
    classes: np.ndarray


def make_scene(seed, n_cells=24, shape=(160, 200)):
    """Returns a scene with pale large and dark small cells that do not touch."""
    rng = np.random.default_rng(seed)
    amounts = np.stack([np.zeros(shape), .3 + .1 * _texture(rng, shape, 6)], axis=-1).clip(0)
    label_map = np.zeros(shape, np.int32)
    classes = []
    while len(classes) < n_cells:
        kind = len(classes) % 2
        axes = rng.uniform(*((8, 11), (4.5, 6))[kind]) * np.array([1, rng.uniform(.8, 1)])
        center = rng.uniform([12, 12], np.array(shape) - 12)
        mask = cv2.ellipse(np.zeros(shape, np.uint8), (center[::-1].round().astype(int)).tolist(),
                           axes.round().astype(int).tolist(), rng.uniform(0, 180), 0, 360, 1, -1) > 0
        if (cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) * label_map).any():
            continue
        classes.append(kind)
        label_map[mask] = len(classes)
        amounts[mask] = [(.7, 1.2)[kind] * rng.uniform(.9, 1.1), .15]
    amounts = cv2.GaussianBlur(amounts * (1 + .08 * _texture(rng, shape, 1)[..., None]), (0, 0), .8)
    light = 245 * np.exp(-amounts @ _STAINS) + rng.normal(0, 2, (*shape, 3))
    return Scene(np.clip(light, 0, 255).astype(np.uint8), label_map, np.array(classes))


def _texture(rng, shape, sigma):
    noise = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), sigma)
    return noise / noise.std()


def without_cells(scene, numbers):
    """Returns the scene without the labels of some cells (1 to M); the image still shows them."""
    kept = np.setdiff1d(np.arange(1, len(scene.classes) + 1), numbers)
    table = np.zeros(len(scene.classes) + 1, np.int32)
    table[kept] = np.arange(1, len(kept) + 1)
    return replace(scene, label_map=table[scene.label_map], classes=scene.classes[kept - 1])


@functools.lru_cache(maxsize=64)
def _measure(scene):
    encoded = encode_label_map(scene.label_map)
    return encoded, measure_pixels(scene.image, encoded.rles, np.zeros(len(encoded.rles), bool))


def inspected(scenes, name='train', folder='/nowhere'):
    """Returns an annotation file with these scenes as its images 0.tif, 1.tif …; nothing is written or read."""
    images, annotations, measures = [], [], []
    for index, scene in enumerate(scenes):
        encoded, measured = _measure(scene)
        height, width = scene.label_map.shape
        images.append({'id': index + 1, 'file_name': f'{name}/{index}.tif', 'height': height, 'width': width})
        annotations += [{'id': len(annotations) + 1 + place, 'image_id': index + 1, 'segmentation': rle, 'area': area,
                         'category_id': int(scene.classes[number - 1]) + 1, 'bbox': box, 'iscrowd': 0}
                        for place, (rle, area, box, number) in enumerate(zip(
                            encoded.rles, encoded.areas_px.tolist(), encoded.bboxes_xywh.tolist(),
                            encoded.ids.tolist(), strict=True))]
        measures.append(measured)
    document = {'images': images, 'annotations': annotations,
                'categories': [{'id': number, 'name': name} for number, name in enumerate(CLASS_NAMES, 1)]}
    return InspectedSet(name, to_ground_truth(document, f'{folder}/{name}.json'), measures)
