"""The classes that are built from the config inside a checkpoint whose origin is not trusted.

A list of what is dangerous is never complete, therefore this is a list of what is needed: the classes of this project's
configs, of MMDetection's instance segmenters, and what people train with them. Each class was looked at: with any
arguments, it evaluates no text, imports nothing, opens no file and downloads nothing, neither when it is built nor when
it predicts. ``tests/checkpoints/test_allowed_classes.py`` looks at them again in their source.

A class that is missing here can still be used, with a config of one's own (``--config``) or on trust
(``--trust-checkpoint``). Before a class is added, run that test.
"""

_DETECTORS = {
    'CascadeRCNN', 'CondInst', 'DetTTAModel', 'FasterRCNN', 'HybridTaskCascade', 'Mask2Former', 'MaskFormer',
    'MaskRCNN', 'MaskScoringRCNN', 'MaskTTAModel', 'PointRend', 'QueryInst', 'RTMDet', 'SCNet', 'SOLO', 'SOLOv2',
    'SingleStageDetector', 'SingleStageInstanceSegmentor', 'SparseRCNN', 'TiledDetector', 'TwoStageDetector', 'YOLACT'}
_BACKBONES = {
    'CBAMResNet', 'CSPDarknet', 'CSPNeXt', 'DetectoRS_ResNeXt', 'DetectoRS_ResNet', 'EfficientNet', 'HRNet',
    'MobileNetV2', 'PlainOutputConvNeXt', 'PyramidVisionTransformer', 'PyramidVisionTransformerV2', 'RegNet', 'Res2Net',
    'ResNeSt', 'ResNeXt', 'ResNet', 'ResNetV1d', 'SwinTransformer', 'TridentResNet'}
_NECKS = {
    'BFP', 'CSPNeXtPAFPN', 'ChannelMapper', 'DyHead', 'FPN', 'FPN_CARAFE', 'FPN_DropBlock', 'HRFPN', 'NASFPN',
    'PAFPN', 'RFP', 'YOLOXPAFPN'}
_HEADS = {
    # Regions
    'CascadeRPNHead', 'EmbeddingRPNHead', 'GARPNHead', 'RPNHead', 'StageCascadeRPNHead',
    'CellRoIExtractor', 'GenericRoIExtractor', 'SingleRoIExtractor', 'ResLayer',
    # Regions to boxes and masks
    'CascadeRoIHead', 'CellCascadeRoIHead', 'CellRoIHead', 'DoubleHeadRoIHead', 'DynamicRoIHead',
    'HybridTaskCascadeRoIHead', 'MaskScoringRoIHead',
    'PISARoIHead', 'PointRendRoIHead', 'SCNetRoIHead', 'SparseRoIHead', 'StandardRoIHead',
    'BBoxHead', 'CellBBoxHead', 'ConvFCBBoxHead', 'DIIHead', 'DoubleConvFCBBoxHead', 'SABLHead', 'SCNetBBoxHead',
    'Shared2FCBBoxHead', 'Shared4Conv1FCBBoxHead',
    'CellMaskHead', 'CoarseMaskHead', 'DynamicConv', 'DynamicMaskHead', 'FCNMaskHead', 'FeatureRelayHead',
    'FusedSemanticHead', 'GlobalContextHead', 'HTCMaskHead', 'MaskIoUHead', 'MaskPointHead', 'SCNetMaskHead',
    'SCNetSemanticHead', 'TorchvisionMaskHead',
    # Whole images to masks
    'CondInstBboxHead', 'CondInstMaskHead', 'DecoupledSOLOHead', 'DecoupledSOLOLightHead', 'MSDeformAttnPixelDecoder',
    'Mask2FormerHead', 'MaskFormerFusionHead', 'MaskFormerHead', 'PixelDecoder', 'RTMDetInsHead', 'RTMDetInsSepBNHead',
    'SOLOHead', 'SOLOV2Head', 'TransformerEncoderPixelDecoder', 'YOLACTHead', 'YOLACTProtonet'}
_LOSSES = {
    'BalancedL1Loss', 'BoundedIoULoss', 'CIoULoss', 'CrossEntropyCustomLoss', 'CrossEntropyLoss', 'DIoULoss',
    'DiceLoss', 'DistributionFocalLoss', 'EIoULoss', 'EQLV2Loss', 'FocalCustomLoss', 'FocalLoss', 'GHMC', 'GHMR',
    'GIoULoss', 'GaussianFocalLoss', 'IoULoss', 'L1Loss', 'MSELoss', 'QualityFocalLoss', 'SIoULoss', 'SeesawLoss',
    'SmoothL1Loss', 'VarifocalLoss'}
_PREPROCESSORS = {
    'BaseDataPreprocessor', 'BatchFixedSizePad', 'BatchMinSizePad', 'BatchResize', 'BatchSyncRandomResize',
    'DetDataPreprocessor', 'ImgDataPreprocessor'}
_LAYERS = {
    # Normalisation
    'BN', 'BN1d', 'BN2d', 'BN3d', 'FrozenBN', 'GN', 'GRN', 'IN', 'IN1d', 'IN2d', 'IN3d', 'LN', 'LN2d', 'MMSyncBN',
    'SyncBN',
    # Activation
    'Clamp', 'Clip', 'ELU', 'GELU', 'HSigmoid', 'HSwish', 'LeakyReLU', 'PReLU', 'QuickGELU', 'RReLU', 'ReLU', 'ReLU6',
    'SiLU', 'Sigmoid', 'Swish', 'Tanh',
    # Convolution, padding, enlargement
    'Conv', 'Conv1d', 'Conv2d', 'Conv2dAdaptivePadding', 'Conv3d', 'ConvAWS', 'ConvModule', 'ConvTranspose2d', 'ConvWS',
    'DCN', 'DCNv2', 'Linear', 'NormedConv2d', 'NormedLinear', 'SAC', 'bilinear', 'carafe', 'deconv', 'nearest',
    'pixel_shuffle', 'reflect', 'replicate', 'zero',
    # Attention, and other plugins
    'BaseTransformerLayer', 'CBAM', 'ContextBlock', 'DropBlock', 'DropPath', 'Dropout', 'FFN', 'GeneralizedAttention',
    'LearnedPositionalEncoding', 'MultiScaleDeformableAttention', 'MultiheadAttention', 'NonLocal2d', 'ShiftWindowMSA',
    'SinePositionalEncoding', 'TransformerLayerSequence'}
_TASK_UTILS = {
    # Anchors and points
    'AnchorGenerator', 'LegacyAnchorGenerator', 'MlvlPointGenerator', 'PointGenerator', 'SSDAnchorGenerator',
    'TorchvisionAnchorGenerator', 'YOLOAnchorGenerator',
    # Box coders
    'BucketingBBoxCoder', 'DeltaXYWHBBoxCoder', 'DistancePointBBoxCoder', 'LegacyDeltaXYWHBBoxCoder', 'PseudoBBoxCoder',
    'TBLRBBoxCoder', 'TorchvisionBBoxCoder', 'YOLOBBoxCoder',
    # Assigners, with IoU calculators and costs
    'ATSSAssigner', 'ApproxMaxIoUAssigner', 'BboxOverlaps2D', 'CenterRegionAssigner', 'DynamicSoftLabelAssigner',
    'GridAssigner', 'HungarianAssigner', 'MaxIoUAssigner', 'PointAssigner', 'RegionAssigner', 'SimOTAAssigner',
    'SparseMaxIoUAssigner', 'TaskAlignedAssigner', 'TorchvisionAssigner', 'UniformAssigner',
    'BBoxL1Cost', 'BinaryFocalLossCost', 'ClassificationCost', 'CrossEntropyLossCost', 'DiceCost', 'FocalLossCost',
    'IoUCost',
    # Samplers
    'CombinedSampler', 'InstanceBalancedPosSampler', 'IoUBalancedNegSampler', 'MaskPseudoSampler', 'OHEMSampler',
    'PseudoSampler', 'RandomSampler', 'ScoreHLRSampler'}
# Names that MMDetection and MMCV look up in their own modules instead of a registry.
FUNCTIONS = {'nms', 'soft_nms', 'RoIAlign', 'RoIPool', 'SimpleRoIAlign'}
# Backbones of MMPretrain, written mmpretrain.NAME in a config.
MMPRETRAIN = {
    'ConvNeXt', 'DaViT', 'DenseNet', 'EdgeNeXt', 'EfficientNet', 'EfficientNetV2', 'HRNet', 'HorNet', 'MViT',
    'MobileNetV2', 'MobileNetV3', 'PCPVT', 'PoolFormer', 'RegNet', 'RepVGG', 'Res2Net', 'ResNeSt', 'ResNeXt', 'ResNet',
    'ResNetV1c', 'ResNetV1d', 'SEResNeXt', 'SEResNet', 'SVT', 'ShuffleNetV2', 'SwinTransformer', 'SwinTransformerV2',
    'VAN', 'VGG', 'VisionTransformer'}

MODEL_CLASSES = _DETECTORS | _BACKBONES | _NECKS | _HEADS | _LOSSES | _PREPROCESSORS | _LAYERS | _TASK_UTILS
TRANSFORM_CLASSES = {
    # How the images of the training were loaded. mmcell reads this, and loads the images itself.
    'LoadAnnotations', 'LoadCellAnnotations', 'LoadEmptyAnnotations', 'LoadImageFromFile', 'LoadImageFromNDArray',
    'LoadTiff',
    'AutoContrast', 'CapLongSide', 'CenterCrop', 'Equalize', 'FixScaleResize', 'FixShapeResize', 'ImageToTensor',
    'Invert', 'Normalize', 'PackCellInputs', 'PackDetInputs', 'Pad', 'RandomFlip', 'RandomRotate90', 'Resize',
    'ResizeShortestEdge', 'ResizeToScale', 'TestTimeAug', 'ToTensor'}


def names_in_models() -> frozenset[str]:
    """Returns all values that the key ``type`` may have in the config of a model."""
    return frozenset({*MODEL_CLASSES, *FUNCTIONS, *(f'mmdet.{name}' for name in MODEL_CLASSES),
                      *(f'mmpretrain.{name}' for name in MMPRETRAIN)})


def names_in_pipelines() -> frozenset[str]:
    """Returns all values that the key ``type`` may have in a test pipeline."""
    return frozenset({*TRANSFORM_CLASSES, *(f'mmdet.{name}' for name in TRANSFORM_CLASSES)})
