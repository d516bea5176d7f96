"""Prediction and AP of validation images, as mmcell, torchvision's reference and MMDetection do both."""

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pycocotools.mask
import torch
from _models import replace_types
from _trainees import Trainee, autocast
from _training_data import BASELINE, SeededSamples
from mmengine.config import Config
from torch import Tensor


def test_samples(kind: str, records: Sequence[dict]) -> SeededSamples:
    """Returns the images of records without their cells, as a model of a kind takes them in prediction."""
    if kind == 'torchvision':
        return SeededSamples(records, _load_image)
    from mmcv.transforms import Compose
    pipeline = Config.fromfile(BASELINE).test_dataloader.dataset.pipeline
    return SeededSamples(records, Compose(replace_types(pipeline) if kind == 'stock' else pipeline))


def _load_image(record: dict) -> tuple[Tensor, dict]:
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype
    with Image.open(record['img_path']) as file:
        image = pil_to_tensor(file.convert('RGB'))
    image = image.flip(0) if record['channel_order'] == 'bgr' else image
    return to_dtype(image, torch.float32, scale=True), {'img_id': record['img_id']}


def predict(trainee: Trainee, batch: object, precision: str, device: str) -> list:
    """Predicts a batch of images, and makes the RLEs of their cells.

    Args:
        trainee: The model, in evaluation mode.
        batch: A batch of :func:`test_samples`.
        precision: 'fp32' or 'bf16'.
        device: Where the model is.

    Returns:
        Per image: for torchvision a list of COCO results, otherwise a ``DetDataSample`` as a dict whose masks are RLEs.
    """
    with torch.no_grad(), autocast(precision, device):
        if trainee.kind == 'torchvision':
            detections = trainee.model([image.to(device) for image, _ in batch])
            return [_to_results(found, target['img_id']) for found, (_, target) in zip(detections, batch, strict=True)]
        predicted = [sample.to_dict() for sample in trainee.model.test_step(batch)]
    if trainee.kind == 'stock':
        from mmdet.structures.mask import encode_mask_results
        for sample in predicted:
            sample['pred_instances']['masks'] = encode_mask_results(sample['pred_instances']['masks'].cpu().numpy())
    return predicted


def _to_results(detections: dict[str, Tensor], image_id: int) -> list[dict]:
    masks = (detections['masks'] > .5).squeeze(1).cpu().numpy()
    rles = [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return [dict(image_id=image_id, category_id=label, score=score, segmentation=rle) for label, score, rle in zip(
        detections['labels'].tolist(), detections['scores'].tolist(), rles, strict=True)]


def make_evaluation(kind: str, ann_file: Path) -> Callable[[list], float]:
    """Returns a function that computes the AP of masks of the predictions of all images of an annotation file.

    mmcell computes it with ``CellMetric``, MMDetection with its ``CocoMetric``, torchvision with pycocotools. Each has
    its own cap of detections, so that the values are not compared.
    """
    if kind == 'torchvision':
        return lambda predictions: _evaluate_with_pycocotools(ann_file, predictions)
    from mmdet.evaluation import CocoMetric
    from mmengine.evaluator import Evaluator

    from mmcell.evaluation.cell_metric import CellMetric
    with contextlib.redirect_stdout(io.StringIO()):
        metric = CellMetric() if kind == 'mmcell' else CocoMetric(str(ann_file), metric='segm')
    evaluator = Evaluator([metric])
    class_names = [category['name'] for category in json.loads(ann_file.read_text())['categories']]
    evaluator.dataset_meta = {'classes': tuple(class_names), 'ann_file': str(ann_file)}

    def evaluate(predictions: list) -> float:
        evaluator.process(data_samples=predictions)
        with contextlib.redirect_stdout(io.StringIO()):
            values = evaluator.evaluate(len(predictions))
        return float(values['AP' if kind == 'mmcell' else 'coco/segm_mAP'])
    return evaluate


def _evaluate_with_pycocotools(ann_file: Path, predictions: list[list[dict]]) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(ann_file))
        evaluation = COCOeval(truth, truth.loadRes([result for results in predictions for result in results]), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])
