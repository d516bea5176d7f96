"""The visualizer of MMDetection for cells. In a module of its own: the rest of the package goes without MMDetection."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.rle import area_px
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import add_legend, beside, draw_instances


@VISUALIZERS.register_module()
class CellVisualizer(DetLocalVisualizer):
    """``DetLocalVisualizer`` that outlines and tints cells in the colours of their classes, below a legend.

    Masks may be RLE (what ``CellMaskHead`` predicts), ``LabelMapMasks``, ``BitmapMasks`` or bitmaps (N, H, W); none
    is made N x H x W. Boxes, semantic and panoptic segmentations are not drawn. Unlike the stock class it draws in
    every process, not in the first alone.

    Args:
        classes: the names of those that are drawn, None for all.
        scale: whole factor of enlargement; outlines are one pixel wide after it.
        fill: weight of the colour inside, 0 to 1.
        name, args, kwargs: as ``DetLocalVisualizer``; its colours, line width and alpha have no effect.
    """

    def __init__(self, name: str = 'visualizer', *args, classes: Sequence[str] | None = None, scale: int = 1,
                 fill: float = .15, **kwargs) -> None:
        if isinstance(classes, str):
            raise MmcellError(f'visualizer.classes must be a list of names, got {classes!r}; write [{classes!r}]')
        super().__init__(name, *args, **kwargs)
        self.classes = classes
        self.scale = scale
        self.fill = fill

    @property
    def dataset_meta(self) -> dict:
        """Meta info of the data set; in mmengine only the first process has it."""
        return self._dataset_meta or {}

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        if 'classes' in self.dataset_meta:
            self._refuse_unknown(self.dataset_meta['classes'])

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        unknown = set(self.classes or ()) - set(names)
        if unknown:
            raise MmcellError(f'visualizer.classes {sorted(unknown)} unknown; the data set has {list(names)}')

    def add_datasample(self, name: str, image: np.ndarray, data_sample: DetDataSample | None = None,
                       draw_gt: bool = True, draw_pred: bool = True, show: bool = False, wait_time: float = 0,
                       out_file: str | Path | None = None, pred_score_thr: float = .3, step: int = 0) -> None:
        """Draws a sample, the truth at the left where the sample has its masks, and shows or saves the picture.

        Args:
            name: of the picture, for the backends.
            image: (H, W, 3) uint8 RGB, of the size of the masks.
            data_sample: with ``gt_instances`` and ``pred_instances``; None, or nothing to draw: the image alone.
            draw_gt, draw_pred: whether to draw them.
            show, wait_time: show it in a window, for so many seconds.
            out_file: PNG to write; None gives the picture to the backends.
            pred_score_thr: the least score that is drawn.
            step: for the backends.

        Raises:
            MmcellError: a name in ``classes`` that is no class.
            ValueError: masks of another size than the image, or a label without a name.
        """
        picture = self.draw(image, data_sample, draw_gt, draw_pred, pred_score_thr)
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            _write_png(picture, out_file)
        else:
            self.add_image(name, picture, step)

    def draw(self, image: np.ndarray, data_sample: DetDataSample | None = None, draw_gt: bool = True,
             draw_pred: bool = True, pred_score_thr: float = .3) -> np.ndarray:
        """The picture (height, width, 3) uint8 RGB; see :meth:`add_datasample`."""
        image = image.clip(0, 255).astype(np.uint8)
        sets = []
        if draw_gt and data_sample is not None and 'masks' in data_sample.get('gt_instances', ()):
            sets.append(('true', data_sample.gt_instances))
        if draw_pred and data_sample is not None and 'masks' in data_sample.get('pred_instances', ()):
            predicted = data_sample.pred_instances
            sets.append((f'predicted, score >= {pred_score_thr:g}',
                         predicted[(predicted.scores >= pred_score_thr).cpu()]))
        if not sets:
            return draw_instances(image, [], [], self.scale)
        names = self._names([instances for _, instances in sets])
        shown = [i for i, name in enumerate(names) if self.classes is None or name in self.classes]
        colors = class_colors(len(names))
        panels, titles = [], []
        for title, instances in sets:
            rles, labels = _select(instances, shown, image.shape[:2])
            panels.append(draw_instances(image, rles, [colors[label] for label in labels], self.scale, self.fill))
            titles.append(f'{len(rles)} {title}')
        return add_legend(beside(panels), ' | '.join(titles), [names[i] for i in shown], [colors[i] for i in shown])

    def _names(self, sets: list[InstanceData]) -> list[str]:
        """The class names; numbers where the data set's are not known."""
        largest = max((int(one.labels.max()) for one in sets if len(one)), default=-1)
        names = self.dataset_meta.get('classes', [f'class {label}' for label in range(largest + 1)])
        if largest >= len(names):
            raise ValueError(f'there is no class for label {largest}: the data set has {list(names)}')
        self._refuse_unknown(names)
        return list(names)


def _select(instances: InstanceData, shown: list[int], shape: tuple[int, int]) -> tuple[list[dict], list[int]]:
    """RLEs and labels of the instances of the shown classes that have a pixel.

    Raises:
        ValueError: masks of another size than (height, width).
    """
    kept = [(rle, label) for rle, label in zip(masks_to_rles(instances.masks), instances.labels.tolist(), strict=True)
            if label in shown and area_px(rle)]
    for rle, _ in kept:
        if tuple(rle['size']) != tuple(shape):
            raise ValueError(f"masks are {list(rle['size'])}, the image is {list(shape)} (height, width): load "
                             'annotations after the resize in the test pipeline, and predict with rescale=True')
    return [rle for rle, _ in kept], [label for _, label in kept]


def _write_png(picture: np.ndarray, path: str | Path) -> None:
    _, encoded = cv2.imencode('.png', picture[:, :, ::-1])
    with written_whole([path]) as (temporary,):
        temporary.write_bytes(encoded.tobytes())
