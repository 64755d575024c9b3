"""Values that stand for "no number" are told from stars, saturated pixels and empty sky."""

import numpy as np
import pytest
from astropy.io import fits as astropy_fits

from astro_gan.files import fits
from astro_gan.files.frame import without_fills
from astro_gan.files.stretch import choose_stretch


def sky(level=100.0, noise=5.0, shape=(120, 150), seed=0) -> np.ndarray:
    """A sky with three stars, their wings and a gradient, float32."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    data = rng.normal(level, noise, shape) + 0.01 * noise * x
    for row, column, peak in ((30, 40, 500), (80, 20, 60), (60, 110, 4000)):
        data += noise * peak * (1 + ((y - row) ** 2 + (x - column) ** 2) / 6) ** -2.5
    return data.astype(np.float32)


def places(share: float) -> np.ndarray:
    """Which pixels are filled: four of them, or a share of the frame from its left edge."""
    mask = np.zeros((120, 150), bool)
    if share:
        mask[:, : int(share * 150)] = True
    else:
        mask[[5, 7, 50, 119], [9, 140, 3, 77]] = True
    return mask


@pytest.mark.parametrize('share', [0, 0.3, 0.8])
@pytest.mark.parametrize('value', [1e30, 1.6e38, -1.6375e30, 3.4028235e38, -3.4028235e38, 1e16, -32768, -99999, -999])
def test_fills_become_nan_and_nothing_else_does(value, share):
    """Few or most of the pixels: exactly those are NaN, counted in a line, and the rest is as it was."""
    data, mask = sky(), places(share)
    data[mask] = value
    expected = np.where(mask, np.nan, data)
    result, notes = without_fills(data)
    np.testing.assert_array_equal(result, expected)
    assert notes[0].startswith(f'{mask.sum()} pixels of {np.float32(value):.6g}, far beyond the rest')


@pytest.mark.parametrize('share', [0, 0.3])
def test_two_fills_at_once(share):
    """One at each end, or one beyond the other, do not hide each other."""
    for first, second in ((1e30, -1e30), (1e30, 1.6e38), (-32768, 1e20)):
        data, mask = sky(), places(share)
        data[mask], data[100:, 140:] = first, second
        result, notes = without_fills(data)
        mask[100:, 140:] = True
        np.testing.assert_array_equal(np.isnan(result), mask)
        assert 'pixels of' in notes[0]


def test_one_pixel_beyond_all_numbers():
    """A single 1e30 is no number either; a single bright or dark pixel is one."""
    data = sky()
    data[4, 5], data[6, 7], data[8, 9] = 1e30, 1e6, -5000
    result, notes = without_fills(data)
    assert np.argwhere(np.isnan(result)).tolist() == [[4, 5]]
    assert notes[0].startswith('1 pixel of 1e+30, far beyond the rest (')


def frame_of(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:120, :150]
    gaussian = np.exp(-((y - 60) ** 2 + (x - 75) ** 2) / 8)
    frames = {
        'saturated stars': np.minimum(sky(noise=5) * np.float32(8), 65535),
        'saturated hot pixels': np.where(
            rng.random((120, 150)) < 3e-4, 65535, np.rint(rng.normal(1000, 1, (120, 150)))
        ),
        'hot pixels at the top of [0, 1]': np.where(
            rng.random((120, 150)) < 3e-4, 1, rng.normal(0.01, 2e-5, (120, 150))
        ),
        'zeros outside of a footprint': np.where(x < 60, 0, sky(noise=1e-3, level=0)),
        'dead pixels': np.where(rng.random((120, 150)) < 1e-3, 0, np.rint(rng.normal(30000, 50, (120, 150)))),
        'no noise': gaussian,
        'counts': rng.poisson(2e-3, (120, 150)) + np.rint(40 * gaussian),
        'one point': (y == 60) & (x == 75),
        'one value': np.full((120, 150), 7.0),
        'a mask': x > 70,
        'bytes': rng.integers(0, 256, (120, 150)),
        'nothing': np.full((120, 150), np.nan),
        'infinite': np.where(x < 5, np.inf, sky()),
        'an object over the whole range of magnitudes': 10 ** (8 * gaussian) + rng.normal(0, 1, (120, 150)),
    }
    return frames[kind].astype(np.float32)


@pytest.mark.parametrize(
    'kind',
    [
        'saturated stars',
        'saturated hot pixels',
        'hot pixels at the top of [0, 1]',
        'zeros outside of a footprint',
        'dead pixels',
        'no noise',
        'counts',
        'one point',
        'one value',
        'a mask',
        'bytes',
        'nothing',
        'infinite',
        'an object over the whole range of magnitudes',
    ],
)
def test_numbers_stay_numbers(kind):
    """What repeats exactly because a detector ends there, or lies far out with its wings, is data."""
    data = frame_of(kind)
    result, notes = without_fills(data.copy())
    np.testing.assert_array_equal(result, data)
    assert notes == ()


@pytest.mark.filterwarnings("ignore:Invalid 'BLANK'")
def test_blank_of_a_float_file(tmp_path):
    """BLANK has no meaning for floats, and where the pixels at it lie beyond the others it is clear what was meant."""
    data = sky(level=3000)
    data[:, :4] = 2000  # no guess: it may be a number
    for blank, missing in ((2000, 480), (-32768, 0), (3000, 0)):
        astropy_fits.writeto(tmp_path / 'a.fits', data, astropy_fits.Header([('BLANK', blank)]), overwrite=True)
        frame = fits.read_frame(tmp_path / 'a.fits')
        assert np.isnan(frame.data).sum() == missing
        assert len(frame.notes) == (missing > 0)


@pytest.mark.parametrize('dtype', ['>f4', '>f8', '>i4'])
def test_fills_in_a_file(tmp_path, dtype):
    """Mapped floats of either size and integers alike; the file stays as it was."""
    data = sky().astype(dtype)
    data[3:5, 7:9] = 2**31 - 1 if dtype == '>i4' else 1e30
    astropy_fits.writeto(tmp_path / 'a.fits', data)
    before = (tmp_path / 'a.fits').read_bytes()
    frame = fits.read_frame(tmp_path / 'a.fits')
    assert np.isnan(frame.data).sum() == 4
    assert np.isnan(frame.data[3:5, 7:9]).all()
    np.testing.assert_array_equal(frame.data[5:], data[5:].astype(np.float32 if dtype == '>i4' else dtype))
    assert (tmp_path / 'a.fits').read_bytes() == before


def test_outliers_do_not_move_the_stretch():
    """With four pixels of no number, or one very bright one, black and white are what they are without."""
    alone = choose_stretch(sky())
    for count, value in ((4, 1e30), (1, 1e8)):
        data = sky()
        data[0, :count] = value
        stretch = choose_stretch(without_fills(data)[0])
        assert stretch.black == pytest.approx(alone.black, abs=0.5)
        assert stretch.white == pytest.approx(alone.white, rel=0.2)
        np.testing.assert_allclose(stretch.invert(stretch.apply(data[1:])), data[1:], rtol=1e-6)


def test_a_frame_that_32_bits_cannot_bring_back_is_refused():
    """A noise of 0.01 on a pedestal of a million would come back as steps; without the pedestal it is read."""
    data = np.random.default_rng(0).normal(0, 0.01, (100, 100))
    with pytest.raises(
        ValueError, match=r'span 999999.96\d* to 1000000.03\d* with a noise of 0.0098: numbers of 32 bits'
    ):
        choose_stretch(data + 1e6)
    assert choose_stretch(data).black == pytest.approx(-0.03, abs=2e-3)


@pytest.mark.filterwarnings('ignore::astropy.utils.exceptions.AstropyWarning')  # of sloppy headers
def test_real_frames_keep_their_values(real_data):
    """In real frames of many instruments only the 1e16 of Euclid's noise maps hold no number."""
    found = {}
    for path in sorted((real_data / 'frames').glob('*/*.f*')):
        with astropy_fits.open(path, ignore_missing_simple=True, ignore_missing_end=True) as hdus:
            for hdu in hdus:
                if hdu.is_image and hdu.data is not None and hdu.data.ndim == 2:
                    _, notes = without_fills(hdu.data.astype(np.float64))
                    found |= {f'{path.name}[{hdu.name}]': note for note in notes}
    assert all('_RMS]' in name and 'of 1e+16' in note for name, note in found.items()), found
