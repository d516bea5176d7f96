"""Cells of one image are pasted into another, all of them or only those of rare classes."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets.transforms import CopyPaste
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type
from mmengine.dataset import BaseDataset

from mmcell.datasets.canvas import Canvas, Patch, cut_patch
from mmcell.datasets.class_balance import count_cells
from mmcell.datasets.class_order import class_names
from mmcell.datasets.instances import replace_instances, to_label_map_masks
from mmcell.masks.label_map_masks import LabelMapMasks


@TRANSFORMS.register_module()
class CellCopyPaste(CopyPaste):
    """``CopyPaste`` (Ghiasi et al. 2021) for small objects such as cells, and for images of any size.

    Pasted cells take away the pixels of the cells below them. What happens then is one of two things:

    - Without ``max_covered``, a cell below is dropped if less than ``min_visible`` of its area is left; its remaining
      pixels then stay in the image without a label. Pasted cells keep their places and may overlap each other. The
      stock transform instead keeps objects with more than 300 px or with a box that changed by at most 10 px; these
      limits do not suit small cells.
    - With ``max_covered``, a cell is not pasted where any cell, pasted ones included, would lose more than this
      fraction of its area to all pasted cells together. Below 1, no cell is dropped then. Cells that touch the border
      of the source image are not pasted, because a part of them may be missing, nor are ignored ones.

    With ``classes``, only their cells are pasted. Source images are drawn so that each of these classes is equally
    frequent among the sources, in proportion to the cells that the images have of the class; images without such cells
    are never drawn.

    The source image is aligned with the top left corner of the image, and cut off if it is larger. The image keeps its
    dtype; the stock transform makes it int64. Boxes are made from the masks.

    Required keys: img, gt_bboxes, gt_bboxes_labels, gt_ignore_flags; gt_masks (LabelMapMasks or BitmapMasks), which is
    optional with ``paste_by_box``; and mix_results, a list with one more sample, the source of the pasted cells, as
    ``CellMixDataset`` adds it. Modified keys: all of these except mix_results.

    Args:
        max_num_pasted: An upper limit that is not reached itself: as in ``CopyPaste``, the random selection has fewer
            cells than this number. Without effect if ``selected`` is False.
        min_visible: The fraction of its area in this image, 0 to 1, that an instance below pasted cells must keep
            visible. An instance without a pixel left is dropped in any case. Without effect with ``max_covered``.
        selected: Whether only a random selection of the source's cells is pasted. False pastes all of them.
        paste_by_box: Whether boxes are used as masks in samples without masks.
        classes: The names of the classes whose cells are pasted, or their labels; None: all classes.
        max_covered: The greatest fraction of its area that a cell may lose, 0 to 1, for example .2; None: no limit.
        places: How many random places are tried for each cell, each time turned by quarter turns and mirrored at
            random, until it may be pasted. 0 tries only the place that it has in its source image. Needs
            ``max_covered``.
        edge_px: The standard deviation in px of the Gauss filter that makes the edges of pasted cells soft. Masks have
            hard edges in any case. Needs ``max_covered``.

    Raises:
        ValueError: An argument is not one of those above, the data set does not have one of the classes, or it has no
            cell of any of them.
    """

    def __init__(self, max_num_pasted: int = 100, min_visible: float = .3, selected: bool = True,
                 paste_by_box: bool = False, classes: Sequence[str | int] | None = None,
                 max_covered: float | None = None, places: int = 0, edge_px: float = 0.) -> None:
        super().__init__(max_num_pasted=max_num_pasted, selected=selected, paste_by_box=paste_by_box)
        if max_num_pasted < 1:
            raise ValueError(f'max_num_pasted must be at least 1, got {max_num_pasted}')
        for name, value in (('min_visible', min_visible), ('max_covered', max_covered)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f'{name} must be between 0 and 1, got {value}')
        if min(places, edge_px) < 0 or (max_covered is None and (places or edge_px)):
            raise ValueError(f'places={places} and edge_px={edge_px} must be at least 0, and need max_covered')
        if classes is not None and (isinstance(classes, str) or not len(classes)):
            raise ValueError(f'classes must be a list with at least one class, got {classes!r}')
        self.min_visible, self.max_covered = min_visible, max_covered
        self.classes, self.places, self.edge_px = classes, places, edge_px
        self._labels = None if classes is None or any(isinstance(name, str) for name in classes) else list(classes)
        self._source_probabilities: np.ndarray | None = None

    @cache_randomness
    def get_indexes(self, dataset: BaseDataset) -> int:
        """Draws the index of the source image."""
        if self.classes is None:
            return super().get_indexes(dataset)
        if self._source_probabilities is None:
            self._labels = _labels_of(self.classes, class_names(dataset.metainfo) or [])
            self._source_probabilities = _source_probabilities(count_cells(dataset)[:, self._labels])
            if self._source_probabilities is None:
                raise ValueError(f'the data set has no cell of the classes {list(self.classes)}')
        return int(np.random.choice(len(dataset), p=self._source_probabilities))

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Pastes cells of ``results['mix_results'][0]``."""
        if self.classes is not None or self.max_covered is not None:
            results['mix_results'] = [self._only_eligible(source) for source in results['mix_results']]
        return super().transform(results)

    def _only_eligible(self, source: dict) -> dict:
        """Returns the sample with only those cells that may be pasted."""
        is_eligible = np.ones(len(source['gt_bboxes_labels']), bool)
        if self.classes is not None:
            if self._labels is None:
                raise ValueError(f'classes={list(self.classes)} are names, which only a data set knows: use '
                                 'CellCopyPaste in a CellMixDataset, or give labels')
            is_eligible &= np.isin(source['gt_bboxes_labels'], self._labels)
        if self.max_covered is not None:
            height, width = source['img'].shape[:2]
            x1, y1, x2, y2 = np.asarray(source['gt_bboxes'].numpy()).reshape(-1, 4).T
            is_eligible &= (x1 > 0) & (y1 > 0) & (x2 < width) & (y2 < height) & ~source['gt_ignore_flags']
        keys = ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags', 'gt_masks')
        return {**source, **{key: source[key][is_eligible] for key in keys if source.get(key) is not None}}

    def _copy_paste(self, dst_results: dict, src_results: dict) -> dict:
        below = to_label_map_masks(self.get_gt_masks(dst_results))
        # If cells were selected, the stock transform has already stored their masks, even those made from boxes.
        source_masks = src_results['gt_masks'] if 'gt_masks' in src_results else self.get_gt_masks(src_results)
        source_masks = to_label_map_masks(source_masks)
        if self.max_covered is not None:
            return self._paste_one_by_one(dst_results, src_results, below, source_masks)
        pasted = source_masks.reframe((below.height, below.width))
        region = pasted.foreground()
        if not region.any():
            return dst_results
        y, x = np.nonzero(region)
        dst_results['img'] = dst_results['img'].copy()
        dst_results['img'][y, x] = src_results['img'][y, x]
        # Example: pasted cells cover 7 of the 10 px of a cell. The cell is kept, because the other 3 px are >= .3 * 10.
        visible = below.erase(region)
        is_visible = (visible.areas > 0) & (visible.areas >= self.min_visible * below.areas)
        is_kept = np.concatenate([is_visible, pasted.areas > 0])
        replace_instances(dst_results, LabelMapMasks.cat([visible, pasted]), is_kept, dst_results, src_results)
        return dst_results

    def _paste_one_by_one(self, results: dict, source: dict, below: LabelMapMasks, source_masks: LabelMapMasks) -> dict:
        canvas = Canvas(results['img'], below, self.max_covered)
        is_pasted = np.zeros(len(source_masks), bool)
        for index, (bitmap, left, top) in enumerate(source_masks.crops()):
            if bitmap.size:
                patch = cut_patch(source['img'], bitmap, left, top, self.edge_px)
                is_pasted[index] = self._try_places(canvas, patch)
        if not is_pasted.any():
            return results
        results['img'] = canvas.image
        pasted = {key: source[key][is_pasted] for key in ('gt_bboxes_labels', 'gt_ignore_flags')}
        masks = canvas.masks
        replace_instances(results, masks, masks.areas > 0, results, pasted)
        return results

    def _try_places(self, canvas: Canvas, patch: Patch) -> bool:
        """Pastes a cell at the first place where it may be pasted; returns False if there is none."""
        if not self.places:
            return canvas.paste(patch, *patch.place)
        for _ in range(self.places):
            oriented = patch.oriented(np.random.randint(4), bool(np.random.randint(2)))
            # The cell, without the margin of the patch, lies inside the image.
            y, x = np.nonzero(oriented.bitmap)
            starts = [np.random.randint(max(size - (pixels.max() - pixels.min()), 1)) - pixels.min()
                      for size, pixels in zip(canvas.image.shape[:2], (y, x), strict=True)]
            if canvas.paste(oriented, *starts):
                return True
        return False

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(max_num_pasted={self.max_num_pasted}, min_visible={self.min_visible}, '
                f'selected={self.selected}, paste_by_box={self.paste_by_box}, classes={self.classes}, '
                f'max_covered={self.max_covered}, places={self.places}, edge_px={self.edge_px})')


def _labels_of(classes: Sequence[str | int], names: Sequence[str]) -> list[int]:
    """Returns the labels of classes that are given by name or by label."""
    labels = [names.index(name) if name in names else name for name in classes]
    wrong = [label for label in labels if not isinstance(label, int) or not 0 <= label < len(names)]
    if wrong:
        raise ValueError(f'the data set has the classes {list(names)}, but not {wrong}')
    return labels


def _source_probabilities(counts: np.ndarray) -> np.ndarray | None:
    """Returns how often each image is drawn as a source, (n_images,) float; None if there is no cell.

    Args:
        counts: (n_images, n_classes) integers, the number of cells of the pasted classes.
    """
    # 9 cells of one class in image 0, and 1 and 1 of another one in the images 0 and 1: [1, 0] and [.5, .5] give
    # [.75, .25].
    counts = counts[:, counts.any(axis=0)]
    return (counts / counts.sum(axis=0)).mean(axis=1) if counts.size else None
