"""Floating-point TIFF as frames: every layout by value, and what is written back."""

import itertools
import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from astro_gan.files.float_tiff import read_float_tiff, write_float_tiff
from astro_gan.files.tiff import is_float_tiff


def picture(channels=3, scale=1.0) -> np.ndarray:
    """A picture of 30 x 41 pixels, float64 `[30, 41, channels]` in [0, scale]."""
    return scale * np.random.default_rng(0).random((30, 41, channels))


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(('compression', 'predictor'), [(None, None), ('zlib', None), ('zlib', 3), ('lzw', 3)])
def test_every_layout_by_value(tmp_path, dtype, compression, predictor):
    """Gray and RGB, with transparency or not, contiguous or planar, strips or tiles, either byte order."""
    layouts = itertools.product((1, 3), (False, True), ('contig', 'separate'), (None, (16, 32)), '<>')
    for number, (colors, alpha, planar, tile, order) in enumerate(layouts):
        path = tmp_path / f'{number}.tif'
        data = picture(colors + alpha).astype(dtype)
        stored = data[..., 0] if data.shape[-1] == 1 else np.moveaxis(data, -1, 0) if planar == 'separate' else data
        tifffile.imwrite(
            path,
            stored,
            byteorder=order,
            tile=tile,
            compression=compression,
            predictor=predictor,
            photometric='rgb' if colors == 3 else 'minisblack',
            planarconfig=planar if stored.ndim == 3 else None,
            extrasamples=['unassalpha'] if alpha else None,
        )
        assert is_float_tiff(path)
        frame = read_float_tiff(path)
        expected = np.moveaxis(data[..., :colors].astype(np.float32), -1, 0)[:, ::-1]  # the last row comes first
        np.testing.assert_array_equal(frame.data, expected[0] if colors == 1 else expected)
        assert frame.display
        assert ('its transparency is left out' in frame.notes) == alpha
        assert frame.notes[-1] == 'values in [0, 1], taken as they are'


def test_values_that_no_screen_shows(tmp_path):
    """A value beyond [0, 1] makes it a frame to be stretched; 1e30 is no value, and NaN none either."""
    data = picture(1)[..., 0].astype(np.float32)
    data[3, 4], data[5, 6], data[7, 8:10] = np.nan, 0, 1e30
    tifffile.imwrite(tmp_path / 'a.tif', data)
    frame = read_float_tiff(tmp_path / 'a.tif')
    assert frame.display
    assert np.isnan(frame.data[::-1][[3, 7, 7], [4, 8, 9]]).all()
    assert np.isnan(frame.data).sum() == 3
    assert frame.notes[0].startswith('2 pixels of 1e+30')
    for value in (1.001, -0.001):
        data[0, 0] = value
        tifffile.imwrite(tmp_path / 'a.tif', data)
        assert not read_float_tiff(tmp_path / 'a.tif').display


def test_orientation_is_applied(tmp_path):
    """A picture that lies on its side in the file, or is mirrored, stands upright, as Pillow turns it."""
    data = picture(1)[..., 0].astype(np.float32)
    for number in range(1, 9):
        tifffile.imwrite(tmp_path / 'a.tif', data, extratags=[(274, 'H', 1, number, True)])
        with Image.open(tmp_path / 'a.tif') as upright:
            np.testing.assert_array_equal(read_float_tiff(tmp_path / 'a.tif').data[::-1], np.asarray(upright))


def _damaged(path):
    tifffile.imwrite(path, picture().astype(np.float32), photometric='rgb')
    path.write_bytes(path.read_bytes()[:-3000])


BAD = {
    'cut.tif': (_damaged, 'damaged picture: the file ends before its pixels do'),
    'header.tif': (lambda p: p.write_bytes(b'II*\0\xff\xff\xff\xff'), 'damaged'),
    'five.tif': (
        lambda p: tifffile.imwrite(p, picture(5).astype(np.float32), photometric='rgb', planarconfig='contig'),
        '5 channels of floating-point pixels; gray or RGB is wanted',
    ),
    'white.tif': (
        lambda p: tifffile.imwrite(p, picture(1)[..., 0].astype(np.float32), photometric='miniswhite'),
        'floating-point MINISWHITE is not supported; save it as gray',
    ),
    'large.tif': (
        lambda p: tifffile.imwrite(p, np.zeros((1100, 1000), np.float32)),
        '1000x1100 pixels are more than the 1 megapixels that are read; --max-megapixels 2',
    ),
}


def test_tiles_larger_than_any_picture(tmp_path):
    """A tile of gigabytes in a small picture is damage, and is not made room for; one of 64 pixels is read."""
    path = tmp_path / 'a.tif'
    pixels = picture(1)[..., 0].astype(np.float32)
    tifffile.imwrite(path, pixels, tile=(64, 64), compression='zlib')
    np.testing.assert_array_equal(read_float_tiff(path).data, pixels[::-1])
    with tifffile.TiffFile(path, mode='r+') as file:
        file.pages[0].tags['TileLength'].overwrite(2**31 - 16, dtype=4)
    with pytest.raises(
        ValueError, match=r'a\.tif: damaged picture: tiles of 64x2147483632 pixels in a picture of 41x30'
    ):
        read_float_tiff(path)


@pytest.mark.parametrize('name', BAD)
def test_unusable_files_give_one_line_that_names_them(tmp_path, name):
    """Damage, odd channels and too many pixels are a line with the file's name."""
    make, words = BAD[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=f'{name}: .*{words}') as caught:
        read_float_tiff(tmp_path / name, maximum_pixels=1_000_000)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('channels', [1, 3])
def test_written_floats_come_back(tmp_path, channels):
    """Rows in parts, NaN too; the colour profile goes along and the print stays as large as it was."""
    like, target = tmp_path / 'like.tif', tmp_path / 'a.tif'
    tifffile.imwrite(like, picture(), photometric='rgb', iccprofile=b'profile', resolution=(300, 600), resolutionunit=2)
    data = picture(channels, 7.0).astype(np.float32)
    data[2, 3] = np.nan
    sealed = []
    options = {'like': like, 'factor': 2, 'description': 'größer\nof what', 'software': 'us 1.0', 'seal': sealed.append}
    write_float_tiff(target, data.shape, [data[:7], data[7:8], data[8:]], **options)
    with tifffile.TiffFile(target) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), data.squeeze())
        assert page.description == 'gr\\xf6\\xdfer\nof what'
        assert page.tags.valueof('Software') == 'us 1.0'
        assert page.tags.valueof('XResolution') == (600, 1)
        assert page.tags.valueof('YResolution') == (1200, 1)
        assert page.tags.valueof(34675) == (b'profile' if channels == 3 else None)
    assert len(sealed) == 1
    assert sorted(os.listdir(tmp_path)) == ['a.tif', 'like.tif']


@pytest.mark.parametrize(
    ('tags', 'expected'),
    [
        ([(282, 5, 1, (1, 3)), (283, 5, 1, (3, 1)), (296, 3, 1, 3)], ((2, 3), (6, 1), 3)),
        ([(282, 5, 1, (1, 1)), (283, 5, 1, (1, 1)), (296, 3, 1, 0)], None),  # no unit has that number
        ([(282, 5, 1, (2**32 - 1, 1)), (283, 5, 1, (1, 1)), (296, 3, 1, 2)], None),  # twice that has no room
        ([(282, 3, 1, 72), (283, 5, 1, (72, 1)), (296, 3, 1, 2)], None),  # no fraction
        ([(282, 5, 1, (72, 0)), (283, 5, 1, (72, 1)), (296, 3, 1, 2)], None),
    ],
)
def test_what_a_tiff_says_of_its_print_cannot_end_a_run(tmp_path, tags, expected):
    """The density doubles with the pixels; one that is damaged, or has no room, is left out."""
    like, target = tmp_path / 'like.tif', tmp_path / 'a.tif'
    pixels = picture(1)[..., 0].astype(np.float32)
    tifffile.imwrite(like, pixels, photometric='minisblack', metadata=None, resolution=(2, 2))
    with tifffile.TiffFile(like, mode='r+') as file:
        for code, dtype, _, value in tags:
            file.pages[0].tags[code].overwrite(value, dtype=dtype)
    options = {'like': like, 'factor': 2, 'description': '', 'software': ''}
    write_float_tiff(target, (*pixels.shape, 1), [pixels[..., None]], **options)
    with tifffile.TiffFile(target) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), pixels)
        found = [page.tags.valueof(name) for name in ('XResolution', 'YResolution', 'ResolutionUnit')]
    assert found == list(expected or ((1, 1), (1, 1), 1))
