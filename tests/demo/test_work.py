"""What the page asks of the commands, and what it shows, without a browser."""

import socket

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_gan import cli
from astro_gan.demo import view, work
from astro_gan.errors import UserError


def test_choices_become_a_command_line():
    """Options that are at their defaults, or that the task does not have, are left out."""
    assert work.command('upscale', 'a.png', factor='2', hints=['1,2=#ffffff'], check=False) == [
        *('upscale', 'a.png', '--factor', '2'),
    ]
    line = work.command('enhance', 'a.fits', model='colorize+wdsr_gan_x4', factor='8', stretch='log', palette='sho')
    assert line == [
        *('enhance', 'a.fits', '--model', 'colorize', '--model', 'wdsr_gan_x4', '--stretch', 'log'),
        *('--palette', 'sho', '--allow-color', '--check'),
    ]
    line = work.command('upscale', 'a.png', refinements=['trust'], back_project=2, blend=0.25)
    assert line == ['upscale', 'a.png', '--trust', '--back-project', '2', '--blend', '0.25', '--check']
    line = work.command('colorize', 'a.png', hints=[' 3,4=#102030 ', ''], gray=False)
    assert line == ['colorize', 'a.png', '--hint=3,4=#102030', '--check']


@pytest.mark.parametrize(
    'wrong',
    [
        {'model': '/etc'},
        {'palette': '/etc/passwd'},
        {'stretch': '--debug'},
        {'factor': '99'},
        {'refinements': ['debug']},
    ],
)
def test_only_what_the_page_offers_is_taken(wrong):
    """A request that was not made by the page names no files of the server and no other options."""
    with pytest.raises(UserError, match='there are'):
        work.command('colorize', 'a.png', **wrong)


def test_clicks_are_pixels_of_the_image(tmp_path):
    """A large picture is shown smaller; of a frame, whose first row is shown at the bottom, array rows are counted."""
    Image.new('L', (3200, 640)).save(tmp_path / 'wide.png')
    shown = view.show(tmp_path / 'wide.png', stretch='asinh', megapixels=16)
    assert shown.pixels.shape == (320, 1600, 3)
    assert shown.place(800, 100) == (1601, 201)
    assert shown.place(1599.9, 319.9) == (3199, 639)
    data = np.random.default_rng(0).normal(size=(80, 100))
    data[5, 70] = 1000.0
    fits.PrimaryHDU(data.astype(np.float32)).writeto(tmp_path / 'a.fits')
    shown = view.show(tmp_path / 'a.fits', stretch='asinh', megapixels=16)
    assert shown.pixels[74, 70].tolist() == [255, 255, 255]
    assert shown.place(70, 74) == (70, 5)
    assert view.with_hints(shown, [(70, 5, '#00ff00')])[74, 70].tolist() == [0, 255, 0]


def test_colours_of_the_picker():
    """In either of its two forms."""
    assert view.hexadecimal('#a1b2c3') == '#a1b2c3'
    assert view.hexadecimal('rgba(255, 84.6, 51, 1)') == '#ff5533'
    assert view.parsed('1,2=#a1b2c3\nnonsense\n 30 , 4 = #000000') == [(1, 2, '#a1b2c3'), (30, 4, '#000000')]


def test_names_in_the_table_are_text():
    """A model's name is no HTML."""
    made = {'model': '<script>', 'weights_sha256': '0' * 64, 'factor': 2, 'output': {'bytes': 10}}
    assert '&lt;script&gt;' in view.numbers(made, 1.0, (8, 9))
    assert '18 x 16 pixels' in view.numbers(made, 1.0, (8, 9))


def test_it_listens_on_this_computer_alone(capsys):
    """Unless told otherwise; a port that is taken is one line."""
    assert cli.make_parser().parse_args(['demo']).host == '127.0.0.1'
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(['demo', '--port', str(port)]) == 1
    assert capsys.readouterr().err == (
        f'error: --host 127.0.0.1 --port {port}: address already in use; another port, or 0 for any free one\n'
    )


def test_all_that_was_made_is_handed_out(tmp_path):
    """The output first, then its description, then the audit's files and the trust map; maps have pictures."""
    path = tmp_path / 'sky.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 200, (64, 72), np.uint8)).save(path)
    line = work.command('upscale', str(path), refinements=['trust'])
    result = work.process(line, tmp_path / 'out', megapixels=1)
    names = [file.rpartition('/')[2] for file in result.files]
    assert names[:2] == ['sky.png', 'sky.png.json']
    assert set(names[2:]) == {'sky.trust.png', 'detail.png', 'residual.png', 'sources.csv', 'summary.json'}
    (shown, title), *_ = view.trust_map(result.trust)
    assert shown.shape == (256, 288)
    assert shown.max() == 255
    assert '90%' in title
    assert [picture.shape for picture, _ in view.maps(result.found, False)] == [(256, 288, 3), (64, 72, 3)]
