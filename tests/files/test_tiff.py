"""TIFF by its tags: layouts, depths, photometrics, extra samples, pages; for inference and for training alike."""

import itertools

import numpy as np
import pytest
import tifffile

from astro_gan.files import pictures
from astro_gan.files.picture_source import open_picture, picture_size
from astro_gan.files.tiff import is_float_tiff

HEIGHT, WIDTH = 37, 45  # no multiples of strips and tiles
KINDS = {  # channels, photometric
    'gray': (1, 'minisblack'),
    'gray+alpha': (2, 'minisblack'),
    'rgb': (3, 'rgb'),
    'rgba': (4, 'rgb'),
    'miniswhite': (1, 'miniswhite'),
    'cmyk': (4, 'separated'),
}


def levels(channels, dtype):
    """Smooth but different channels over the whole range, `[H, W, C]`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    white = 1 if np.dtype(dtype).kind == 'f' else np.iinfo(dtype).max
    shares = [((3 + c) * x + (5 - c) * y + 31 * c) % 256 / 255 for c in range(channels)]
    return (np.stack(shares, -1) * white).astype(dtype)


def shown(pixels, kind):
    """What pixels of a kind mean, by formula: colours and alpha, floats in [0, 1]."""
    shares = pixels / np.iinfo(pixels.dtype).max
    if kind == 'miniswhite':
        return 1 - shares, None
    if kind == 'cmyk':
        return (1 - shares[..., :3]) * (1 - shares[..., 3:]), None
    return (shares[..., :-1], shares[..., -1:]) if kind in ('gray+alpha', 'rgba') else (shares, None)


def write(path, pixels, kind, *, planar=False, tile=False, **options):
    channels = pixels.shape[-1]
    if channels == 1:
        pixels = pixels[..., 0]
    else:
        options['planarconfig'] = 'separate' if planar else 'contig'
        pixels = np.moveaxis(pixels, -1, 0) if planar else pixels
    if kind in ('gray+alpha', 'rgba'):
        options['extrasamples'] = ['unassalpha']
    options |= {'tile': (16, 32)} if tile else {'rowsperstrip': 10}
    tifffile.imwrite(path, pixels, photometric=KINDS[kind][1], metadata=None, **options)


def check(path, pixels, kind):
    """Both readers give what the pixels mean, from the file and from its bytes."""
    color, alpha = shown(pixels, kind)
    source = open_picture(path)
    assert source.dtype == pixels.dtype
    visible = 1.0 if alpha is None else alpha > 0  # where nothing is seen, colours are the neighbours'
    found = source.read(0, 0, HEIGHT, WIDTH)
    assert found.shape == color.shape
    np.testing.assert_allclose(found * visible, color * visible, atol=0.6 / np.iinfo(pixels.dtype).max)
    if alpha is not None:
        np.testing.assert_allclose(source.read_alpha(0, 0, HEIGHT, WIDTH), alpha, atol=1e-6)
    laid_on_black = 255 * np.broadcast_to(color if alpha is None else color * alpha, (HEIGHT, WIDTH, 3))
    for got in (pictures.read_picture(path), pictures.decode_picture(path.read_bytes(), 'x')):
        assert got.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(got - laid_on_black).max() <= (0.51 if alpha is None else 1.01)


@pytest.mark.parametrize('kind', KINDS)
def test_every_layout_is_right_or_refused(tmp_path, kind):
    """Depth, planes, strips or tiles, byte order and compression change no value; floats are refused in words."""
    path = tmp_path / 'a.tif'
    for dtype, planar, tile, order, compression in itertools.product(
        (np.uint8, np.uint16, np.float32), (False, True), (False, True), '<>', (None, 'lzw', 'deflate', 'zstd')
    ):
        pixels = levels(KINDS[kind][0], dtype)
        if planar and pixels.shape[-1] == 1:
            continue
        write(path, pixels, kind, planar=planar, tile=tile, byteorder=order, compression=compression)
        assert picture_size(path) == (HEIGHT, WIDTH) if dtype != np.float32 else is_float_tiff(path)
        if dtype == np.float32:
            for read in (open_picture, pictures.read_picture):
                with pytest.raises(ValueError, match='floating-point pixels have no known white level'):
                    read(path)
        else:
            check(path, pixels, kind)


@pytest.mark.parametrize('predictor', [False, True])
@pytest.mark.parametrize('kind', ['gray', 'rgb', 'rgba'])
def test_predictors(tmp_path, kind, predictor):
    """Differences of neighbours, which most programs store, and BigTIFF."""
    for dtype, planar, compression in itertools.product((np.uint8, np.uint16), (False, True), ('lzw', 'deflate')):
        pixels = levels(KINDS[kind][0], dtype)
        options = {'predictor': predictor, 'compression': compression, 'bigtiff': True, 'byteorder': '>'}
        write(tmp_path / 'a.tif', pixels, kind, planar=planar and kind != 'gray', **options)
        check(tmp_path / 'a.tif', pixels, kind)
