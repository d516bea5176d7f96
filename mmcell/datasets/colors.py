"""Whether a model is shown the colours that it expects: red, green, blue, or the reverse for some old weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from mmcell.datasets.loading import LoadTiff
from mmcell.errors import MmcellError
from mmcell.images.channel_order import other_order
from mmcell.settings.data_sets import first_leaf
from mmcell.settings.names import iterate_dicts

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Flags of data preprocessors that reverse the channels, with the order that each is meant to give.
FLAGS = {'bgr_to_rgb': 'rgb', 'rgb_to_bgr': 'bgr', 'to_rgb': 'rgb'}
# Weights that detectron and detectron2 converted from Caffe2 expect blue first. MMDetection's configs that use them
# have mean and std in this order, for example configs/mask_rcnn/mask-rcnn_x101-32x8d_fpn_1x_coco.py.
BGR_WEIGHTS = 'open-mmlab://detectron'
WORDS = {'rgb': 'red, green, blue', 'bgr': 'blue, green, red'}


class ColorError(MmcellError):
    """A model would be shown images in which red and blue are swapped."""


def refuse_swapped_colors(config: Mapping) -> None:
    """Refuses a config whose model would be shown images in which red and blue are swapped.

    Raises:
        ColorError: :func:`describe_swapped_colors` finds something.
    """
    description = describe_swapped_colors(config)
    if description is not None:
        raise ColorError(description)


def describe_swapped_colors(config: Mapping) -> str | None:
    """Returns what is wrong with the colours that a config shows to its model, and what to write; None if all is right.

    The order that the model expects is that of ``mean`` in its data preprocessor, because ImageNet's mean is greatest
    for red: (123.675, 116.28, 103.53) stands for red, green, blue, and (103.53, 116.28, 123.675) for blue, green, red.
    Without a mean that tells, a flag of the preprocessor says by its name which order it is meant to give. Backbone
    weights whose name says that they come from Caffe2 need a mean with blue first.

    The order that the model gets is that of the loader at the beginning of each pipeline (``LoadTiff``: red first,
    MMDetection's ``LoadImageFromFile``: blue first), reversed if the preprocessor has ``bgr_to_rgb`` or
    ``rgb_to_bgr``. Pipelines that begin with another loader are not looked at.

    Args:
        config: The resolved config.
    """
    path, flag, wanted = _find_preprocessor(config.get('model') or {}, 'model')
    loaders = {where: loader for where, pipeline in _find_pipelines(config)
               if (loader := loader_of(pipeline)).order is not None}
    if len({loader.order for loader in loaders.values()}) > 1:
        return ('the pipelines load colours in different orders ('
                + '; '.join(f'{where}: {name}, {WORDS[order]}' for where, (name, order) in loaders.items())
                + f"): write dict(type='LoadTiff') as the loader of each, and model = {_nested(path, 'bgr_to_rgb')}")
    # Weights of a whole model, which load_from names, replace those of the backbone.
    sources = [str(settings.get('checkpoint')) for _, settings in iterate_dicts(config.get('model'))]
    if wanted == 'rgb' and not config.get('load_from') and loaders and any(
            source.startswith(BGR_WEIGHTS) for source in sources):
        return (f'the weights of the backbone expect {WORDS["bgr"]}, but {path}.mean is in the order {WORDS["rgb"]}: '
                'write mean and std as in the config of MMDetection that uses these weights, and '
                f'model = {_nested(path, "rgb_to_bgr", True)}')
    wanted = wanted or FLAGS.get(flag)
    for where, (name, order) in loaders.items():
        shown = order if flag is None else other_order(order)
        if wanted is not None and shown != wanted:
            return _advise(path, flag, where, name, order, wanted)
    return None


class Loader(NamedTuple):
    """The transform that loads the images of a pipeline."""

    name: str
    order: str | None  # of colours, 'rgb' or 'bgr'; None if it is neither LoadTiff nor MMDetection's LoadImageFromFile


def loader_of(pipeline: Sequence[Mapping]) -> Loader:
    """Returns the first transform of a pipeline that is known to load images, or the first of all, without an order."""
    for transform in pipeline:
        built = TRANSFORMS.get(transform['type']) if isinstance(transform['type'], str) else transform['type']
        if isinstance(built, type) and issubclass(built, LoadTiff):
            return Loader(built.__name__, 'rgb')
        if isinstance(built, type) and issubclass(built, LoadImageFromFile):
            return Loader(built.__name__, 'rgb' if transform.get('imdecode_backend') == 'tifffile' else 'bgr')
    return Loader(str(pipeline[0]['type']) if pipeline else '', None)


def input_order(config: Mapping) -> str:
    """Returns the order of colours, 'rgb' or 'bgr', of the arrays that the test pipeline of a config loads.

    If the loader is unknown, the order is derived from the data preprocessor. If the preprocessor does not tell either,
    it is 'bgr', which is MMDetection's convention.

    Args:
        config: The resolved config, with ``model`` and ``test_dataloader``.
    """
    loader = loader_of(first_leaf(config, 'test_dataloader')['pipeline'])
    if loader.order is not None:
        return loader.order
    _, flag, wanted = _find_preprocessor(config['model'], 'model')
    if flag is None:
        return wanted or 'bgr'
    return other_order(wanted) if wanted else other_order(FLAGS[flag])


def _advise(path: str, flag: str | None, where: str, loader: str, loaded: str, wanted: str) -> str:
    """Returns the message about a pipeline that shows the wrong order, with the line to write."""
    problem = (f'the model would be shown red and blue swapped: it expects {WORDS[wanted]}, '
               f'and {loader} in {where} loads {WORDS[loaded]}')
    if loaded == wanted:
        return (f'{problem}, but {path}.{flag}=True reverses this. Write model = {_nested(path, flag)} in the config, '
                f'or add --cfg-options {path}.{flag}=False')
    if wanted == 'bgr':
        return (f'{problem}. Write model = {_nested(path, "rgb_to_bgr", True)} in the config, or add --cfg-options '
                f'+{path}.rgb_to_bgr=True')
    return (f"{problem}. Write dict(type='LoadTiff') in place of {loader}, which also reads 16-bit and swapped files, "
            f'or add --cfg-options +{path}.bgr_to_rgb=True')


def _nested(path: str, flag: str, value: bool = False) -> str:
    """Returns a setting as Python text: model.data_preprocessor becomes dict(data_preprocessor=dict(flag=value))."""
    text = f'dict({flag}={value})'
    for key in reversed(path.split('.')[1:]):
        text = f'dict({key}={text})'
    return text


def _find_preprocessor(model: Mapping, path: str) -> tuple[str, str | None, str | None]:
    """Returns where the preprocessor of a model stands, its flag that reverses colours, and the order of its mean."""
    for key in ('detector', 'module'):
        if isinstance(model.get(key), Mapping):
            return _find_preprocessor(model[key], f'{path}.{key}')
    preprocessor = model.get('data_preprocessor') or {}
    mean = preprocessor.get('mean')
    tells = mean is not None and len(mean) == 3 and mean[0] != mean[2]
    return (f'{path}.data_preprocessor', next((name for name in FLAGS if preprocessor.get(name)), None),
            ('rgb' if mean[0] > mean[2] else 'bgr') if tells else None)


def _find_pipelines(config: Mapping) -> Iterator[tuple[str, Sequence[Mapping]]]:
    """Yields where each pipeline of a config's data sets begins with loading an image, and the pipeline."""
    for key in DATALOADERS:
        if config.get(key):
            yield from _pipelines_of(config[key].get('dataset') or {}, f'{key}.dataset')
    if config.get('tta_pipeline'):
        yield 'tta_pipeline', config['tta_pipeline']


def _pipelines_of(dataset: Mapping, where: str) -> Iterator[tuple[str, Sequence[Mapping]]]:
    # The pipeline of a wrapper gets samples that the data set inside it has loaded.
    if isinstance(dataset.get('dataset'), Mapping):
        yield from _pipelines_of(dataset['dataset'], f'{where}.dataset')
        return
    for i, part in enumerate(dataset.get('datasets') or ()):
        yield from _pipelines_of(part, f'{where}.datasets.{i}')
    if dataset.get('pipeline'):
        yield f'{where}.pipeline', dataset['pipeline']
