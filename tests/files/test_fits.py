"""Reading FITS files: values, headers, and real frames."""

import bz2
import gzip
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from astropy.io import fits as astropy_fits

from astro_gan.files import fits
from astro_gan.files.kinds import kind_of


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
    assert kind_of(packed) == 'fits'
    frame = fits.read_frame(packed)
    np.testing.assert_array_equal(frame.data, pixels)


def test_the_first_bytes_tell_a_fits_file(tmp_path, pixels):
    """Neither the name nor what lies beyond the start decides; what cannot be opened is not FITS."""
    astropy_fits.writeto(tmp_path / 'a.jpg', pixels, output_verify='ignore')
    (tmp_path / 'b.fits').write_text('SIMPLE as that')
    (tmp_path / 'c.fits.gz').write_bytes(gzip.compress(b'some text')[:-9])
    (tmp_path / 'd.fits').write_bytes(b'')
    assert kind_of(tmp_path / 'a.jpg') == 'fits'
    for name in ('b.fits', 'c.fits.gz', 'd.fits', 'missing.fits', '.'):
        assert kind_of(tmp_path / name) == ''


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


@pytest.mark.parametrize('layout', ['gray', 'planes', 'last', 'tiles'])
def test_large_conversions_go_to_a_file(tmp_path, monkeypatch, layout):
    """Integers beyond what is converted in memory come out the same, from a file that nobody has to remove."""
    data = np.random.default_rng(0).integers(
        0, 3000, (3, 50, 60) if layout in ('planes', 'last') else (50, 60), np.int16
    )
    if layout == 'tiles':
        hdus = [astropy_fits.PrimaryHDU(), astropy_fits.CompImageHDU(data)]
        astropy_fits.HDUList(hdus).writeto(tmp_path / 'a.fits')
    else:
        astropy_fits.writeto(tmp_path / 'a.fits', np.moveaxis(data, 0, -1) if layout == 'last' else data)
    monkeypatch.setattr(fits, 'IN_MEMORY', 99)
    monkeypatch.setattr(fits, '_CHUNK_BYTES', 5000)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    frame = fits.read_frame(tmp_path / 'a.fits')
    np.testing.assert_array_equal(frame.data, data)
    assert isinstance(frame.data, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ['a.fits']


def test_large_numbers_keep_their_digits(tmp_path):
    """Whole numbers on a pedestal of two thousand millions are not rounded to steps of 128."""
    data = np.random.default_rng(0).integers(2_000_000_000, 2_000_000_050, (40, 50)).astype(np.int32)
    astropy_fits.writeto(tmp_path / 'a.fits', data)
    np.testing.assert_array_equal(fits.read_frame(tmp_path / 'a.fits').data, data)
    with pytest.raises(ValueError, match='numbers of 32 bits cannot bring them back'):
        fits.choose_stretch(fits.read_frame(tmp_path / 'a.fits').data)


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
