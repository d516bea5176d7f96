"""The true cells of an image of a data set, in the frame of the image file, whatever the pipeline does."""

import copy

import torch
from mmengine.structures import InstanceData

from mmcell.datasets.loading import LoadCellAnnotations


def load_true_instances(data_info: dict, size: tuple[int, int]) -> InstanceData:
    """Returns the true cells of an image as ``labels`` (N,) int64 and ``masks`` (``LabelMapMasks``).

    Cells without a mask, of which only the box is known, are left out.

    Args:
        data_info: The entry of the data set, see MMEngine's ``BaseDataset.get_data_info``.
        size: Height and width of the image in px.

    Raises:
        AnnotationError: A mask cannot be decoded, or has another size than the image.
    """
    results = {'img_path': data_info.get('img_path'), 'ori_shape': size,
               'instances': [copy.deepcopy(instance) for instance in data_info['instances'] if instance.get('mask')]}
    results = LoadCellAnnotations()(results)
    return InstanceData(labels=torch.as_tensor(results['gt_bboxes_labels']), masks=results['gt_masks'])
