"""FITS files of careless or hostile origin: refused in a line, never a crash, a hang or a bomb."""

import bz2
import gzip
import os
import re

import numpy as np
import pytest
from astropy.io import fits as astropy_fits

from astro_gan.files import fits, fits_open, fits_units


def declared(**cards) -> bytes:
    """A header that declares what does not follow."""
    header = astropy_fits.PrimaryHDU(np.zeros((3, 4), np.float32)).header
    header.update(cards)
    return header.tostring().encode()


def _table_only(path):
    table = astropy_fits.BinTableHDU.from_columns([astropy_fits.Column('a', 'E', array=np.ones(3))], name='STARS')
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), table]).writeto(path)


def _truncated(path, keep=5000):
    astropy_fits.writeto(path, np.ones((100, 100), np.float32))
    path.write_bytes(path.read_bytes()[:keep])


def _no_second_end(path):
    plain = declared() + bytes(2880)
    path.write_bytes(plain + b"XTENSION= 'IMAGE   '".ljust(3 * 2880))


def _truncated_compressed(path):
    noise = np.random.default_rng(0).integers(0, 30000, (200, 200), np.int16)
    compressed = astropy_fits.CompImageHDU(noise, name='SCI')
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), compressed]).writeto(path)
    path.write_bytes(path.read_bytes()[:-20000])


def _damaged_gzip(path):
    astropy_fits.writeto(path.with_suffix('.plain'), np.random.default_rng(0).normal(size=(100, 100)))
    packed = bytearray(gzip.compress(path.with_suffix('.plain').read_bytes()))
    packed[len(packed) // 2] ^= 255
    path.write_bytes(packed)


def _cut_gzip(path):
    path.write_bytes(gzip.compress(declared() + bytes(2880))[:-20])


def _absurd_tiles(path):
    compressed = astropy_fits.CompImageHDU(np.zeros((20, 20), np.int16), name='SCI')
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), compressed]).writeto(path)
    path.write_bytes(re.sub(rb'(ZNAXIS[12] = +)  20 ', rb'\g<1>9999 ', path.read_bytes()))


def _edited(path, **cards):
    """A table whose header claims something else."""
    _table_only(path)
    text = path.read_bytes()
    for keyword, value in cards.items():
        text, count = re.subn(rb'%-8s= .{70}' % keyword.encode(), f'{keyword:8}= {value:70}'.encode(), text)
        assert count == 1
    path.write_bytes(text)


HOSTILE = {
    'text.fits': (lambda p: p.write_text('not a frame\n'), 'not a FITS file'),
    'picture.fits': (lambda p: p.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(100)), 'not a FITS file'),
    'empty.fits': (lambda p: p.write_bytes(b''), 'the file is empty'),
    'nothing.fits.gz': (lambda p: p.write_bytes(gzip.compress(b'')), 'not a FITS file'),
    'missing.fits': (lambda p: None, 'no such file'),
    'folder.fits': (lambda p: p.mkdir(), 'not a regular file'),
    'no_end.fits': (lambda p: p.write_bytes(b'SIMPLE  =                    T'.ljust(5760)), 'a header has no END'),
    'no_second_end.fits': (_no_second_end, 'a header has no END'),
    'truncated.fits': (_truncated, r'truncated: extension 0 declares 100x100 pixels, 40000 bytes, .* after 2120'),
    'header_only.fits': (lambda p: _truncated(p, 2880), 'truncated: extension 0 declares 100x100 pixels'),
    'half_a_header.fits': (lambda p: _truncated(p, 300), 'a header has no END'),
    'truncated_tiles.fits': (_truncated_compressed, 'truncated: extension SCI,1 declares 200x200 pixels'),
    'damaged.fits.gz': (_damaged_gzip, r'damaged FITS file \('),
    'cut.fits.gz': (
        _cut_gzip,
        r'damaged FITS file \(it ends before its compressed data do, as a download that was cut\)',
    ),
    'cut.fits.bz2': (lambda p: p.write_bytes(bz2.compress(declared() + bytes(2880))[:-20]), r'damaged FITS file \('),
    'no_image.fits': (lambda p: astropy_fits.PrimaryHDU().writeto(p), r'holds no image: 0 \(empty\)$'),
    'table.fits': (_table_only, r'holds no image: 0 \(empty\), 1 STARS,1 \(a table\)'),
    'spectrum.fits': (lambda p: astropy_fits.writeto(p, np.ones(30)), 'extension 0 has 30 pixels, wanted a 2-D image$'),
    'no_rows.fits': (lambda p: p.write_bytes(declared(NAXIS2=0)), 'extension 0 has 4x0 pixels, wanted a 2-D image$'),
    'huge.fits': (
        lambda p: p.write_bytes(declared(NAXIS1=10**6, NAXIS2=10**6)),
        'truncated: .* 1000000x1000000 pixels',
    ),
    'absurd.fits': (
        lambda p: p.write_bytes(declared(NAXIS1=10**12, NAXIS2=10**12)),
        'a header declares 4.0e.24 bytes of data',
    ),
    'negative.fits': (lambda p: p.write_bytes(declared(NAXIS1=-4)), 'NAXIS1 = -4; a whole number from 0'),
    'axes.fits': (lambda p: p.write_bytes(declared(NAXIS=999)), 'NAXIS3 = nothing; a whole number'),
    'bits.fits': (
        lambda p: p.write_bytes(declared(BITPIX=-77) + bytes(2880)),
        'BITPIX = -77; a whole number from -64 to 64',
    ),
    'word.fits': (
        lambda p: p.write_bytes(declared(NAXIS1='many') + bytes(2880)),
        "NAXIS1 = 'many    '; a whole number",
    ),
    'many_axes.fits': (lambda p: p.write_bytes(declared(NAXIS=10**17)), 'NAXIS = 100000000000000000; a whole number'),
    'endless.fits': (
        lambda p: p.write_bytes(
            declared().replace(b'NAXIS   =                    2', b'NAXIS   = 99999999999999999999')
        ),
        'NAXIS = 99999999999999999999; a whole number from 0 to 999',
    ),
    'columns.fits': (lambda p: _edited(p, TFIELDS='99999999999999999999'), 'TFIELDS = 99999999999999999999; a whole'),
    'no_columns.fits': (lambda p: _edited(p, TFIELDS='many'), 'TFIELDS = many; a whole number from 0 to 999'),
    'format.fits': (lambda p: _edited(p, TFORM1="'?'"), r'column 1 of a table has the format \?'),
    'absurd_tiles.fits': (_absurd_tiles, ''),
    'dangling.fits': (lambda p: p.symlink_to(p.with_name('gone.fits')), 'a link that leads to no file'),
    'line\nbreak.fits': (lambda p: p.write_bytes(b'x'), 'not a FITS file'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_unusable_files_give_one_line_that_names_them(tmp_path, name):
    """Whatever is wrong with a file is a ValueError of one line, never a crash, a hang or a warning."""
    make, message = HOSTILE[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=re.escape(name.split('\n')[0])) as caught:
        fits.read_frame(tmp_path / name)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_follows_the_last_extension_is_passed_over(tmp_path, pixels):
    """Some programs leave something behind the end of the file; the frame is no worse for it."""
    astropy_fits.writeto(tmp_path / 'a.fits', pixels)
    astropy_fits.writeto(tmp_path / 'b.fits', np.stack([pixels] * 3))
    for name in ('a.fits', 'b.fits'):
        with open(tmp_path / name, 'ab') as file:
            file.write(np.random.default_rng(0).bytes(10000))
        data = fits.read_frame(tmp_path / name).data
        np.testing.assert_array_equal(data, np.broadcast_to(pixels, data.shape))


@pytest.mark.parametrize('pack', [gzip.compress, bz2.compress], ids=['gzip', 'bzip2'])
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, pack):
    """A few kilobytes that unpack beyond the limit are refused with the way out; at the limit they are read."""
    astropy_fits.writeto(tmp_path / 'a.fits', np.zeros((1000, 1100), np.float32))
    plain = (tmp_path / 'a.fits').read_bytes()
    (tmp_path / 'bomb.fits').write_bytes(pack(plain))
    monkeypatch.setattr(fits_open, 'MAXIMUM_UNPACKED_BYTES', len(plain))
    assert fits.read_frame(tmp_path / 'bomb.fits').data.shape == (1000, 1100)
    monkeypatch.setattr(fits_open, 'MAXIMUM_UNPACKED_BYTES', len(plain) - 1)
    with pytest.raises(ValueError, match=r'bomb.fits: would unpack to .* GiB, more than .*; unpack it first'):
        fits.read_frame(tmp_path / 'bomb.fits')


@pytest.mark.parametrize('pack', [gzip.compress, bz2.compress], ids=['gzip', 'bzip2'])
def test_unpacking_ends_where_the_headers_do(tmp_path, pixels, pack, monkeypatch):
    """Gigabytes of zeros behind the last extension are not unpacked, and a claim is judged before its data are."""
    astropy_fits.writeto(tmp_path / 'a.fits', pixels)
    (tmp_path / 'b.fits').write_bytes(pack((tmp_path / 'a.fits').read_bytes() + bytes(50 << 20)))
    monkeypatch.setattr(fits_open, 'MAXIMUM_UNPACKED_BYTES', 1 << 20)
    np.testing.assert_array_equal(fits.read_frame(tmp_path / 'b.fits').data, pixels)
    (tmp_path / 'c.fits').write_bytes(pack(declared(NAXIS1=10**5, NAXIS2=10**5)))
    with pytest.raises(ValueError, match=r'would unpack to 37.3 GiB'):
        fits.read_frame(tmp_path / 'c.fits')


def test_a_claim_beyond_the_allowed_pixels_is_refused_first(tmp_path):
    """Nothing is converted, unpacked or mapped before the size in the header is compared with what is allowed."""
    compressed = astropy_fits.CompImageHDU(np.zeros((2000, 3000), np.int16), name='SCI')
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), compressed]).writeto(tmp_path / 'a.fits')
    words = '3000x2000 pixels are more than the 5 megapixels that are read; --max-megapixels 7 reads'
    with pytest.raises(ValueError, match=words):
        fits.read_frame(tmp_path / 'a.fits', maximum_pixels=5_000_000)
    assert fits.read_frame(tmp_path / 'a.fits', maximum_pixels=6_000_000).data.shape == (2000, 3000)


def test_too_many_extensions_are_refused(tmp_path, monkeypatch):
    """Going through a million empty extensions would take minutes."""
    monkeypatch.setattr(fits_units, 'MAXIMUM_EXTENSIONS', 3)
    empty = [astropy_fits.ImageHDU(np.ones((2, 2), np.float32)) for _ in range(3)]
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), *empty]).writeto(tmp_path / 'a.fits')
    with pytest.raises(ValueError, match='more than 3 extensions'):
        fits.read_frame(tmp_path / 'a.fits')


def test_a_long_rest_that_is_no_fits(tmp_path):
    """A few zeros after the image are passed over, gigabytes of them (sparse here) refused: all would be read."""
    image = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    astropy_fits.writeto(tmp_path / 'a.fits', image)
    with (tmp_path / 'a.fits').open('r+b') as file:
        file.truncate(2880 * 10)
        np.testing.assert_array_equal(fits.read_frame(tmp_path / 'a.fits').data, image)
        file.truncate(64 << 30)
    with pytest.raises(ValueError, match=r'a\.fits: after 5760 bytes of FITS come 68.7 GB that are none; cut them off'):
        fits.read_frame(tmp_path / 'a.fits')


@pytest.mark.parametrize('pack', [None, gzip, bz2], ids=['plain', 'gzip', 'bzip2'])
def test_a_frame_that_was_never_written(tmp_path, monkeypatch, pack):
    """A hole in place of half a gigapixel is refused before it is read; one with a number somewhere is read."""
    monkeypatch.setattr(fits_open, 'LARGE_HOLE', 4 << 20)
    header = declared(NAXIS1=2000, NAXIS2=2000)
    path = tmp_path / ('a.fits' if pack else 'plain')
    (tmp_path / 'plain').write_bytes(header)
    os.truncate(tmp_path / 'plain', len(header) + 2880 * 5556)
    if pack:
        path.write_bytes(pack.compress((tmp_path / 'plain').read_bytes()))
    with pytest.raises(ValueError, match=f'{path.name}: extension 0 has no data: nothing but zeros'):
        fits.read_frame(path)
    with (tmp_path / 'plain').open('r+b') as file:
        file.seek(len(header) + 4 * (2000 * 1000 + 7))
        file.write(np.array(5, '>f4').tobytes())
    if pack:
        path.write_bytes(pack.compress((tmp_path / 'plain').read_bytes()))
    data = fits.read_frame(path).data
    assert data[1000, 7] == 5
    assert np.count_nonzero(data) == 1
