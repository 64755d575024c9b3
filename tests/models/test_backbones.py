"""ResNet encoders: features against numpy and PyTorch, weights files, insertion into a network."""

import builtins
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from skimage import data

from astro_gan.models import ResNet, insert_backbone, load_encoder, make_discriminator, make_generator
from astro_gan.models.backbones import imagenet_normalise
from astro_gan.models.encoders import PACKAGED
from tests.networks import apply, assert_close, conv, max_pool, norm, pictures, randomise, relu

BLOCKS = {'resnet18': (2, 2, 2, 2), 'resnet50': (3, 4, 6, 3)}
load = functools.partial(load_encoder, setting='config.weights.generator')


def torch_weights(network, stages):
    """Random weights under torchvision's names, in its layout."""
    rng, tensors = np.random.default_rng(0), {}

    def layer(name, normalisation, out, channels, size):
        tensors[f'{name}.weight'] = rng.standard_normal((out, channels, size, size), np.float32)
        tensors[f'{name}.weight'] *= (channels * size**2) ** -0.5
        tensors[f'{normalisation}.weight'] = rng.uniform(0.5, 1.5, out)
        tensors[f'{normalisation}.bias'] = rng.normal(0, 0.2, out)
        tensors[f'{normalisation}.running_mean'] = rng.normal(0, 0.2, out)
        tensors[f'{normalisation}.running_var'] = rng.uniform(0.5, 1.5, out)
        tensors[f'{normalisation}.num_batches_tracked'] = np.zeros(())

    layer('conv1', 'bn1', 64, 3, 7)
    channels = 64
    for stage in range(1, stages + 1):
        width = 32 * 2**stage
        plan = [(width, 3), (width, 3)] if network == 'resnet18' else [(width, 1), (width, 3), (4 * width, 1)]
        for block in range(BLOCKS[network][stage - 1]):
            at, source = f'layer{stage}.{block}', channels
            for index, (out, size) in enumerate(plan, start=1):
                layer(f'{at}.conv{index}', f'{at}.bn{index}', out, source, size)
                source = out
            if source != channels:
                layer(f'{at}.downsample.0', f'{at}.downsample.1', source, channels, 1)
            channels = source
    return {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}


def numpy_resnet(tensors, x, *, first, pool):
    """Feature maps; `first`: the block's convolution that has the stride (from 1)."""

    def layer(y, name, normalisation, stride):
        y = conv(y, tensors[f'{name}.weight'].transpose(2, 3, 1, 0), stride=stride)
        names = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
        values = {ours: tensors[f'{normalisation}.{theirs}'] for ours, theirs in names.items()}
        return norm(y, values, values)

    y = relu(layer(x, 'conv1', 'bn1', 2))
    maps = [y]
    y = max_pool(y) if pool else y
    at = ''
    for name in tensors:  # in order of insertion
        block = '.'.join(name.split('.')[:2])
        if not name.startswith('layer') or block == at:
            continue
        at, shortcut = block, y
        stride = 2 if at.endswith('.0') and at != 'layer1.0' else 1
        convs = sum(f'{at}.conv{index}.weight' in tensors for index in (1, 2, 3))
        for index in range(1, convs + 1):
            y = layer(y, f'{at}.conv{index}', f'{at}.bn{index}', stride if index == first else 1)
            y = relu(y) if index < convs else y
        if f'{at}.downsample.0.weight' in tensors:
            shortcut = layer(shortcut, f'{at}.downsample.0', f'{at}.downsample.1', stride)
        y = relu(y + shortcut)
        maps = [*maps[: int(at[5])], y]
    return maps


@pytest.mark.parametrize(
    ('network', 'stages', 'fields', 'first'),
    [
        ('resnet18', 4, {}, 1),
        ('resnet50', 2, {'pool': False}, 2),
        ('resnet50', 2, {'stride_in_1x1': True}, 1),
    ],
)
def test_features_equal_numpy(tmp_path, network, stages, fields, first):
    """From a torchvision file every map is an independent implementation's, with both places of the stride."""
    tensors = torch_weights(network, stages)
    save_file(tensors, tmp_path / 'w.safetensors')
    variables = load(network, tmp_path / 'w.safetensors', stages=stages)
    x = pictures(1, 34, 27, 3)
    maps = apply(ResNet(network, stages=2, **fields), variables, x)
    expected = numpy_resnet(tensors, x, first=first, pool=fields.get('pool', True))
    for ours, theirs in zip(maps, expected[:3], strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(
    ('network', 'stages', 'fields', 'mean', 'some'),
    [
        ('resnet18', 3, {}, 0.226166, [0.002281, 0.129721, 0.033253, 0.359178]),
        ('resnet50', 2, {'stride_in_1x1': True}, 0.910143, [1.090621, 2.08882, 0.552455, 1.932873]),
    ],
)
def test_packaged_golden(network, stages, fields, mean, some):
    """The packaged weights give the features that PyTorch computes from them in float64."""
    picture = data.astronaut()[None, 100:196, 180:309].astype(np.float32) / 255
    variables = load(network, 'packaged', stages=stages)
    last = apply(ResNet(network, stages=stages, **fields), variables, imagenet_normalise(picture))[-1]
    np.testing.assert_allclose(last.mean(), mean, rtol=1e-5)
    np.testing.assert_allclose(last.mean((1, 2))[0, [3, 50, 100, 200]], some, rtol=1e-4, atol=1e-6)


def test_statistics():
    """Batch statistics move in training; frozen ones do not, and samples do not mix."""
    x = pictures(2, 16, 16, 3)
    for kind, moves in (('batch', True), ('frozen', False)):
        module = ResNet('resnet18', stages=1, norm=kind)
        variables = randomise(module, x)
        _, updates = apply(module, variables, x, train=True, mutable=['batch_stats'])
        pairs = zip(*map(jax.tree.leaves, (variables['batch_stats'], updates['batch_stats'])), strict=True)
        assert all((old != new).any() == moves for old, new in pairs)
    both, _ = apply(module, variables, x, train=True, mutable=['batch_stats'])
    alone = apply(module, variables, x[:1])
    np.testing.assert_allclose(both[-1][:1], alone[-1], atol=1e-5)


def test_unknown_fields():
    """A misspelt network or norm, or a stage that there is not, is refused in words."""
    for fields, message in (
        ({'network': 'resnet34'}, "unknown ResNet 'resnet34': one of resnet18, resnet50"),
        ({'norm': 'layer'}, "norm must be one of batch, frozen, not 'layer'"),
        ({'stages': 5}, 'a ResNet has 1 to 4 stages, not 5'),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet(**fields).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match='1 to 4 stages, not 0'):
        load('resnet18', 'packaged', stages=0)


@pytest.mark.parametrize(('network', 'last'), [('resnet18', 3), ('resnet50', 2)])
def test_packaged_ends_early(network, last):
    """Asking for more than the package has is answered with what to do, on one line."""
    message = (
        rf"^config\.weights\.generator: the packaged {network} ends with layer{last}, .*'hub' or the path of a file"
    )
    with pytest.raises(ValueError, match=message):
        load(network, 'packaged', stages=last + 1)


def test_broken_files(tmp_path):
    """A missing, truncated, incomplete, misshapen or poisoned file is named, with the tensor."""
    path = tmp_path / 'w.safetensors'
    with pytest.raises(ValueError, match=r'^config\.weights\.generator: .*w\.safetensors: no such weights file'):
        load('resnet18', path, stages=1)
    whole = PACKAGED['resnet18'][0]
    path.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r'w\.safetensors: .*bn1\.'):
        load('resnet18', path, stages=1)
    tensors, name = load_file(whole), 'layer1.0.conv2.weight'
    for tensor, message in (
        (None, 'is missing'),
        (np.zeros((64, 64, 1, 1), np.float16), r'has shape \(64, 64, 1, 1\), expected \(64, 64, 3, 3\)'),
        (np.full((64, 64, 3, 3), np.nan, np.float16), 'has values that are not finite'),
    ):
        changed = {key: value for key, value in (tensors | {name: tensor}).items() if value is not None}
        save_file(changed, path)
        with pytest.raises(ValueError, match=rf'w\.safetensors: tensor {name} {message}'):
            load('resnet18', path, stages=1)
    # A ResNet-18 for a ResNet-50.
    with pytest.raises(ValueError, match=r'tensor layer1\.0\.\S+ (is missing|has shape)'):
        load('resnet50', whole, stages=1)


def test_hub(monkeypatch, tmp_path):
    """'hub' asks for torchvision's weights; out of reach, the line says which setting takes a file."""
    import astro_gan.models.encoders as module

    save_file(torch_weights('resnet50', 1), tmp_path / 'w.safetensors')
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(module, 'hub_file', lambda name, setting: asked.append(name) or tmp_path / 'w.safetensors')
        load('resnet50', 'hub', stages=1)
    assert asked == ['timm/resnet50.tv_in1k']

    real_import = builtins.__import__

    def offline(name, *args, **kwargs):
        if name.startswith('huggingface_hub'):
            raise ImportError('not here')
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', offline)
    with pytest.raises(ValueError, match=r'timm/resnet18\.tv_in1k .*not here.*config\.weights\.generator$'):
        load('resnet18', 'hub', stages=4)


def test_insert_backbone():
    """The generator's encoder takes the weights; nothing else changes, least of all what was given."""
    module = make_generator('resnet18_unet', stages=1, features=2)
    variables = randomise(module, (1, 64, 64, 1))
    before = jax.tree.map(np.copy, variables)
    backbone = load('resnet18', 'packaged', stages=1)
    after = insert_backbone(variables, backbone)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    for collection in ('params', 'batch_stats'):
        jax.tree.map(np.testing.assert_array_equal, after[collection].pop('encoder'), backbone[collection])
        rest = {name: value for name, value in variables[collection].items() if name != 'encoder'}
        jax.tree.map(np.testing.assert_array_equal, after[collection], rest)


def test_insert_backbone_under_a_condition():
    """The stem's filters for a condition start at zero: at first the network sees RGB alone."""
    module = make_discriminator('resnet50_patch', features=2, norm='frozen')
    x = pictures(1, 12, 12, 4)
    variables = insert_backbone(randomise(module, x), load('resnet50', 'packaged', stages=module.stages))
    other = np.concatenate([1 - x[..., :1], x[..., 1:]], axis=-1)
    np.testing.assert_array_equal(apply(module, variables, x), apply(module, variables, other))


def test_insert_backbone_refuses():
    """Networks and weights that do not belong together are told apart by the first tensor at fault."""
    module = make_generator('resnet18_unet', stages=1, features=2)
    variables = randomise(module, (1, 64, 64, 1))
    with pytest.raises(ValueError, match=r'encoder/layer2_0/\S+ is missing in the network; do the stages agree\?'):
        insert_backbone(variables, load('resnet18', 'packaged', stages=2))
    backbone = load('resnet18', 'packaged', stages=1)
    backbone['params']['conv1']['kernel'] = np.zeros((7, 7, 5, 64), np.float32)
    with pytest.raises(ValueError, match=r'encoder/conv1/kernel has shape \(7, 7, 5, 64\) .* expected \(7, 7, 3, 64\)'):
        insert_backbone(variables, backbone)
    with pytest.raises(ValueError, match="the network has no 'encoder'"):
        insert_backbone({'params': {}}, backbone)


def test_hub_files_are_pinned(monkeypatch, tmp_path):
    """The pinned commit is asked for, and a file of other bytes is refused by its SHA-256."""
    import hashlib

    import huggingface_hub

    from astro_gan.models import backbones

    path = tmp_path / 'model.safetensors'
    path.write_bytes(b'weights')
    asked = []
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', lambda *names, revision: asked.append(revision) or path)
    name, (revision, _) = next(iter(backbones.PINNED.items()))
    with pytest.raises(
        ValueError, match=r'SHA-256 9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c, not'
    ):
        backbones.hub_file(name, setting='here')
    monkeypatch.setitem(backbones.PINNED, name, (revision, hashlib.sha256(b'weights').hexdigest()))
    assert backbones.hub_file(name, setting='here') == path
    assert asked == [revision] * 2
    with pytest.raises(ValueError, match='give its path as here'):
        backbones.hub_file('timm/other', setting='here')
