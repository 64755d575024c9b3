"""What was added, lost and moved is found, with the right numbers; what the input shows is no invention."""

import json

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_gan.audit import auditor, sources
from astro_gan.audit.align import pair_of
from astro_gan.audit.auditor import audit, without_counterpart
from astro_gan.audit.files import audit_folder, colored, thumbnail, write_audit
from astro_gan.errors import UserError
from tests.inference.skies import field, stars


def enlarged(data, factor=2):
    size = (factor * data.shape[1], factor * data.shape[0])
    return np.array(Image.fromarray(data.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def gaussian(shape, place, height, fwhm):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return height * np.exp(-4 * np.log(2) * ((y - place[0]) ** 2 + (x - place[1]) ** 2) / fwhm**2)


@pytest.fixture(scope='module')
def sky():
    """A star field `[256, 256]` on 100, noise 2, FWHM 2.5; its bicubic enlargement."""
    data = field(3, count=40, faintest=60.0)[0].astype(np.float32)
    return data, enlarged(data)


@pytest.fixture(scope='module')
def honest(sky):
    return audit(pair_of(*sky))


def test_an_honest_output_has_added_nothing(honest):
    """Of a bicubic enlargement nothing is without a counterpart, lost or moved, and little is left over."""
    summary = honest.summary
    assert summary['without_counterpart'] == summary['lost'] == summary['moved'] == summary['added'] == 0
    assert summary['kept'] >= 40
    assert summary['line'].startswith(f'0 of {summary["kept"]} sources have no counterpart in the input at 3 sigma')
    assert summary['noise'] == pytest.approx(2, rel=0.05)
    assert summary['fwhm'] == pytest.approx(2.6, rel=0.1)
    assert summary['chi_square'] < 0.3  # the noise was kept, nearly
    assert np.abs(honest.detail).max() < 0.05


def test_an_invented_star(sky):
    """A star of 12 times the noise where the sky is empty is the one source without a counterpart, at its place."""
    data, plain = sky
    place = (200.3, 310.6)
    before = audit(pair_of(data, plain + gaussian(plain.shape, place, 24.0, 4.0).astype(np.float32)))
    assert before.summary['without_counterpart'] == before.summary['added'] == 1
    assert '1 of' in before.summary['line']
    assert 'has no counterpart' in before.summary['line']
    (index,) = np.flatnonzero(without_counterpart(before.sources))
    row = {name: values[index] for name, values in before.sources.items()}
    assert (row['y'], row['x']) == pytest.approx(place, abs=0.5)
    assert abs(row['snr_in_input']) < 3
    flux = 24.0 * np.pi * 4.0**2 / (4 * np.log(2)) / 4  # in pixels of the input
    assert row['flux_after'] - row['flux_before'] == pytest.approx(flux, rel=0.1)
    assert np.nanmax(before.detail) == pytest.approx(12.0, rel=0.1)


def test_a_lost_and_a_moved_star():
    """A star that was taken away is lost, with the flux that the input has; one that stands 2 pixels off has moved."""
    rng = np.random.default_rng(0)
    places = np.array([(100.0, 60.0), (180.0, 140.0), (60.0, 200.0)])
    noise = rng.normal(100, 2, (256, 256))
    input = (noise + stars(256, places, [600.0] * 3, 2.5)).astype(np.float32)
    away = noise + stars(256, places[2:], [600.0], 2.5) + stars(256, places[1:2] + (0, 2), [600.0], 2.5)
    found = audit(pair_of(input, enlarged(away)))
    assert (found.summary['lost'], found.summary['moved']) == (1, 1)
    (lost,) = np.flatnonzero(found.sources['kind'] == 'lost')
    assert found.sources['y'][lost] == pytest.approx(200.5, abs=0.5)
    assert found.sources['snr_in_input'][lost] > 20
    assert found.sources['flux_before'][lost] == pytest.approx(0.94 * 600, rel=0.07)  # of a Gaussian within one FWHM
    assert abs(found.sources['flux_after'][lost]) < 60
    (moved,) = np.flatnonzero(found.sources['kind'] == 'moved')
    assert found.sources['x'][moved] == pytest.approx(2 * 142 + 0.5, abs=0.6)


def test_a_clean_output_leaves_the_noise():
    """Where an output is right and has no noise, what is left over has chi-square 1; one that is 5% off has more."""
    rng = np.random.default_rng(1)
    places, fluxes = rng.uniform(10, 245, (30, 2)), rng.uniform(200, 2000, 30)
    clean = 100 + stars(256, places, fluxes, 2.5)
    input = (clean + rng.normal(0, 2, clean.shape)).astype(np.float32)
    fine = 100 + stars(512, 2 * places + 0.5, 4 * fluxes, 5.0)
    found = audit(pair_of(input, fine.astype(np.float32)))
    assert found.summary['chi_square'] == pytest.approx(1, abs=0.05)
    assert found.summary['without_counterpart'] == 0
    off = audit(pair_of(input, (fine + 1).astype(np.float32)))
    assert off.summary['chi_square'] == pytest.approx(1.25, abs=0.08)  # half the noise everywhere


@pytest.mark.parametrize('place', [(20.0, 20.0), (20.5, 20.5), (20.3, 19.8)])
@pytest.mark.parametrize('width', [1.4, 3.0])
def test_what_the_input_says_does_not_depend_on_the_grid(place, width):
    """A star between four pixels has the significance of its light, that of the filter with its shape and place."""
    star = gaussian((41, 41), place, 1.0, width)
    height = 5 / np.sqrt(np.square(star).sum())
    errors = sources.filter_errors([1.2, width], 0.0)
    found = sources.significance((height * star).astype(np.float32), np.array([place]), errors, around=False)
    assert found[0] == pytest.approx(5.0, rel=0.01)


def test_fluxes_are_sums_in_circles():
    """Of a star and a slope of the sky: that of all its light within the circle, also at the border, without holes."""
    x = np.arange(60)
    image = (gaussian((60, 60), (30.3, 29.6), 10.0, 4.0) + 0.01 * x).astype(np.float32)
    missing = np.zeros(image.shape, bool)
    places = np.array([(30.3, 29.6), (0.0, 30.0)])
    inside = 10.0 * np.pi * 4.0**2 / (4 * np.log(2)) * (1 - 2 ** (-4 * (6.0 / 4.0) ** 2))
    assert sources.flux(image, missing, places, 6.0) == pytest.approx([inside, 0.0], abs=1.0)
    missing[18:25] = True
    image[18:25] = np.nan
    assert sources.flux(image, missing, places, 6.0) == pytest.approx([inside, 0.0], abs=1.5)


def test_bands_are_one(sky, honest, monkeypatch):
    """In bands of a few rows the same is found as at once."""
    data, plain = sky
    output = plain + gaussian(plain.shape, (255.0, 300.0), 14.0, 4.0).astype(np.float32)
    whole = audit(pair_of(data, output))
    monkeypatch.setattr(auditor, '_BAND', 30000)
    parts = audit(pair_of(data, output))
    np.testing.assert_allclose(parts.residual, whole.residual, atol=2e-3)
    np.testing.assert_allclose(parts.detail, whole.detail, atol=2e-3)
    assert parts.summary['without_counterpart'] == whole.summary['without_counterpart'] == 1
    assert parts.summary['kept'] == pytest.approx(whole.summary['kept'], abs=2)


def test_gaps_and_saturation_are_no_sources():
    """Beside a gap, and on a white plateau with its spikes, nothing is found."""
    rng = np.random.default_rng(0)
    data = rng.normal(100, 2, (128, 128)).astype(np.float32)
    data[40:60, 40:60] = np.nan
    filled = np.where(np.isnan(data), 100, data)
    output = enlarged(filled)
    output[80:120, 80:120] = np.nan
    assert audit(pair_of(data, output)).summary['without_counterpart'] == 0
    picture = np.round(np.clip(20 + rng.normal(0, 2, (128, 128)) + gaussian((128, 128), (64, 64), 3000, 8), 0, 255))
    large = np.clip(np.round(enlarged(picture)), 0, 255)
    found = audit(pair_of(picture.astype(np.float32), large.astype(np.float32), levels=256))
    assert found.summary['without_counterpart'] == 0
    assert (np.hypot(found.sources['x'] - 128.5, found.sources['y'] - 128.5) > 10).all()


def test_a_picture_without_noise():
    """Its noise is taken to be that of rounding, so that all stays finite, and a note says so."""
    data = np.arange(36, dtype=np.float32).reshape(6, 6).repeat(16, 0).repeat(16, 1)
    found = audit(pair_of(data, np.round(enlarged(data)), levels=256))
    assert found.summary['noise'] == pytest.approx(12**-0.5, rel=1e-3)
    assert any('rounding of 256 levels' in note for note in found.summary['notes'])
    assert np.isfinite(found.residual).all()
    flat = np.full((64, 64), 7.0, np.float32)
    assert audit(pair_of(flat, enlarged(flat), levels=256)).summary['sources'] == 0
    with pytest.raises(UserError, match='no noise to measure'):
        audit(pair_of(flat, enlarged(flat)))


def test_files(honest, tmp_path):
    """Maps of frames are FITS in noise units; sources.csv and summary.json are read back; nothing is replaced."""
    folder = audit_folder(tmp_path / 'm51.fits')
    assert folder.name == 'm51.fits.audit'
    write_audit(honest, folder, input='a/m51.fits', output='b/m51.fits')
    assert {path.name for path in folder.iterdir()} == {'detail.fits', 'residual.fits', 'sources.csv', 'summary.json'}
    with fits.open(folder / 'residual.fits', checksum=True) as hdus:
        np.testing.assert_array_equal(hdus[0].data, honest.residual)
        assert hdus[0].header['BUNIT'] == 'noise'
    lines = (folder / 'sources.csv').read_text().splitlines()
    assert lines[0] == 'x,y,kind,snr_in_input,flux_before,flux_after,height'
    assert len(lines) == 1 + len(honest.sources['x'])
    facts = json.loads((folder / 'summary.json').read_text())
    assert (facts['input'], facts['kept']) == ('m51.fits', honest.summary['kept'])
    with pytest.raises(UserError, match='exists already; --overwrite replaces it'):
        write_audit(honest, folder, input='a', output='b')
    write_audit(honest, folder, input='a', output='b', overwrite=True)
    (folder / 'mine.txt').write_text('mine')
    with pytest.raises(UserError, match=r'holds mine\.txt, which is no part of an audit'):
        write_audit(honest, folder, input='a', output='b', overwrite=True)


def test_colours_of_maps():
    """Blue below zero, red above, gray where nothing was measured; smaller maps keep what is most extreme."""
    picture = colored(np.array([[-5.0, 0.0, 5.0, 99.0, np.nan]]))
    assert picture[0, 0, 2] > picture[0, 0, 0]
    assert picture[0, 2, 0] > picture[0, 2, 2]
    np.testing.assert_array_equal(picture[0, 2], picture[0, 3])
    assert picture[0, 1].max() < 30
    assert (picture[0, 4] == 64).all()
    values = np.zeros((100, 100), np.float32)
    values[33, 71], values[1, 1], values[2, 2] = -4.0, 3.0, np.nan
    small = thumbnail(values, 50)
    assert small.shape == (50, 50)
    assert (small.min(), small.max(), small[16, 35], small[0, 0]) == (-4, 3, -4, 3)
