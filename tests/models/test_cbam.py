"""CBAM compared with its equations, as a plugin of ResNet and in CBAMResNet; all networks are narrow."""

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from support.paths import REPO

from mmcell.models import CBAM

STAGES = (False, True, True, True)
PLUGIN = dict(cfg=dict(type='CBAM', reduction=16), stages=STAGES, position='after_conv3')


@pytest.fixture(autouse=True)
def seed_and_scope():
    torch.manual_seed(0)
    init_default_scope('mmdet')


def by_the_equations(module, features):
    """Computes equations 1 to 3 of the paper for one image, channel and position at a time."""
    outputs = []
    hidden, _, last = module.mlp
    padding = module.conv.kernel_size[0] // 2
    for image in features:
        logits = 0
        for descriptor in (torch.stack([channel.mean() for channel in image]),
                           torch.stack([channel.max() for channel in image])):
            logits = logits + F.linear(F.linear(descriptor, hidden.weight, hidden.bias).clamp(min=0),
                                       last.weight, last.bias)
        refined = torch.stack([channel / (1 + torch.exp(-logit)) for channel, logit in zip(image, logits, strict=True)])
        pooled = torch.zeros(2, *image.shape[1:])
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                pooled[0, y, x], pooled[1, y, x] = refined[:, y, x].mean(), refined[:, y, x].max()
        logit = F.conv2d(pooled[None], module.conv.weight, module.conv.bias, padding=padding)[0, 0]
        outputs.append(refined / (1 + torch.exp(-logit)))
    return torch.stack(outputs)


@pytest.mark.parametrize('shape, kernel_size', [((2, 32, 5, 9), 7), ((1, 64, 1, 1), 7), ((3, 16, 4, 3), 3)])
def test_the_equations(shape, kernel_size):
    module = CBAM(shape[1], reduction=4, kernel_size=kernel_size)
    features = torch.randn(shape) * 3
    result = module(features)
    assert result.shape == features.shape
    assert torch.allclose(result, by_the_equations(module, features), atol=1e-6)


def test_gradients_reach_every_parameter():
    module = CBAM(32, reduction=4)
    features = torch.randn(2, 32, 6, 7, requires_grad=True)
    module(features).square().sum().backward()
    for gradient in (features.grad, *(parameter.grad for parameter in module.parameters())):
        assert gradient.isfinite().all() and gradient.any()


@pytest.mark.parametrize('channels, reduction, hidden', [
    (256, 16, 16), (64, 16, 4), (32, 16, 4), (2, 16, 4), (64, 1, 64), (80, 16, 5), (256, 1000, 4),
])
def test_the_hidden_layer_is_never_narrower_than_four(channels, reduction, hidden):
    module = CBAM(channels, reduction)
    assert module.mlp[0].weight.shape == (hidden, channels) and module.mlp[2].weight.shape == (channels, hidden)


@pytest.mark.parametrize('wrong, message', [
    (dict(kernel_size=6), 'odd.*got 6'), (dict(kernel_size=-1), 'odd.*got -1'),
    (dict(reduction=0), 'got in_channels=8 and reduction=0'),
    (dict(in_channels=0), 'got in_channels=0 and reduction=16'),
    (dict(initial_gate=1.), 'initial_gate.*got 1.0'), (dict(initial_gate=0), 'initial_gate.*got 0'),
])
def test_arguments_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        CBAM(**{'in_channels': 8, **wrong})


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_dtype(dtype):
    module = CBAM(16)
    features = torch.randn(2, 16, 5, 5).to(dtype)
    with torch.autocast('cpu', torch.bfloat16):
        result = module(features)
    assert result.dtype == dtype
    assert torch.allclose(result.float(), module(features.float()), atol=.05)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_a_module_of_another_dtype_keeps_it(dtype):
    module, features = CBAM(16), torch.randn(2, 16, 5, 5)
    expected = module(features)
    result = module.to(dtype)(features.to(dtype))
    assert result.dtype == dtype and torch.allclose(result.float(), expected, atol=.01)


@pytest.mark.parametrize('init', [lambda module: None, lambda module: module.init_weights()], ids=['built', 'init'])
def test_the_initial_gate_is_one_constant_and_can_learn(init):
    module = CBAM(16, initial_gate=.9)
    init(module)
    features = torch.randn(2, 16, 5, 5)
    assert torch.allclose(module(features), .81 * features)
    optimizer = torch.optim.SGD(module.parameters(), 1.)
    for _ in range(2):
        optimizer.zero_grad()
        module(features).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in module.parameters())


def build(kind='CBAMResNet', depth=18, train=False, **kwargs):
    backbone = MODELS.build(dict(type=kind, depth=depth, base_channels=8, **kwargs))
    # Unlike train() of other modules, train() of ResNet returns None.
    backbone.train(train)
    return backbone


def with_weights_of(stock, backbone):
    missing, unexpected = backbone.load_state_dict(stock.state_dict(), strict=False)
    assert not unexpected
    return missing


def random_statistics(backbone):
    """Changes a ResNet so that no BatchNorm is the identity and no residual branch is 0."""
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(tensor, .2, .2)
            torch.nn.init.uniform_(module.running_var, .5, 1.5)
    return backbone


def test_a_plugin_acts_before_the_addition():
    backbone = random_statistics(build('ResNet', 50, plugins=[PLUGIN]))
    assert [shape.shape[1] for shape in backbone(torch.randn(1, 3, 64, 64))] == [32, 64, 128, 256]
    assert not hasattr(backbone.layer1[0], 'cbam')
    block = backbone.layer2[1]
    x = torch.randn(2, 64, 6, 6)
    branch = block.norm3(block.conv3(block.norm2(block.conv2(block.norm1(block.conv1(x)).relu())).relu()))
    assert torch.allclose(block(x), (by_the_equations(block.cbam, branch) + x).relu(), atol=1e-5)


@pytest.mark.slow
def test_the_plugin_is_found_when_only_mmcell_was_imported():
    script = ("import mmcell; from mmengine.registry import init_default_scope; init_default_scope('mmdet'); "
              "from mmdet.registry import MODELS; "
              f"print(MODELS.build(dict(type='ResNet', depth=50, base_channels=8, plugins=[{PLUGIN}])).layer4[2].cbam)")
    process = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False, cwd=REPO)
    assert process.stdout.startswith('CBAM('), process.stderr


@pytest.mark.parametrize('depth, options', [
    (18, {}), (34, dict(stages=(True, False, False, True))), (50, dict(style='caffe')),
    (101, dict(stages=(False, False, False, True))),
    (50, dict(deep_stem=True, avg_down=True)),
    (18, dict(num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), out_indices=(0, 2), stages=STAGES[:3])),
])
def test_weights_of_a_resnet_load_and_only_the_cbams_are_missing(depth, options):
    stages = options.get('stages', STAGES)
    stock = build('ResNet', depth, **{key: value for key, value in options.items() if key != 'stages'})
    backbone = build(depth=depth, **options)
    missing = with_weights_of(stock, backbone)
    n_blocks = sum(n for n, chosen in zip(stock.stage_blocks, stages, strict=True) if chosen)
    assert len(missing) == 6 * n_blocks and all('.output_cbam.' in name for name in missing)
    assert {name.split('.')[0] for name in missing} == {f'layer{i + 1}' for i, chosen in enumerate(stages) if chosen}
    images = torch.randn(1, 3, 64, 64)
    assert [x.shape for x in backbone(images)] == [x.shape for x in stock(images)]


@pytest.mark.parametrize('depth', [18, 50])
def test_cbam_acts_on_the_output_of_each_block(depth):
    stock = random_statistics(build('ResNet', depth))
    backbone = build(depth=depth)
    with_weights_of(stock, backbone)
    x = backbone.maxpool(backbone.relu(backbone.norm1(backbone.conv1(torch.randn(1, 3, 32, 32)))))
    for name, chosen in zip(backbone.res_layers, STAGES, strict=True):
        for gated, plain in zip(getattr(backbone, name), getattr(stock, name), strict=True):
            expected = by_the_equations(gated.output_cbam, plain(x)) if chosen else plain(x)
            x = gated(x)
            assert torch.allclose(x, expected, atol=1e-5) and x.any()


@pytest.mark.parametrize('depth', [18, 50])
def test_cbam_acts_on_the_output_of_each_stage(depth):
    stock = random_statistics(build('ResNet', depth))
    backbone = build(depth=depth, after='stage')
    missing = with_weights_of(stock, backbone)
    assert {name.rpartition('.output_cbam.')[0] for name in missing} == {'layer2', 'layer3', 'layer4'}
    x = backbone.maxpool(backbone.relu(backbone.norm1(backbone.conv1(torch.randn(1, 3, 32, 32)))))
    for name, chosen in zip(backbone.res_layers, STAGES, strict=True):
        gated, plain = getattr(backbone, name), getattr(stock, name)
        expected = by_the_equations(gated.output_cbam, plain(x)) if chosen else plain(x)
        x = gated(x)
        assert torch.allclose(x, expected, atol=1e-5) and x.any()


def test_cbams_after_stages_keep_their_initial_gate_and_are_frozen_with_their_stage():
    backbone = build(after='stage', cbam=dict(initial_gate=.99), frozen_stages=2, train=True)
    backbone.init_weights()
    gates = {name: getattr(backbone, name).output_cbam for name in backbone.res_layers[1:]}
    assert all(not gate.conv.weight.any() for gate in gates.values())
    assert [name for name, gate in gates.items() if gate.conv.bias.requires_grad] == ['layer3', 'layer4']


def test_another_place_for_cbams_is_refused():
    with pytest.raises(ValueError, match="'block' or 'stage', got 'layer'"):
        build(after='layer')


def test_a_plugin_and_the_cbam_of_the_output_are_separate_modules():
    block = build(depth=50, plugins=[PLUGIN]).layer2[0]
    assert isinstance(block.cbam, CBAM) and isinstance(block.output_cbam, CBAM) and block.cbam is not block.output_cbam


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2])
def test_frozen_stages_and_batch_norm(frozen_stages):
    backbone = build(frozen_stages=frozen_stages, norm_eval=True, train=True)
    cbams = {name: module for name, module in backbone.named_modules() if isinstance(module, CBAM)}
    assert len(cbams) == 6
    for name, cbam in cbams.items():
        frozen = int(name.removeprefix('layer')[0]) <= frozen_stages
        assert cbam.training is not frozen
        assert all(parameter.requires_grad is not frozen for parameter in cbam.parameters())
    assert not any(module.training for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d))


@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')  # From the checkpoints of the stock ResNet.
@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('frozen_stages', [-1, 2])
def test_recomputing_gives_the_same(depth, frozen_stages):
    plain = random_statistics(build(depth=depth, frozen_stages=frozen_stages, train=True))
    recomputed = build(depth=depth, frozen_stages=frozen_stages, with_cp=True, train=True)
    recomputed.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    calls = []
    recomputed.layer4[-1].output_cbam.register_forward_pre_hook(lambda *_: calls.append(1))
    for backbone in (plain, recomputed):
        sum(x.square().sum() for x in backbone(images)).backward()
    # The CBAM runs once in the forward pass and once more in the backward pass.
    assert len(calls) == 2
    for (name, ours), theirs in zip(recomputed.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None) == (not ours.requires_grad), name
        assert ours.grad is None or torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6), name


def test_all_parameters_of_the_backbone_learn():
    backbone = random_statistics(build(train=True))
    sum(x.square().sum() for x in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())
    assert not [name for name, parameter in backbone.named_parameters() if not parameter.grad.any()]


def test_a_deep_copy_is_equal_and_independent():
    backbone = build()
    copied = copy.deepcopy(backbone)
    images = torch.randn(1, 3, 32, 32)
    assert all(ours.equal(theirs) for ours, theirs in zip(copied(images), backbone(images), strict=True))
    copied.layer2[0].output_cbam.conv.bias.data.add_(1)
    assert not copied(images)[1].equal(backbone(images)[1])


def test_initialised_weights(tmp_path):
    stock = random_statistics(build('ResNet'))
    torch.save(stock.state_dict(), tmp_path / 'stock.pth')
    backbone = build(cbam=dict(initial_gate=.99),
                     init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'stock.pth')))
    scratch = build(cbam=dict(initial_gate=.99))
    for module in (backbone, scratch):
        module.init_weights()
        for block in module.layer4:
            conv = block.output_cbam.conv
            assert not conv.weight.any() and conv.bias.sigmoid().item() == pytest.approx(.99)
    assert all(tensor.equal(backbone.state_dict()[name]) for name, tensor in stock.state_dict().items())
    # Residual branches are initialised with zeros, as in the stock ResNet.
    assert scratch.layer4[1].norm2.weight.eq(0).all()


def test_the_default_initialisation_is_pytorchs():
    backbone = build()
    backbone.init_weights()
    bound = (2 * 7 * 7) ** -.5
    weights = torch.stack([block.output_cbam.conv.weight for name in backbone.res_layers[1:]
                           for block in getattr(backbone, name)])
    assert .9 * bound < weights.abs().max() <= bound


def test_a_wrong_number_of_stages():
    with pytest.raises(ValueError, match='3 entries.*got 4'):
        build(num_stages=3, stages=STAGES)
