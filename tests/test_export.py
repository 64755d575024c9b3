"""Exported models: three forms that agree, and damage that is noticed."""

import json

import jax
import numpy as np
import pytest

import astro_gan
from astro_gan.export import export_model
from astro_gan.model import load_model
from tests import tiny

PICTURES = np.random.default_rng(0).random((2, 9, 13, 3), np.float32)


def description(generator: str) -> dict:
    return {
        'task': 'super_resolution',
        'factor': 2,
        'generator': {'name': generator, 'fields': tiny.FIELDS},
        'input': {'channels': 3, 'range': [0, 1]},
    }


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """The directory of an exported SRResNet (batch statistics included), and the live outputs for PICTURES."""
    net = tiny.fresh_state(tiny.task(generator='srresnet'), tiny.stage(adversarial=None)).generator
    directory = tmp_path_factory.mktemp('export') / 'model'
    export_model(net.params, net.batch_stats, description('srresnet'), directory)
    variables = {'params': net.params, 'batch_stats': net.batch_stats}
    return directory, np.asarray(tiny.task(generator='srresnet').generator.apply(variables, PICTURES, train=False))


def copy(directory, tmp_path):
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_live_reloaded_and_stablehlo_agree(exported):
    """The same picture through all three gives the same output, at a size that training never saw."""
    directory, live = exported
    np.testing.assert_allclose(astro_gan.load_model(directory)(PICTURES), live, atol=1e-5)
    program = jax.export.deserialize(bytearray((directory / 'model.stablehlo').read_bytes()))
    np.testing.assert_allclose(program.call(PICTURES), live, atol=1e-5)
    assert set(program.platforms) == {'cpu', 'cuda'}


def test_description_says_what_made_it(exported):
    """model.json holds the generator, versions and the hash of the weights."""
    description = json.loads((exported[0] / 'model.json').read_text())
    assert description['generator'] == {'name': 'srresnet', 'fields': tiny.FIELDS}
    assert description['versions']['astro_gan'] == astro_gan.__version__
    assert len(description['weights']['sha256']) == 64


def test_model_takes_single_pictures_and_bytes(exported):
    """[H, W, C] gives [2H, 2W, C]; uint8 gives uint8, by the same numbers."""
    model = load_model(exported[0])
    single = model(PICTURES[0])
    assert single.shape == (18, 26, 3)
    levels = np.round(PICTURES * 255).astype(np.uint8)
    expected = np.round(np.clip(model(levels / np.float32(255)), 0, 1) * 255)
    assert model(levels).dtype == np.uint8
    assert np.abs(model(levels).astype(int) - expected).max() <= 1


def test_model_keeps_gray_and_depth(exported):
    """A gray picture stays gray and of its own shape, and 16 bits stay 16 bits."""
    model = load_model(exported[0])
    gray = PICTURES[0, ..., 0]
    expected = np.asarray(model(np.repeat(gray[..., None], 3, axis=-1))).mean(-1)
    np.testing.assert_allclose(model(gray), expected, atol=1e-6)
    deep = model(np.round(gray * 65535).astype(np.uint16))
    assert deep.dtype == np.uint16
    assert np.abs(deep / 65535 - np.clip(expected, 0, 1)).max() < 3e-5


@pytest.mark.parametrize('image', [np.zeros(4, np.float32), np.zeros((4, 4, 2), np.float32), np.zeros((4, 4, 3), int)])
def test_model_refuses_other_shapes_and_types(exported, image):
    """Other shapes and integers of an unknown range are refused with a line that says what is wanted."""
    with pytest.raises(ValueError, match='the image must be'):
        load_model(exported[0])(image)


def test_damage_is_noticed(exported, tmp_path):
    """A changed byte, a missing file, a broken or foreign description: one clear line each."""
    directory = copy(exported[0], tmp_path)
    weights = directory / 'weights.safetensors'
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match='does not match the hash'):
        load_model(directory)
    weights.unlink()
    with pytest.raises(ValueError, match=r'weights\.safetensors: missing'):
        load_model(directory)
    (directory / 'model.json').write_text('{"format": 99}')
    with pytest.raises(ValueError, match='format 99'):
        load_model(directory)
    (directory / 'model.json').write_text('no json')
    with pytest.raises(ValueError, match='not the description'):
        load_model(directory)
    with pytest.raises(ValueError, match='no shipped model of that name'):
        load_model('no_such_model')


def test_weights_of_another_generator_are_noticed(exported, tmp_path):
    """Fields that do not fit the weights are named, not broadcast."""
    directory = copy(exported[0], tmp_path)
    text = (directory / 'model.json').read_text()
    (directory / 'model.json').write_text(text.replace('"features": 4', '"features": 8'))
    with pytest.raises(ValueError, match='does not fit the generator'):
        load_model(directory)


def test_export_replaces_an_export_and_nothing_else(exported):
    """Exporting twice is fine; a directory of something else is never touched."""
    directory, _ = exported
    net = tiny.fresh_state(tiny.task(generator='srresnet'), tiny.stage(adversarial=None)).generator
    export_model(net.params, net.batch_stats, description('srresnet'), directory)
    assert sorted(path.name for path in directory.parent.iterdir()) == ['model']
    other = directory.parent / 'holiday'
    other.mkdir()
    with pytest.raises(ValueError, match='is no exported model'):
        export_model(net.params, net.batch_stats, description('srresnet'), other)


def test_a_killed_export_costs_nothing(exported, tmp_path, monkeypatch):
    """Killed at any step, an export that replaces another leaves one of the two, whole; a user's own `.model.old` and
    `.model.tmp` stay, and what the kill left goes with the next export."""
    from astro_gan import export
    from astro_gan.files import atomic

    model = load_model(exported[0])
    directory = tmp_path / 'model'
    for name in ('.model.old', '.model.tmp'):
        (tmp_path / name).mkdir()

    def weights_only(model, folder, weights):
        (folder / 'weights.safetensors').write_bytes(weights)
        return []

    monkeypatch.setitem(export.FORMS, 'safetensors', weights_only)
    monkeypatch.setattr(atomic, '_alive', lambda pid: False)  # the killed process is this one
    export.write_model(model, directory)

    class Killed(BaseException):
        pass

    def dying(step, after):
        def call(*arguments):
            if after:
                step(*arguments)
            raise Killed

        return call

    for name in ('place_folder', '_exchange'):
        for after in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(atomic, name, dying(getattr(atomic, name), after))
                patch.setattr(atomic.shutil, 'rmtree', lambda *arguments, **named: None)
                with pytest.raises(Killed):
                    export.write_model(model, directory, overwrite=True)
            load_model(directory)
    export.write_model(model, directory, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.model.old', '.model.tmp', 'model']


def test_what_is_no_number_is_null(exported, tmp_path):
    """model.json is JSON: a metric that is NaN is written as null."""
    from astro_gan import export

    export._write_description(tmp_path, {'metrics': {'psnr_y': float('nan'), 'all': [1.5, float('inf')]}})
    assert json.loads((tmp_path / 'model.json').read_text()) == {'metrics': {'psnr_y': None, 'all': [1.5, None]}}


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('"factor": 2,', '"factor": 3,'),
        ('"channels": 3', '"channels": 1'),
        ('"features": 4', '"features": "x"'),
        ('"task": "super_resolution"', '"task": "colorization"'),
        ('"task": "super_resolution"', '"parts": [], "task": "enhance"'),
    ],
)
def test_a_changed_description_is_noticed(exported, tmp_path, before, after):
    """A description that a hand has spoiled gives one line, not a picture that is wrong, nor a traceback."""
    directory = copy(exported[0], tmp_path)
    text = (directory / 'model.json').read_text()
    assert before in text
    (directory / 'model.json').write_text(text.replace(before, after, 1))
    with pytest.raises(ValueError, match=r'model\.json: (its network cannot be made|not the description)'):
        load_model(directory)
