"""What is measured on a picture, against planted faults and numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from astro_gan.curation import duplicates, framing, quality
from astro_gan.curation.limits import Limits, judge
from astro_gan.files import pictures
from benchmarks import curate as benchmark
from tests.curation import faults

RNG = np.random.default_rng


@pytest.fixture(scope='module')
def real_images(real_data) -> list[np.ndarray]:
    """Six press pictures of all kinds, at half size so that the test is quick."""
    files = sorted((real_data / 'hubble' / 'train').glob('*.jpg'))[4::40][:6]
    return [np.asarray(Image.fromarray(pictures.read_picture(file)).reduce(2)) for file in files]


def test_faults_are_caught_and_good_pictures_kept(real_images):
    """Of each kind of fault in real pictures most are found, and no good picture is refused.

    The bars are below what the full set gave (see benchmarks/curate.py): a rate from six pictures is coarse.
    """
    rates, alarms, seconds = benchmark.measure(real_images, Limits())
    print('\n' + benchmark.report(rates, alarms, len(real_images), seconds))
    assert sum(alarms.values()) <= 1
    bars = dict.fromkeys(rates, 0.9) | {
        'montage': 0.5,
        'enlarged threefold': 0.75,
        'JPEG of quality 12': 0.75,
        'turned field': 0.75,
        'one tint': 0.7,
    }
    assert {kind: rate for kind, (rate, _) in rates.items() if rate < bars[kind]} == {}


def test_noise_is_that_of_the_noise():
    """White noise of sigma on a ramp: the estimate is sigma over the spread of both."""
    ramp = np.linspace(50, 200, 256, dtype=np.float32)[None].repeat(256, 0)
    for sigma in (2.0, 10.0):
        picture = (ramp + RNG(0).normal(0, sigma, ramp.shape)).astype(np.float32)
        expected = sigma / np.hypot(ramp.std(), sigma)
        assert quality.noise(picture) == pytest.approx(expected, rel=0.03)
    assert quality.noise(ramp) < 0.02


def test_detail_of_white_noise_is_one():
    """A flat spectrum has the same amplitude at all scales; without its upper half, none at the pixel's."""
    white = RNG(0).normal(128, 20, (256, 256)).astype(np.float32)
    assert quality.detail(white) == pytest.approx(1, abs=0.06)
    spectrum = np.fft.fft2(white)
    beyond = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None]) > 0.25
    assert quality.detail(np.fft.ifft2(np.where(beyond, 0, spectrum)).real.astype(np.float32)) < 0.02


@pytest.mark.parametrize('shift', [0, 3])
def test_blockiness_grows_with_compression_and_finds_any_grid(hubble, shift):
    """Coarser JPEG gives higher numbers, wherever a crop left the grid."""
    values = [
        quality.blockiness(quality.luma(faults.as_jpeg(hubble[:512, :512], level)[shift:, shift:]))
        for level in (90, 30, 10)
    ]
    assert values == sorted(values)
    assert values[0] < 1.2 < 1.5 < values[-1]


def test_colour_is_what_brightness_does_not_tell(hubble):
    """Zero for gray; small for a colour table; invariant to turning the picture."""
    assert quality.colour(faults.gray(hubble, RNG(0))) < 0.01
    assert quality.colour(faults.tinted(hubble, RNG(0))) < 1 < quality.colour(hubble)
    assert quality.colour(hubble[:, ::-1]) == pytest.approx(quality.colour(hubble), rel=1e-3)


def test_text_counts_print_and_not_stars(hubble):
    """Black or white print of several sizes is found; the Deep Field's galaxies are not taken for it."""
    from PIL import ImageDraw, ImageFont

    assert quality.text(quality.luma(hubble)) == 0
    for size in (14, 22, 36):
        for paper, ink in (('black', 'white'), ('white', 'black')):
            image = Image.new('RGB', (700, 120), paper)
            ImageDraw.Draw(image).text((20, 40), 'Hubble Heritage', ink, ImageFont.load_default(size))
            assert 7 <= quality.text(quality.luma(np.asarray(image))) <= 14  # letters


def test_seam_ignores_the_spikes_of_stars(hubble):
    """A thin line through the whole picture is a spike; two pictures side by side are a montage."""
    gray = quality.luma(hubble[:512, :512]) + 10
    spiked = gray.copy()
    spiked[:, 255:257] += 60
    nebula = np.add.outer(np.arange(512), np.arange(512)).astype(np.float32) / 8 + gray
    joined = np.concatenate([nebula[:, :256], nebula[::-1, :256]], 1)
    assert quality.seam(spiked) < 2 < 3 < quality.seam(joined)
    assert quality.seam(joined.T) == pytest.approx(quality.seam(joined))


def test_content_counts_what_is_not_sky():
    """A quarter that is brighter is a quarter of the picture."""
    gray = np.full((64, 64), 20, np.float32)
    gray[:32, :32] = 90
    assert quality.content(gray) == 0.25
    assert quality.content(np.full((64, 64), 20, np.float32)) == 0


def test_overexposed_counts_white_only():
    """Pure red is a colour, not burnt out."""
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[0], pixels[1] = 255, (255, 0, 0)
    assert quality.overexposed(pixels) == pytest.approx(0.1)


def test_judge_names_measure_and_limit():
    """A refusal can be understood without the code."""
    good = {'colour': 9, 'noise': 0, 'content': 1, 'overexposed': 0, 'blockiness': 1, 'detail': 1}
    good |= {'text': 0, 'flat': 0, 'seam': 1}
    assert judge(good, Limits()) is None
    refusal = judge(good | {'noise': 0.912345, 'seam': 9}, Limits())
    assert (refusal.reason, refusal.measured, refusal.limit) == ('noise-dominated', 'noise 0.9123', 'maximum_noise 0.7')


def largest_by_trial(mask: np.ndarray) -> int:
    """The area of the largest rectangle of True, trying all."""
    height, width = mask.shape
    sums = np.pad((~mask).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    best = 0
    for top in range(height):
        for bottom in range(top + 1, height + 1):
            for left in range(width):
                for right in range(left + 1, width + 1):
                    if sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] == 0:
                        best = max(best, (bottom - top) * (right - left))
    return best


@pytest.mark.parametrize('seed', range(5))
def test_largest_rectangle_is_the_largest(seed):
    """The same area as by trying every rectangle, and nothing bad inside."""
    cells = RNG(seed).random((11, 13)) > 0.15
    mask = cells.repeat(4, 0).repeat(4, 1)
    x0, y0, x1, y1 = framing._largest_rectangle(mask)
    assert mask[y0:y1, x0:x1].all()
    assert (x1 - x0) * (y1 - y0) == 16 * largest_by_trial(cells)


def test_a_frame_is_cut_away_and_a_dark_sky_is_not(hubble):
    """The crop of a framed picture lies within the frame; sky clipped to black is no border."""
    framed = faults.framed(hubble, RNG(0))
    x0, y0, x1, y1 = framing.clean_box(framed)
    assert 20 <= x0 <= 32
    assert 20 <= y0 <= 32
    assert 968 <= x1 <= 980
    assert 840 <= y1 <= 852
    clipped = np.clip(hubble.astype(int) * 2 - 60, 0, 255).astype(np.uint8)
    assert (clipped.max(-1) == 0).mean() > 0.3  # there is much black
    assert framing.clean_box(clipped) == (0, 0, 1000, 872)


def matched(*images: np.ndarray) -> list[duplicates.Match]:
    return duplicates.matches([duplicates.fingerprint(image) for image in images], points=6, correlation=0.7)


@pytest.fixture(scope='module')
def zoomed(hubble) -> np.ndarray:
    """The Deep Field's middle, turned by 90 degrees and enlarged by 1.3."""
    part = Image.fromarray(hubble).crop((250, 200, 750, 700)).transpose(Image.Transpose.ROTATE_90)
    return np.asarray(part.resize((650, 650), Image.Resampling.BICUBIC))


def test_a_crop_is_the_same_sky_but_no_duplicate(hubble, zoomed):
    """A turned and enlarged part is found, with the share that it covers."""
    (match,) = matched(hubble, zoomed)
    assert match.overlap == pytest.approx(500 * 500 / (872 * 1000), abs=0.03)
    assert match.correlation > 0.7


def test_another_part_of_the_sky_does_not_match(hubble):
    """Two fields of galaxies are alike but not the same."""
    assert matched(hubble[:, :480], hubble[:, 500:]) == []


@pytest.mark.parametrize('way', [None, *Image.Transpose])
def test_the_same_framing_is_found_in_every_orientation(hubble, way):
    """Smaller, compressed, turned or mirrored: still the same picture."""
    image = Image.fromarray(hubble).resize((700, 610))
    image = image if way is None else image.transpose(way)
    (match,) = matched(hubble, faults.as_jpeg(np.asarray(image), 60))
    assert match.overlap > 0.97
    assert match.correlation > 0.97


def test_real_pictures_match_as_their_coordinates_say(real_data):
    """Pictures of one object, at other scales and with other filters, are found; pictures of others are not.

    The groups in the manifest of the real images were made from positions on the sky.
    """
    ids = ['heic0206d', 'heic0206g', 'heic1206a', 'heic1402b', 'heic0601d', 'opo0205d']
    ids += ['heic1015a', 'potw1751a', 'opo0306b', 'potw1443a']
    folder = real_data / 'hubble' / 'train'
    images = [Image.fromarray(pictures.read_picture(folder / f'{name}.jpg')).reduce(2) for name in ids]
    found = {(ids[match.first], ids[match.second]) for match in matched(*map(np.asarray, images))}
    assert found == {('heic0206d', 'heic0206g'), ('heic1206a', 'heic1402b'), ('heic0601d', 'opo0205d')}
