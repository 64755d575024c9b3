"""The script behind what ships of the colours of training pictures."""

import sys

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image
from skimage.color import rgb2lab

from astro_gan.colour_classes import BINS
from astro_gan.guides import fill_palette
from astro_gan.models.backbones import WEIGHTS
from experiments import palettes


def test_both_files_are_made_of_a_folder(tmp_path, monkeypatch):
    """Palettes and shares of classes are those of the pictures, those left out aside; twice the same bytes."""
    rng = np.random.default_rng(0)
    labs = []
    for name in 'abc':
        rgb = rng.integers(0, 256, (40, 256, 3), np.uint8) // (1 if name == 'b' else 3)
        Image.fromarray(rgb).save(tmp_path / f'{name}.png')
        labs.append(rgb2lab(rgb / 255.0))
    made = []
    for folder in ('one', 'two'):
        (tmp_path / folder).mkdir()
        arguments = ['palettes', str(tmp_path), '-o', str(tmp_path / folder), '--without', 'b']
        monkeypatch.setattr(sys, 'argv', arguments)
        palettes.main()
        made.append([path.read_bytes() for path in sorted((tmp_path / folder).iterdir())])
    assert made[0] == made[1]
    shares = safetensors.numpy.load(made[0][0])['shares']
    pixels = np.concatenate([labs[0], labs[2]])[..., 1:].reshape(-1, 2)
    nearest = np.square(pixels[:, None] - BINS).sum(-1).argmin(1)
    assert np.abs(shares - np.bincount(nearest, minlength=len(BINS)) / len(pixels)).max() < 2e-3
    book = safetensors.numpy.load(made[0][1])
    np.testing.assert_allclose(book['palettes'], [fill_palette(labs[0]), fill_palette(labs[2])], atol=0.1)


def test_an_empty_folder_is_one_line(tmp_path, monkeypatch):
    """Too few pictures are said, nothing is written."""
    monkeypatch.setattr(sys, 'argv', ['palettes', str(tmp_path), '-o', str(tmp_path)])
    with pytest.raises(SystemExit, match='0 pictures; at least 2'):
        palettes.main()
    assert not list(tmp_path.iterdir())


def test_what_ships_is_of_the_press_images(real_data):
    """The first pictures give the shipped palettes and shares again, to the rounding of float16."""
    shipped = safetensors.numpy.load_file(WEIGHTS / 'palettes.safetensors')
    paths = sorted((real_data / 'hubble' / 'train').glob('*.jpg'))[:3]
    made = palettes.make_files(paths)['palettes.safetensors']
    np.testing.assert_allclose(made['palettes'], shipped['palettes'][:3], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(made['shares'], shipped['shares'][:3], rtol=1e-3, atol=1e-5)
