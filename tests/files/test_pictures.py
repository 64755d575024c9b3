"""Reading picture files, those of careless or hostile origin among them."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from astro_gan.files import pictures
from astro_gan.files.picture_source import open_picture


@pytest.fixture
def pixels() -> np.ndarray:
    """A smooth picture, 40 high and 60 wide, that has no symmetry."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([4 * x, 6 * y, 255 - 2 * x - 2 * y], -1).astype(np.uint8)


def png_declaring(width: int, height: int) -> bytes:
    """A PNG of some 100 bytes that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    start = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
    return start + chunk(b'IDAT', zlib.compress(b'\0' * 100)) + chunk(b'IEND', b'')


@pytest.mark.parametrize('suffix', ['png', 'tif', 'bmp', 'webp'])
def test_lossless_formats_give_the_same_pixels(tmp_path, pixels, suffix):
    """No format changes a value."""
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(pixels).save(path, **({'lossless': True} if suffix == 'webp' else {}))
    np.testing.assert_array_equal(pictures.read_picture(path), pixels)
    assert pictures.picture_size(path) == (40, 60)


def test_wrong_extension_is_read_by_content(tmp_path, pixels):
    """A PNG called .jpg is a picture."""
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', format='PNG')
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / 'a.jpg'), pixels)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path, suffix):
    """The whole 16-bit range maps to the whole 8-bit range, rounded to nearest."""
    levels = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / f'a.{suffix}')
    got = pictures.read_picture(tmp_path / f'a.{suffix}')
    np.testing.assert_array_equal(got, np.repeat(np.rint(levels / 257)[..., None], 3, -1))


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'CMYK', 'LA', 'RGBA'])
def test_modes_become_rgb(tmp_path, pixels, mode):
    """Gray, bilevel, palette, CMYK and opaque alpha come out as RGB uint8."""
    suffix = 'tif' if mode == 'CMYK' else 'png'
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / f'a.{suffix}')
    got = pictures.read_picture(tmp_path / f'a.{suffix}')
    assert got.dtype == np.uint8
    assert got.shape == (40, 60, 3)
    np.testing.assert_array_equal(got, np.asarray(image.convert('RGB')))


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    """Adobe's inverted CMYK comes out right side up."""
    color = Image.new('RGB', (32, 32), (200, 60, 20))
    color.convert('CMYK').save(tmp_path / 'a.jpg', quality=95)
    got = pictures.read_picture(tmp_path / 'a.jpg')
    assert np.abs(got.mean((0, 1)) - [200, 60, 20]).max() < 4


def test_alpha_is_laid_on_black(tmp_path):
    """Transparent is black, whatever colour is hidden beneath; half transparent is half as bright."""
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[:2, :, 3], rgba[2:, :, 3] = 0, 128
    Image.fromarray(rgba).save(tmp_path / 'a.png')
    got = pictures.read_picture(tmp_path / 'a.png')
    assert (got[:2] == 0).all()
    assert (np.abs(got[2:].astype(int) - 100) <= 1).all()


def test_palette_transparency_is_black(tmp_path):
    """A palette's transparent entry counts as transparent."""
    image = Image.new('P', (4, 4), 1)
    image.putpalette([0, 0, 0, 250, 250, 250])
    image.save(tmp_path / 'a.png', transparency=1)
    assert (pictures.read_picture(tmp_path / 'a.png') == 0).all()


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, pixels, suffix, orientation):
    """A camera's rotation is undone, in the size that the header gives too."""
    turns = {2: 0, 3: 1, 4: 2, 5: 3, 6: 4, 7: 5, 8: 6}
    undo = [
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[::-1],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.rot90(a, -1),
        lambda a: np.rot90(a.transpose(1, 0, 2), 2),
        lambda a: np.rot90(a, 1),
    ]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(pixels).save(path, exif=exif, quality=98)
    expected = pixels if orientation == 1 else undo[turns[orientation]](pixels)
    got = pictures.read_picture(path)
    assert got.shape == expected.shape
    assert pictures.picture_size(path) == expected.shape[:2]
    assert np.abs(got.astype(int) - expected).mean() < 3


def test_animation_gives_its_first_frame(tmp_path):
    """Later frames are not looked at."""
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    assert (pictures.read_picture(tmp_path / 'a.gif')[0, 0] == [255, 0, 0]).all()


def _truncated(path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, format=suffix)
    path.write_bytes(path.read_bytes()[:-2000])


HOSTILE = {
    'bomb.png': lambda p: p.write_bytes(png_declaring(60000, 60000)),
    'just_too_large.png': lambda p: p.write_bytes(png_declaring(20001, 10000)),
    'truncated.jpg': lambda p: _truncated(p, 'JPEG'),
    'truncated.png': lambda p: _truncated(p, 'PNG'),
    'truncated.tif': lambda p: _truncated(p, 'TIFF'),
    'truncated.bmp': lambda p: _truncated(p, 'BMP'),
    'truncated.webp': lambda p: _truncated(p, 'WEBP'),
    'empty.jpg': lambda p: p.write_bytes(b''),
    'text.jpg': lambda p: p.write_text('not a picture\n'),
    'header_only.jpg': lambda p: p.write_bytes(b'\xff\xd8\xff\xe0\x00\x10JFIF\x00'),
    'declares_pixels_it_has_not.png': lambda p: p.write_bytes(png_declaring(500, 500)[:-12]),
    'no_such_file.jpg': lambda p: None,
    'dangling.jpg': lambda p: p.symlink_to(p.with_name('gone.jpg')),
    'circle.jpg': lambda p: p.symlink_to(p),
    'folder.jpg': lambda p: p.mkdir(),
    'float.tif': lambda p: Image.fromarray(np.ones((8, 8), np.float32)).save(p),
    'other_format.ppm': lambda p: Image.new('RGB', (8, 8)).save(p),
    'line\nbreak.jpg': lambda p: p.write_bytes(b'x'),
}


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', HOSTILE)
def test_unusable_files_give_one_line_that_names_them(tmp_path, name):
    """Whatever is wrong with a file is a ValueError of one line, never a crash, a hang or a half-gray picture."""
    path = tmp_path / name
    HOSTILE[name](path)
    with pytest.raises(ValueError, match=re.escape(name.split('\n')[0])) as caught:
        pictures.read_picture(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', [name for name in HOSTILE if name != 'float.tif'])
def test_the_header_check_finds_them_too(tmp_path, name):
    """A missing end is found before training starts."""
    path = tmp_path / name
    HOSTILE[name](path)
    if name == 'declares_pixels_it_has_not.png':
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=re.escape(name.split('\n')[0])):
        pictures.picture_size(path)


def test_a_png_with_damaged_pixels_is_refused(tmp_path, pixels):
    """Header and end are whole, what is between is not: an error, not a black picture."""
    path = tmp_path / 'damaged.png'
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:60] + b'\xff' * (len(data) - 120) + data[-60:])
    with pytest.raises(ValueError, match=r'damaged\.png'):
        pictures.read_picture(path)


def _png_mode(path: Path, mode: str, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    if mode == 'palette with soft edges':
        image = image.quantize(8)
        image.save(path, transparency=bytes([0, 50, 100, 150, 200, 250, 255, 255]))
    elif mode == 'interlaced gray+alpha of 16 bits':
        both = np.stack([pixels[..., 0], 255 - pixels[..., 1]], -1).astype(np.uint16) * 257
        both = pyvips.Image.new_from_array(both).copy(interpretation='grey16')
        both.pngsave(str(path), interlace=True)
    else:
        image.convert(mode).save(path)


@pytest.mark.parametrize('mode', ['palette with soft edges', 'interlaced gray+alpha of 16 bits', 'LA', '1', 'L', 'P'])
def test_pngs_are_alike_in_both_readers(tmp_path, pixels, mode):
    """What inference reads, laid on black and in 8 bits, is what training reads, and what Pillow reads."""
    path = tmp_path / 'a.png'
    _png_mode(path, mode, pixels)
    source = open_picture(path)
    seen = source.read(0, 0, 40, 60)
    if source.alpha is not None:
        seen = seen * source.read_alpha(0, 0, 40, 60)
    trained = pictures.read_picture(path)
    assert np.abs(255 * seen - trained).max() <= 1.01
    if '16' not in mode:
        with Image.open(path) as image:
            rgba = np.asarray(image.convert('RGBA')).astype(float)
        assert np.abs(rgba[..., :3] * rgba[..., 3:] / 255 - trained).max() <= 1.01


def test_cmyk_jpegs_are_alike_in_both_readers(tmp_path, pixels):
    """By the plain formula, and not inverted."""
    Image.fromarray(pixels).convert('CMYK').save(tmp_path / 'a.jpg', quality=98)
    seen = open_picture(tmp_path / 'a.jpg').read(0, 0, 40, 60) * 255
    assert np.abs(seen - pictures.read_picture(tmp_path / 'a.jpg')).max() < 0.51
    assert np.abs(seen - pixels).mean() < 4
