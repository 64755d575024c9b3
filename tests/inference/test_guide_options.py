"""Guides as users write them: what is read, and the one line for what is wrong."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from astro_gan.errors import UserError
from astro_gan.inference.guide_options import GuideOptions, read_guides, read_palette, shipped_palettes
from astro_gan.inference.render import ArraySource

SOURCE = ArraySource(np.linspace(0, 1, 66 * 70, dtype=np.float32).reshape(66, 70, 1))


def lab_of(text):
    return rgb2lab([[[int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]]])[0, 0]


def test_palettes_by_name_by_hand_and_from_a_file(tmp_path):
    """All three ways give the a*b* of the colours, dark to light; the shipped ones name their source."""
    (tmp_path / 'p.json').write_text(json.dumps(['#102030', '#ffeecc']))
    expected = np.stack([lab_of('#102030'), lab_of('#ffeecc')])[:, 1:]
    np.testing.assert_allclose(read_palette('#102030,#ffeecc'), expected, atol=0.02)
    np.testing.assert_allclose(read_palette(str(tmp_path / 'p.json')), expected, atol=0.02)
    for name, palette in shipped_palettes().items():
        assert read_palette(name).shape == (3, 2)
        assert palette['source']
        assert palette['for']


def test_hints_from_the_command_line_a_table_and_a_picture(tmp_path):
    """Hints in pixels from the upper left; the last of one pixel counts; dots become one hint each."""
    (tmp_path / 'h.csv').write_text('x,y,colour\n3,4,#ff8800\n60,50,#0088ff\n')
    options = GuideOptions(hint=('3,4=#00ff00', '5,6=#808080'), hints=str(tmp_path / 'h.csv'))
    hints = read_guides(options, SOURCE).hints
    assert [tuple(row[:2]) for row in hints] == [(3, 4), (5, 6), (60, 50)]
    np.testing.assert_allclose(hints[0, 2:], lab_of('#ff8800')[1:], atol=0.05)
    dots = np.zeros((66, 70, 4), np.uint8)
    dots[10:15, 20:25] = (255, 0, 0, 255)
    dots[40, 60] = (0, 0, 255, 200)
    dots[60, 5] = (0, 0, 255, 100)  # more than half transparent
    Image.fromarray(dots).save(tmp_path / 'dots.png')
    hints = read_guides(GuideOptions(hints=str(tmp_path / 'dots.png')), SOURCE).hints
    assert sorted(tuple(row[:2]) for row in hints) == [(22, 12), (60, 40)]


@pytest.mark.parametrize(
    'text',
    [
        '\ufeffx,y,colour\r\n3,4,#ff8800\r\n60,50,#0088ff\r\n',
        'X;Y;Farbe\n3;4;#FF8800\n\n60;50;#0088FF\n',
        '3\t4\t#ff8800\n60\t50\t#0088ff',
        ' 3 , 4 , #ff8800 \n  \n60,50,#0088ff',
    ],
)
def test_tables_of_hints_as_programs_write_them(tmp_path, text):
    """A byte order mark, semicolons, tabs, other ends of lines, empty lines: the same two hints."""
    (tmp_path / 'h.csv').write_bytes(text.encode())
    hints = read_guides(GuideOptions(hints=str(tmp_path / 'h.csv')), SOURCE).hints
    np.testing.assert_allclose(hints[0], [3, 4, *lab_of('#ff8800')[1:]], atol=0.05)
    np.testing.assert_allclose(hints[1], [60, 50, *lab_of('#0088ff')[1:]], atol=0.05)


def test_palette_and_colours_of_pictures(tmp_path):
    """`--like` reads a palette over L*, `--color-from` a*b* of a picture of any size and the same shape."""
    rgb = np.random.default_rng(0).integers(0, 256, (33, 35, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / 'small.png')
    guides = read_guides(
        GuideOptions(like=str(tmp_path / 'small.png'), color_from=(str(tmp_path / 'small.png'),)), SOURCE
    )
    assert guides.palette.shape[1] == 3
    np.testing.assert_allclose(guides.picture, rgb2lab(rgb / 255)[..., 1:], atol=0.05)


def test_gray_bands_of_the_same_size(tmp_path):
    """Red and blue of a picture: with the image's lightness the colours of the picture itself."""
    rgb = np.random.default_rng(1).integers(0, 256, (66, 70, 3), np.uint8)
    lab = rgb2lab(rgb / 255)
    gray = np.asarray(rgb2lab(np.linspace(0, 1, 4001)[:, None].repeat(3, 1))[:, 0])
    image = np.interp(lab[..., 0], gray, np.linspace(0, 1, 4001)).astype(np.float32)[..., None]
    for name, channel in (('r', 0), ('b', 2)):
        Image.fromarray(rgb[..., channel]).save(tmp_path / f'{name}.png')
    options = GuideOptions(color_from=(str(tmp_path / 'r.png'), str(tmp_path / 'b.png')))
    np.testing.assert_allclose(read_guides(options, ArraySource(image)).known, lab[..., 1:], atol=0.2)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'palette': 'nebulous'}, 'nebulous.*galaxy, sho'),
        ({'palette': '#12345'}, '#12345 is no colour'),
        ({'palette': ','.join(['#000000'] * 9)}, '9 colours; 1 to 8'),
        ({'hint': ('3;4=#ffffff',)}, 'write X,Y=#rrggbb'),
        ({'hint': ('70,4=#ffffff',)}, 'outside the image, which has 70x66'),
        ({'hint': ('7,4=red',)}, 'red is no colour'),
        ({'hints': 'bad.csv'}, 'bad.csv, line 2: write X,Y,#rrggbb'),
        ({'hints': 'first.csv'}, 'first.csv, line 1: write X,Y,#rrggbb'),
        ({'hints': 'colour.csv'}, 'colour.csv, line 1: ff8800 is no colour; write #rrggbb'),
        ({'hints': 'outside.csv'}, 'outside.csv, line 2: outside the image, which has 70x66'),
        ({'hints': 'utf16.csv'}, 'utf16.csv: neither a CSV file nor a PNG'),
        ({'hints': 'gray.png'}, 'no transparency'),
        ({'hints': 'absent.csv'}, 'absent.csv: no such file'),
        ({'like': 'gray.png'}, 'is gray'),
        ({'like': 'bad.csv'}, 'not a colour picture'),
        ({'color_from': ('wide.png',)}, 'another shape'),
        ({'color_from': ('gray.png', 'gray.png')}, '9x8 pixels; the image has 70x66'),
        ({'color_from': ('gray.png',) * 4}, '4 files'),
        ({'palette': 'sho', 'like': 'wide.png'}, 'leave one of them out'),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, options, words):
    """A wrong value or file is named, with what would be right."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'bad.csv').write_text('1,2,#ffffff\n1,2\n')
    (tmp_path / 'first.csv').write_text('l2,4,#ffffff\n1,2,#ffffff\n')
    (tmp_path / 'colour.csv').write_text('12,4,ff8800\n')
    (tmp_path / 'outside.csv').write_text('12,4,#ff8800\n12,66,#ff8800\n')
    (tmp_path / 'utf16.csv').write_text('12,4,#ff8800\n', encoding='utf-16')
    Image.fromarray(np.zeros((8, 9), np.uint8)).save('gray.png')
    Image.fromarray(np.zeros((8, 32, 3), np.uint8)).save('wide.png')
    with pytest.raises(UserError, match=words) as caught:
        read_guides(GuideOptions(**options), SOURCE)
    assert '\n' not in str(caught.value)


def test_what_decides_the_output_is_told_with_hashes(tmp_path):
    """The description of an output holds the options and the hashes of their files; none without guides."""
    assert GuideOptions().deciding() == {}
    path = tmp_path / 'h.csv'
    path.write_text('1,2,#ffffff\n')
    told = GuideOptions(hints=str(path), hint=('1,2=#ffffff',)).deciding()
    assert told['hint'] == ['1,2=#ffffff']
    assert len(told['sha256']['h.csv']) == 64
