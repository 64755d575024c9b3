"""World coordinates of enlarged pictures: every point of the sky stays where it was."""

import itertools

import numpy as np
import pytest
from astropy.io import fits as astropy_fits
from astropy.wcs import WCS

from astro_gan.files import fits
from astro_gan.files.wcs import enlarged_header

ARCSECOND = 1 / 3600
# wcslib remarks on old keywords in headers that it repairs.
pytestmark = pytest.mark.filterwarnings('ignore::astropy.wcs.FITSFixedWarning', 'ignore:.*SIP:UserWarning')


def tan(**cards) -> astropy_fits.Header:
    """A header of 120 x 90 pixels, gnomonic projection."""
    header = astropy_fits.PrimaryHDU(np.zeros((90, 120), np.float32)).header
    header.update(CTYPE1='RA---TAN', CTYPE2='DEC--TAN', CRVAL1=150.1, CRVAL2=2.2, CRPIX1=41.3, CRPIX2=70.9)
    header.update(cards)
    return header


def pc(alternate='', angle=0.3, scale=1e-4):
    """A rotated PC matrix with CDELT."""
    values = {
        'CDELT1': -scale,
        'CDELT2': scale,
        'PC1_1': np.cos(angle),
        'PC1_2': -np.sin(angle),
        'PC2_1': np.sin(angle),
        'PC2_2': np.cos(angle),
    }
    return {keyword + alternate: float(value) for keyword, value in values.items()}


CD = {'CD1_1': -3e-5, 'CD1_2': 1e-5, 'CD2_1': 1.1e-5, 'CD2_2': 2.9e-5}
SIP = {'CTYPE1': 'RA---TAN-SIP', 'CTYPE2': 'DEC--TAN-SIP', 'A_ORDER': 3, 'B_ORDER': 2, 'AP_ORDER': 2, 'BP_ORDER': 2} | {
    'A_2_0': 3e-4, 'A_1_1': -2e-4, 'A_0_2': 1e-4, 'A_3_0': 2e-6, 'A_1_2': -1e-6, 'B_2_0': -2e-4, 'B_0_2': 4e-4,
    'AP_1_0': 1e-3, 'AP_0_1': -2e-3, 'AP_2_0': -3e-4, 'AP_1_1': 2e-4, 'BP_0_1': 1e-3, 'BP_2_0': 2e-4,
}  # fmt: skip
HEADERS = {
    'TAN by CD': tan(**CD),
    'a diagonal CD': tan(CD1_1=-3e-5, CD2_2=3e-5),
    'TAN by PC': tan(**pc()),
    'PC without CDELT': tan(PC1_1=-1e-5, PC1_2=2e-6, PC2_1=3e-6, PC2_2=1e-5),
    'CD as it was spelled': tan(CD001001=-3e-5, CD001002=1e-5, CD002001=1.1e-5, CD002002=2.9e-5),
    'CDELT and CROTA': tan(CDELT1=-2e-4, CDELT2=2e-4, CROTA2=33.0),
    'unequal CDELT': tan(CDELT1=-2e-4, CDELT2=5e-4),
    'SIP': tan(**CD, **SIP),
    'SIP by PC': tan(**pc(), **SIP),
    'TPV': tan(**CD, CTYPE1='RA---TPV', CTYPE2='DEC--TPV', PV1_1=1.001, PV1_4=0.02, PV2_1=0.999, PV2_5=-0.01),
    'all sky': tan(CTYPE1='GLON-CAR', CTYPE2='GLAT-CAR', CDELT1=-0.1, CDELT2=0.1, CRVAL2=0.0),
    'three axes': tan(**pc(), WCSAXES=3, CTYPE3='FREQ', CRPIX3=1.0, CRVAL3=1.4e9, CDELT3=1e6, PC3_3=1.0),
}


def corners(shape) -> np.ndarray:
    """Outer corners of the picture and of a few pixels, as 0-based pixel coordinates [n, 2]; edges are at -1/2."""
    height, width = shape
    xs, ys = (np.array([0, 1, 0.3 * n, n // 2, n - 1, n]) - 0.5 for n in (width, height))
    return np.array(list(itertools.product(xs, ys)))


def sky(header, points, key=' ') -> np.ndarray:
    """Where points lie on the sky, in degrees."""
    wcs = WCS(header, key=key).celestial
    return wcs.all_pix2world(points, 0)


def separation(first, second) -> float:
    """Largest distance of two lists of positions, degrees of arc."""
    difference = first - second
    difference[:, 0] = (difference[:, 0] + 180) % 360 - 180
    return np.abs(difference * np.stack([np.cos(np.radians(first[:, 1])), np.ones(len(first))], 1)).max()


@pytest.mark.parametrize('factor', [4, 2.5, 1, 0.5, 1 / 3])
@pytest.mark.parametrize('name', HEADERS)
def test_positions_on_the_sky_stay(name, factor):
    """The corners of pixels lie where they lay, to a millionth of an arcsecond, by astropy's own reckoning."""
    header = HEADERS[name]
    before = header.copy()
    result = enlarged_header(header, factor, (round(90 * factor), round(120 * factor)))
    points = corners((90, 120))
    moved = (points + 0.5) * factor - 0.5
    assert separation(sky(header, points), sky(result, moved)) < 1e-6 * ARCSECOND
    assert header == before


def pixels_by_inverse_polynomial(header, positions) -> np.ndarray:
    """From the sky to 1-based pixels by AP and BP, as the SIP convention has it: p = CRPIX + U + AP(U, V)."""
    reference = np.array([header['CRPIX1'], header['CRPIX2']])
    undistorted = WCS(header).wcs_world2pix(positions, 1) - reference
    corrections = []
    for name in ('AP', 'BP'):
        coefficients = [[header.get(f'{name}_{i}_{j}', 0.0) for j in range(4)] for i in range(4)]
        corrections.append(np.polynomial.polynomial.polyval2d(*undistorted.T, np.array(coefficients)))
    return reference + undistorted + np.stack(corrections, 1)


@pytest.mark.parametrize('factor', [4, 0.5])
def test_inverse_distortion_is_rescaled(factor):
    """AP and BP, the way from the sky to pixels, lead to the same place in the enlarged picture."""
    header = HEADERS['SIP']
    result = enlarged_header(header, factor, (int(90 * factor), int(120 * factor)))
    positions = sky(header, corners((90, 120)))
    old, new = pixels_by_inverse_polynomial(header, positions), pixels_by_inverse_polynomial(result, positions)
    np.testing.assert_allclose(new, (old - 0.5) * factor + 0.5, atol=1e-7)
    assert np.abs(old - WCS(header).wcs_world2pix(positions, 1)).max() > 0.1  # there is something to rescale


def test_alternate_coordinates_are_rescaled():
    """Each further coordinate system of a header is moved with the picture, and only by its own cards."""
    header = tan(**CD)
    for key, angle in (('A', 0.5), ('Z', -1.0)):
        header.update({f'{keyword}{key}': header[keyword] for keyword in ('CTYPE1', 'CTYPE2', 'CRVAL1', 'CRVAL2')})
        header.update({f'CRPIX1{key}': 10.0, f'CRPIX2{key}': 20.5} | pc(key, angle))
    result = enlarged_header(header, 3, (270, 360))
    points = corners((90, 120))
    for key in (' ', 'A', 'Z'):
        assert separation(sky(header, points, key), sky(result, 3 * points + 1, key)) < 1e-6 * ARCSECOND
    assert not [keyword for keyword in result if keyword not in header]


def test_physical_and_plate_coordinates_stay():
    """IRAF's LTM and LTV, and the plate solution of the Digitized Sky Survey, point at the same place as before."""
    header = tan(LTV1=-100.0, LTV2=30.0, LTM1_1=0.5, CNPIX1=12237, CNPIX2=19965, XPIXELSZ=15.0295, YPIXELSZ=15.0)
    result = enlarged_header(header, 4, (360, 480))
    for p in (0.5, 1, 40.3, 120.5):
        new = 4 * (p - 0.5) + 0.5
        # physical = (image - LTV) / LTM; LTM2_2 is 1 by default
        assert (new - result['LTV1']) / result['LTM1_1'] == pytest.approx((p + 100) / 0.5)
        assert (new - result['LTV2']) / result['LTM2_2'] == pytest.approx(p - 30)
        # position on the plate in micrometres, by the survey's convention: pixel 1 is centred at CNPIX + 1/2
        assert (result['CNPIX1'] + new - 0.5) * result['XPIXELSZ'] == pytest.approx((12237 + p - 0.5) * 15.0295)


def test_lookup_tables_are_left_out_and_the_header_says_so():
    """Tables in other extensions cannot follow; astropy would refuse a header that still points to them."""
    header = tan(**CD, CPDIS1='LOOKUP', CPDIS2='LOOKUP', CPERR1=0.031, D2IMDIS1='LOOKUP', D2IMERR1=0.002, NPOLEXT='a')
    header.update({'DP1.EXTVER': 1.0, 'DP1.NAXES': 2.0, 'D2IM1.EXTVER': 1.0})
    result = enlarged_header(header, 4, (360, 480))
    left = {'CPDIS1', 'CPDIS2', 'CPERR1', 'D2IMDIS1', 'D2IMERR1', 'DP1', 'DP1.EXTVER', 'D2IM1', 'NPOLEXT'}
    assert not left & set(result)
    assert 'lookup-table distortions' in str(result['HISTORY'])
    assert 'up to 0.031 original pixels' in str(result['HISTORY']).replace('\n', '')
    reference = tan(**CD)
    points = corners((90, 120))
    assert separation(sky(reference, points), sky(result, 4 * points + 1.5)) < 1e-6 * ARCSECOND
    assert 'HISTORY' not in enlarged_header(reference, 4, (360, 480))


def test_other_cards_stay_and_sizes_are_new():
    """Only what depends on the size of a pixel changes: sections of the array go, comments and strings stay."""
    header = tan(OBJECT='M 31', DATASEC='[1:120,1:90]', CRPIX3='none', EXPTIME=3)
    header['CRPIX1'] = (41.3, 'where')
    header.add_comment('kept')
    result = enlarged_header(header, 2, (3, 180, 240))
    assert [result[f'NAXIS{axis}'] for axis in ('', 1, 2, 3)] == [3, 240, 180, 3]
    assert (result['OBJECT'], result['CRPIX3'], result['EXPTIME']) == ('M 31', 'none', 3)
    assert result.comments['CRPIX1'] == 'where'
    assert 'kept' in str(result['COMMENT'])
    assert 'DATASEC' not in result
    no_coordinates = astropy_fits.Header([('OBJECT', 'M 31')])
    assert set(enlarged_header(no_coordinates, 2, (8, 8))) == {'OBJECT', 'NAXIS', 'NAXIS1', 'NAXIS2'}


@pytest.mark.parametrize('factor', [0, -2, np.nan, np.inf])
def test_factors_that_cannot_be_are_refused(factor):
    """A factor is a positive number."""
    with pytest.raises(ValueError, match='factor of an enlarged picture must be above 0, not'):
        enlarged_header(tan(), factor, (90, 120))


def test_shapes_that_do_not_fit_are_refused():
    """A picture that was cut, or turned, would get coordinates that are silently wrong."""
    with pytest.raises(ValueError, match='NAXIS1 = 120 enlarged 2 times is not 180'):
        enlarged_header(tan(), 2, (240, 180))
    enlarged_header(tan(), 1 / 7, (13, 18))  # 12.9, 17.1: rounding is not a cut


def test_sizes_of_a_pixel_change_with_it():
    """Micrometres and arc seconds per pixel are divided, as numbers, texts or texts with a unit; other scales stay."""
    header = tan(XPIXSZ=3.76, YPIXSZ=3.76, PIXSCALE='1.463', SECPIX1=-1.463, SECPIX=1.5, SCALE=1.463, PIXSIZE1=9)
    header.update(PLTSCALE=67.2, XPIXELSZ=15.0, XORGSUBF=10, FOCALLEN=530.0, XBINNING=2, OBJECT='12 Per')
    header['PIXSCAL'] = ('0.366 arcsec/px', 'of the camera')
    header['IM_SCALE'] = (5.2, 'Image scale in arc-secs/pixel')
    header['SECPIX2'] = (67.2, 'arcsec per mm')
    header['SCALENSE'] = (1.5, 'factor applied to noise')
    larger = enlarged_header(header, 2, (180, 240))
    changed = {
        'XPIXSZ': 1.88, 'YPIXSZ': 1.88, 'PIXSCALE': '0.7315', 'SECPIX1': -0.7315, 'SECPIX': 0.75, 'SCALE': 0.7315,
        'PIXSIZE1': 4.5, 'XPIXELSZ': 7.5, 'XORGSUBF': 20, 'PIXSCAL': '0.183 arcsec/px', 'IM_SCALE': 2.6,
    }  # fmt: skip
    assert {keyword: larger[keyword] for keyword in changed} == changed
    same = ('PLTSCALE', 'FOCALLEN', 'XBINNING', 'OBJECT', 'SECPIX2', 'SCALENSE')
    assert all(larger[keyword] == header[keyword] for keyword in same)
    header['SCALE'] = (32768.0, 'of the data')
    assert enlarged_header(header, 2, (180, 240))['SCALE'] == 32768.0


def test_sections_and_mosaics_are_left_out():
    """Parts of a detector in its pixels, however they are named, and the colour filters before them no longer hold."""
    header = tan(CCDSEC='[1:120,1:90]', DETSEC='[1:120, 1:90]', BIASSEC='[97:100]', MYREGION='[3:7, 4:9]')
    header.update(BAYERPAT='RGGB', XBAYROFF=0, YBAYROFF=1, COLORTYP='RGGB', SECTOR='[7]')
    larger = enlarged_header(header, 2, (180, 240))
    assert set(header) - set(larger) == {
        *('SIMPLE', 'EXTEND', 'CCDSEC', 'DETSEC', 'BIASSEC', 'MYREGION', 'BAYERPAT', 'XBAYROFF', 'YBAYROFF', 'COLORTYP')
    } - set(larger)
    assert larger['SECTOR'] == '[7]'


def test_coordinates_in_quotes():
    """A reference pixel or matrix that was written as text is rescaled too."""
    larger = enlarged_header(tan(CRPIX1='41.3', CD1_1='-3e-5', CD2_2=3e-5), 2, (180, 240))
    assert (larger['CRPIX1'], larger['CD1_1'], larger['CD2_2']) == ('82.1', '-1.5e-05', 1.5e-5)


def test_real_frames_keep_their_coordinates(real_data, tmp_path):
    """Hubble, Sloan and plate frames, enlarged and written: a star of the picture is where it was."""
    for name in ('HorseHead.fits', 'j8bt06nyq_flt.fits.gz', 'reprojected_sdss_r.fits.bz2', 'u12517j.fits.gz'):
        frame = fits.read_frame(real_data / 'fits' / name)
        height, width = frame.data.shape
        points = corners((height, width))
        for factor in (4, 0.5):
            shape = (int(height * factor), int(width * factor))
            header = enlarged_header(frame.header, factor, shape)
            fits.write_frame(tmp_path / 'a.fits', np.zeros(shape, np.float32), header, overwrite=True)
            written = astropy_fits.getheader(tmp_path / 'a.fits')
            moved = (points + 0.5) * factor - 0.5
            assert separation(sky(frame.header, points), sky(written, moved)) < 1e-6 * ARCSECOND
