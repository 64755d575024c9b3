"""Pictures that are damaged inside: refused by name, where decoders paint over what is missing; whole ones are not."""

import gzip
import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from astro_gan.files import jpeg, pictures, refusals
from astro_gan.files.picture_source import open_picture


@pytest.fixture(scope='module')
def sky():
    """Smooth with noise, as pictures of the sky are, uint8 [160, 192, 3]."""
    y, x = np.mgrid[:160, :192]
    plane = 110 + 60 * np.sin(x / 17) + 50 * np.cos(y / 23) + np.random.default_rng(0).normal(0, 4, (160, 192))
    plane = np.clip(plane, 0, 255).astype(np.uint8)
    return np.stack([plane, plane[::-1], 255 - plane], -1)


def encoded(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', **options)
    return file.getvalue()


def spoiled(data, kind, start, length):
    """Bytes with a piece replaced by zeros or noise, or without it."""
    if kind == 'missing':
        return data[:start] + data[start + length :]
    noise = np.random.default_rng(start).integers(0, 256, length, np.uint8).tobytes()
    return data[:start] + (noise if kind == 'noise' else bytes(length)) + data[start + length :]


def refused(path, data, words='damaged picture'):
    path.write_bytes(data)
    for read in (lambda path: open_picture(path).read(0, 0, 8, 8), pictures.read_picture):
        with pytest.raises(ValueError, match=words) as caught:
            read(path)
        assert str(caught.value).startswith(f'{path}: ')
        assert '\n' not in str(caught.value)


JPEGS = {
    'plain': {'quality': 90},
    'optimized': {'quality': 90, 'optimize': True},
    'progressive': {'quality': 90, 'progressive': True},
    'restarts': {'quality': 90, 'restart_marker_rows': 1},
}


@pytest.mark.parametrize('kind', ['zeros', 'noise', 'missing'])
@pytest.mark.parametrize('options', JPEGS)
def test_jpegs_with_a_damaged_middle(tmp_path, sky, options, kind):
    """A lost piece of 1000 bytes anywhere is found; both readers name the file."""
    data = encoded(sky, **JPEGS[options])
    start = data.index(b'\xff\xda') + 20
    found = []
    for place in range(start, len(data) - 1100, 300):
        try:
            jpeg.check(spoiled(data, kind, place, 1000))
        except ValueError:
            found.append(place)
    assert len(found) >= len(range(start, len(data) - 1100, 300)) - 1
    refused(tmp_path / 'a.jpg', spoiled(data, kind, found[len(found) // 2], 1000))


def test_a_surplus_piece_is_found(sky):
    """Decoders stop when the picture is full; what is left over means that something before it was skipped."""
    data = encoded(sky, quality=90)
    with pytest.raises(ValueError, match='extraneous bytes'):
        jpeg.check(data[:-2] + data[-300:-2] + data[-2:])


def test_harmless_oddities_of_jpegs(tmp_path, sky):
    """Padding before or bytes after the end mark, none at all, an unknown Adobe or JFIF version: the same pixels."""
    for options in JPEGS.values():
        data = encoded(sky, **options)
        expected = pictures.decode_picture(data, 'x')
        with Image.open(io.BytesIO(data)) as opened:
            np.testing.assert_array_equal(expected, np.asarray(opened))
        jfif = data.index(b'JFIF\0') + 5
        for odd in (
            data[:-2] + bytes(300) + data[-2:],
            data + bytes(3000),
            data + data,
            data[:-2],
            data[:jfif] + b'\7' + data[jfif + 1 :],
        ):
            (tmp_path / 'a.jpg').write_bytes(odd)
            np.testing.assert_array_equal(pictures.read_picture(tmp_path / 'a.jpg'), expected)
            np.testing.assert_array_equal(
                np.rint(open_picture(tmp_path / 'a.jpg').read(0, 0, 160, 192) * 255), expected
            )
        refused(tmp_path / 'a.jpg', spoiled(odd, 'missing', len(data) // 2, 1000))


def test_other_kinds_of_jpeg_are_not_called_damaged(tmp_path, sky):
    """12 bits: not supported."""
    data = bytearray(encoded(sky))
    data[data.index(b'\xff\xc0') + 4] = 12
    refused(tmp_path / 'a.jpg', bytes(data), 'not supported')


def test_flat_pictures_may_be_all_zeros(sky):
    """Where zero bits mean flat colour or a ramp, runs of zero bytes are no damage."""
    flat = np.full((800, 800), 7, np.uint8)
    ramp = np.broadcast_to(200 - np.arange(2048) // 16, (64, 2048)).astype(np.uint8)
    for pixels in (flat, ramp):
        data = encoded(pixels, optimize=True, quality=60)
        assert bytes(16) in data
        assert np.abs(pictures.decode_picture(data, 'x').astype(int) - pixels[..., None]).max() < 9


def test_good_pictures_are_not_refused(real_data):
    """Press pictures and photographs, several hundred of them."""
    files = [*(real_data / 'hubble').rglob('*.jpg'), *(real_data / 'natural').rglob('*.jpg')]
    assert len(files) > 600
    for file in files:
        jpeg.check(file.read_bytes())


def chunk(kind, body, checksum=None):
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', checksum)


def png(sky, *parts):
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', 192, 160, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(parts) + chunk(b'IEND', b'')


def test_damaged_pngs(tmp_path, sky):
    """Wrong checksums, noise under right ones, a missing piece; of texts and gamma they are harmless."""
    stream = zlib.compress(b''.join(b'\0' + row.tobytes() for row in sky))
    middle = len(stream) // 2
    noisy = spoiled(stream, 'noise', middle, 50)
    right = zlib.crc32(b'IDAT' + stream)
    for parts in (
        [chunk(b'IDAT', stream, 1)],
        [chunk(b'IDAT', noisy, right)],
        [chunk(b'IDAT', noisy)],
        [chunk(b'IDAT', stream[:middle]), chunk(b'IDAT', stream[middle + 900 :])],
        [chunk(b'IDAT', stream[:-4] + b'abcd')],
        [chunk(b'IDAT', zlib.compress(zlib.decompress(stream)[:-2000]))],
        [],
    ):
        refused(tmp_path / 'a.png', png(sky, *parts))
    (tmp_path / 'a.png').write_bytes(
        png(sky, chunk(b'tEXt', b'a\0b', 1), chunk(b'gAMA', bytes(4), 1), chunk(b'IDAT', stream))
    )
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / 'a.png'), sky)
    np.testing.assert_array_equal(np.rint(open_picture(tmp_path / 'a.png').read(0, 0, 160, 192) * 255), sky)


@pytest.mark.parametrize('compression', ['deflate', 'lzw', 'packbits', 'zstd', 'jpeg', None])
def test_damaged_tiffs(tmp_path, sky, compression):
    """Noise, zeros or a missing piece in a strip or tile, parts that are not there, a file that is cut off."""
    path = tmp_path / 'a.tif'
    for tile, planar in itertools.product((False, True), (False, True) if compression != 'jpeg' else (False,)):
        pixels = np.moveaxis(sky, -1, 0) if planar else sky
        options = {'tile': (64, 64)} if tile else {'rowsperstrip': 40}
        options |= {'planarconfig': 'separate' if planar else 'contig', 'compression': compression}
        tifffile.imwrite(path, pixels, photometric='rgb', metadata=None, **options)
        data = path.read_bytes()
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            offset, count = page.dataoffsets[2], page.databytecounts[2]
            counts = page.tags[325 if tile else 279]
        place = counts.valueoffset + 2 * struct.calcsize({3: 'H', 4: 'I', 16: 'Q'}[counts.dtype])
        for wrong in (data[:place] + b'\0\0' + data[place + 2 :], data[: offset + count // 2], data[: offset - 2]):
            refused(path, wrong)
        kinds = {None: (), 'zstd': ('missing',)}  # pixels as they are, and codes without a checksum
        for kind in kinds.get(compression, ('zeros', 'noise', 'missing')):
            piece = 1000 if compression == 'jpeg' else 300
            refused(path, spoiled(data, kind, offset + count // 2 - piece // 2, piece))


def test_tiffs_that_claim_more_than_they_hold(tmp_path, sky):
    """Uncompressed strips that are too short for the width, and a width of several numbers, by reading and by size."""
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, sky, photometric='rgb', metadata=None)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        width = file.pages[0].tags[256]
    for changed, words in (
        (
            data[: width.valueoffset] + struct.pack('<I', 60_000) + data[width.valueoffset + 4 :],
            'too short for its pixels',
        ),
        (data[: width.offset + 4] + struct.pack('<II', 2, 8) + data[width.offset + 12 :], 'damaged picture: .* pixels'),
    ):
        refused(path, changed, words)
    with pytest.raises(ValueError, match='damaged picture'):
        pictures.picture_size(path)


WORDS = {
    'a library and its class': (pyvips.Error('VipsJpeg: premature end of JPEG image'), 'premature end of JPEG image'),
    'twice': (pyvips.Error('tiff2vips: Read error\ntiffload: Read error'), 'Read error'),
    'a checksum': (
        zlib.error('Error -3 while decompressing data: incorrect data check'),
        'its compressed data are not',
    ),
    'gzip': (gzip.BadGzipFile('CRC check failed 0x75060504 != 0xc3bed042'), 'its compressed data are not'),
    'a structure': (struct.error('unpack requires a buffer of 4 bytes'), 'does not fit together'),
    'a function': (RuntimeError('imcd_lzw_decode returned IMCD_LZW_CORRUPT'), 'its inside cannot be decoded'),
    'an attribute': (AttributeError("'_CorruptedHDU' object has no attribute 'shape'"), 'does not fit together'),
    'a variable': (ValueError('self.rowsperstrip=0 < 1'), 'its inside cannot be decoded'),
}


@pytest.mark.parametrize('name', WORDS)
def test_decoders_words_about_themselves_are_left_out(name):
    """What is said of a damaged file is about the file: names of functions, classes and variables are not said."""
    error, words = WORDS[name]
    line = str(refusals.refusal('a.tif', error))
    assert line.startswith('a.tif: damaged picture (')
    assert words in line
    assert not any(word in line for word in ('_', 'ips', 'load', '0x', 'Error', 'self.', 'object', 'buffer'))


def test_a_full_disk_is_not_the_files_fault():
    """Neither of a picture nor of a frame."""
    error = refusals.refusal('a.fits', OSError(28, 'No space left on device'), 'damaged FITS file')
    assert isinstance(error, OSError)
    assert str(error).startswith('a.fits: cannot be decoded here')
