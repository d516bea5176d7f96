"""The images of a data set as they are stored, and as transforms or a whole pipeline change them, to look at them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import DATASETS, MODELS
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.structures import InstanceData

from mmcell.datasets.colors import loader_of
from mmcell.datasets.loading import load_true_instances
from mmcell.errors import MmcellError
from mmcell.framework.randomness import derive_seed, own_randomness
from mmcell.masks.encoding import masks_to_rles


@dataclass(frozen=True)
class BrowsedImage:
    """An image with its true cells.

    Attributes:
        img_id: The id of the image; of an image that was mixed from several, the id of the first.
        img_path: The file of this image.
        image: (H, W, 3) uint8 RGB.
        labels: N labels, from 0.
        rles: N masks of the size of the image, or None if there are only boxes.
        bboxes_xyxy: (N, 4) boxes in px, or None if they are not looked at.
        ignored_bboxes_xyxy: (M, 4) boxes in px of cells that the loss ignores.
        title: What this picture of the image is, if there are several; it stands at the beginning of the heading.
    """

    img_id: int | str
    img_path: str
    image: np.ndarray
    labels: list[int]
    rles: list[dict] | None
    bboxes_xyxy: np.ndarray | None = None
    ignored_bboxes_xyxy: np.ndarray | None = None
    title: str = ''


class _Images:
    """The images of several data sets, in one sequence.

    Args:
        datasets: The data sets, with the same classes.
    """

    def __init__(self, datasets: list[BaseDataset]) -> None:
        self.datasets = datasets
        self.entries = [(number, index) for number, dataset in enumerate(datasets) for index in range(len(dataset))]

    @property
    def classes(self) -> list[str]:
        """The class names, by label."""
        return list(self.datasets[0].metainfo['classes'])

    def __len__(self) -> int:
        return len(self.entries)


class StoredImages(_Images):
    """The images of a data set as they are stored, each once, in the colours that the model sees.

    Args:
        config: The config of the data set. Of data sets that repeat, mix or join others, the images of the others are
            taken.
    """

    def __init__(self, config: ConfigDict) -> None:
        super().__init__([DATASETS.build(base) for base in base_configs(config)])

    def __getitem__(self, index: int) -> BrowsedImage:
        """Loads an image with the first transforms of its pipeline, and the cells of the annotation file."""
        number, own_index = self.entries[index]
        dataset = self.datasets[number]
        results = dataset.get_data_info(own_index)
        for transform in dataset.pipeline.transforms:
            results = transform(results)
            if 'img' in results:
                break
        else:
            raise MmcellError(f"the pipeline of {dataset.metainfo.get('ann_file', 'the data set')} loads no image")
        data_info = dataset.get_data_info(own_index)
        image = to_rgb(results['img'], isinstance(transform, LoadImageFromFile))
        truth = load_true_instances(data_info, image.shape[:2])
        return BrowsedImage(data_info['img_id'], data_info['img_path'], image, truth.labels.tolist(),
                            masks_to_rles(truth.masks))


class ShownSamples:
    """The samples of a data set as the model is shown them: after the pipeline and the data preprocessor.

    The picture is what the preprocessor returns, with the normalisation undone: padded, and after augmentations of the
    batch, which has one image here. A model that was pretrained on blue, green, red is shown this order; the picture is
    in red, green, blue. If the config swaps colours by mistake, so does the picture.

    Args:
        dataset: The config of the data set.
        preprocessor: The config of the model's data preprocessor.
        is_training: Whether augmentations of the batch are applied.
        seed: The seed of all draws.
    """

    def __init__(self, dataset: ConfigDict, preprocessor: ConfigDict, is_training: bool, seed: int = 0) -> None:
        self.dataset = DATASETS.build(dataset)
        self.preprocessor = MODELS.build(preprocessor)
        self.is_training = is_training
        self.seed = seed
        reads_bgr = loader_of(base_configs(dataset)[0].get('pipeline', ())).order == 'bgr'
        self.is_bgr = preprocessor.get('rgb_to_bgr', False) or (reads_bgr and not preprocessor.get('bgr_to_rgb', False))

    @property
    def classes(self) -> list[str]:
        """The class names, by label."""
        return list(self.dataset.metainfo['classes'])

    def __len__(self) -> int:
        return len(self.dataset)

    def draw(self, index: int, number: int) -> BrowsedImage:
        """Draws a sample; the result depends only on the seed, the index and the number of the draw."""
        with own_randomness(derive_seed(self.seed, index, number)):
            batch = self.preprocessor(pseudo_collate([self.dataset[index]]), self.is_training)
        sample, pixels = batch['data_samples'][0], batch['inputs'][0]
        if getattr(self.preprocessor, 'mean', None) is not None:
            pixels = pixels * self.preprocessor.std + self.preprocessor.mean
        image = to_rgb(pixels.permute(1, 2, 0).numpy(), self.is_bgr)
        truth = sample.get('gt_instances', InstanceData())
        ignored = sample.get('ignored_instances', InstanceData())
        return BrowsedImage(sample.get('img_id', index), sample.get('img_path', ''), image,
                            truth.labels.tolist() if 'labels' in truth else [], _rles_of(truth, image.shape[:2]),
                            _boxes_of(truth), _boxes_of(ignored))


class TransformedSamples(_Images):
    """The images of a data set before and after transforms, to see what the transforms do.

    Args:
        config: The config of the data set. Of data sets that repeat, mix or join others, the images of the others are
            taken. Its pipeline only decides how images are loaded.
        transforms: The configs of the transforms, which follow the loading of the image and its cells. Transforms that
            mix several images are allowed.
        seed: The seed of all draws.
    """

    def __init__(self, config: ConfigDict, transforms: Sequence[dict], seed: int = 0) -> None:
        super().__init__([_with_transforms(base, transforms) for base in base_configs(config)])
        self.is_bgr = [loader_of(base.get('pipeline', ())).order == 'bgr' for base in base_configs(config)]
        self.seed = seed

    def __getitem__(self, index: int) -> BrowsedImage:
        """Loads an image without the transforms."""
        number, own_index = self.entries[index]
        return _browse_sample(self.datasets[number].dataset[own_index], self.is_bgr[number], 'original')

    def draw(self, index: int, number: int) -> BrowsedImage:
        """Draws a sample; the result depends only on the seed, the index and the number of the draw, from 0.

        Raises:
            MmcellError: The transforms give no sample, or one without an image.
        """
        dataset_number, own_index = self.entries[index]
        with own_randomness(derive_seed(self.seed, index, number)):
            try:
                results = self.datasets[dataset_number][own_index]
            except RuntimeError as error:
                if 'always return None' not in str(error):
                    raise
                raise MmcellError('the transforms give no sample, however often they are tried: check whether one of '
                                  'them drops images, for example RandomCrop without allow_negative_crop') from error
        return _browse_sample(results, self.is_bgr[dataset_number], f'draw {number + 1}')


class EachTransform(TransformedSamples):
    """As :class:`TransformedSamples`, but each draw shows one of the transforms by itself, and has its name.

    Draws go through the transforms in their order, and then begin again: of three transforms, draw 4 is the second draw
    of the second one.
    """

    def __init__(self, config: ConfigDict, transforms: Sequence[dict], seed: int = 0) -> None:
        super().__init__(config, (), seed)
        self.names = [transform['type'] for transform in transforms]
        self.samples = [TransformedSamples(config, [transform], seed) for transform in transforms]

    def draw(self, index: int, number: int) -> BrowsedImage:
        """Draws a sample; the result depends only on the seed, the index and the number of the draw, from 0."""
        repeat, which = divmod(number, len(self.samples))
        return replace(self.samples[which].draw(index, repeat), title=self.names[which])


def _with_transforms(base: ConfigDict, transforms: Sequence[dict]) -> BaseDataset:
    """Builds a data set that loads its images with their cells, and passes them through transforms."""
    loading = [part for part in base.get('pipeline', ()) if loader_of([part]).order is not None][:1]
    loading = [*(loading or [dict(type='LoadTiff')]), dict(type='LoadCellAnnotations')]
    return DATASETS.build(dict(type='CellMixDataset', dataset={**base, 'pipeline': loading}, pipeline=list(transforms)))


def _browse_sample(results: dict, is_bgr: bool, title: str) -> BrowsedImage:
    """Returns the image and the cells of a sample that is not packed.

    Raises:
        MmcellError: There is no image, because the last transform packs the sample.
    """
    if 'img' not in results:
        raise MmcellError('the transforms end with a sample that has no image: leave out those that pack samples, as '
                          'PackCellInputs does')
    is_ignored = np.asarray(results.get('gt_ignore_flags', np.zeros(len(results['gt_bboxes_labels']), bool)))
    masks = results.get('gt_masks')
    boxes = results['gt_bboxes']
    return BrowsedImage(
        results.get('img_id', 0), results.get('img_path', ''), to_rgb(results['img'], is_bgr),
        results['gt_bboxes_labels'][~is_ignored].tolist(), None if masks is None else masks_to_rles(masks[~is_ignored]),
        _boxes_of(InstanceData(bboxes=boxes[~is_ignored])), _boxes_of(InstanceData(bboxes=boxes[is_ignored])), title)


def base_configs(config: ConfigDict) -> list[ConfigDict]:
    """Returns the configs of the data sets that a config repeats, mixes or joins; or the config itself, if it has none.

    The keys ``dataset`` and ``datasets`` are those of MMEngine's and MMDetection's wrappers.
    """
    inner = [*([config['dataset']] if 'dataset' in config else []), *config.get('datasets', ())]
    return [base for part in inner for base in base_configs(part)] if inner else [config]


def to_rgb(image: np.ndarray, is_bgr: bool) -> np.ndarray:
    """Returns an image (H, W, 3) of any numbers from 0 to 255 as uint8 RGB."""
    image = np.round(image).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(image[:, :, ::-1]) if is_bgr else image


def _rles_of(instances: InstanceData, size: tuple[int, int]) -> list[dict] | None:
    if 'masks' not in instances:
        return None
    masks = instances.masks
    if (masks.height, masks.width) != size:
        # A preprocessor with pad_mask=False pads only the image.
        masks = masks.pad(size)
    return masks_to_rles(masks)


def _boxes_of(instances: InstanceData) -> np.ndarray:
    if 'bboxes' not in instances:
        return np.zeros((0, 4))
    return np.asarray(getattr(instances.bboxes, 'tensor', instances.bboxes), float).reshape(-1, 4)
