"""The origin of a checkpoint: software, commit and data."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mmcell
from mmcell.annotations.coco_json import read_annotations, subset

PACKAGES = ('torch', 'torchvision', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmpretrain', 'numpy')


def describe_software(packages: Sequence[str] = PACKAGES) -> dict:
    """Returns the versions of mmcell, with its commit, and of distributions, None for those that are not installed."""
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {'mmcell': mmcell.__version__, 'commit': find_commit(), **versions}


def find_commit() -> str | None:
    """Returns the git commit that mmcell runs from, with ``-dirty`` if files were changed; None outside of a clone."""
    root = Path(mmcell.__file__).parents[1]
    try:
        subprocess.run(['git', '-C', str(root), 'ls-files', '--error-unmatch', 'mmcell/__init__.py'],
                       check=True, capture_output=True)
        described = subprocess.run(['git', '-C', str(root), 'describe', '--always', '--dirty', '--abbrev=40',
                                    '--exclude=*'], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def describe_data(dataset: object) -> list[dict]:
    """Describes a data set in a form that can be compared.

    Args:
        dataset: A data set that has been built. If it is one of MMEngine's wrappers (RepeatDataset, ConcatDataset), the
            data sets inside it are described.

    Returns:
        One dict per COCO file that the data set reads; data that come from other files have no entry. Its keys:

        - ann_file: The annotation file.
        - classes: The names of the classes.
        - channel_order: 'rgb' or 'bgr'; None if the data set does not say.
        - fold, held_out: The arguments of :class:`mmcell.datasets.CellDataset`; missing without a fold.
        - images: Maps each file name in the annotation file to the size of the image file in bytes.
        - sha256: A hash over the images that are used, their annotations and sizes in bytes, and the categories.
          Folders are left out, so that data keep their hash when they are moved. Pixels are left out as well.
    """
    return [_describe_coco(leaf) for leaf in find_leaves(dataset)
            if str(getattr(leaf, 'ann_file', '')).endswith('.json')]


def find_leaves(dataset: object) -> list[object]:
    """Returns the data sets inside MMEngine's wrappers (RepeatDataset, ConcatDataset), or the data set itself."""
    if hasattr(dataset, 'datasets'):
        return [leaf for part in dataset.datasets for leaf in find_leaves(part)]
    return find_leaves(dataset.dataset) if hasattr(dataset, 'dataset') else [dataset]


def _describe_coco(dataset: object) -> dict:
    document = read_annotations(dataset.ann_file, masks_as_rle=False)
    used = [dataset.get_data_info(index) for index in range(len(dataset))]
    records, annotations = subset(document['images'], document['annotations'], {info['img_id'] for info in used})
    n_bytes = {info['img_id']: Path(info['img_path']).stat().st_size for info in used}
    images = {record['file_name']: n_bytes[record['id']] for record in records}
    content = [records, annotations, document['categories'], images]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    fold = getattr(dataset, 'fold', None)
    return {'ann_file': str(dataset.ann_file), 'classes': list(dataset.metainfo['classes']),
            'channel_order': dataset.metainfo.get('channel_order'),
            **({} if fold is None else {'fold': fold, 'held_out': dataset.held_out}),
            'images': images, 'sha256': digest.hexdigest()}


def compare_data(recorded: dict[str, list[dict]], tested: list[dict], split: str) -> list[str]:
    """Returns warnings for somebody who tests a checkpoint on other data than it was trained with.

    Args:
        recorded: The descriptions in the checkpoint: a dict with the keys 'train' and 'val', whose values are results
            of :func:`describe_data`.
        tested: The description of the data set under test.
        split: Which data are tested, 'val' or 'test'.

    Returns:
        One sentence per difference; an empty list if the data are the same.
    """
    warnings = []
    n_known, n_images = count_trained_on(recorded, tested)
    if n_known:
        warnings.append(f'{n_known} of the {n_images} images tested were in the training data of this checkpoint '
                        '(same name and size in bytes): the values say little about new images')
    known_hashes = {part['sha256'] for part in recorded[split]} if recorded.get(split) else set()
    if known_hashes and known_hashes != {part['sha256'] for part in tested}:
        warnings.append(f'the {split} data ({", ".join(part["ann_file"] for part in tested)}) differ from the data of '
                        f'the training ({", ".join(part["ann_file"] for part in recorded[split])}): images or '
                        'annotations are not the same')
    orders = {image: part['channel_order'] for parts in recorded.values() for part in parts
              for image in part['images'].items()}
    other_orders = {(orders[image], part['channel_order']) for part in tested for image in part['images'].items()
                    if orders.get(image, part['channel_order']) != part['channel_order']}
    warnings += [f'the checkpoint was trained on images that were read in the channel order {recorded_order}, and the '
                 f'same images are now read as {order}' for recorded_order, order in sorted(other_orders, key=str)]
    return warnings


def count_trained_on(recorded: dict[str, list[dict]], tested: list[dict]) -> tuple[int, int]:
    """Returns how many of the images under test were in the training data of a checkpoint, and how many are tested.

    Images count as the same if their files have the same name and size in bytes.

    Args: As in :func:`compare_data`.
    """
    trained_on = {image for part in recorded['train'] for image in part['images'].items()}
    images = [image for part in tested for image in part['images'].items()]
    return sum(image in trained_on for image in images), len(images)
