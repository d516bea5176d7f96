"""Winograd's convolution compared with torch's own."""

import copy

import pytest
import torch
from torch import nn

from mmcell.models import winograd
from mmcell.models.winograd import MIN_CHANNELS, MIN_TILES, WinogradConv2d, use_winograd

# The largest difference that is allowed, divided by the largest value. Rounding changes the results of torch's own
# convolution by up to 1e-6.
TOLERANCE = 3e-5
# Batch, channels in and out, height, width: images in one block and in several, rows in several blocks, incomplete
# tiles, and numbers of channels that differ.
SHAPES = [(128, 128, 128, 4, 4), (20, 128, 160, 14, 14), (2, 160, 128, 33, 30), (1, 128, 128, 70, 67),
          (1, 128, 128, 1, 510), (3, 128, 128, 190, 3)]


def convolutions(n_in, n_out, bias=True):
    torch.manual_seed(0)
    direct = nn.Conv2d(n_in, n_out, 3, padding=1, bias=bias)
    fast = copy.deepcopy(direct)
    assert use_winograd(fast) == 1
    return direct, fast


@pytest.fixture
def calls(monkeypatch):
    """The shapes of the inputs that were computed by Winograd's algorithm."""
    shapes, original = [], winograd._convolve

    def record(input, *args):
        shapes.append(tuple(input.shape))
        return original(input, *args)

    monkeypatch.setattr(winograd, '_convolve', record)
    return shapes


def difference(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('bias', [True, False])
def test_values_and_gradients_equal_those_of_the_direct_convolution(shape, bias, calls):
    n, n_in, n_out, height, width = shape
    pair = convolutions(n_in, n_out, bias)
    inputs = [torch.randn(n, n_in, height, width, generator=torch.Generator().manual_seed(1)).requires_grad_()
              for _ in pair]
    outputs = [layer(values) for layer, values in zip(pair, inputs, strict=True)]
    weights = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(2))
    for output in outputs:
        (output * weights).sum().backward()
    assert len(calls) == 2  # the output and the gradient of the input
    assert difference(outputs[1], outputs[0]) < TOLERANCE
    assert difference(inputs[1].grad, inputs[0].grad) < TOLERANCE
    for direct, fast in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        assert difference(fast.grad, direct.grad) < TOLERANCE


def test_a_known_value():
    layer = nn.Conv2d(128, 128, 3, padding=1, bias=False)
    nn.init.ones_(layer.weight)
    use_winograd(layer)
    with torch.no_grad():
        output = layer(torch.ones(32, 128, 5, 5))
    # In the corner a pixel has 4 neighbours inside the image, itself included, at the border 6, in the middle 9.
    for (y, x), n_neighbours in {(0, 0): 4, (0, 2): 6, (2, 2): 9, (4, 4): 4, (4, 1): 6}.items():
        assert torch.allclose(output[:, :, y, x], torch.tensor(128. * n_neighbours), rtol=1e-5)


def test_any_memory_format_gives_the_same_values():
    _, layer = convolutions(128, 128)
    with torch.no_grad():
        values = torch.randn(2, 128, 40, 36)
        outputs = [layer(values.contiguous(memory_format=memory_format))
                   for memory_format in (torch.contiguous_format, torch.channels_last)]
        outputs.append(layer(values.transpose(2, 3).contiguous().transpose(2, 3)))
    assert outputs[0].is_contiguous(memory_format=torch.channels_last)
    assert all(output.equal(outputs[0]) for output in outputs)


@pytest.mark.parametrize('frozen', ['input', 'weight', 'bias'])
def test_gradients_are_computed_only_where_they_are_needed(frozen):
    _, layer = convolutions(128, 128)
    values = torch.randn(MIN_TILES, 128, 4, 4, requires_grad=frozen != 'input')
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name != frozen)
    layer(values).sum().backward()
    assert (values.grad is None) == (frozen == 'input')
    assert (layer.weight.grad is None) == (frozen == 'weight') and (layer.bias.grad is None) == (frozen == 'bias')


def test_other_inputs_are_computed_as_torch_does(calls):
    direct, fast = convolutions(128, 128)
    with torch.no_grad():
        small = torch.randn(MIN_TILES - 1, 128, 4, 4)
        assert fast(small).equal(direct(small)) and fast(small[:0]).shape == (0, 128, 4, 4)
        with torch.autocast('cpu', torch.bfloat16):
            large = torch.randn(MIN_TILES, 128, 4, 4)
            assert fast(large).dtype == torch.bfloat16 and fast(large).equal(direct(large))
        assert fast.double()(large.double()).equal(direct.double()(large.double()))
    assert not calls


def test_only_suitable_layers_are_changed():
    suitable = nn.Conv2d(MIN_CHANNELS, MIN_CHANNELS, 3, padding=1)
    others = [nn.Conv2d(128, 128, 1), nn.Conv2d(128, 128, 3), nn.Conv2d(128, 128, 3, stride=2, padding=1),
              nn.Conv2d(128, 128, 3, padding=2, dilation=2), nn.Conv2d(128, 128, 3, padding=1, groups=2),
              nn.Conv2d(128, 128, 3, padding=1, padding_mode='reflect'), nn.Conv2d(64, 128, 3, padding=1),
              nn.Conv2d(128, 64, 3, padding=1), nn.ConvTranspose2d(128, 128, 3, padding=1)]
    model = nn.Sequential(*others, suitable)
    keys = list(model.state_dict())
    assert use_winograd(model) == 1 and type(suitable) is WinogradConv2d
    assert [type(layer) for layer in others] == [nn.Conv2d] * 8 + [nn.ConvTranspose2d]
    assert list(model.state_dict()) == keys and use_winograd(model) == 0
