"""Reading and writing FITS files, those of careless or hostile origin among them."""

import bz2
import gzip
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from astropy.io import fits as astropy_fits

from astro_gan.files import fits, fits_open, fits_units


@pytest.fixture
def pixels() -> np.ndarray:
    """A float32 frame, 30 high and 40 wide, with a NaN and an infinite pixel."""
    data = np.random.default_rng(0).normal(10, 3, (30, 40)).astype(np.float32)
    data[3, 4], data[5, 6] = np.nan, np.inf
    return data


def hubble_file(path, pixels, *, versions=(1,), instrument='ACS', telescope='HST', flags=None):
    """A file as the pipelines of Hubble and Webb make them: an empty primary, then SCI, ERR and DQ of each chip."""
    primary = astropy_fits.PrimaryHDU()
    primary.header.update(TELESCOP=telescope, INSTRUME=instrument, FILTER='F606W', EXPTIME=70.0, BUNIT='none')
    hdus = [primary]
    for version in versions:
        science = astropy_fits.ImageHDU(pixels * version, name='SCI', ver=version)
        science.header.update(BUNIT='ELECTRONS', EXPTIME=71.0)
        hdus += [science, astropy_fits.ImageHDU(pixels / 10, name='ERR', ver=version)]
        hdus.append(astropy_fits.ImageHDU(np.zeros(pixels.shape, np.int16) if flags is None else flags, name='DQ'))
        hdus[-1].ver = version
    astropy_fits.HDUList(hdus).writeto(path)


def test_plain_floats_are_mapped_and_the_rest_is_float32(tmp_path, pixels):
    """A large float frame costs no memory; values are astropy's, in its order of rows."""
    for dtype in (np.float32, np.float64, np.int16, np.uint8):
        path = tmp_path / f'{np.dtype(dtype)}.fits'
        data = np.nan_to_num(pixels, posinf=9).astype(dtype) if np.dtype(dtype).kind in 'iu' else pixels.astype(dtype)
        astropy_fits.writeto(path, data)
        frame = fits.read_frame(path)
        np.testing.assert_array_equal(frame.data, data)
        assert isinstance(frame.data, np.memmap) == (np.dtype(dtype).kind == 'f')
        assert isinstance(frame.data, np.memmap) or frame.data.dtype == np.float32
        assert frame.hdu == '0'
        assert frame.bad is None


def test_a_window_of_a_large_frame_costs_no_memory(tmp_path):
    """800 MB of floats are not read to see a corner of them: the peak over the imports stays below 60 MB."""
    path = tmp_path / 'large.fits'
    header = astropy_fits.PrimaryHDU().header
    header.update(BITPIX=-32, NAXIS=2)
    header.set('NAXIS1', 20000, after='NAXIS')
    header.set('NAXIS2', 10000, after='NAXIS1')
    with open(path, 'wb') as file:
        start = file.write(header.tostring().encode())
        file.seek(start + 4 * (9999 * 20000 + 19999))
        file.write(np.array(7, '>f4').tobytes())  # the rest is a hole
    script = (
        'import sys, resource; from astro_gan.files import fits\n'
        'import astropy.stats, astropy.visualization, numpy as np\n'
        'peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'before = peak(); frame = fits.read_frame(sys.argv[1])\n'
        'window = np.asarray(frame.data[-256:, -256:], np.float32)\n'
        'assert window[-1, -1] == 7 and window.sum() == 7 and frame.data.shape == (10000, 20000)\n'
        'assert peak() - before < 60 * 1024, (before, peak())'
    )
    subprocess.run([sys.executable, '-c', script, str(path)], check=True)


def test_integers_become_physical_values(tmp_path):
    """BSCALE and BZERO are applied, the unsigned convention understood, and blank pixels are NaN in both."""
    stored = np.array([[-32768, -1, 0], [1, 5, 32767]], np.int16)
    for scale, zero in ((1, 32768), (0.5, 100), (1, 0)):
        path = tmp_path / f'{scale}_{zero}.fits'
        hdu = astropy_fits.PrimaryHDU(stored)
        hdu.header.update(BLANK=5, BSCALE=scale, BZERO=zero)
        path.write_bytes(hdu.header.tostring().encode() + stored.astype('>i2').tobytes() + bytes(2880 - 12))
        frame = fits.read_frame(path)
        expected = np.where(stored == 5, np.nan, stored * float(scale) + zero)
        np.testing.assert_array_equal(frame.data, expected)
        assert frame.data.dtype == np.float32
        assert not {'BSCALE', 'BZERO', 'BLANK'} & set(frame.header)


@pytest.mark.parametrize('kind', ['RICE_1', 'GZIP_2', 'HCOMPRESS_1'])
def test_tile_compressed_images_are_read(tmp_path, kind):
    """Compressed integers come back exactly, with the image's own header and not its table's."""
    data = np.arange(64 * 80, dtype=np.int32).reshape(64, 80)
    compressed = astropy_fits.CompImageHDU(data, compression_type=kind, name='SCI')
    compressed.header['OBJECT'] = 'M 31'
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), compressed]).writeto(tmp_path / 'a.fits')
    frame = fits.read_frame(tmp_path / 'a.fits')
    np.testing.assert_array_equal(frame.data, data)
    assert (frame.hdu, frame.header['OBJECT'], frame.header['NAXIS1']) == ('SCI,1', 'M 31', 80)
    fits.write_frame(tmp_path / 'b.fits', frame.data, frame.header)
    assert not {'ZIMAGE', 'ZCMPTYPE', 'TFIELDS', 'BZERO'} & set(astropy_fits.getheader(tmp_path / 'b.fits'))


@pytest.mark.parametrize('pack', [gzip.compress, bz2.compress], ids=['gzip', 'bzip2'])
def test_packed_files_are_told_by_content(tmp_path, pixels, pack):
    """A packed file is read whatever its name is."""
    astropy_fits.writeto(tmp_path / 'a.fits', pixels)
    packed = tmp_path / 'packed.dat'
    packed.write_bytes(pack((tmp_path / 'a.fits').read_bytes()))
    assert fits.is_fits(packed)
    frame = fits.read_frame(packed)
    np.testing.assert_array_equal(frame.data, pixels)


def test_is_fits_looks_at_the_first_bytes(tmp_path, pixels):
    """Neither the name nor what lies beyond the start decides; what cannot be opened is not FITS."""
    astropy_fits.writeto(tmp_path / 'a.jpg', pixels, output_verify='ignore')
    (tmp_path / 'b.fits').write_text('SIMPLE as that')
    (tmp_path / 'c.fits.gz').write_bytes(gzip.compress(b'some text')[:-9])
    (tmp_path / 'd.fits').write_bytes(b'')
    assert fits.is_fits(tmp_path / 'a.jpg')
    for name in ('b.fits', 'c.fits.gz', 'd.fits', 'missing.fits', '.'):
        assert not fits.is_fits(tmp_path / name)


def test_science_extension_is_found_with_its_header(tmp_path, pixels):
    """SCI is taken, not the first image; cards of the primary header are inherited, and never win."""
    path = tmp_path / 'a.fits'
    images = [astropy_fits.ImageHDU(pixels * k, name=name) for k, name in ((2, 'WHT'), (1, 'SCI'))]
    images[1].header.update(EXPTIME=71.0, CRVAL1=3.0, CTYPE1='RA---TAN', CHECKSUM='x', BUNIT='ELECTRONS')
    primary = astropy_fits.PrimaryHDU()
    primary.header.update(EXPTIME=70.0, FILTER='F606W', CD1_1=5.0, NEXTEND=2)
    primary.header.add_history('calibrated')
    astropy_fits.HDUList([primary, *images]).writeto(path)
    frame = fits.read_frame(path)
    np.testing.assert_array_equal(frame.data, pixels)
    assert frame.hdu == 'SCI,1'
    assert (frame.header['EXPTIME'], frame.header['FILTER'], frame.header['CRVAL1']) == (71.0, 'F606W', 3.0)
    assert 'calibrated' in str(frame.header['HISTORY'])
    assert 'CD1_1' not in frame.header  # half of another coordinate system
    assert 'NEXTEND' not in frame.header


def test_extension_can_be_chosen(tmp_path, pixels):
    """--hdu takes a number, a name, or a name and a version, in any case."""
    path = tmp_path / 'a.fits'
    hubble_file(path, pixels, versions=(1, 2))
    for hdu, factor, label in (('1', 1, 'SCI,1'), ('SCI,2', 2, 'SCI,2'), ('sci', 1, 'SCI,1'), ('4', 2, 'SCI,2')):
        frame = fits.read_frame(path, hdu=hdu)
        np.testing.assert_array_equal(frame.data, factor * pixels)
        assert frame.hdu == label


@pytest.mark.parametrize(
    ('hdu', 'message'),
    [
        (
            None,
            r'a.fits: holds 2 science images; choose one with --hdu: 0 '
            r'\(empty\), 1 SCI,1 \(40x30\), 2 ERR,1 .*DQ,2 \(40x30\)$',
        ),
        ('7', "no extension '7'; --hdu takes a number, NAME or NAME,VERSION: 0 .empty., 1 SCI,1"),
        ('-1', "no extension '-1'"),
        ('SCI,3', "no extension 'SCI,3'"),
        ('', "no extension ''"),
        ('0', 'extension 0 holds no image; choose one with --hdu: 0 .empty., 1 SCI,1 .40x30.'),
    ],
)
def test_choices_that_cannot_be_made_list_what_there_is(tmp_path, pixels, hdu, message):
    """Nothing is guessed: the user sees the extensions and how to name one."""
    hubble_file(tmp_path / 'a.fits', pixels, versions=(1, 2))
    with pytest.raises(ValueError, match=message):
        fits.read_frame(tmp_path / 'a.fits', hdu=hdu)


def test_axes_of_length_one_are_dropped_and_cubes_refused(tmp_path, pixels):
    """Radio images have empty axes for frequency and polarization; a true cube has no one picture."""
    astropy_fits.writeto(tmp_path / 'radio.fits', pixels[None, None])
    np.testing.assert_array_equal(fits.read_frame(tmp_path / 'radio.fits').data, pixels)
    astropy_fits.writeto(tmp_path / 'counts.fits', np.ones((1, 1, 30, 40), np.int16))
    assert (fits.read_frame(tmp_path / 'counts.fits').data == 1).all()
    astropy_fits.writeto(tmp_path / 'cube.fits', np.stack([pixels] * 5))
    with pytest.raises(ValueError, match=r'cube.fits: extension 0 has 40x30x5 pixels, wanted a 2-D image$'):
        fits.read_frame(tmp_path / 'cube.fits')


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
    'cut.fits.gz': (_cut_gzip, r'damaged FITS file \(.*end-of-stream'),
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


def test_images_that_would_fill_memory_are_refused(tmp_path, monkeypatch):
    """Integers are converted only up to a size; floats are mapped and have none."""
    monkeypatch.setattr(fits, 'MAXIMUM_PIXELS', 99)
    astropy_fits.writeto(tmp_path / 'int.fits', np.ones((10, 10), np.int16))
    astropy_fits.writeto(tmp_path / 'float.fits', np.ones((10, 10), np.float32))
    with pytest.raises(ValueError, match=r'int.fits: extension 0 has 10x10 pixels, more than the .* million'):
        fits.read_frame(tmp_path / 'int.fits')
    assert fits.read_frame(tmp_path / 'float.fits').data.shape == (10, 10)


def test_too_many_extensions_are_refused(tmp_path, monkeypatch):
    """Going through a million empty extensions would take minutes."""
    monkeypatch.setattr(fits_units, 'MAXIMUM_EXTENSIONS', 3)
    empty = [astropy_fits.ImageHDU(np.ones((2, 2), np.float32)) for _ in range(3)]
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), *empty]).writeto(tmp_path / 'a.fits')
    with pytest.raises(ValueError, match='more than 3 extensions'):
        fits.read_frame(tmp_path / 'a.fits')


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


def test_real_frames_are_read(real_data):
    """Real archive files: the right extension, size, unit and flags, and nothing printed."""
    expected = {
        'HorseHead.fits': ('0', (893, 891), None),
        'j8bt06nyq_flt.fits.gz': ('SCI,1', (1024, 1024), 'ELECTRONS'),
        'reprojected_sdss_r.fits.bz2': ('0', (496, 682), 'nanomaggy'),
        'u12517j.fits.gz': ('0', (1022, 1025), 'ELECTRONS/S'),
    }
    for name, (hdu, shape, unit) in expected.items():
        frame = fits.read_frame(real_data / 'fits' / name)
        assert (frame.hdu, frame.data.shape, frame.header.get('BUNIT')) == (hdu, shape, unit)
        np.testing.assert_array_equal(frame.data, astropy_fits.getdata(real_data / 'fits' / name).astype(np.float32))
    hubble = fits.read_frame(real_data / 'fits' / 'j8bt06nyq_flt.fits.gz')
    flags = astropy_fits.getdata(real_data / 'fits' / 'j8bt06nyq_flt.fits.gz', 'DQ')
    assert 0.01 < hubble.bad.mean() < 0.02  # the occulting finger and hot pixels
    assert ((flags & 256) > 0).sum() == 2531
    assert not hubble.bad[(flags == 256 + 2048)].any()  # saturated stars stay
    assert hubble.header['FILTER1'] == 'F606W'  # of the primary header
