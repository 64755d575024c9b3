"""Guides through the commands: hints met in the file, lightness kept, descriptions, variants, and what is refused."""

import json

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from skimage.color import rgb2lab


@pytest.fixture
def picture(tmp_path):
    """A gray picture of 70 x 66 pixels of middle grays, as an array and as a file."""
    pixels = np.random.default_rng(0).integers(90, 200, (66, 70), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'm51.png')
    return pixels, tmp_path / 'm51.png'


def result(path):
    with Image.open(path) as image:
        return rgb2lab(np.asarray(image) / 255)


def test_hints_are_met_in_the_file_and_lightness_is_kept(run, models, picture, tmp_path):
    """At a hint the colour is within Delta E 2 (its own lightness aside); L* is the picture's; the file says so."""
    pixels, path = picture
    hints = {(10, 20): '#997766', (11, 20): '#667799', (60, 50): '#887799'}
    arguments = [part for (x, y), colour in hints.items() for part in ('--hint', f'{x},{y}={colour}')]
    status, out, err = run('colorize', path, *arguments, '--saturation', '0.2', model=models['guided'])
    assert status == 0, out + err
    lab = result(tmp_path / 'out' / 'm51.png')
    gray = rgb2lab(pixels[..., None].repeat(3, -1))
    assert np.abs(lab[..., 0] - gray[..., 0]).max() < 0.5
    for (x, y), colour in hints.items():
        asked = rgb2lab([[[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]]])[0, 0]
        assert np.hypot(*(lab[y, x] - asked)[1:]) < 2
    told = json.loads((tmp_path / 'out' / 'm51.png.json').read_text())
    assert told['colours'] == {
        'given': pytest.approx(3 / 4620, rel=1e-4),
        'guided': 0,
        'guessed': pytest.approx(1, abs=1e-3),
    }
    assert told['settings']['guides']['hint'] == arguments[1::2]


def test_a_map_says_where_colours_come_from(run, models, picture, tmp_path):
    """--report: a map beside the audit and in the page, hints as dots on what a palette guides; its shares in words."""
    _, path = picture
    guides = ('--palette', '#665544', '--hint', '20,10=#997766')
    status, out, err = run('colorize', path, *guides, '--report', tmp_path / 'r.html', model=models['guided'])
    assert status == 0, out + err
    with Image.open(tmp_path / 'out' / 'm51.png.audit' / 'colours.png') as image:
        origin = np.asarray(image)
    assert origin.shape == (66, 70, 3)
    given = (origin == (86, 180, 233)).all(-1)
    assert given[8:13, 18:23].all()
    assert given.sum() == 25
    np.testing.assert_array_equal(origin[~given], np.broadcast_to((230, 159, 0), (66 * 70 - 25, 3)))
    page = (tmp_path / 'r.html').read_text()
    assert 'Where the colours come from' in page
    assert '0.0216% given, 100% guided, 0% guessed' in page
    assert run('colorize', path, '--check', '--overwrite', model=models['guided'])[0] == 0  # nothing given: no map
    assert not (tmp_path / 'out' / 'm51.png.audit' / 'colours.png').exists()


def test_the_map_of_a_frame_is_upright(run, models, tmp_path):
    """A frame's first row is the bottom: there is its hint on the map, whether the result is a frame or a picture."""
    data = np.random.default_rng(0).normal(100, 3, (66, 70)).astype(np.float32)
    fits.PrimaryHDU(data).writeto(tmp_path / 'm51.fits')
    for form, y in (('fits', 5), ('png', 60)):  # counted from the bottom in a frame, from the top in a picture
        hint = ('--hint', f'20,{y}=#997766')
        status, out, err = run(
            'colorize', tmp_path / 'm51.fits', *hint, '--check', '--format', form, model=models['guided']
        )
        assert status == 0, out + err
        with Image.open(tmp_path / 'out' / f'm51.{form}.audit' / 'colours.png') as image:
            given = (np.asarray(image) == (86, 180, 233)).all(-1)
        assert np.argwhere(given).mean(0).tolist() == [60, 20]


def test_hints_that_cannot_be_shown_are_told(run, models, picture):
    """A saturated red at a middle gray is paler than asked, and a line says so."""
    _, path = picture
    status, _, err = run('colorize', path, '--hint', '5,5=#ff0000', '--hint', '50,50=#808080', model=models['guided'])
    assert status == 0
    assert '1 of 2 hints come out paler than asked' in err


def test_three_bands_leave_nothing_to_guess(run, models, picture, tmp_path):
    """Red, green and blue of the same sky: the colours are theirs, and the program says that nothing was guessed."""
    pixels, path = picture
    rgb = np.stack([pixels // 2 + 40, pixels // 2 + 50, pixels // 2 + 60], axis=-1)
    for name, channel in zip('rgb', range(3), strict=True):
        Image.fromarray(rgb[..., channel]).save(tmp_path / f'{name}.png')
    bands = [tmp_path / f'{name}.png' for name in 'rgb']
    status, _, err = run('colorize', path, '--color-from', *bands, model=models['guided'])
    assert status == 0, err
    assert 'nothing was guessed' in err
    with Image.open(tmp_path / 'out' / 'm51.png') as image:
        made = np.asarray(image, float)
    ratios = made / made.max(-1, keepdims=True)
    np.testing.assert_allclose(ratios, rgb / rgb.max(-1, keepdims=True), atol=0.02)
    assert json.loads((tmp_path / 'out' / 'm51.png.json').read_text())['colours']['given'] == 1


def test_variants_are_files_of_their_own_with_a_sheet(run, models, picture, tmp_path):
    """Three outputs that differ, each with its description, and a contact sheet; --resume finds them all."""
    _, path = picture
    status, out, err = run('colorize', path, '--variants', '3', model=models['guided'])
    assert status == 0, err
    assert '3 made' in out
    made = {(tmp_path / 'out' / f'm51_{n}.png').read_bytes() for n in (1, 2, 3)}
    assert len(made) == 3
    assert json.loads((tmp_path / 'out' / 'm51_2.png.json').read_text())['settings']['guides'] == {'variant': 1}
    with Image.open(tmp_path / 'out' / 'm51_variants.jpg') as sheet:
        assert sheet.size == (210, 66)
    assert '3 already finished' in run('colorize', path, '--variants', '3', '--resume', model=models['guided'])[1]


def test_enhance_takes_guides_too(run, models, picture, tmp_path):
    """One colour for all, then twice the size."""
    _, path = picture
    arguments = ('--palette', '#665544', '--model', models['guided'])
    status, _, err = run('enhance', path, *arguments, model=models['upscale'])
    assert status == 0, err
    assert result(tmp_path / 'out' / 'm51.png').shape == (132, 140, 3)
    assert json.loads((tmp_path / 'out' / 'm51.png.json').read_text())['colours']['guided'] == 1


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--palette', 'nope'], ['--palette nope', 'galaxy']),
        (['--hint', '70,1=#ffffff'], ['m51.png', '--hint 70,1=#ffffff', '70x66']),
        (['--variants', '2', '--palette', 'sho'], ['--variants', 'leave the guides out']),
    ],
)
def test_wrong_guides_are_one_line(one_line, models, picture, arguments, words):
    """What is wrong, and what would be right."""
    one_line('colorize', picture[1], *arguments, model=models['guided'], words=words)


def test_guides_need_a_model_that_takes_them(one_line, picture):
    """A colorizer without guides says so instead of passing over them."""
    one_line('colorize', picture[1], '--palette', 'sho', words=['tiny_color', 'takes no guides'])


def test_hints_belong_to_one_image(one_line, models, picture, tmp_path):
    """Hints with two inputs are refused."""
    Image.fromarray(picture[0]).save(tmp_path / 'other.png')
    words = ['belong to one image', '2 are given']
    one_line(
        'colorize', picture[1], tmp_path / 'other.png', '--hint', '1,1=#ffffff', model=models['guided'], words=words
    )
