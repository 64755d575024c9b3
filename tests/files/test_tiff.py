"""TIFF by its tags: layouts, depths, photometrics, extra samples, pages; for inference and for training alike."""

import itertools

import numpy as np
import pytest
import tifffile
from PIL import Image

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


@pytest.mark.parametrize('compression', ['packbits', 'lzma'])
def test_rarer_compressions(tmp_path, compression):
    """PackBits by libvips, LZMA by tifffile, contiguous and planar."""
    for dtype, planar in itertools.product((np.uint8, np.uint16), (False, True)):
        write(tmp_path / 'a.tif', levels(3, dtype), 'rgb', planar=planar, compression=compression)
        check(tmp_path / 'a.tif', levels(3, dtype), 'rgb')


@pytest.mark.parametrize('bits', [2, 4, 6, 10, 12, 14])
def test_odd_depths_reach_from_black_to_white(tmp_path, bits):
    """White is the top of the depth, and becomes that of 8 or 16 bits."""
    top = 2**bits - 1
    stored = (levels(1, np.uint16)[..., 0] >> (16 - bits)).astype(np.uint8 if bits < 8 else np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', stored, bitspersample=bits, photometric='minisblack', metadata=None)
    white = 255 if bits < 8 else 65535
    source = open_picture(tmp_path / 'a.tif')
    assert np.iinfo(source.dtype).max == white
    np.testing.assert_array_equal(
        np.rint(source.read(0, 0, HEIGHT, WIDTH)[..., 0] * white), np.rint(stored * (white / top))
    )
    assert np.abs(pictures.read_picture(tmp_path / 'a.tif')[..., 0] - stored * (255 / top)).max() <= 0.51


@pytest.mark.parametrize('photometric', ['minisblack', 'miniswhite'])
def test_one_bit(tmp_path, photometric):
    """Black and white, and white and black."""
    stored = levels(1, np.uint8)[..., 0] > 99
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric=photometric, metadata=None)
    expected = 255 * (stored if photometric == 'minisblack' else ~stored)
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / 'a.tif')[..., 0], expected)
    np.testing.assert_array_equal(open_picture(tmp_path / 'a.tif').read(0, 0, HEIGHT, WIDTH)[..., 0] * 255, expected)


@pytest.mark.parametrize('planar', [False, True])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_colours_that_were_multiplied_with_alpha(tmp_path, dtype, planar):
    """Associated alpha is undone: the colours are those that were meant."""
    white = np.iinfo(dtype).max
    straight = levels(3, dtype) / white
    alpha = np.maximum(levels(1, dtype) // 2 + white // 3, 1) / white
    stored = np.rint(np.concatenate([straight * alpha, alpha], -1) * white).astype(dtype)
    stored = np.moveaxis(stored, -1, 0) if planar else stored
    options = {'photometric': 'rgb', 'planarconfig': 'separate' if planar else 'contig', 'extrasamples': ['assocalpha']}
    tifffile.imwrite(tmp_path / 'a.tif', stored, metadata=None, **options)
    source = open_picture(tmp_path / 'a.tif')
    assert np.abs(source.read(0, 0, HEIGHT, WIDTH) - straight).max() < 3.5 / white
    assert np.abs(pictures.read_picture(tmp_path / 'a.tif') - 255 * straight * alpha).max() < 2.1


def refused(path, words):
    for read in (open_picture, pictures.read_picture, pictures.picture_size, picture_size):
        with pytest.raises(ValueError, match=words) as caught:
            read(path)
        assert str(caught.value).startswith(f'{path}: ')
        assert '\n' not in str(caught.value)
        assert 'damaged' not in str(caught.value)


@pytest.mark.parametrize(
    ('channels', 'options', 'words'),
    [
        (4, {'photometric': 'rgb', 'extrasamples': ['unspecified']}, r'4 channels.*\(ExtraSamples\): not supported'),
        (2, {'photometric': 'minisblack', 'extrasamples': ['unspecified']}, '2 channels.*ExtraSamples'),
        (5, {'photometric': 'rgb', 'extrasamples': ['unassalpha', 'unspecified']}, '5 channels'),
        (5, {'photometric': 'minisblack'}, '5 channels'),
        (3, {'photometric': 'cielab'}, 'CIELAB colours are not supported'),
        (3, {'photometric': 'rgb', 'dtype': np.int16}, 'signed pixels'),
        (1, {'photometric': 'minisblack', 'dtype': np.uint32}, '32-bit pixels have no known white level'),
        (4, {'photometric': 'separated', 'extratags': [(332, 3, 1, 2, True)]}, 'SEPARATED colours are not supported'),
        (3, {'photometric': 'ycbcr'}, 'YCBCR of 8 bits, NONE compressed, is not supported'),
    ],
)
def test_what_is_not_read_is_not_called_damaged(tmp_path, channels, options, words):
    """Other channels, colours and numbers: one line that says what they are."""
    pixels = levels(channels, np.uint8).astype(options.get('dtype', np.uint8))
    options = {key: value for key, value in options.items() if key != 'dtype'}
    options |= {'planarconfig': 'contig'} if channels > 1 else {}
    tifffile.imwrite(tmp_path / 'a.tif', pixels if channels > 1 else pixels[..., 0], metadata=None, **options)
    refused(tmp_path / 'a.tif', words)


def test_a_compression_that_nobody_reads(tmp_path):
    """By its name, or its number where it has none."""
    tifffile.imwrite(tmp_path / 'a.tif', levels(1, np.uint8)[..., 0], metadata=None)
    for number, words in ((6, 'OJPEG compressed'), (34712, 'JPEG2000'), (64123, '64123')):
        with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+') as file:
            file.pages[0].tags['Compression'].overwrite(number)
        refused(tmp_path / 'a.tif', words)


def test_jpeg_and_palettes_in_tiff(tmp_path):
    """What libvips looks up or transforms is what Pillow sees."""
    image = Image.fromarray(levels(3, np.uint8))
    image.save(tmp_path / 'ycbcr.tif', compression='jpeg', quality=90)
    image.quantize(16).save(tmp_path / 'palette.tif')
    image.convert('L').save(tmp_path / 'gray.tif', compression='jpeg')
    for path in tmp_path.iterdir():
        with Image.open(path) as opened:
            expected = np.asarray(opened.convert('RGB'))
        np.testing.assert_array_equal(pictures.read_picture(path), expected)
        np.testing.assert_array_equal(open_picture(path).read(0, 0, HEIGHT, WIDTH) * 255 + 0 * expected, expected)


def test_reduced_pages_and_masks_are_passed_over(tmp_path):
    """The full picture is taken wherever it lies, thumbnails and masks are no choice, and what was taken is said."""
    full, other = levels(3, np.uint8), levels(3, np.uint8)[::-1].copy()
    small = np.ascontiguousarray(full[::2, ::2])

    def written(*pages):
        with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
            for pixels, kind in pages:
                mask = kind & 4  # black and white
                file.write(
                    pixels[..., 0] > 99 if mask else pixels,
                    subfiletype=kind,
                    photometric='mask' if mask else 'rgb',
                    metadata=None,
                )
        return open_picture(tmp_path / 'a.tif')

    for pages, notes in (
        (((small, 1), (full, 0)), ()),
        (((small, 4), (small, 5), (full, 0), (small, 1)), ()),
        (((full, 0), (other, 0), (small, 1)), ('page 1 of 3 was taken',)),
        (((small, 1), (full, 2), (other, 2)), ('page 2 of 3 was taken',)),
        (((full, 1), (small, 1)), ('every page is marked as a reduced copy; the first was taken',)),
    ):
        source = written(*pages)
        assert source.notes == notes
        np.testing.assert_array_equal(np.rint(source.read(0, 0, HEIGHT, WIDTH) * 255), full)
        np.testing.assert_array_equal(pictures.read_picture(tmp_path / 'a.tif'), full)
        assert picture_size(tmp_path / 'a.tif') == (HEIGHT, WIDTH)


def test_a_picture_in_a_sub_ifd(tmp_path):
    """A preview first and the picture inside, as converters write it."""
    full = levels(3, np.uint16)
    for compression in ('lzw', 'zstd'):  # libvips, and tifffile
        with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
            file.write(np.ascontiguousarray(full[::2, ::2]), subifds=1, subfiletype=1, photometric='rgb')
            file.write(full, photometric='rgb', compression=compression)
        source = open_picture(tmp_path / 'a.tif')
        assert 'sub-IFDs' in source.notes[0]
        np.testing.assert_array_equal(np.rint(source.read(0, 0, HEIGHT, WIDTH) * 65535), full)


@pytest.mark.parametrize('planar', [False, True])
def test_orientation_whoever_decodes(tmp_path, planar):
    """Turned a quarter to the right, in both readers and in the size of the header."""
    pixels = levels(3, np.uint16)
    write(tmp_path / 'a.tif', pixels, 'rgb', planar=planar, extratags=[(274, 3, 1, 6, True)])
    upright = np.rot90(pixels, -1)
    assert picture_size(tmp_path / 'a.tif') == pictures.picture_size(tmp_path / 'a.tif') == (WIDTH, HEIGHT)
    source = open_picture(tmp_path / 'a.tif')
    np.testing.assert_array_equal(np.rint(source.read(0, 0, WIDTH, HEIGHT) * 65535), upright)
    assert np.abs(pictures.read_picture(tmp_path / 'a.tif') - upright / 257).max() <= 0.51


@pytest.mark.parametrize('kind', ['dng', 'mosaic inside', 'mosaic', 'linear', 'nikon'])
def test_camera_raw_is_refused_by_content(tmp_path, kind):
    """DNG, a colour filter array wherever it lies, a maker's compression: no preview is taken for the picture."""
    preview, mosaic = levels(3, np.uint8), levels(1, np.uint16)[..., 0]
    path = tmp_path / 'a.tif'
    with tifffile.TiffWriter(path) as file:
        if kind == 'dng':
            file.write(preview, photometric='rgb', metadata=None, extratags=[(50706, 1, 4, b'\1\4\0\0', True)])
        elif kind == 'mosaic inside':
            file.write(preview, subifds=1, subfiletype=1, photometric='rgb', metadata=None)
            file.write(mosaic, photometric='cfa', metadata=None)
        elif kind == 'mosaic':
            file.write(mosaic, photometric='cfa', metadata=None)
        elif kind == 'linear':
            file.write(preview, photometric='linear_raw', planarconfig='contig', metadata=None)
        else:
            file.write(mosaic, photometric='minisblack', metadata=None)
    if kind == 'nikon':
        with tifffile.TiffFile(path, mode='r+') as file:
            file.pages[0].tags['Compression'].overwrite(34713)
    refused(path, 'camera raw')


@pytest.mark.parametrize(
    'start',
    [b'FUJIFILMCCD-RAW 0201', b'IIRO\x08\0\0\0', b'IIU\0\x08\0\0\0', b'II*\0\x10\0\0\0CR\2\0', b'\0\0\0\x18ftypcrx '],
)
def test_other_raw_formats_by_their_first_bytes(tmp_path, start):
    """Fuji, Olympus, Panasonic, and Canon's two."""
    (tmp_path / 'a.tif').write_bytes(start + bytes(100))
    refused(tmp_path / 'a.tif', 'camera raw')
