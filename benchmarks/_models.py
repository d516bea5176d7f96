"""Three builds of one Mask R-CNN with the same weights: torchvision's, MMDetection's and mmcell's; and a light one."""

from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

N_CLASSES = 4
N_DETECTIONS = 1000
CONFIGS = Path(__file__).parents[1] / 'configs' / 'cell'
CONFIG = CONFIGS / 'mask-rcnn_r50_tv-v1.py'
LIGHT_CONFIG = CONFIGS / 'mask-rcnn_r50_light.py'
# What MMDetection has in place of mmcell's classes.
STOCK_TYPES = {
    'TorchvisionMaskHead': 'FCNMaskHead', 'CellMaskHead': 'FCNMaskHead', 'CellRoIExtractor': 'SingleRoIExtractor',
    'CellRoIHead': 'StandardRoIHead',
    'TorchvisionAssigner': 'MaxIoUAssigner', 'SparseMaxIoUAssigner': 'MaxIoUAssigner',
    'LoadTiff': 'LoadImageFromFile', 'LoadCellAnnotations': 'LoadAnnotations', 'PackCellInputs': 'PackDetInputs'}


def torchvision_model() -> nn.Module:
    """Builds torchvision's Mask R-CNN "v1" with random weights that keep its outputs at a moderate size.

    As in the published models, the normalisation, the stem and the first stage of the backbone are not trained. Images
    keep their size, and have 1,000 detections.
    """
    from torchvision.models import resnet50
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d
    torch.manual_seed(0)
    # maskrcnn_resnet50_fpn() has this backbone only together with weights that it downloads.
    backbone = _resnet_fpn_extractor(resnet50(norm_layer=FrozenBatchNorm2d), trainable_layers=3)
    model = MaskRCNN(backbone, N_CLASSES + 1, box_score_thresh=0., box_detections_per_img=N_DETECTIONS,
                     rpn_pre_nms_top_n_test=2000, rpn_post_nms_top_n_test=2000)
    model.transform = KeepSize(model.transform)
    for name, module in model.named_modules():
        if name.endswith('bn3'):
            # Without this, each of the sixteen blocks adds as much as it receives, and boxes become extremely large.
            module.weight.zero_()
    return model.eval()


class KeepSize(nn.Module):
    """torchvision's transform, except that it does not resize images to a short side of 800 px.

    Args:
        transform: The transform, whose method ``resize`` is replaced.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        transform.resize = lambda image, target=None: (image, target)

    def forward(self, images: list, targets: list | None = None) -> tuple:
        """Normalises and pads images."""
        return self.transform(images, targets)

    def postprocess(self, *args: object) -> list[dict]:
        """Scales boxes to the size of the images, and pastes masks."""
        return self.transform.postprocess(*args)


def mmdetection_config(stock: bool) -> Config:
    """Returns the config of the same model with 1,000 detections.

    Args:
        stock: Whether the model consists of MMDetection's classes, and not of mmcell's. Anchors and box coder are
            torchvision's in both.
    """
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.rcnn.update(score_thr=0., max_per_img=N_DETECTIONS)
    cfg.model.test_cfg.rpn.update(nms_pre=2000, max_per_img=2000)
    if stock:
        cfg.model = replace_types(cfg.model)
        # As in MMDetection's own configs.
        cfg.model.data_preprocessor.pad_mask = True
    return cfg


def replace_types(settings: object) -> object:
    """Returns settings with MMDetection's classes in place of mmcell's, wherever ``type`` names one of them."""
    if isinstance(settings, dict):
        replaced = {key: replace_types(value) for key, value in settings.items()}
        if settings.get('type') in STOCK_TYPES:
            replaced['type'] = STOCK_TYPES[settings['type']]
        return type(settings)(replaced)
    return [replace_types(value) for value in settings] if isinstance(settings, (list, tuple)) else settings


def mmdetection_model(theirs: nn.Module, cfg: Config, stock: bool, device: str = 'cpu') -> nn.Module:
    """Builds the model of :func:`mmdetection_config` with the weights of torchvision's model.

    On the CPU, mmcell's convolutions are done as in its trainings and predictions, and stock's as torch does them.
    """
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    from mmcell.checkpoints.torchvision_weights import convert_mask_rcnn
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.load_state_dict(convert_mask_rcnn(theirs.state_dict()).state_dict, strict=False)
    model.cfg, model.dataset_meta = cfg, {'classes': ('1', '2', '3', '4'), 'channel_order': 'rgb'}
    if not stock and device == 'cpu':
        model = _for_cpu(model, cfg)
    return model.to(device).eval()


def light_model() -> nn.Module:
    """Builds the network of the laptop recipe with random weights, for predictions on the CPU; see `torchvision_model`.

    As there, the last BatchNorm of each block is 0, and an image has 1,000 detections.
    """
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = Config.fromfile(LIGHT_CONFIG)
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.rcnn.update(score_thr=0., max_per_img=N_DETECTIONS)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for name, module in model.named_modules():
        if name.endswith('bn3'):
            nn.init.zeros_(module.weight)
    model.cfg, model.dataset_meta = cfg, {'classes': ('1', '2', '3', '4'), 'channel_order': 'rgb'}
    return _for_cpu(model, cfg).eval()


def _for_cpu(model: nn.Module, cfg: Config) -> nn.Module:
    if 'cpu' in cfg.env_cfg.get('channels_last', ()):
        model = model.to(memory_format=torch.channels_last)
    if 'winograd' in cfg.default_hooks:
        from mmcell.models.winograd import use_winograd
        use_winograd(model)
    return model
