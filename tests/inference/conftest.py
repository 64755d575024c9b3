"""Exported tiny models and pictures that the tests of the commands share."""

import numpy as np
import pytest
from PIL import Image

from astro_gan import cli
from tests.small_models import colorizer, enhancer, framer, saved, upscaler


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """Directories of exported models: 'upscale' (x2), 'colorize', 'enhance' (x2), 'guided' (colour), 'frames' (x2)."""
    folder = tmp_path_factory.mktemp('models')
    tiny = {'upscale': upscaler(2), 'colorize': colorizer(), 'enhance': enhancer(2), 'frames': framer()}
    tiny['guided'] = colorizer('guided_unet', features=4, stages=1, space='lab')
    return {name: str(saved(model, folder / name)) for name, model in tiny.items()}


@pytest.fixture
def run(models, capsys, monkeypatch, tmp_path):
    """`run('upscale', path, '--flag')`: (exit status, standard output, standard error); results in tmp_path/out."""
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '')  # the tests' own is set already

    def run(command, *arguments, model=None, out=None):
        out = out or tmp_path / 'out'
        model = model or models[command]
        status = cli.main([command, *map(str, arguments), '-o', str(out), '--model', str(model)])
        captured = capsys.readouterr()
        assert 'Traceback' not in captured.err
        return status, captured.out, captured.err

    return run


@pytest.fixture
def one_line(run):
    """A run that fails with one line on standard error that holds the words."""

    def check(*arguments, words, **options):
        status, _, err = run(*arguments, **options)
        lines = [line for line in err.splitlines() if line.startswith('error:')]
        assert status == 1
        assert len(lines) == 1, err
        for word in words:
            assert word in lines[0]

    return check


@pytest.fixture
def gray_picture(tmp_path):
    """A gray 8-bit PNG of 70 x 66 pixels."""
    path = tmp_path / 'in' / 'm51.png'
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (66, 70), np.uint8)).save(path)
    return path
