"""Lets MMDetection's ``DetInferencer`` load images with ``LoadTiff`` and return masks that are RLEs already."""

import types

import torch


def accept_cells(inferencer_module: types.ModuleType) -> None:
    """Changes ``DetInferencer`` for pipelines that begin with ``LoadTiff`` and for masks that are lists of RLEs.

    The stock class stops if there is no ``LoadImageFromFile`` in the pipeline, in whose place it puts a transform that
    takes paths and arrays. ``LoadTiff`` takes both itself and stays. Results for other models remain as they are.

    Args:
        inferencer_module: The module ``mmdet.apis.det_inferencer``.
    """
    cls, stock_encode = inferencer_module.DetInferencer, inferencer_module.encode_mask_results
    if stock_encode.__module__ == __name__:
        return
    stock_pipeline, stock_pred2dict = cls._init_pipeline, cls.pred2dict

    def encode_mask_results(masks: list) -> list[dict]:
        return [dict(mask) if isinstance(mask, dict) else stock_encode([mask])[0] for mask in masks]

    def init_pipeline(self: cls, cfg: dict) -> object:
        pipeline = cfg.test_dataloader.dataset.pipeline
        if self._get_transform_idx(pipeline, ('LoadTiff',)) == -1:
            return stock_pipeline(self, cfg)
        return inferencer_module.Compose(pipeline)

    def pred2dict(self: cls, data_sample: object, pred_out_dir: str = '') -> dict:
        instances = data_sample.get('pred_instances', {})
        if isinstance(instances.get('masks'), list) and not instances.masks:
            # Without boxes, the stock method reads the masks as a tensor.
            instances.masks = torch.zeros(0, *data_sample.ori_shape, dtype=torch.bool)
        return stock_pred2dict(self, data_sample, pred_out_dir)

    inferencer_module.encode_mask_results = encode_mask_results
    cls._init_pipeline, cls.pred2dict = init_pipeline, pred2dict
