"""Cells of one image pasted into another."""

import numpy as np
from mmdet.datasets.transforms import CopyPaste
from mmdet.registry import TRANSFORMS

from mmcell.datasets.instances import put_instances, to_label_map_masks
from mmcell.masks.label_map_masks import LabelMapMasks


@TRANSFORMS.register_module()
class CellCopyPaste(CopyPaste):
    """``CopyPaste`` (Ghiasi et al. 2021) for cells, which are small, and for images of any size.

    Pasted cells take away the pixels of those below, which are dropped when less than a part of them is left; the
    stock transform keeps what has over 300 px or a box changed by at most 10 px, which means little for cells. A cell
    that is dropped may leave up to that part of itself in the image, unlabelled. Pasted cells may overlap each other.
    The source is laid on the image corner to corner, and cut where it is larger. The image keeps its type; the stock
    one becomes int64. Boxes are made from the masks.

    Required keys:

    - img
    - gt_bboxes, gt_bboxes_labels, gt_ignore_flags
    - gt_masks (LabelMapMasks or BitmapMasks) (optional with ``paste_by_box``)
    - mix_results: one more sample, as ``MultiImageMixDataset`` adds it

    Modified keys:

    - img
    - gt_masks (where there were any), gt_bboxes, gt_bboxes_labels, gt_ignore_flags

    Args:
        max_num_pasted: as ``CopyPaste``, which pastes fewer than that.
        min_visible: part of its area in this image, 0 to 1, that an instance must keep; one pixel at least.
        selected: False to paste all cells of the source.
        paste_by_box: boxes stand in for masks where there are none.

    Raises:
        ValueError: ``min_visible`` is not in [0, 1], or ``max_num_pasted`` below 1.
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
        # Those of the source are there where cells of it were selected, made of boxes or not.
        source = src_results['gt_masks'] if 'gt_masks' in src_results else self.get_gt_masks(src_results)
        pasted = to_label_map_masks(source).reframe((below.height, below.width))
        region = pasted.foreground()
        if not region.any():
            return dst_results
        y, x = np.nonzero(region)
        dst_results['img'] = dst_results['img'].copy()
        dst_results['img'][y, x] = src_results['img'][y, x]
        visible = below.erase(region)
        is_visible = (visible.areas > 0) & (visible.areas >= self.min_visible * below.areas)
        is_kept = np.concatenate([is_visible, pasted.areas > 0])
        put_instances(dst_results, LabelMapMasks.cat([visible, pasted]), is_kept, dst_results, src_results)
        return dst_results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(max_num_pasted={self.max_num_pasted}, min_visible={self.min_visible}, '
                f'selected={self.selected}, paste_by_box={self.paste_by_box})')
