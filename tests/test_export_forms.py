"""Models as StableHLO, SavedModel and ONNX, each run by its own runtime; what is refused; the commands around them."""

import functools
import json
import re
import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from astro_gan import cli, export_forms
from astro_gan import model as models
from astro_gan.commands.export import FORMATS
from astro_gan.export import check_files, to_half, write_model
from astro_gan.guides import PLANES
from astro_gan.inference.chain import join
from astro_gan.inference.network import Network
from astro_gan.model import Model, load_model
from astro_gan.models import GENERATORS, make_generator
from tests import networks

TINY = {
    'wdsr': {'factor': 2, 'features': 4, 'blocks': 1, 'bicubic_start': True, 'back_projection': True},
    'edsr': {'factor': 2, 'features': 4, 'blocks': 1},
    'growing_edsr': {'factor': 4, 'features': 4, 'blocks': 1},
    'srresnet': {'factor': 6, 'features': 4, 'blocks': 1},
    'msrresnet': {'factor': 4, 'features': 4, 'blocks': 1},
    'unet': {'space': 'rgb', 'features': 2, 'depth': 1},
    'resnet18_unet': {'space': 'lab', 'features': 4, 'stages': 1},
    'guided_unet': {'space': 'lab', 'features': 4, 'stages': 1},
    'seresnext50_unet': {'space': 'lab', 'features': 4, 'stages': 1},
    'efficientnet_b0_unet': {'space': 'lab', 'features': 4, 'stages': 1},
    'frame_wdsr': {'factor': 2, 'features': 4, 'blocks': 1, 'scales': [0.7]},
}


def make(generator, *, name='', **fields):
    """A model with random weights."""
    fields = TINY[generator] | fields
    colorizes = 'space' in fields
    module = make_generator(generator, **fields)
    channels, size = (1, 64) if colorizes else (3, 16)
    description = {
        'task': 'colorization' if colorizes else 'super_resolution',
        'name': name or generator,
        'factor': fields.get('factor', 1),
        'generator': {'name': generator, 'fields': fields},
        'input': {'channels': channels, 'smallest': size},
        'output': {'channels': 3},
        'guides': PLANES if generator == 'guided_unet' else 0,
    }
    variables = networks.randomise(module, (1, size, size, channels + description['guides']))
    return Model(description, (Network(description, module, variables),))


def images(channels, *shape):
    return np.random.default_rng(1).random((*shape, channels), np.float32)


def live(model, pictures):
    return np.asarray(jax.jit(model.forward)(model.variables, pictures))


def assert_same(outputs, expected):
    """To rounding, but for pixels where it turns the last step of the search for the gamut's edge."""
    assert outputs.shape == expected.shape
    difference = np.abs(outputs - expected)
    assert difference.mean() < 1e-6
    assert difference.max() < export_forms.TOLERANCE


@pytest.fixture(autouse=True)
def one_size(monkeypatch):
    """Exports are checked on one size, to compile less: the tests run what was written on another one."""
    every = export_forms.sample_images
    monkeypatch.setattr(export_forms, 'sample_images', lambda model: every(model)[:1])
    return every


@pytest.fixture(scope='session')
def onnxruntime():
    """onnxruntime, where it and onnx are installed: the extra `onnx`."""
    pytest.importorskip('onnx', reason="needs the extra 'onnx'")
    return pytest.importorskip('onnxruntime', reason="needs the extra 'onnx'")


@pytest.fixture(scope='module')
def fused():
    """Gray to colour, twice as large, and its output for a batch of a size that no check at export has."""
    model = join([make('unet', space='lab'), make('wdsr')], 'gray to colour x2')
    pictures = images(1, 2, 70, 83)
    return model, pictures, live(model, pictures)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """The smallest model, written once: (model, its directory)."""
    model = make('edsr')
    return model, write_model(model, tmp_path_factory.mktemp('plain') / 'edsr')[0]


def test_fused_weights_come_back(fused, tmp_path):
    """Two networks in one directory of weights are the model that was written, of any size."""
    model, pictures, expected = fused
    directory, difference = write_model(model, tmp_path / 'fused')
    assert difference < export_forms.TOLERANCE
    loaded = load_model(directory)
    assert (loaded.task, loaded.factor, loaded.name) == ('enhance', 2, 'gray to colour x2')
    assert_same(live(loaded, pictures), expected)
    check_files(directory)


def test_stablehlo_of_a_fused_model(fused, tmp_path):
    """One file holds both networks; it names no folder of this machine, and writing it again gives the same bytes."""
    model, pictures, expected = fused
    directory, _ = write_model(model, tmp_path / 'one', form='stablehlo')
    data = (directory / 'model.stablehlo').read_bytes()
    program = jax.export.deserialize(bytearray(data))
    assert_same(np.asarray(program.call(pictures)), expected)
    assert set(program.platforms) == {'cpu', 'cuda'}
    assert b'.py' not in data
    assert export_forms.stablehlo(functools.partial(model.forward, model.variables), 1) == data


WITHOUT_JAX = """
import sys
sys.modules['jax'] = sys.modules['jaxlib'] = sys.modules['astro_gan'] = None  # importing them fails
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
output = model.signatures['serving_default'](images=tf.constant(np.load(sys.argv[2])))['output']
np.save(sys.argv[2], output.numpy())
"""


def test_savedmodel_runs_without_jax(fused, tmp_path):
    """TensorFlow alone runs both networks, on a batch of a new size, in a process that cannot import JAX."""
    model, pictures, expected = fused
    directory, _ = write_model(model, tmp_path / 'saved', form='savedmodel')
    check_files(directory)
    assert json.loads((directory / 'model.json').read_text())['form'] == 'savedmodel'
    np.save(tmp_path / 'images.npy', pictures)
    command = [sys.executable, '-c', WITHOUT_JAX, str(directory), str(tmp_path / 'images.npy')]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert_same(np.load(tmp_path / 'images.npy'), expected)


def test_onnx_of_a_fused_model(fused, tmp_path, onnxruntime):
    """onnxruntime runs both networks from one file, of any batch, height and width; the description is in it."""
    model, pictures, expected = fused
    directory, _ = write_model(model, tmp_path / 'onnx', form='onnx')
    session = onnxruntime.InferenceSession(directory / 'model.onnx', providers=['CPUExecutionProvider'])
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.shape, entry.type) == ('images', ['batch', 'height', 'width', 1], 'tensor(float)')
    assert (result.name, result.shape) == ('output', ['batch', '2*height', '2*width', 3])
    assert_same(session.run(['output'], {'images': pictures})[0], expected)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about['name']) == 'gray to colour x2'
    assert (
        json.loads(about['weights'])['sha256']
        == json.loads((directory / 'model.json').read_text())['weights']['sha256']
    )


@pytest.mark.parametrize('generator', GENERATORS)
def test_onnx_of_every_generator(generator, onnxruntime):
    """Every architecture, at a size that is no multiple of anything, gives the numbers that JAX gives."""
    from astro_gan.export_onnx import to_onnx

    model = make(generator)
    data = to_onnx(lambda x: model.forward(model.variables, x), model.channels, {})
    pictures = images(model.channels, 1, 67, 71)
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    assert_same(session.run(None, {'images': pictures})[0], live(model, pictures))
    assert to_onnx(lambda x: model.forward(model.variables, x), model.channels, {}) == data


FUNCTIONS = {
    'exp, log': lambda x: jnp.log(jnp.exp(x) + 1.0),
    'roots': lambda x: jnp.cbrt(x - 0.5) + jnp.sqrt(x) + jax.lax.rsqrt(x + 1.0),
    'squeeze and excite': lambda x: x * jax.nn.sigmoid(x.sum((1, 2), keepdims=True) - x.max((1, 2), keepdims=True)),
    'mean': lambda x: x - x.mean((1, 2), keepdims=True),
    'powers': lambda x: -(x**3) + jnp.square(x) + x**2.4,
    'comparisons': lambda x: jnp.where(~((x > 0.2) & (x < 0.4)) | (x == 0.3) | (x <= 0.1), jnp.sign(x - 0.5), x),
    'strides': lambda x: jax.lax.slice(x, (0, 1, 0, 0), x.shape, (1, 3, 2, 1)),
    'a negative pad': lambda x: jax.lax.pad(x, 0.5, ((0, 0, 0), (2, -1, 0), (0, 3, 0), (0, 0, 0))),
    'edge': lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), mode='edge'),
    'rows': lambda x: jnp.take(x, jnp.arange(5 * (x.shape[1] // 3)) - 2, axis=1, mode='clip'),
    'last rows': lambda x: jax.lax.slice_in_dim(x[:, :, : x.shape[2] % 4 + 1], x.shape[1] // 2, None, axis=1),
    'repeats': lambda x: jnp.broadcast_to(x[:, :, None], (*x.shape[:2], 2, *x.shape[2:])).reshape(x.shape[0], -1, 6),
    'dilated groups': lambda x: jax.lax.conv_general_dilated(
        x, jnp.broadcast_to(jnp.arange(6.0), (3, 3, 1, 6)), (1, 2), ((0, 1), (2, 3)), rhs_dilation=(1, 2),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=3,
    ),
    'a whole number': lambda x: x + jnp.float32(jnp.asarray(2, jnp.int32)) + (x > 0.5),
}  # fmt: skip


@pytest.mark.parametrize('name', FUNCTIONS)
def test_onnx_of_operations(name, onnxruntime):
    """Operations, and sizes computed from sizes, mean in ONNX what they mean in JAX: also those no model uses yet."""
    from astro_gan.export_onnx import to_onnx

    data = to_onnx(FUNCTIONS[name], 3, {})
    for shape in ((1, 13, 11), (2, 12, 17)):
        pictures = images(3, *shape)
        session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
        found, expected = session.run(None, {'images': pictures})[0], np.asarray(FUNCTIONS[name](pictures))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


REFUSED = {
    'sort': lambda x: jnp.sort(x, axis=1),
    'conv_general_dilated': lambda x: jax.lax.conv_transpose(x, jnp.ones((2, 2, 3, 3)), (2, 2), 'SAME'),
    'dot_general': lambda x: jnp.einsum('nhwc,nhwd->ncd', x, x),
    'pad': lambda x: jax.lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))),
}


@pytest.mark.parametrize('name', REFUSED)
@pytest.mark.usefixtures('onnxruntime')
def test_onnx_refuses_what_it_cannot_say(name):
    """An operation, or a use of one, that has no translation is named; no wrong graph is made."""
    from astro_gan.export_onnx import to_onnx

    with pytest.raises(ValueError, match=rf'{name} has no translation'):
        to_onnx(REFUSED[name], 3, {})


def test_onnx_without_its_packages(plain, tmp_path, monkeypatch):
    """Where the extra is not installed, one line says how to get it, before any work."""
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ValueError, match=re.escape("pip install 'astro_gan[onnx]'")):
        write_model(plain[0], tmp_path / 'onnx', form='onnx')
    assert not list(tmp_path.iterdir())


def test_exports_are_compared_on_odd_sizes(one_size):
    """One image, a batch and a larger image, none square; single images have sizes that need padding."""
    for model in (make('edsr'), make('unet')):
        shapes = [images.shape for images in one_size(model)]
        assert [shape[0] for shape in shapes] == [1, 2, 1]
        assert all(height != width and (height % 4 or width % 4 or batch > 1) for batch, height, width, _ in shapes)
        assert min(shapes[-1][1:3]) > 2 * model.smallest
        assert all(images.min() >= 0 and images.max() <= 1 for images in one_size(model))


@pytest.mark.parametrize('wrong', [lambda y: y + 2e-3, lambda y: y * np.nan, lambda y: y[:, :-1]])
def test_a_form_that_differs_is_not_left_behind(plain, tmp_path, monkeypatch, wrong):
    """Other numbers, NaN or another size than the live model's: nothing is exported, an earlier export stays."""
    model, earlier = plain
    run = export_forms.live(model)
    monkeypatch.setitem(export_forms.FORMS, 'stablehlo', lambda *_: [lambda images: wrong(run(images))])
    with pytest.raises(RuntimeError, match='the exported forms differ by'):
        write_model(model, tmp_path / 'new', form='stablehlo')
    assert not list(tmp_path.iterdir())
    before = sorted(earlier.iterdir())
    with pytest.raises(RuntimeError, match='the exported forms differ by'):
        write_model(model, earlier, form='stablehlo', overwrite=True)
    assert sorted(earlier.iterdir()) == before
    assert [path.name for path in earlier.parent.iterdir()] == ['edsr']


def test_only_an_export_is_replaced(plain, tmp_path):
    """An export is replaced when asked for; never one that holds something else, and never another folder."""
    model, _ = plain
    target = tmp_path / 'target'
    write_model(model, target, form='stablehlo')
    with pytest.raises(ValueError, match='holds an exported model; choose another directory, or --overwrite'):
        write_model(model, target, form='stablehlo')
    (target / 'README.md').write_text('written with care')
    with pytest.raises(ValueError, match=r'README\.md: not written by an export, and would be lost'):
        write_model(model, target, overwrite=True)
    (target / 'README.md').unlink()
    write_model(model, target, form='stablehlo', overwrite=True)
    (target / 'model.json').write_text('{}')
    with pytest.raises(ValueError, match='exists and is no exported model'):
        write_model(model, target, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['target']


def test_a_full_disk_leaves_nothing_behind(plain, tmp_path):
    """When writing fails half-way the error is an OSError, no half export stays, and an earlier one is whole."""
    model, earlier = plain
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # bytes of a file
    try:
        for target in (tmp_path / 'new', earlier):
            with pytest.raises(OSError, match=r'cannot be written \(file too large\)'):
                write_model(model, target, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
    assert [path.name for path in earlier.parent.iterdir()] == ['edsr']
    check_files(earlier)


def test_half_weights(plain, tmp_path):
    """float16 weights are the rounded ones and say of which they are; those too large for it are refused."""
    model, directory = plain
    half = to_half(load_model(directory))
    assert 0 < export_forms.greatest_difference(model, [export_forms.live(half)]) < 5e-3
    write_model(half, tmp_path / 'half', dtype=np.float16)
    stored = safetensors.numpy.load_file(tmp_path / 'half' / 'weights.safetensors')
    original = safetensors.numpy.load_file(directory / 'weights.safetensors')
    for name, value in stored.items():
        np.testing.assert_array_equal(value, original[name].astype(np.float16))
    weights = load_model(tmp_path / 'half').description['weights']
    assert (weights['dtype'], weights['rounded_from']) == (
        'float16',
        load_model(directory).description['weights']['sha256'],
    )
    jax.tree.leaves(half.variables)[0].flat[0] = 7e4
    with pytest.raises(ValueError, match='beyond the range of float16'):
        to_half(half)


def test_export_command(plain, tmp_path, capsys):
    """Names of two models make one; the difference is printed; a mistake is one line and a failure."""
    _, enlarger = plain
    colorizer, _ = write_model(make('unet'), tmp_path / 'unet', form='safetensors')
    arguments = ['export', str(colorizer), str(enlarger)]
    assert cli.main([*arguments, '-o', str(tmp_path / 'both'), '--format', 'stablehlo', '--name', 'both']) == 0
    assert re.search(
        r'both/: both as stablehlo, 0\.\d MB; greatest difference from the live model \d', capsys.readouterr().out
    )
    for wrong, line in (
        ([*arguments, '-o', str(tmp_path / 'both')], 'holds an exported model'),
        (['export', str(tmp_path / 'nothing'), '-o', str(tmp_path / 'x')], 'no model.json there'),
        (['export', str(enlarger), str(colorizer), '-o', str(tmp_path / 'x')], 'one colorizer followed by'),
        ([*arguments, '-o', str(tmp_path / 'x'), '--half', '--format', 'onnx'], '--half: stores weights'),
        ([*arguments[:2], '-o', str(tmp_path / 'x'), '--name', 'x'], '--name: names a model made of several'),
        ([*arguments, '-o', str(tmp_path / 'both' / 'model.json' / 'x')], 'cannot be written (not a directory)'),
    ):
        assert cli.main(wrong) == 1
        error = capsys.readouterr().err
        assert line in error
        assert error.count('\n') == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['both', 'unet']


def test_models_command_shows_a_directory(plain, tmp_path, capsys):
    """Facts, card and description are shown, without control characters; a changed byte is an error of one line."""
    model, _ = plain
    directory, _ = write_model(model, tmp_path / 'shown', form='stablehlo')
    (directory / 'README.md').write_text('# A card\n\x1b[31mred\n')
    assert cli.main(['models', str(directory)]) == 0
    shown = capsys.readouterr().out
    count = sum(leaf.size for leaf in jax.tree.leaves(model.networks[0].variables['params']))
    assert re.search(rf'parameters +{count:,}\n', shown)
    assert '# A card' in shown
    assert '\x1b' not in shown
    data = bytearray((directory / 'model.stablehlo').read_bytes())
    data[len(data) // 2] ^= 1
    (directory / 'model.stablehlo').write_bytes(data)
    assert cli.main(['models', str(directory)]) == 1
    assert re.fullmatch(r'error: .*model\.stablehlo: does not match the hash .*\n', capsys.readouterr().err)
    (directory / 'model.stablehlo').unlink()
    assert cli.main(['models', str(directory)]) == 1
    assert 'model.stablehlo: missing' in capsys.readouterr().err


def test_models_command_lists(plain, tmp_path, monkeypatch, capsys):
    """Shipped models stand in a list with size, licence, data and quality; with none, one line says so."""
    _, directory = plain
    monkeypatch.setattr(models, 'SHIPPED', tmp_path)
    assert cli.main(['models']) == 0
    assert capsys.readouterr().out.startswith('no models ship with this version')
    assert cli.main(['models', 'mine']) == 1
    assert 'no shipped model of that name' in capsys.readouterr().err
    (tmp_path / 'mine').mkdir()
    for path in directory.iterdir():
        (tmp_path / 'mine' / path.name).write_bytes(path.read_bytes())
    description = json.loads((directory / 'model.json').read_text())
    description |= {
        'licence': 'CC0-1.0',
        'training_data': {'name': 'stars'},
        'metrics': {'psnr_y': 30.126, 'lpips': 0.2},
    }
    (tmp_path / 'mine' / 'model.json').write_text(json.dumps(description))
    assert cli.main(['models']) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ['NAME', 'TASK', 'FACTOR', 'PARAMETERS', 'SIZE', 'LICENCE', 'TRAINED', 'ON', 'QUALITY']
    assert row.startswith('mine  super_resolution  x2')
    assert row.endswith('CC0-1.0  stars       PSNR Y 30.13 dB, LPIPS 0.200')
    assert cli.main(['models', 'mine']) == 0


def test_commands_start_at_once():
    """The help text needs none of the heavy packages, and names the formats that there are."""
    assert list(FORMATS) == list(export_forms.FORMS)
    code = (
        'import argparse, sys; from astro_gan.commands import export, models; '
        'commands = argparse.ArgumentParser().add_subparsers(); export.add_to(commands); models.add_to(commands); '
        'sys.exit(sorted({"numpy", "jax", "tensorflow"} & set(sys.modules)) or 0)'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)
