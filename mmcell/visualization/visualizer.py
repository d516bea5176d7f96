"""MMDetection's visualizer for cells, in its own module because the rest of this room does not need MMDetection."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.visualization.vis_backend import BaseVisBackend

from mmcell.errors import MmcellError
from mmcell.masks.encoding import masks_to_rles
from mmcell.visualization.cell_panels import CellSet, draw_cell_sets
from mmcell.visualization.overlay import draw_instances, write_png
from mmcell.visualization.trackers import (
    LOCAL,
    TrackedTraining,
    add_values,
    name_values,
    start_tracker,
    to_settings,
)


@VISUALIZERS.register_module()
class CellVisualizer(DetLocalVisualizer):
    """``DetLocalVisualizer`` that outlines and tints cells in the colours of their classes, below a legend.

    Masks may be RLEs (as ``CellMaskHead`` predicts them), ``LabelMapMasks``, ``BitmapMasks`` or bitmaps (N, H, W);
    RLEs and label maps are drawn without making N full-size bitmaps. Boxes, semantic and panoptic segmentations are
    not drawn. Unlike the stock class, which draws only in the first process, this class draws in every process.

    Back ends of trackers (TensorBoard, W&B and others) are built when a training begins, so that a test needs no
    tracker and a resumed training goes on in its run (:mod:`mmcell.visualization.trackers`).

    Args:
        name, image, save_dir, kwargs: The arguments of ``DetLocalVisualizer``. Its colours, line width and alpha have
            no effect.
        vis_backends: The back ends, as in ``DetLocalVisualizer``; a name stands for ``dict(type=name)``. If others than
            ``LocalVisBackend`` are given, ``LocalVisBackend`` is there, too.
        classes: The names of the classes that are drawn; None draws all classes.
        scale: The whole number by which height and width are multiplied. Outlines are one pixel wide in the result.
        fill: The weight of the colour inside the outline, from 0 (not tinted) to 1 (colour only).

    Raises:
        MmcellError: ``classes`` is a single text instead of a list.
    """

    def __init__(self, name: str = 'visualizer', image: np.ndarray | None = None,
                 vis_backends: Sequence[str | dict | BaseVisBackend] | dict | None = None, save_dir: str | None = None,
                 *, classes: Sequence[str] | None = None, scale: int = 1, fill: float = .15, **kwargs) -> None:
        if isinstance(classes, str):
            raise MmcellError(f'visualizer.classes must be a list of class names, got {classes!r}; write [{classes!r}]')
        settings = [vis_backends] if isinstance(vis_backends, dict | str) else vis_backends
        if settings and not any(isinstance(entry, BaseVisBackend) for entry in settings):
            settings = to_settings(settings)
        self._trackers = [entry for entry in settings or () if isinstance(entry, dict) and entry.get('type') != LOCAL]
        super().__init__(name, image, [entry for entry in settings or () if entry not in self._trackers], save_dir,
                         **kwargs)
        self._folder = Path(save_dir or '.', 'vis_data')
        self._config = Config()
        self._started: dict[str, BaseVisBackend] | None = None
        self.step: int | None = None
        self.classes = classes
        self.scale = scale
        self.fill = fill

    def add_config(self, config: Config, **kwargs) -> None:
        """Writes the config of a run to the log, and keeps it for trackers."""
        self._config = config
        super().add_config(config, **kwargs)

    @property
    def are_trackers_started(self) -> bool:
        """Whether a training has begun for the trackers."""
        return self._started is not None

    @master_only
    def start_trackers(self, training: TrackedTraining) -> None:
        """Starts the trackers, or continues them if the training is resumed.

        Raises:
            TrackerError: A tracker cannot continue its run.
        """
        self._started = {}
        for settings in self._trackers:
            settings = dict(settings)
            name = settings.pop('name', settings['type'])
            self._started[name] = self._vis_backends[name] = start_tracker(settings, self._config, training)

    @master_only
    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        """Logs values, and gives them to the trackers under names and at steps that all of them take.

        Args:
            scalar_dict: The values by their names.
            step: The step; for validations the epoch, if the training counts epochs.
            file_path: A second file in the folder of the log that gets the values.
        """
        if self._trackers and not self.are_trackers_started:
            self.start_trackers(TrackedTraining(self._folder))
        values = name_values(scalar_dict)
        if 'iter' in scalar_dict or self.step is None:
            self.step = step
        for name, backend in self._vis_backends.items():
            if name in (self._started or ()):
                add_values(backend, values, self.step)
            else:
                backend.add_scalars(scalar_dict, step, file_path, **kwargs)

    @property
    def dataset_meta(self) -> dict:
        """Meta information of the data set; in MMEngine's own visualizer only the first process has it."""
        return self._dataset_meta or {}

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        if 'classes' in self.dataset_meta:
            self._refuse_unknown(self.dataset_meta['classes'])

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        unknown = set(self.classes or ()) - set(names)
        if unknown:
            raise MmcellError(f'visualizer.classes has the unknown names {sorted(unknown)}; the data set has the '
                              f'classes {list(names)}')

    def add_datasample(self, name: str, image: np.ndarray, data_sample: DetDataSample | None = None,
                       draw_gt: bool = True, draw_pred: bool = True, show: bool = False, wait_time: float = 0,
                       out_file: str | Path | None = None, pred_score_thr: float = .3, step: int = 0) -> None:
        """Draws the predicted cells of a sample, and shows or saves the picture.

        True cells are drawn in a second panel at the left if the sample has their masks.

        Args:
            name: The name of the picture in the backends, and the title of the window.
            image: The image, (H, W, 3) uint8 RGB, of the same height and width as the masks.
            data_sample: The sample with ``gt_instances`` and ``pred_instances``. If it is None, or has nothing to
                draw, the picture shows only the image.
            draw_gt: Whether true cells are drawn.
            draw_pred: Whether predicted cells are drawn.
            show: Whether the picture is shown in a window.
            wait_time: The time in seconds for which the window is shown; 0 shows it until the space bar is pressed.
            out_file: The PNG file to write. If it is None, the backends get the picture.
            pred_score_thr: The least score of predicted cells that are drawn.
            step: The number of the step under which the backends store the picture.

        Raises:
            MmcellError: ``classes`` has a name that is not a class of the data set, masks differ from the image in
                size, or a label has no class name.
        """
        picture = self.draw(image, data_sample, draw_gt, draw_pred, pred_score_thr)
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            write_png(picture, out_file)
        else:
            self.add_image(name, picture, step)

    def draw(self, image: np.ndarray, data_sample: DetDataSample | None = None, draw_gt: bool = True,
             draw_pred: bool = True, pred_score_thr: float = .3) -> np.ndarray:
        """Returns the picture (height, width, 3) uint8 RGB; the arguments are those of :meth:`add_datasample`."""
        image = image.clip(0, 255).astype(np.uint8)
        cell_sets = []
        if draw_gt and data_sample is not None and 'masks' in data_sample.get('gt_instances', ()):
            true = data_sample.gt_instances
            cell_sets.append(CellSet.true(masks_to_rles(true.masks), true.labels.tolist()))
        if draw_pred and data_sample is not None and 'masks' in data_sample.get('pred_instances', ()):
            predicted = data_sample.pred_instances
            predicted = predicted[(predicted.scores >= pred_score_thr).cpu()]
            cell_sets.append(CellSet.predicted(masks_to_rles(predicted.masks), predicted.labels.tolist(),
                                               pred_score_thr))
        if not cell_sets:
            return draw_instances(image, [], [], self.scale)
        names = self._class_names(max((label for cells in cell_sets for label in cells.labels), default=-1))
        shown_labels = [label for label, name in enumerate(names) if self.classes is None or name in self.classes]
        return draw_cell_sets(image, cell_sets, names, shown_labels, self.scale, self.fill)

    def _class_names(self, largest: int) -> list[str]:
        """Returns the class names of the data set; if they are unknown, 'class 0' to the largest label that occurs."""
        names = self.dataset_meta.get('classes', [f'class {label}' for label in range(largest + 1)])
        if largest >= len(names):
            raise MmcellError(f'there is no class for label {largest}: the data set has the classes {list(names)}')
        self._refuse_unknown(names)
        return list(names)
