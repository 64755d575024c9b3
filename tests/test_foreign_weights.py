"""Other projects' networks compute here what they compute there; the references are plain numpy in their layouts."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy

from astro_gan import cli, foreign_weights
from astro_gan.color import luma
from astro_gan.metrics import psnr
from astro_gan.model import load_model
from tests.networks import conv, relu

MEAN = np.float32([0.4488, 0.4371, 0.4040])
RNG = np.random.default_rng
WEIGHTS = Path(__file__).parents[1].parent / 'shared' / 'weights'


def layer(kind, *shape, seed=0):
    """Weights of a Keras layer, in Keras's order and at a scale that keeps signals of order one."""
    rng = RNG([seed, *shape])
    kernel = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
    bias = rng.normal(0, 0.1, shape[-1]).astype(np.float32)
    if kind == 'conv':
        return {'kernel:0': kernel, 'bias:0': bias}
    if kind == 'norm':
        values = rng.uniform(0.5, 1.5, (2, *shape)).astype(np.float32)
        names = ('gamma:0', 'beta:0', 'moving_mean:0', 'moving_variance:0')
        return dict(zip(names, (values[0], bias, bias[::-1].copy(), values[1]), strict=True))
    if kind == 'prelu':
        return {'alpha:0': rng.uniform(0.1, 0.4, (1, 1, *shape)).astype(np.float32)}
    return {'g:0': rng.uniform(0.5, 1.5, shape[-1]).astype(np.float32), 'kernel:0': kernel, 'bias:0': bias}


def write_h5(path, layers):
    """A file as Keras's `save_weights` made it."""
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [name.encode() for name, _ in layers]
        for name, weights in layers:
            group = file.create_group(name)
            group.attrs['weight_names'] = [f'{name}/{weight}'.encode() for weight in weights]
            for weight, value in weights.items():
                group[f'{name}/{weight}'] = value


def shuffle(x, factor):
    """TensorFlow's depth_to_space."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, factor, factor, c // factor**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * factor, w * factor, -1)


def convolve(x, weights):
    kernel = weights['kernel:0']
    if 'g:0' in weights:
        kernel = kernel / np.sqrt((kernel**2).sum((0, 1, 2))) * weights['g:0']
    return conv(x, kernel, weights['bias:0'])


def keras_edsr():
    """Two blocks of 6, x6: layers, and what they make of pictures in [0, 1]."""
    sizes = [(3, 6), *[(6, 6)] * 5, (6, 24), (6, 54), (6, 3)]
    layers = [(f'conv2d_{i}', layer('conv', 3, 3, *size, seed=i)) for i, size in enumerate(sizes)]

    def run(x):
        steps = iter([weights for _, weights in layers])
        y = head = convolve((x - MEAN) * 2, next(steps))
        for _ in range(2):
            y = y + convolve(relu(convolve(y, next(steps))), next(steps))
        y = convolve(y, next(steps)) + head
        for stage in (2, 3):
            y = shuffle(convolve(y, next(steps)), stage)
        return convolve(y, next(steps)) / 2 + MEAN

    return layers, run


def keras_wdsr(variant):
    """Two blocks of 10, x3."""
    parts = [(3, 10, 40), (3, 40, 10)] if variant == 'a' else [(1, 10, 60), (1, 60, 8), (3, 8, 10)]
    sizes = [(3, 3, 10), *parts, *parts, (3, 10, 27), (5, 3, 27)]
    names = [f'weight_normalization_{i}' for i in range(len(sizes) - 2)] + [
        'conv2d_main_scale_3',
        'conv2d_skip_scale_3',
    ]
    layers = [(n, layer('wn', s[0], s[0], *s[1:], seed=i)) for i, (n, s) in enumerate(zip(names, sizes, strict=True))]

    def run(x):
        x = (x - MEAN) * 2
        steps = iter([weights for _, weights in layers])
        y = convolve(x, next(steps))
        for _ in range(2):
            z = relu(convolve(y, next(steps)))
            for _ in parts[1:]:
                z = convolve(z, next(steps))
            y = y + z
        return (shuffle(convolve(y, next(steps)), 3) + shuffle(convolve(x, next(steps)), 3)) / 2 + MEAN

    return layers, run


def keras_srresnet():
    """One block of 6, x4; epsilon 1e-3, tanh at the end."""
    kinds = [('conv', 9, 9, 3, 6), ('prelu', 6), ('conv', 3, 3, 6, 6), ('norm', 6), ('prelu', 6), ('conv', 3, 3, 6, 6)]
    kinds += [('norm', 6), ('conv', 3, 3, 6, 6), ('norm', 6)]
    kinds += [('conv', 3, 3, 6, 24), ('prelu', 6)] * 2 + [('conv', 9, 9, 6, 3)]
    layers = [(f'{kind}_{i}', layer(kind, *shape, seed=i)) for i, (kind, *shape) in enumerate(kinds)]

    def run(x):
        steps = iter([weights for _, weights in layers])

        def slope(x):
            return np.where(x > 0, x, next(steps)['alpha:0'] * x)

        def norm(x):
            w = next(steps)
            return (x - w['moving_mean:0']) / np.sqrt(w['moving_variance:0'] + 1e-3) * w['gamma:0'] + w['beta:0']

        y = head = slope(convolve(x, next(steps)))
        y = y + norm(convolve(slope(norm(convolve(y, next(steps)))), next(steps)))
        y = norm(convolve(y, next(steps))) + head
        for _ in range(2):
            y = slope(shuffle(convolve(y, next(steps)), 2))
        return (np.tanh(convolve(y, next(steps))) + 1) / 2

    return layers, run


def torch_shuffle(x, factor):
    """PyTorch's PixelShuffle: feature c, row i, column j is channel (c factor + i) factor + j."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, c // factor**2, factor, factor).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, h * factor, w * factor, -1)


def basicsr(names, sizes):
    """Tensors of BasicSR's names and order, and a function that convolves by one of them."""
    tensors = {}
    for i, (name, (inner, outer)) in enumerate(zip(names, sizes, strict=True)):
        weights = layer('conv', 3, 3, inner, outer, seed=i)
        tensors[f'{name}.weight'] = np.ascontiguousarray(weights['kernel:0'].transpose(3, 2, 0, 1))
        tensors[f'{name}.bias'] = weights['bias:0']
    return tensors, lambda x, name: conv(x, tensors[f'{name}.weight'].transpose(2, 3, 1, 0), tensors[f'{name}.bias'])


def basicsr_edsr():
    """One block of 6, x4."""
    names = ['conv_first', 'body.0.conv1', 'body.0.conv2', 'conv_after_body', 'upsample.0', 'upsample.2', 'conv_last']
    tensors, apply = basicsr(names, [(3, 6), (6, 6), (6, 6), (6, 6), (6, 24), (6, 24), (6, 3)])

    def run(x):
        head = apply((x - MEAN) * 255, 'conv_first')
        y = head + apply(relu(apply(head, 'body.0.conv1')), 'body.0.conv2')
        y = apply(y, 'conv_after_body') + head
        for name in ('upsample.0', 'upsample.2'):
            y = torch_shuffle(apply(y, name), 2)
        return apply(y, 'conv_last') / 255 + MEAN

    return tensors, run


def basicsr_msrresnet(factor):
    """One block of 6."""
    ups = ['upconv1', 'upconv2'] if factor == 4 else ['upconv1']
    stage = 2 if factor == 4 else factor
    names = ['conv_first', 'body.0.conv1', 'body.0.conv2', *ups, 'conv_hr', 'conv_last']
    tensors, apply = basicsr(names, [(3, 6), (6, 6), (6, 6), *[(6, 6 * stage**2)] * len(ups), (6, 6), (6, 3)])

    def bilinear(x, axis):
        size = x.shape[axis]
        at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape([-1 if k == axis else 1 for k in range(4)])
        return x.take(low, axis) * (1 - share) + x.take(np.minimum(low + 1, size - 1), axis) * share

    def run(x):
        y = relu(apply(x, 'conv_first'), 0.1)
        y = y + apply(relu(apply(y, 'body.0.conv1')), 'body.0.conv2')
        for name in ups:
            y = relu(torch_shuffle(apply(y, name), stage), 0.1)
        return apply(relu(apply(y, 'conv_hr'), 0.1), 'conv_last') + bilinear(bilinear(x, 1), 2)

    return tensors, run


def assert_same(path, run, name):
    model = foreign_weights.as_model(path, name='x')
    pictures = RNG(1).random((1, 7, 9, 3), np.float32)
    assert model.description['generator']['name'] == name
    np.testing.assert_allclose(model.forward(model.variables, pictures), run(pictures), atol=2e-5)


@pytest.mark.parametrize(
    ('made', 'name'),
    [
        (keras_edsr(), 'edsr'),
        (keras_wdsr('a'), 'wdsr'),
        (keras_wdsr('b'), 'wdsr'),
        (keras_srresnet(), 'srresnet'),
    ],
    ids=['edsr', 'wdsr-a', 'wdsr-b', 'srresnet'],
)
def test_keras_weights(tmp_path, made, name):
    """krasserm/super-resolution's h5 files give that project's numbers."""
    layers, run = made
    write_h5(tmp_path / 'weights.h5', layers)
    assert_same(tmp_path / 'weights.h5', run, name)


@pytest.mark.parametrize(
    ('made', 'name'),
    [(basicsr_edsr(), 'edsr')] + [(basicsr_msrresnet(factor), 'msrresnet') for factor in (2, 3, 4)],
    ids=['edsr', 'msrresnet x2', 'msrresnet x3', 'msrresnet x4'],
)
def test_basicsr_weights(tmp_path, made, name):
    """BasicSR's tensors give that project's numbers: its order of axes, and of channels before a shuffle."""
    tensors, run = made
    safetensors.numpy.save_file(tensors, tmp_path / 'weights.safetensors')
    assert_same(tmp_path / 'weights.safetensors', run, name)


def test_the_command(tmp_path, capsys):
    """File in, model out: it can be loaded by its path, and says where it came from."""
    tensors, run = basicsr_edsr()
    safetensors.numpy.save_file(tensors, tmp_path / 'weights.safetensors')
    said = ['--licence', 'Apache-2.0', '--trained-on', 'DIV2K']
    assert cli.main(['import', str(tmp_path / 'weights.safetensors'), '-o', str(tmp_path / 'edsr_x4'), *said]) == 0
    assert 'edsr (factor 4, features 6, blocks 1)' in capsys.readouterr().out
    model = load_model(tmp_path / 'edsr_x4')
    picture = RNG(2).random((12, 13, 3), np.float32)
    np.testing.assert_allclose(model(picture), run(picture[None])[0], atol=2e-5)
    assert (model.name, model.description['licence']) == ('edsr_x4', 'Apache-2.0')
    assert model.description['imported_from']['file'] == 'weights.safetensors'


def damaged(tmp_path):
    tensors, _ = basicsr_edsr()
    layers, _ = keras_edsr()
    yield 'pickle', b'PK\x03\x04 archive/data.pkl', 'a pickle, which could run anything'
    yield 'nothing', b'', 'the file is empty'
    yield 'text', b'not weights at all', 'neither safetensors nor h5'
    yield 'header', b'\xff' * 16, 'neither safetensors nor h5'
    yield 'others', safetensors.numpy.save({'conv.weight': np.zeros(3, np.float32)}), 'of no network that is known'
    del tensors['body.0.conv2.bias']
    yield 'missing', safetensors.numpy.save(tensors), 'tensors do not fit'
    write_h5(tmp_path / 'few', layers[:4])
    yield 'few', (tmp_path / 'few').read_bytes(), 'not SRGAN, EDSR or WDSR'
    yield 'h5', (tmp_path / 'few').read_bytes()[:600], 'not a Keras weights file'


def test_what_cannot_be_imported_is_one_line(tmp_path):
    """And nothing is unpickled."""
    for name, data, message in list(damaged(tmp_path)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=message) as caught:
            foreign_weights.as_model(tmp_path / name, name='x')
        assert str(caught.value).startswith(f'{tmp_path / name}: ')
        assert '\n' not in str(caught.value)


def test_the_published_srresnet_on_set5(real_data):
    """The published weights make a network that is far better than bicubic: PSNR Y of Set5 x4, against 28.4 dB."""
    from astro_gan import images
    from astro_gan.files.pictures import read_picture

    if not (WEIGHTS / 'srresnet_krasserm.safetensors').is_file():
        pytest.skip('the published weights are not beside this checkout')
    model = foreign_weights.as_model(WEIGHTS / 'srresnet_krasserm.safetensors', name='srresnet')
    values = []
    for path in sorted((real_data / 'benchmarks' / 'Set5').glob('*.png')):
        truth = read_picture(path)[None].astype(np.float32) / 255
        low_res = np.asarray(images.quantize(images.downsample(truth, 4)))
        output = images.quantize(model.forward(model.variables, low_res))
        y, y_truth = (luma(x[:, 4:-4, 4:-4]) for x in (output, truth))
        values.append(float(psnr(y, y_truth)[0]))
    assert np.mean(values) > 31.5
