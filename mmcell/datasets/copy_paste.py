"""Cells of one image that are pasted into another image."""

import numpy as np
from mmdet.datasets.transforms import CopyPaste
from mmdet.registry import TRANSFORMS

from mmcell.datasets.instances import replace_instances, to_label_map_masks
from mmcell.masks.label_map_masks import LabelMapMasks


@TRANSFORMS.register_module()
class CellCopyPaste(CopyPaste):
    """``CopyPaste`` (Ghiasi et al. 2021) for small objects such as cells, and for images of any size.

    Pasted cells take away the pixels of the cells below them. A cell below is dropped if less than ``min_visible`` of
    its area is left; its remaining pixels then stay in the image without a label. The stock transform instead keeps
    objects with more than 300 px or with a box that changed by at most 10 px; these limits do not suit small cells.
    Pasted cells may overlap each other. The source image is aligned with the top left corner of the image, and cut
    off if it is larger. The image keeps its dtype; the stock transform makes it int64. Boxes are made from the masks.

    Required keys:

    - img
    - gt_bboxes, gt_bboxes_labels, gt_ignore_flags
    - gt_masks (LabelMapMasks or BitmapMasks) (optional with ``paste_by_box``)
    - mix_results: a list with one more sample, the source of the pasted cells, as ``MultiImageMixDataset`` adds it

    Modified keys:

    - img
    - gt_masks (if the sample has masks), gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Args:
        max_num_pasted: An upper limit that is not reached itself: as in ``CopyPaste``, the random selection has fewer
            cells than this number. Without effect if ``selected`` is False.
        min_visible: The fraction of its area in this image, 0 to 1, that an instance below pasted cells must keep
            visible. An instance without a pixel left is dropped in any case.
        selected: Whether only a random selection of the source's cells is pasted. False pastes all of them.
        paste_by_box: Whether boxes are used as masks in samples without masks.

    Raises:
        ValueError: ``min_visible`` is not in [0, 1], or ``max_num_pasted`` is less than 1.
    """

    def __init__(self, max_num_pasted: int = 100, min_visible: float = .3, selected: bool = True,
                 paste_by_box: bool = False) -> None:
        super().__init__(max_num_pasted=max_num_pasted, selected=selected, paste_by_box=paste_by_box)
        if max_num_pasted < 1:
            raise ValueError(f'max_num_pasted must be at least 1, got {max_num_pasted}')
        if not 0 <= min_visible <= 1:
            raise ValueError(f'min_visible must be between 0 and 1, got {min_visible}')
        self.min_visible = min_visible

    def _copy_paste(self, dst_results: dict, src_results: dict) -> dict:
        below = to_label_map_masks(self.get_gt_masks(dst_results))
        # If cells were selected, the stock transform has already stored their masks, even those made from boxes.
        source_masks = src_results['gt_masks'] if 'gt_masks' in src_results else self.get_gt_masks(src_results)
        pasted = to_label_map_masks(source_masks).reframe((below.height, below.width))
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

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(max_num_pasted={self.max_num_pasted}, min_visible={self.min_visible}, '
                f'selected={self.selected}, paste_by_box={self.paste_by_box})')
