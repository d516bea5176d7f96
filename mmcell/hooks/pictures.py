"""The hook that draws predictions during validation and testing."""

from collections.abc import Sequence
from pathlib import Path

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmcell.datasets.loading import load_true_instances
from mmcell.hooks.first_step import refuse_missing_keys
from mmcell.images.image_file import read_image
from mmcell.visualization.overlay import picture_name

# By these, a sample is found in its data set, and its image on the disk.
_KEYS = ('img_id', 'img_path')


@HOOKS.register_module()
class CellVisualizationHook(DetVisualizationHook):
    """``DetVisualizationHook`` that shows each image as the model saw it, and writes one PNG per image.

    If the data set has true cells, they are drawn beside the predicted ones, although the test pipeline does not load
    them.

    The stock hook reads image files in its own way, with other colours for 16-bit files, for files that hold blue
    first and for stretched contrast. It names pictures only after the image file, although in the raw layout all
    images are called image.tif. With several processes, it draws only the images of the first process.

    Samples need ``img_id`` and ``img_path``; a message says if they are missing.

    The arguments are those of ``DetVisualizationHook``. ``test_out_dir`` is relative to the folder of the run inside
    the work folder, unless it is absolute.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.truth: tuple[Dataset, dict[tuple, int]] | None = None

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                       outputs: Sequence[DetDataSample]) -> None:
        """Draws the first image of the batch in every ``interval``-th step."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._add(runner, outputs[0], 'val', step)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                        outputs: Sequence[DetDataSample]) -> None:
        """Draws every image of the batch."""
        for sample in outputs if self.draw else ():
            self._test_index += 1
            self._add(runner, sample, 'test', self._test_index)

    def _add(self, runner: Runner, sample: DetDataSample, split: str, step: int) -> None:
        refuse_missing_keys(sample, _KEYS, f'{split}_dataloader.dataset.pipeline')
        name = picture_name(sample.img_id, sample.img_path)
        out_file = None
        if split == 'test' and self.test_out_dir is not None:
            out_file = str(Path(runner.work_dir, runner.timestamp, self.test_out_dir, name))
        # As LoadTiff read it for the model, before any resize.
        image = read_image(sample.img_path, sample.get('channel_order', 'rgb'), sample.get('percentiles'))
        sample = sample.cpu()
        dataset = getattr(runner, f'{split}_dataloader').dataset
        index = self._indices(dataset).get((sample.img_path, sample.img_id))
        if index is not None:
            sample.gt_instances = load_true_instances(dataset.get_data_info(index), image.shape[:2])
        self._visualizer.add_datasample(
            name if self.show else f'{split}_img', image, data_sample=sample, show=self.show, wait_time=self.wait_time,
            pred_score_thr=self.score_thr, out_file=out_file, step=step)

    def _indices(self, dataset: Dataset) -> dict[tuple, int]:
        """Returns the index of each image by its path and id; empty if the data set has no true cell."""
        if self.truth is None or self.truth[0] is not dataset:
            indices, has_cells = {}, False
            for index in range(len(dataset)):
                data_info = dataset.get_data_info(index)
                indices[data_info.get('img_path'), data_info.get('img_id')] = index
                has_cells |= bool(data_info.get('instances'))
            self.truth = dataset, indices if has_cells else {}
        return self.truth[1]
