"""SE-ResNeXt-50 and EfficientNet-B0 against numpy, from files with timm's names."""

import functools

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from astro_gan.models import EfficientNetB0, ResNet, load_encoder
from tests.networks import apply, assert_close, conv, max_pool, norm, pictures, relu, shapes

load = functools.partial(load_encoder, setting='config.weights.generator')
# timm's efficientnet_b0: blocks, kernel size, stride, expansion, channels of each stage.
PLAN = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192)]
PLAN.append((1, 3, 1, 6, 320))


class Numpy:
    """Layers in plain numpy that make their random weights, under the names and in the layout of PyTorch."""

    def __init__(self):
        self.rng, self.tensors = np.random.default_rng(0), {}

    def conv(self, x, name, out, size=1, stride=1, groups=1, bias=False):
        inner = x.shape[-1] // groups
        weight = self.rng.normal(0, (inner * size**2) ** -0.5, (out, inner, size, size)).astype(np.float32)
        self.tensors[f'{name}.weight'], kernel = weight, weight.transpose(2, 3, 1, 0)
        parts = [np.split(array, groups, axis=-1) for array in (x, kernel)]
        y = np.concatenate([conv(*part, stride=stride) for part in zip(*parts, strict=True)], axis=-1)
        if bias:
            self.tensors[f'{name}.bias'] = self.rng.normal(0, 0.2, out).astype(np.float32)
            y = y + self.tensors[f'{name}.bias']
        return y

    def norm(self, x, name):
        names = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
        values = {
            key: self.rng.uniform(*(0.5, 1.5) if key in ('scale', 'var') else (-0.2, 0.2), x.shape[-1]) for key in names
        }
        values = {key: value.astype(np.float32) for key, value in values.items()}
        self.tensors |= {f'{name}.{theirs}': values[ours] for ours, theirs in names.items()}
        return norm(x, values, values)

    def squeeze(self, x, name, first, second, features, activation):
        y = activation(self.conv(x.mean((1, 2), keepdims=True), f'{name}.{first}', features, bias=True))
        return x * sigmoid(self.conv(y, f'{name}.{second}', x.shape[-1], bias=True))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def seresnext50(x, stages):
    """timm's seresnext50_32x4d: (tensors, maps)."""
    net = Numpy()
    y = relu(net.norm(net.conv(x, 'conv1', 64, 7, 2), 'bn1'))
    maps, y = [y], max_pool(y)
    for stage, blocks in enumerate((3, 4, 6, 3)[:stages]):
        for block in range(blocks):
            at, width, stride = f'layer{stage + 1}.{block}', 128 * 2**stage, 2 if stage and not block else 1
            z = relu(net.norm(net.conv(y, f'{at}.conv1', width), f'{at}.bn1'))
            z = relu(net.norm(net.conv(z, f'{at}.conv2', width, 3, stride, groups=32), f'{at}.bn2'))
            z = net.norm(net.conv(z, f'{at}.conv3', 2 * width), f'{at}.bn3')
            z = net.squeeze(z, f'{at}.se', 'fc1', 'fc2', width // 8, relu)
            if not block:
                y = net.norm(net.conv(y, f'{at}.downsample.0', 2 * width, 1, stride), f'{at}.downsample.1')
            y = relu(y + z)
        maps.append(y)
    return net.tensors, maps


def efficientnet_b0(x, stages):
    """timm's efficientnet_b0: (tensors, maps)."""
    net, maps = Numpy(), {}
    y = silu(net.norm(net.conv(x, 'conv_stem', 32, 3, 2), 'bn1'))
    for stage, (blocks, size, stride, expansion, out) in enumerate(PLAN):
        for block in range(blocks):
            at, z, inner, step = f'blocks.{stage}.{block}', y, expansion * y.shape[-1], 1 if block else stride
            norms = iter(('bn1', 'bn2', 'bn3'))
            if expansion > 1:
                z = silu(net.norm(net.conv(z, f'{at}.conv_pw', inner), f'{at}.{next(norms)}'))
            z = silu(net.norm(net.conv(z, f'{at}.conv_dw', inner, size, step, inner), f'{at}.{next(norms)}'))
            z = net.squeeze(z, f'{at}.se', 'conv_reduce', 'conv_expand', y.shape[-1] // 4, silu)
            z = net.norm(net.conv(z, f'{at}.conv_pw{"l" * (expansion > 1)}', out), f'{at}.{next(norms)}')
            y = y + z if block else z
        maps[y.shape[1]] = y  # the last of each size
    return net.tensors, list(maps.values())[: stages + 1]


@pytest.mark.parametrize(
    ('name', 'module', 'reference', 'stages'),
    [
        ('seresnext50', ResNet('seresnext50', stages=2), seresnext50, 2),
        ('efficientnet_b0', EfficientNetB0(stages=3), efficientnet_b0, 3),
    ],
)
def test_features_equal_numpy(tmp_path, name, module, reference, stages):
    """From a file with timm's names every map is an independent implementation's."""
    x = pictures(2, 66, 75, 3) - 0.5
    tensors, expected = reference(x, stages)
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, tmp_path / 'w.safetensors')
    maps = apply(module, load(name, tmp_path / 'w.safetensors', stages=stages), x)
    assert len(maps) == stages + 1
    for ours, theirs in zip(maps, expected, strict=True):
        assert np.abs(theirs).max() > 0.1
        assert_close(ours, theirs.astype(np.float32))


@pytest.mark.parametrize(
    ('module', 'channels', 'parameters'),
    [
        (ResNet('seresnext50'), [64, 256, 512, 1024, 2048], 27_559_896 - 2048 * 1000 - 1000),
        (EfficientNetB0(), [16, 24, 40, 112, 320], 5_288_548 - 1280 * 1000 - 1000 - 320 * 1280 - 2 * 1280),
    ],
)
def test_maps_are_what_a_unet_wants(module, channels, parameters):
    """Strides 2, 4, 8, 16, 32; as many parameters as timm's networks have without their heads."""
    maps, variables = shapes(module, (1, 96, 128, 3))
    assert [y.shape for y in maps] == [(1, 96 >> k, 128 >> k, n) for k, n in enumerate(channels, start=1)]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables['params'])) == parameters


def test_where_weights_come_from():
    """Not packaged; of SE-ResNeXt-50 no revision of the hub is known to be the right one: the line asks for a file."""
    for name in ('seresnext50', 'efficientnet_b0'):
        words = rf'config\.weights\.generator: no {name} is packaged: .*the path of a file'
        with pytest.raises(ValueError, match=words):
            load(name, 'packaged', stages=1)
        with pytest.raises(ValueError, match='has 1 to 4 stages, not 0'):
            load(name, 'hub', stages=0)
    with pytest.raises(ValueError, match=r'^timm/seresnext50\S+: .*give its path as config\.weights\.generator'):
        load('seresnext50', 'hub', stages=1)
    with pytest.raises(ValueError, match="unknown encoder 'resnet34': one of resnet18, resnet50, seresnext50, eff"):
        load('resnet34', 'hub', stages=1)
