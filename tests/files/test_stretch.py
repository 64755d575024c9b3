"""Stretches: the published curves, undone without loss, and limits that show a frame."""

import warnings

import numpy as np
import pytest
from astropy.io import fits as astropy_fits
from astropy.visualization import AsinhStretch, LinearStretch, LogStretch, ZScaleInterval

from astro_gan.files import fits, stretch
from astro_gan.files.stretch import Stretch, choose_stretch, lupton


@pytest.fixture
def sky() -> np.ndarray:
    """A frame of background 100, noise 5 and twenty stars of up to 60000, float32 [300, 400]."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:300, :400]
    frame = random.normal(100, 5, (300, 400))
    for peak in np.geomspace(50, 60000, 20):
        row, column = random.integers(10, 290), random.integers(10, 390)
        frame += peak * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4)
    return frame.astype(np.float32)


@pytest.mark.parametrize('softening', [0.3, 0.01, 1e-4])
def test_curves_are_those_of_astropy(softening):
    """Between black and white the curves are the published ones; below black they go on by symmetry."""
    data = np.linspace(-20, 80, 501)
    fraction = (data - -20) / 100
    curves = {
        'asinh': AsinhStretch(softening),
        'log': LogStretch(1 / softening),
        'linear': LinearStretch(),
    }
    for name, curve in curves.items():
        ours = Stretch(name, -20, 80, softening)
        np.testing.assert_allclose(ours.apply(data), curve(fraction, clip=False), rtol=3e-7, atol=1e-7)
        np.testing.assert_array_equal(ours.apply(-40 - data), -ours.apply(data))
        np.testing.assert_array_equal(ours.apply([-20, 80]), [0, 1])


@pytest.mark.parametrize('name', stretch.CURVES)
def test_stretches_are_undone_to_rounding(name):
    """There and back loses no more than float32 does, far outside of the limits too; NaN and infinity stay."""
    ours = Stretch(name, 12.5, 30000, 0.001)
    random = np.random.default_rng(0)
    data = (np.concatenate([[0.0], random.normal(0, 1, 500), np.geomspace(1e-3, 1e6, 500)]) * 30).astype(np.float32)
    data = np.concatenate([data, -data])
    values = ours.apply(data)
    assert values.dtype == np.float32
    # a step of float32 in y, half of it by rounding, is this much in the data
    step = np.abs(ours.invert(np.nextafter(values, np.inf)).astype(float) - ours.invert(values)) + 1e-6 * np.abs(data)
    assert (np.abs(ours.invert(values) - data) <= step + 1e-5).all()
    np.testing.assert_allclose(ours.apply(ours.invert(values)), values, rtol=2e-6, atol=1e-6)
    special = np.array([np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(ours.apply(special), special)
    np.testing.assert_array_equal(ours.invert(special), special)
    assert np.isinf(ours.invert(np.float32(1e30))) or name == 'linear'


@pytest.mark.parametrize('name', stretch.CURVES)
def test_stretches_rise_everywhere(name):
    """Brighter stays brighter, below black and above white too, so the inverse is unique."""
    ours = Stretch(name, -1, 5, 0.01)
    values = ours.apply(np.concatenate([-np.geomspace(1e6, 1e-2, 300), np.geomspace(1e-2, 1e6, 300)]))
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize(
    'limits', [(1 / 3, 2 / 3), (-1.2345678901234567e-5, 9.87654321e-7), (-1e30, 1e30), (0, 1e-300)]
)
def test_a_stretch_survives_a_file(tmp_path, limits):
    """What a FITS header records is read back as the same numbers."""
    ours = Stretch('asinh', *limits, 0.1 / 3)
    header = astropy_fits.Header(ours.to_cards())
    fits.write_frame(tmp_path / 'a.fits', np.ones((2, 2), np.float32), header)
    assert Stretch.from_cards(fits.read_frame(tmp_path / 'a.fits').header) == ours
    assert all(card.comment for card in header.cards)


def test_headers_without_a_stretch_are_named():
    """A missing or broken record is one clear line."""
    with pytest.raises(
        ValueError, match='no stretch is recorded in the FITS header: AGSTRCH, AGBLACK, AGWHITE, AGSOFT'
    ):
        Stretch.from_cards(astropy_fits.Header())
    header = astropy_fits.Header(Stretch('log', 0, 1, 0.1).to_cards())
    header['AGBLACK'] = 'dark'
    with pytest.raises(ValueError, match=r"is not a number: .*'dark'"):
        Stretch.from_cards(header)
    header['AGBLACK'] = 3
    with pytest.raises(ValueError, match='black must be below white'):
        Stretch.from_cards(header)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('gamma', 0, 1), "unknown stretch 'gamma'; there are asinh, log, linear"),
        (('asinh', 1, 1), 'from black 1 to white 1: black must be below white'),
        (('asinh', 0, np.nan), 'to white nan'),
        (('asinh', 0, 1, 0), 'softening of a stretch must be above 0, not 0'),
    ],
)
def test_stretches_that_cannot_be_are_refused(arguments, message):
    """No division by zero, and no falling curve, comes later."""
    with pytest.raises(ValueError, match=message):
        Stretch(*arguments)


@pytest.mark.parametrize('name', ['asinh', 'log'])
def test_background_is_dark_and_stars_are_not_cut(sky, name):
    """The sky lies at 3 times its noise above black, whatever the unit and offset; hardly a pixel passes white."""
    for scale, offset in ((1, 0), (1e-12, 0), (1e6, -1e8)):
        frame = sky * float(scale) + offset
        ours = choose_stretch(frame, name)
        assert ours.name == name
        assert ours.black == pytest.approx((100 - 15) * scale + offset, abs=1 * scale)
        values = ours.apply(frame)
        assert 0.08 < np.median(values) < 0.2
        assert (values > 1).mean() < 2e-4
        assert values.max() < 1.4
        assert np.percentile(values, 10) > 0


def test_bad_pixels_do_not_move_the_limits(sky):
    """NaN, infinite and flagged pixels, and the empty outside of a footprint, change next to nothing."""
    clean = choose_stretch(sky)
    dirty, bad = sky.copy(), np.zeros(sky.shape, bool)
    dirty[5, :50], dirty[6, :50], dirty[7, :50] = np.nan, np.inf, 1e30
    bad[7, :50] = True
    outside = np.zeros((300, 1000), np.float32)
    outside[:, 300:700] = sky
    for frame, mask in ((dirty, bad), (outside, None)):
        ours = choose_stretch(frame, bad=mask)
        assert ours.black == pytest.approx(clean.black, abs=0.3)
        assert ours.white == pytest.approx(clean.white, rel=0.2)


def test_counts_keep_their_zeros():
    """In counts of photons zero is a value like any other."""
    counts = np.random.default_rng(0).poisson(0.05, (100, 100)).astype(np.float32)
    counts[50, 50] = 200
    ours = choose_stretch(counts)
    assert ours.apply(np.float32(0)) < 0.3
    assert ours.black <= 0
    assert ours.white > ours.black


def test_linear_and_zscale_limits(sky):
    """'linear' takes percentiles, 'zscale' astropy's limits; both are linear stretches."""
    assert choose_stretch(sky, 'linear') == Stretch('linear', *np.percentile(sky.astype(float), [0.5, 99.5]))
    assert choose_stretch(sky, 'zscale') == Stretch('linear', *ZScaleInterval().get_limits(sky.astype(float)))


def test_large_frames_are_sampled_the_same_way(sky, monkeypatch):
    """A sample gives nearly the limits of the whole, and always the same; a tiny footprint in it is found."""
    whole = choose_stretch(sky)
    monkeypatch.setattr(stretch, '_SAMPLE', 10000)
    sampled = choose_stretch(sky)
    assert sampled == choose_stretch(sky.copy().astype('>f4'))
    assert sampled != whole
    assert sampled.black == pytest.approx(whole.black, abs=0.5)
    empty = np.full((3000, 400), np.nan, np.float32)
    empty[1501, 7:9] = 1, 2
    assert choose_stretch(empty, 'linear').black >= 1


@pytest.mark.parametrize('name', stretch.CHOICES)
@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (np.full((5, 5), np.nan), 'no valid pixel: all are NaN, infinite or flagged'),
        (np.full((5, 5), 7.0), 'every valid pixel of the frame is 7: there is nothing to see'),
        (np.zeros((5, 5), np.int16), 'every valid pixel of the frame is 0'),
    ],
)
def test_frames_with_nothing_to_see_are_refused(name, data, message):
    """An empty frame is one clear line, not a division by zero or a white picture."""
    with pytest.raises(ValueError, match=message):
        choose_stretch(data, name)


@pytest.mark.parametrize('name', stretch.CHOICES)
def test_odd_frames_have_a_stretch(name):
    """Two values, one hot pixel, one row, noise alone, huge numbers: always a stretch that rises."""
    noise = np.random.default_rng(0).normal(0, 1, (50, 50))
    hot = np.zeros((100, 100))
    hot[3, 3] = 5
    for data in (np.eye(8), hot, noise[:1], noise, noise * 1e37, noise.astype(np.int8) * 100, np.array([[0, 1e-30]])):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            ours = choose_stretch(data, name)
        assert (np.diff(ours.apply(np.sort(np.unique(data)))) >= 0).all()
        assert np.isfinite(ours.apply(data)).all()


def test_wrong_names_and_masks_are_named(sky):
    """A misspelled stretch lists the valid ones; a mask of another size is not broadcast."""
    with pytest.raises(ValueError, match=r"unknown stretch 'sqrt'; there are asinh, log, linear, zscale"):
        choose_stretch(sky, 'sqrt')
    with pytest.raises(ValueError, match=r'a mask of shape \(300, 1\) for a frame of shape \(300, 400\)'):
        choose_stretch(sky, bad=np.zeros((300, 1), bool))


def test_lupton_keeps_colours_and_a_neutral_background(sky):
    """Bands of very different backgrounds give a gray sky; a star keeps the ratio of its bands, however bright."""
    random = np.random.default_rng(1)
    stars = np.zeros((200, 200))
    stars[50:53, 50:53], stars[120:123, 120:123] = 300, 3000
    bands = [offset + k * stars + random.normal(0, 2, stars.shape) for offset, k in ((500, 2.0), (0, 1.0), (-70, 0.5))]
    picture = lupton(*bands)
    assert picture.shape == (200, 200, 3)
    assert picture.dtype == np.float32
    assert 0 <= picture.min() <= picture.max() <= 1
    background = np.median(picture, axis=(0, 1))
    assert np.ptp(background) < 0.01
    assert 0.02 < background.mean() < 0.15
    for center in ((51, 51), (121, 121)):
        red, green, blue = picture[center]
        assert red / green == pytest.approx(2, rel=0.1)
        assert blue / green == pytest.approx(0.5, rel=0.1)
    scaled = lupton(*bands, scales=(0.5, 1, 2))
    assert np.ptp(scaled[121, 121]) < 0.02


def test_lupton_leaves_invalid_pixels_black_and_refuses_nonsense(sky):
    """A pixel that one band lacks has no colour; bands that do not fit together are an error."""
    holed = sky.copy()
    holed[3, 4] = np.nan
    picture = lupton(holed, sky, sky)
    assert (picture[3, 4] == 0).all()
    assert np.isfinite(picture).all()
    with pytest.raises(ValueError, match='three bands of the same size are wanted'):
        lupton(sky, sky, sky[:-1])
    with pytest.raises(ValueError, match='every valid pixel of the green band is 3'):
        lupton(sky, np.full(sky.shape, 3.0), sky)
    with pytest.raises(ValueError, match='stretch, softening and scales must be above 0'):
        lupton(sky, sky, sky, softening=0)


def test_real_frames_show_something(real_data):
    """Backgrounds of real frames are dark but not black, and next to nothing is cut."""
    for name in ('HorseHead.fits', 'j8bt06nyq_flt.fits.gz', 'reprojected_sdss_g.fits.bz2', 'u12517j.fits.gz'):
        frame = fits.read_frame(real_data / 'fits' / name)
        ours = choose_stretch(frame.data, bad=frame.bad)
        values = ours.apply(frame.data)
        assert 0.05 < np.median(values) < 0.4
        assert (values > 1).mean() < 3e-4
        assert (values < 0).mean() < 0.03
        back = ours.invert(values)
        assert np.abs(back - frame.data.astype(float)).max() <= 1e-5 * (ours.white - ours.black)


def test_real_bands_make_a_neutral_sky(real_data):
    """Three SDSS bands have a gray background, black nowhere but in holes."""
    bands = [fits.read_frame(real_data / 'fits' / f'reprojected_sdss_{band}.fits.bz2').data for band in 'irg']
    background = np.median(lupton(*bands), axis=(0, 1))
    assert np.ptp(background) < 0.01
    assert 0.03 < background.mean() < 0.12
