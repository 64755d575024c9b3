"""LPIPS and VGG features against values of an independent PyTorch implementation."""

import builtins

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from skimage import data

from astro_gan.models import load_lpips, load_vgg, lpips, vgg_features
from astro_gan.models.lpips import PACKAGED as LPIPS_FILE
from astro_gan.models.vgg import PACKAGED as VGG_FILE


@pytest.fixture(scope='module')
def pictures():
    picture = data.astronaut().astype(np.float32) / 255
    return np.stack([picture[:128, 160:288], picture[200:328, 200:328]])


def blur(x, radius):
    shifts = range(-radius, radius + 1)
    rolled = [np.roll(x, (i, j), (1, 2)) for i in shifts for j in shifts]
    return np.mean(rolled, axis=0).astype(np.float32)


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (lambda x: blur(x, 1), [0.192376, 0.138874]),
        (lambda x: blur(x, 3), [0.465849, 0.369178]),
        (lambda x: 1 - x, [0.379035, 0.425118]),
        (lambda x: x, [0.0, 0.0]),
    ],
)
def test_lpips_golden(pictures, change, expected):
    """LPIPS is the published v0.1 AlexNet metric, to 5 digits of a PyTorch implementation."""
    distance = jax.jit(lpips)(load_lpips(), pictures, change(pictures))
    assert distance.shape == (2,)
    np.testing.assert_allclose(distance, expected, rtol=2e-5, atol=1e-9)


def test_lpips_gradient(pictures):
    """LPIPS can be a loss: its gradient is finite, also at equal images and on black ones."""
    params = load_lpips()
    gradient = jax.jit(jax.grad(lambda a, b: lpips(params, a, b).sum()))
    x = pictures[:1, :40, :40]
    for a, b in ((x, x), (x, 0 * x), (0 * x, 0 * x)):
        assert np.isfinite(gradient(a, b)).all()


def test_lpips_refuses():
    """Images too small for the network, or of two shapes, are refused in words."""
    params = load_lpips()
    assert lpips(params, np.zeros((1, 31, 31, 3)), np.zeros((1, 31, 31, 3))).shape == (1,)
    with pytest.raises(ValueError, match='at least 31 x 31 pixels'):
        lpips(params, np.zeros((1, 30, 40, 3)), np.zeros((1, 30, 40, 3)))
    with pytest.raises(ValueError, match='one shape'):
        lpips(params, np.zeros((1, 40, 40, 3)), np.zeros((2, 40, 40, 3)))


def test_vgg16_golden(pictures):
    """conv3_3 of the packaged VGG-16 has PyTorch's values, before and after ReLU."""
    params = load_vgg('vgg16')
    features = vgg_features(params, pictures, ('conv1_2', 'conv3_3'))
    assert features['conv1_2'].shape == (2, 128, 128, 64)
    y = np.asarray(features['conv3_3'])
    assert y.shape == (2, 32, 32, 256)
    expected = [[2.51602, 1.20082, 0.60028, 1.04496], [1.96896, 1.43582, 0.95135, 1.23949]]
    np.testing.assert_allclose(y.mean((1, 2))[:, [3, 50, 100, 200]], expected, rtol=1e-4)
    np.testing.assert_allclose(y.std(), 3.96747, rtol=1e-5)
    raw = vgg_features(params, pictures, ('conv3_3',), before_activation=True)['conv3_3']
    np.testing.assert_array_equal(np.maximum(raw, 0), y)
    np.testing.assert_allclose(raw.mean(), -8.210698, rtol=1e-4)


def test_vgg_keeps_dtype(pictures):
    """In bfloat16 the features are bfloat16 and close."""
    params = load_vgg('vgg16', upto='conv1_2')
    y = vgg_features(params, pictures, ('conv1_2',))['conv1_2']
    low = vgg_features(params, jnp.asarray(pictures, jnp.bfloat16), ('conv1_2',))['conv1_2']
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(np.float32), y, atol=0.03 * y.max())


def vgg19_file(path):
    """A VGG-19 of zeros under torchvision's names, features.34 being conv5_4."""
    tensors, channels, number = {}, 3, 0
    for out, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(depth):
            tensors[f'features.{number}.weight'] = np.zeros((out, channels, 3, 3), np.float16)
            tensors[f'features.{number}.bias'] = np.full(out, number, np.float16)
            channels, number = out, number + 2
        number += 1
    save_file(tensors, path)
    return path


def test_vgg19_from_a_file(tmp_path):
    """VGG54, SRGAN's content layer, is torchvision's features.34, before the last pool."""
    params = load_vgg('vgg19', vgg19_file(tmp_path / 'vgg19.safetensors'), 'conv5_4')
    assert len(params) == 16
    y = vgg_features(params, jnp.zeros((1, 32, 48, 3)), ('conv5_4',))['conv5_4']
    assert y.shape == (1, 2, 3, 512)
    np.testing.assert_array_equal(y, 34)


def test_unknown_network_and_layer():
    """Wrong names are answered with the valid ones."""
    with pytest.raises(ValueError, match='one of vgg16, vgg19'):
        load_vgg('vgg11')
    with pytest.raises(ValueError, match=r"'conv3_4' of vgg16: one of conv1_1, .*conv5_3"):
        load_vgg('vgg16', upto='conv3_4')
    with pytest.raises(ValueError, match='no weights for conv4_1: loaded conv1_1, conv1_2'):
        vgg_features(load_vgg(upto='conv1_2'), jnp.zeros((1, 8, 8, 3)), ('conv4_1',))


def test_broken_files(tmp_path):
    """A missing, truncated, incomplete or misshapen file is named, with the tensor."""
    path = tmp_path / 'w.safetensors'
    with pytest.raises(ValueError, match=r'w\.safetensors: no such weights file'):
        load_vgg('vgg16', path)
    path.write_bytes(VGG_FILE.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r'w\.safetensors: .*features\.0\.weight'):
        load_vgg('vgg16', path)
    tensors = load_file(LPIPS_FILE)
    save_file({k: v for k, v in tensors.items() if k != 'lin2.weight'}, path)
    with pytest.raises(ValueError, match=r'w\.safetensors: tensor lin2\.weight is missing'):
        load_lpips(path)
    save_file(tensors | {'features.3.bias': np.zeros(7, np.float32)}, path)
    with pytest.raises(ValueError, match=r'w\.safetensors: tensor features\.3\.bias has shape \(7,\)'):
        load_lpips(path)
    save_file(tensors | {'features.3.bias': np.full(192, np.nan, np.float32)}, path)
    with pytest.raises(ValueError, match=r'tensor features\.3\.bias has values that are not finite'):
        load_lpips(path)


def test_hub_out_of_reach(monkeypatch):
    """Without the hub, or a version that is known to be right, the message says which setting takes a file."""
    real_import = builtins.__import__

    def offline(name, *args, **kwargs):
        if name.startswith('huggingface_hub'):
            raise ImportError('not here')
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', offline)
    with pytest.raises(ValueError, match=r'timm/vgg16\.tv_in1k .*not here.*content\.vgg_file$'):
        load_vgg('vgg16', upto='conv5_3')
    with pytest.raises(ValueError, match=r'timm/vgg19\.tv_in1k: .*not known here.*content\.vgg_file$'):
        load_vgg('vgg19', upto='conv5_4')
