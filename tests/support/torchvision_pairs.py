"""Models of torchvision beside the same models of this project, with the same random weights."""

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from support.paths import REPO
from torch import nn
from torchvision.models import convnext_tiny, resnet50
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import BackboneWithFPN, _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d

from mmcell.checkpoints.torchvision_weights import convert_mask_rcnn

N_CLASSES = 4
# Sizes (height, width) of two images, which are padded to 96x160 px.
SIZES = [(90, 150), (64, 130)]


def frozen_v1(eps):
    model = MaskRCNN(_resnet_fpn_extractor(resnet50(norm_layer=FrozenBatchNorm2d), 3), N_CLASSES + 1)
    overwrite_eps(model, eps)
    return model


def frozen_v1_with_norm_in_fpn():
    backbone = _resnet_fpn_extractor(resnet50(norm_layer=FrozenBatchNorm2d), 3, norm_layer=nn.BatchNorm2d)
    return MaskRCNN(backbone, N_CLASSES + 1)


def convnext():
    backbone = BackboneWithFPN(convnext_tiny().features, {str(2 * i + 1): str(i) for i in range(4)},
                               [96, 192, 384, 768], 256)
    return MaskRCNN(backbone, N_CLASSES + 1)


def plain(build):
    return lambda: build(weights=None, weights_backbone=None, num_classes=N_CLASSES + 1)


MODELS_BY_NAME = {
    'v1': (plain(maskrcnn_resnet50_fpn), 'mask-rcnn_r50_tv-v1', {}),
    'v2': (plain(maskrcnn_resnet50_fpn_v2), 'mask-rcnn_r50_tv-v2', {}),
    'convnext': (convnext, 'mask-rcnn_convnext_tv', {}),
    'v1 frozen, published': (lambda: frozen_v1(0.), 'mask-rcnn_r50_tv-v1', dict(frozen_bn_eps=0.)),
    'B1': (frozen_v1_with_norm_in_fpn, 'mask-rcnn_r50_fpn-bn', {}),
}


def randomize(model):
    """Sets random values that differ from the initial values and keep the size of activations."""
    generator = torch.Generator().manual_seed(0)

    def normal(tensor, std):
        tensor.copy_(std * torch.randn(tensor.shape, generator=generator))

    def uniform(tensor, low, high):
        return tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    with torch.no_grad():
        for module in model.modules():
            if getattr(module, 'bias', None) is not None:
                normal(module.bias, .1)
            if hasattr(module, 'running_var'):
                # Small variances are included, because the epsilon matters for them.
                uniform(module.running_var, -4, -1).copy_(10 ** module.running_var)
                uniform(module.weight, .5, 1.5).mul_(module.running_var.sqrt())
                normal(module.running_mean, .1)
            elif isinstance(module, nn.LayerNorm):
                uniform(module.weight, .5, 1.5)
            elif hasattr(module, 'weight'):
                normal(module.weight, module.weight[0].numel() ** -.5)
            if hasattr(module, 'layer_scale'):
                uniform(module.layer_scale, .1, .5)
    return model.eval()


def build(config_name):
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / f'{config_name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    return MODELS.build(cfg.model).eval()


class Pair:
    """A model of torchvision, the same model in MMDetection, and the features of both for two images."""

    def __init__(self, name):
        build_theirs, config_name, options = MODELS_BY_NAME[name]
        self.theirs, self.ours = randomize(build_theirs()), build(config_name)
        self.ours.load_state_dict(convert_mask_rcnn(self.theirs.state_dict(), **options).state_dict, strict=True)
        generator = torch.Generator().manual_seed(1)
        self.images = [torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator) for size in SIZES]
        transform = self.theirs.transform
        self.batch = transform.batch_images([transform.normalize(image / 255) for image in self.images])
        self.their_features = self.theirs.backbone(self.batch)
        self.our_features = self.ours.extract_feat(self.batch)
