"""FITS files out: complete, reproducible, or not there at all."""

import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits as astropy_fits

from astro_gan.files import fits


@pytest.mark.parametrize('name', ['a.fits', 'a.fits.gz'])
@pytest.mark.parametrize('shape', [(30, 40), (3, 15, 41)])
def test_written_files_are_complete_and_reproducible(tmp_path, name, shape):
    """Values come back bit for bit, checksums agree with astropy's, cards stay, and the bytes are always the same."""
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    data.flat[3] = np.nan
    header = astropy_fits.Header()
    header.update(SIMPLE=True, BITPIX=16, BSCALE=2.0, BZERO=5.0, BLANK=7, NAXIS=1, NAXIS1=3, NAXIS4=9, DATAMAX=1.0)
    header.update(OBJECT='M 31', DATASUM='1', CHECKSUM='x', EXTNAME='SCI', LONG='long' * 30)
    header.add_history('enlarged')
    fits.write_frame(tmp_path / name, data, header)
    with astropy_fits.open(tmp_path / name, checksum=True) as hdus:  # a wrong sum is a warning, and so an error
        hdus.verify('exception')
        assert len(hdus) == 1
        np.testing.assert_array_equal(hdus[0].data, data)
        written = hdus[0].header
        assert (written['OBJECT'], written['EXTNAME'], written['LONG']) == ('M 31', 'SCI', 'long' * 30)
        assert 'enlarged' in str(written['HISTORY'])
        assert not {'BSCALE', 'BZERO', 'BLANK', 'NAXIS4', 'DATAMAX'} & set(written)
        assert hdus[0].verify_checksum() == 1
        assert hdus[0].verify_datasum() == 1
    first = (tmp_path / name).read_bytes()
    fits.write_frame(tmp_path / name, data, header, overwrite=True)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_cards_that_break_the_standard_do_not_spoil_the_file(tmp_path):
    """A value that is none becomes text, what cannot be printed is left out, and the rest is written."""
    cards = [
        'OBSERVER= an unquoted name',
        "OBJECT  = 'M 31'",
        "SITE    = 'tab\there'",
        '\1\2      = 3',
        "N = 'caf\xe9'",
    ]
    header = astropy_fits.Header.fromstring(''.join(f'{card:80}' for card in cards))
    fits.write_frame(tmp_path / 'a.fits', np.ones((2, 2)), header)
    with astropy_fits.open(tmp_path / 'a.fits', checksum=True) as hdus:
        hdus.verify('exception')
        written = hdus[0].header
        assert (written['OBJECT'], written['OBSERVER']) == ('M 31', 'an unquoted name')
        assert list(written)[5:] == ['OBSERVER', 'OBJECT', 'DATASUM', 'CHECKSUM']


def test_checksums_hold_for_many_headers(tmp_path):
    """The encoding avoids punctuation whatever the sum is."""
    for number in range(40):
        header = astropy_fits.Header([('NUMBER', number * 7919), ('SQUARE', number**2)])
        fits.write_frame(tmp_path / 'a.fits', np.full((2, 3), number, np.float32), header, overwrite=True)
        with astropy_fits.open(tmp_path / 'a.fits', checksum=True) as hdus:
            assert hdus[0].verify_checksum() == 1
            assert hdus[0].header['CHECKSUM'].isalnum()


def test_rows_can_be_written_a_few_at_a_time(tmp_path, pixels):
    """A result that arrives in parts, of any type and byte order, is the same file as one written at once."""
    cube = np.stack([pixels, 2 * pixels, 3 * pixels])
    for data in (pixels, cube):
        fits.write_frame(tmp_path / 'whole.fits', data, astropy_fits.Header(), overwrite=True)
        with fits.open_writer(tmp_path / 'parts.fits', data.shape, astropy_fits.Header(), overwrite=True) as write:
            write(data[..., :7, :].astype('>f4'))
            write(data[..., 7:8, :].astype(np.float64))
            write(data[..., 8:, :])
        assert (tmp_path / 'parts.fits').read_bytes() == (tmp_path / 'whole.fits').read_bytes()


def test_writing_does_not_hold_the_result(tmp_path):
    """400 MB written row by row take less than 50 MB."""
    script = (
        'import sys, resource, numpy as np; from astropy.io.fits import Header; from astro_gan.files import fits\n'
        'peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'before = peak()\n'
        'with fits.open_writer(sys.argv[1], (2, 5000, 10000), Header()) as write:\n'
        '    for _ in range(50):\n'
        '        write(np.ones((2, 100, 10000), np.float32))\n'
        'assert peak() - before < 50 * 1024, (before, peak())'
    )
    subprocess.run([sys.executable, '-c', script, str(tmp_path / 'a.fits')], check=True)
    assert (tmp_path / 'a.fits').stat().st_size == 2880 + -(-400_000_000 // 2880) * 2880


def test_planes_can_be_extensions(tmp_path, pixels):
    """Three planes as RED, GREEN and BLUE, each with the whole header and sums that agree, come back as they were."""
    cube = np.stack([pixels, 2 * pixels, 3 * pixels])
    header = astropy_fits.Header([('OBJECT', 'M 31'), ('EXTNAME', 'SCI')])
    names = ('RED', 'GREEN', 'BLUE')
    with fits.open_writer(tmp_path / 'a.fits', cube.shape, header, extensions=names) as write:
        write(cube[:, :11])
        write(cube[:, 11:])
    with astropy_fits.open(tmp_path / 'a.fits', checksum=True) as hdus:
        hdus.verify('exception')
        assert hdus[0].data is None
        for name, plane in zip(names, cube, strict=True):
            np.testing.assert_array_equal(hdus[name].data, plane)
            assert hdus[name].header['OBJECT'] == 'M 31'
            assert hdus[name].verify_checksum() == hdus[name].verify_datasum() == 1
    frame = fits.read_frame(tmp_path / 'a.fits')
    np.testing.assert_array_equal(frame.data, cube)
    assert frame.hdu == 'RED,1+GREEN,1+BLUE,1'


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_result_leaves_nothing(tmp_path, pixels, error):
    """Neither half a file nor a temporary one stays, and a file that was there stays as it was."""
    (tmp_path / 'a.fits').write_text('before')

    def rows():
        yield pixels[:5]
        raise error

    with (
        pytest.raises(error),
        fits.open_writer(tmp_path / 'a.fits', pixels.shape, astropy_fits.Header(), overwrite=True) as write,
    ):
        list(map(write, rows()))
    assert [path.name for path in tmp_path.iterdir()] == ['a.fits']
    assert (tmp_path / 'a.fits').read_text() == 'before'


def test_rows_that_do_not_fit_are_refused(tmp_path, pixels):
    """Too few, too many or too narrow rows are errors, not files with holes."""
    header, path = astropy_fits.Header(), tmp_path / 'a.fits'
    with (
        pytest.raises(ValueError, match='only 5 of 30 rows were written'),
        fits.open_writer(path, (30, 40), header) as write,
    ):
        write(pixels[:5])
    for rows in (np.ones((31, 40)), np.ones((3, 39)), np.ones(40), np.ones((1, 3, 40))):
        with (
            pytest.raises(ValueError, match=re.escape(f'rows of shape {list(rows.shape)} after 0 of [30, 40]')),
            fits.open_writer(path, (30, 40), header) as write,
        ):
            write(rows)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_named(tmp_path, pixels):
    """Nothing is overwritten unasked, and what is wrong is found before the work and not after it."""
    header = astropy_fits.Header()
    (tmp_path / 'there.fits').write_text('mine')
    with pytest.raises(FileExistsError, match=r'there.fits: exists already'):
        fits.write_frame(tmp_path / 'there.fits', pixels, header)
    with pytest.raises(FileNotFoundError, match=r'the folder .*gone does not exist'):
        fits.write_frame(tmp_path / 'gone' / 'a.fits', pixels, header)
    with pytest.raises(IsADirectoryError, match='is a folder'):
        fits.write_frame(tmp_path, pixels, header, overwrite=True)
    with pytest.raises(ValueError, match=r'a.fits.bz2: FITS files are written plain or, with .gz'):
        fits.write_frame(tmp_path / 'a.fits.bz2', pixels, header)
    with pytest.raises(ValueError, match=r'the shape \[H, W\] or \[P, H, W\], not \[5\]'):
        fits.write_frame(tmp_path / 'a.fits', np.ones(5), header)
    enough = (1 << 20, 1 << 30)
    with (
        pytest.raises(OSError, match=r'a.fits: 4503599.6 GB are needed'),
        fits.open_writer(tmp_path / 'a.fits', enough, header),
    ):
        pass
    assert (tmp_path / 'there.fits').read_text() == 'mine'
