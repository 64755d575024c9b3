"""What a FITS file is about: which image, which pixels are bad, what its axes and sums mean."""

import re
import warnings

import numpy as np
import pytest
from astropy.io import fits as astropy_fits

from astro_gan.files import fits
from tests.files.test_fits import hubble_file


def several(path, *images):
    """A file of these extensions; an array without a name is the primary image."""
    hdus = [astropy_fits.PrimaryHDU()]
    for name, data in images:
        if name:
            hdus.append(astropy_fits.ImageHDU(data, name=name))
        else:
            hdus[0] = astropy_fits.PrimaryHDU(data)
    astropy_fits.HDUList(hdus).writeto(path)


@pytest.mark.parametrize(
    ('names', 'taken'),
    [
        (('WHT', 'IMAGE'), 'IMAGE,1'),
        (('VIS_PSF', 'VIS_RMS', 'VIS_FLUX'), 'VIS_FLUX,1'),
        (('', 'UNCERT'), '0'),
        (('', 'PREVIEW'), '0'),
        (('WHT',), 'WHT,1'),
        (('STAT2', 'CHIP1.DATA'), 'CHIP1.DATA,1'),
        (('CCD1', 'CCD2'), None),
        (('', 'IMAGE'), None),
        (('ERR', 'DQ'), None),
    ],
)
def test_the_image_that_is_meant(tmp_path, pixels, names, taken):
    """A weight or a preview that comes first is passed over, and between several images nobody guesses."""
    path = tmp_path / 'a.fits'
    several(path, *((name, np.full((30, 40), index, np.float32) + pixels) for index, name in enumerate(names)))
    if taken is None:
        with pytest.raises(ValueError, match=r'holds 2 images and none is called SCI; choose one with --hdu: 0 \('):
            fits.read_frame(path)
        taken = names[-1] + ',1'
        frame = fits.read_frame(path, hdu=names[-1])
    else:
        frame = fits.read_frame(path)
    index = 0 if taken == '0' else names.index(taken[:-2])
    np.testing.assert_array_equal(frame.data, np.full((30, 40), index, np.float32) + pixels)
    assert frame.hdu == taken
    assert frame.notes[0] == f'extension {taken}, one of {1 + len([name for name in names if name])}'


@pytest.mark.parametrize(
    'kind', ['planes', 'planes of integers', 'planes in tiles', 'last', 'last of integers', 'extensions']
)
def test_colours_are_three_planes(tmp_path, kind):
    """Red, green and blue as Siril, as numpy users and as this program itself write them: `[3, H, W]` comes out."""
    data = (
        np.random.default_rng(0).normal(1000, 30, (3, 30, 40)).astype('i2' if 'int' in kind or 'tile' in kind else 'f4')
    )
    path = tmp_path / 'a.fits'
    stored = np.moveaxis(data, 0, -1) if kind.startswith('last') else data
    if kind == 'extensions':
        several(path, *zip(('GREEN', 'RED', 'BLUE'), data[[1, 0, 2]], strict=True))
    elif kind == 'planes in tiles':
        hdus = [astropy_fits.PrimaryHDU(), astropy_fits.CompImageHDU(stored, tile_shape=(1, 7, 40))]
        astropy_fits.HDUList(hdus).writeto(path)
    else:
        astropy_fits.writeto(path, stored)
    frame = fits.read_frame(path)
    np.testing.assert_array_equal(frame.data, data)
    assert (frame.planes, frame.height, frame.width) == (3, 30, 40)


def test_three_frequencies_are_no_colours(tmp_path):
    """A spectral cube that happens to have three planes is refused, and so are planes of another number."""
    header = astropy_fits.Header([('CTYPE3', 'FREQ')])
    astropy_fits.writeto(tmp_path / 'a.fits', np.ones((3, 30, 40), np.float32), header)
    astropy_fits.writeto(tmp_path / 'b.fits', np.ones((4, 30, 40), np.float32))
    for name, size in (('a', 3), ('b', 4)):
        with pytest.raises(ValueError, match=f'extension 0 has 40x30x{size} pixels, wanted a 2-D image'):
            fits.read_frame(tmp_path / f'{name}.fits')


def test_dropped_axes_leave_no_meaning_behind(tmp_path, pixels):
    """Frequency and polarization of a radio image are no axes of the picture; HISTORY keeps what they were."""
    header = astropy_fits.Header([('CTYPE1', 'RA---SIN'), ('CTYPE2', 'DEC--SIN'), ('CD1_1', 1.0), ('CD3_3', 2.0)])
    for axis, kind, value in ((3, 'FREQ', 1.4e9), (4, 'STOKES', 1.0)):
        header.update({f'CTYPE{axis}': kind, f'CRVAL{axis}': value, f'CDELT{axis}': 1.0, f'CRPIX{axis}': 1.0})
    header.update(WCSAXES=4, PC4_1=0.0, PV3_1=1.0, CUNIT3='Hz')
    astropy_fits.writeto(tmp_path / 'a.fits', pixels[None, None], header)
    read = fits.read_frame(tmp_path / 'a.fits').header
    assert not [keyword for keyword in read if re.match('(CTYPE|CRVAL|CDELT|CRPIX|CUNIT|CD|PV|PC)[34]', keyword)]
    assert (read['WCSAXES'], read['CD1_1'], read['CTYPE2']) == (2, 1.0, 'DEC--SIN')
    assert list(read['HISTORY']) == ['Axis 3 left out: FREQ = 1400000000.0 Hz', 'Axis 4 left out: STOKES = 1.0']


def test_a_mask_over_most_of_the_frame_stops(tmp_path, pixels):
    """Where 1 means good, 95% would be invented: both readings are named, and a word decides."""
    good = np.ones((30, 40), np.uint8)
    good[:3, :20] = 0
    hdus = [astropy_fits.PrimaryHDU(pixels), astropy_fits.ImageHDU(good, name='MASK')]
    astropy_fits.HDUList(hdus).writeto(tmp_path / 'a.fits')
    both = r'1140 of 1200 pixels \(95%\) are bad if 1 in its MASK means bad, and 60 \(5%\) if 1 means good: --mask'
    with pytest.raises(ValueError, match=both):
        fits.read_frame(tmp_path / 'a.fits')
    for mask, bad in (('good', good == 0), ('bad', good == 1), ('ignore', None)):
        frame = fits.read_frame(tmp_path / 'a.fits', mask=mask)
        np.testing.assert_array_equal(frame.bad, bad)
        assert len(frame.notes) == (1 if bad is None else 2)
    assert fits.read_frame(tmp_path / 'a.fits', mask='good').notes[1] == (
        '60 pixels (5%) flagged by MASK: filled from around them'
    )


def test_checksums_are_compared(tmp_path, pixels):
    """Data that changed under their DATASUM are refused unless asked for; a header edited afterwards is a line."""
    path = tmp_path / 'a.fits'
    fits.write_frame(path, pixels, astropy_fits.Header([('OBJECT', 'M 31')]))
    assert fits.read_frame(path).notes == ()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'M 31', b'M 33'))
    assert fits.read_frame(path).notes == ('extension 0 has changed since its CHECKSUM was written, its data have not',)
    path.write_bytes(whole[:3000] + bytes(400) + whole[3400:])
    line = 'the data of extension 0 have changed since their DATASUM was written'
    with pytest.raises(ValueError, match=f'a.fits: {line}; --ignore-checksum'):
        fits.read_frame(path)
    frame = fits.read_frame(path, ignore_checksum=True)
    assert frame.notes == (line,)
    assert (np.asarray(frame.data).ravel()[30:130] == 0).all()
    compressed = astropy_fits.CompImageHDU(np.arange(1200, dtype=np.int16).reshape(30, 40), name='SCI')
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), compressed]).writeto(tmp_path / 'c.fits', checksum=True)
    assert len(fits.read_frame(tmp_path / 'c.fits').notes) == 1  # which extension


@pytest.mark.parametrize(
    ('instrument', 'telescope', 'bad'),
    [('ACS', 'HST', [4, 16, 8192]), ('NIRCAM', 'JWST', [1, 5]), ('GMOS-N', 'Gemini', [1, 4, 5, 16, 64, 256, 8192])],
)
def test_flags_mean_what_the_instrument_says(tmp_path, instrument, telescope, bad):
    """Saturated and warm Hubble pixels stay, cosmic rays go; JWST has one flag for all; elsewhere any flag is bad."""
    flags = np.array([[0, 4, 16, 64, 256, 8192, 1, 5]], np.int16)
    if telescope == 'HST':
        flags[0, -2:] = 0
    path = tmp_path / 'a.fits'
    hubble_file(path, np.ones((1, 8), np.float32), instrument=instrument, telescope=telescope, flags=flags)
    frame = fits.read_frame(path, mask='bad')
    assert sorted(flags[frame.bad].tolist()) == sorted(bad)
    assert flags[fits.read_frame(path, bad_bits=64).bad].tolist() == [64]
    assert fits.read_frame(path, bad_bits=0).bad is None


def test_flags_of_another_version_size_or_kind_do_not_count(tmp_path, pixels):
    """Only a mask made for this image hides its pixels; one with flags of an unknown meaning does not."""
    flags = np.zeros((30, 40), np.int32)
    flags[1, 2] = 1
    others = {
        'version': astropy_fits.ImageHDU(flags, name='DQ', ver=2),
        'size': astropy_fits.ImageHDU(flags[:-1], name='DQ'),
        'unknown flags': astropy_fits.ImageHDU(flags * 32, name='MASK'),
    }
    for other in others.values():
        path = tmp_path / 'a.fits'
        hdus = [astropy_fits.PrimaryHDU(), astropy_fits.ImageHDU(pixels, name='SCI'), other]
        astropy_fits.HDUList(hdus).writeto(path, overwrite=True)
        assert fits.read_frame(path).bad is None
    hdus[2] = astropy_fits.CompImageHDU(flags, name='MASK')
    astropy_fits.HDUList(hdus).writeto(path, overwrite=True)
    np.testing.assert_array_equal(fits.read_frame(path).bad, flags == 1)


def test_unsigned_32_bit_flags_are_read_exactly(tmp_path):
    """JWST keeps its flags as unsigned integers; the highest bit is one of them."""
    flags = np.array([[0, 1, 2**31, 2**31 + 1]], np.uint32)
    hubble_file(tmp_path / 'a.fits', np.ones((1, 4), np.float32), telescope='JWST', flags=flags)
    np.testing.assert_array_equal(fits.read_frame(tmp_path / 'a.fits').bad, [[False, True, False, True]])
    frame = fits.read_frame(tmp_path / 'a.fits', bad_bits=2**31)
    np.testing.assert_array_equal(frame.bad, [[False, False, True, True]])


def test_sloppy_headers_are_no_noise(tmp_path, pixels):
    """Cards that break the standard warn nobody, and the header can be read and written all the same."""
    path = tmp_path / 'a.fits'
    hdu = astropy_fits.PrimaryHDU(np.nan_to_num(pixels))
    hdu.header.update(OBJECT='M 31', EXPOSURE=7)
    text = hdu.header.tostring(endcard=False, padding=False)
    text += f'{"OBSERVER= an unquoted name":80}' + f'{"GAIN    = 1,5":80}' + f'{"lower   =  5":80}' + f'{"END":80}'
    body = hdu.data.astype('>f4').tobytes()
    path.write_bytes(text.ljust(-(-len(text) // 2880) * 2880).encode() + body)  # no padding at the end either
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        frame = fits.read_frame(path)
        fits.write_frame(tmp_path / 'b.fits', frame.data, frame.header)
    assert not caught
    assert (frame.header['OBJECT'], frame.header['EXPOSURE'], frame.header['GAIN']) == ('M 31', 7, '1,5')
    assert astropy_fits.getheader(tmp_path / 'b.fits')['OBJECT'] == 'M 31'
