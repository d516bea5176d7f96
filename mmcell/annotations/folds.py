"""Folds of cross-validation: which images of an annotation file one training learns from, and which it is measured on.

``data_prep/to_coco.py --folds 5`` gives every image record of ``trainval.json`` an entry ``fold``, from 0 to 4. The
training of fold 2 learns from the images of the other four folds, and is validated on those of fold 2, which are *held
out*. After five trainings, every image was held out once.
"""

from pathlib import Path

from mmcell.annotations.coco_json import AnnotationError, subset
from mmcell.errors import list_some, quote
from mmcell.files.text_files import is_integer


def part_of_fold(document: dict, source: str | Path, fold: int | None, held_out: bool) -> dict:
    """Returns the content of an annotation file with the images and annotations of one side of a fold only.

    Args:
        document: The content, as :func:`mmcell.annotations.coco_json.read_annotations` returns it.
        source: The file, for messages.
        fold: The number of the fold; None returns the whole document.
        held_out: True returns the images of the fold, False those of all other folds.

    Raises:
        AnnotationError: Not every image has a fold, there is only one fold, or none of this number.
    """
    if fold is None:
        return document
    folds = folds_of_images(document, source)
    chosen = {image_id for image_id, own_fold in folds.items() if (own_fold == fold) == held_out}
    if not 0 < sum(own_fold == fold for own_fold in folds.values()) < len(folds):
        raise AnnotationError(f'{source}: has images of the folds {list_some(sorted(set(folds.values())))}, so that '
                              f'fold {fold} cannot be held out; folds are numbered from 0')
    images, annotations = subset(document['images'], document['annotations'], chosen)
    return {**document, 'images': images, 'annotations': annotations}


def folds_of_images(document: dict, source: str | Path) -> dict[int, int]:
    """Returns the fold of each image of an annotation file by its id.

    Raises:
        AnnotationError: There is no image, or an image has no fold, or one that is not a whole number from 0 on.
    """
    wrong = [image for image in document['images'] if not is_integer(image.get('fold')) or image['fold'] < 0]
    if wrong or not document['images']:
        found = (f"image {wrong[0]['id']} has fold {quote(wrong[0]['fold'])}" if wrong and 'fold' in wrong[0]
                 else f'{len(wrong)} of {len(document["images"])} images have no fold')
        raise AnnotationError(f'{source}: {found}: make the file with data_prep/to_coco.py … --folds N, or give each '
                              'image record an entry "fold", a whole number from 0 on')
    return {image['id']: image['fold'] for image in document['images']}
