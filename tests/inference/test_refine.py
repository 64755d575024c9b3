"""Means over flips, back-projection, exact consistency and blended weights: right values, the same in tiles."""

import json

import jax
import numpy as np
import pytest
import pyvips
from PIL import Image
from scipy import ndimage

from astro_gan import cli
from astro_gan.errors import UserError
from astro_gan.inference.choose import choose_model, interpolated
from astro_gan.inference.refine import project, refined, turned
from astro_gan.inference.render import ArraySource, render
from astro_gan.model import load_model
from astro_gan.models.layers import back_project
from tests.networks import pictures
from tests.small_models import colorizer, enhancer, framer, saved, upscaler

OPTIONS = ({'self_ensemble': True}, {'back_project': 3}, {'consistent': True})


def reduced(picture, factor):
    """Made smaller by another implementation of antialiased bicubic resampling (Pillow's)."""
    size = (picture.shape[1] // factor, picture.shape[0] // factor)
    planes = [Image.fromarray(np.ascontiguousarray(picture[..., c], np.float32)) for c in range(picture.shape[-1])]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes], -1)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_tiled_equals_untiled(options):
    """Every refinement gives in tiles of any size what it gives of the whole picture."""
    model = refined(upscaler(2, variant='b', back_projection=True), **options)
    image = pictures(1, 37, 64, 3)
    whole = np.asarray(jax.jit(model.forward)(model.variables, image))[0]
    for tile in (11, None):
        tiled = np.concatenate(list(render(model.networks, ArraySource(image[0]), tile=tile)))
        np.testing.assert_allclose(tiled, whole, atol=2e-5)


def test_the_ensemble_is_the_mean_of_eight():
    """The mean over numpy's own flips and turns, each turned back; the first of the eight is the plain output."""
    model, image = upscaler(2), pictures(20, 20, 3)
    plain = [
        np.rot90(model(np.ascontiguousarray(np.rot90(side, turns))), -turns)[:, :: -1 if flip else 1]
        for flip in (False, True)
        for side in [image[:, :: -1 if flip else 1]]
        for turns in range(4)
    ]
    np.testing.assert_allclose(refined(model, self_ensemble=True)(image), np.mean(plain, 0), atol=1e-5)
    eight = jax.jit(lambda x: turned(lambda y: model.forward(model.variables, y), x))(image[None])
    np.testing.assert_allclose(np.asarray(eight)[0, 0], model(image), atol=1e-5)
    np.testing.assert_allclose(np.asarray(eight).std(0)[0], np.std(plain, 0), atol=1e-5)


def test_a_chain_is_refined_as_a_whole():
    """Of two upscalers after a colorizer the two are one network, and the result is consistent at the full factor."""
    model = refined(enhancer(2), consistent=True)
    assert [network.factor for network in model.networks] == [1, 2]
    first, second = upscaler(2), upscaler(3)
    from astro_gan.inference.chain import join

    image = pictures(20, 22, 3)
    output = refined(join([first, second]), consistent=True)(image)
    assert np.abs(reduced(output, 6) - image).max() * 255 < 1e-3


def test_steps_of_back_projection():
    """N steps are N times one step; the more, the closer is the output, made smaller, to the input."""
    model, image = upscaler(2), pictures(1, 30, 34, 3)
    output = jax.jit(model.forward)(model.variables, image)
    distances = []
    for steps in (1, 2, 3):
        output = back_project(output, image, 2)
        result = refined(model, back_project=steps)(image[0])
        np.testing.assert_allclose(result, np.asarray(output)[0], atol=1e-5)
        distances.append(np.abs(reduced(result, 2) - image[0]).mean())
    assert distances[2] < 0.7 * distances[1] < 0.7**2 * distances[0]


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_the_projection_is_the_pseudo_inverse(factor):
    """Where nothing is clipped: x + pinv(A) (y - A x), with numpy's pinv and Pillow's A, borders included."""
    rng = np.random.default_rng(0)
    height, width = 7, 6
    truth = 0.4 + 0.2 * rng.random((factor * height, factor * width, 1), np.float32)
    low_res, start = reduced(truth, factor), truth + 0.02 * rng.standard_normal(truth.shape).astype(np.float32)
    operator = np.stack(
        [reduced(unit.reshape(truth.shape), factor).ravel() for unit in np.eye(truth.size, dtype=np.float32)],
        -1,
    ).astype(np.float64)
    expected = start.ravel() + np.linalg.pinv(operator) @ (low_res.ravel() - operator @ start.ravel())
    result = np.asarray(jax.jit(project, static_argnums=2)(start[None], low_res[None], factor))
    np.testing.assert_allclose(result.ravel(), expected, atol=3e-5)


def test_consistent_made_smaller_is_the_input():
    """To 1e-3 levels before rounding, from black to white, and nearly in [0, 1]."""
    image = np.clip(1.6 * pictures(40, 50, 3) - 0.3, 0, 1)
    image = np.asarray(Image.fromarray(np.uint8(255 * image)).resize((50, 40), Image.Resampling.BOX), np.float32) / 255
    output = refined(upscaler(2), consistent=True)(image)
    assert np.abs(reduced(output, 2) - image).max() * 255 < 1e-3


def test_consistent_files_need_sixteen_bits(run, tmp_path):
    """A PNG of 16 bits holds what is consistent to 2e-3 levels; 8 bits do not, and a line says so; JPEG is refused."""
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(90, 166, (12, 13, 3), np.uint8))
    picture = small.resize((70, 66), Image.Resampling.BICUBIC)
    picture.save(tmp_path / 'a.png')
    status, _, err = run('upscale', tmp_path / 'a.png', '--consistent', '--depth', 16)
    assert status == 0
    assert '--depth 16' not in err
    fine = pyvips.Image.new_from_file(str(tmp_path / 'out/a.png'))
    assert (fine.format, fine.bands) == ('ushort', 3)
    again = reduced(fine.numpy().astype(np.float32) / 65535, 2)
    assert np.abs(255 * again - np.asarray(picture)).max() < 2e-3
    assert json.loads((tmp_path / 'out/a.png.json').read_text())['clipped_pixels'] == 0
    status, _, err = run('upscale', tmp_path / 'a.png', '--consistent', out=tmp_path / 'eight')
    assert status == 0
    assert '--depth 16' in err
    coarse = np.asarray(Image.open(tmp_path / 'eight/a.png'), np.float32) / 255
    assert 0.02 < np.abs(255 * (reduced(coarse, 2)) - np.asarray(picture)).max() < 1


def test_what_was_clipped_is_counted(run, models, tmp_path):
    """A picture with black and white: its description counts the pixels; away from them the file is the input again."""
    y, x = np.mgrid[:66, :70]
    pixels = np.repeat(np.clip(128 + 400 * np.sin(x / 3) * np.cos(y / 4), 0, 255).astype(np.uint8)[..., None], 3, -1)
    pixels[:, 35:] = 90 + pixels[:, 35:] // 4
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    assert run('upscale', tmp_path / 'a.png', '--consistent', '--depth', 16)[0] == 0
    made = refined(load_model(models['upscale']), consistent=True)(np.float32(pixels) / 255)
    clipped = (np.abs(made - 0.5) > 0.5 + 0.5 / 65535).any(-1)
    assert clipped.sum() > 100
    told = json.loads((tmp_path / 'out/a.png.json').read_text())['clipped_pixels']
    assert told == pytest.approx(clipped.sum(), abs=0.01 * clipped.sum())
    again = reduced(pyvips.Image.new_from_file(str(tmp_path / 'out/a.png')).numpy().astype(np.float32) / 65535, 2)
    off = np.abs(255 * again - pixels).max(-1)
    near = ndimage.binary_dilation(clipped, iterations=4).reshape(66, 2, 70, 2).any((1, 3))
    assert off[~near].max() < 2e-3
    assert (~near).sum() > 1000
    assert off[near].max() > 0.01


def test_options_stand_in_the_description(run, tmp_path):
    """What was done stands in history and settings; the file is what the refined model gives."""
    pixels = np.random.default_rng(0).integers(0, 256, (66, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    assert run('upscale', tmp_path / 'a.png', '--self-ensemble', '--back-project', 2)[0] == 0
    described = json.loads((tmp_path / 'out/a.png.json').read_text())
    assert described['history'][1:3] == ['mean over 8 flips and turns', 'back-projection, 2 steps']
    assert (described['settings']['self_ensemble'], described['settings']['back_project']) == (True, 2)
    plain = tmp_path / 'plain'
    assert run('upscale', tmp_path / 'a.png', out=plain)[0] == 0
    assert 'self_ensemble' not in json.loads((plain / 'a.png.json').read_text())['settings']
    assert run('upscale', tmp_path / 'a.png', '--resume', out=plain)[1].startswith(described['model'])


def test_blended_weights_lie_between(tmp_path):
    """0 is the first model, 1 the second, and a quarter has the weights of a quarter; its name and hashes say so."""
    first, second = upscaler(2), upscaler(2)
    network = second.networks[0]
    other = jax.tree.map(lambda x: 0.5 * x + 0.1, network.variables)
    second = type(second)(
        second.description | {'name': 'other'}, (type(network)(network.description, network.generator, other),)
    )
    image = pictures(20, 20, 3)
    np.testing.assert_array_equal(interpolated(first, second, 0.0)(image), first(image))
    np.testing.assert_array_equal(interpolated(first, second, 1.0)(image), second(image))
    quarter = interpolated(first, second, 0.25)
    for value, a, b in zip(
        *(jax.tree.leaves(x) for x in (quarter.variables, first.variables, second.variables)), strict=True
    ):
        np.testing.assert_allclose(value, 0.75 * a + 0.25 * b, rtol=1e-6)
    assert quarter.name == 'tiny_x2 with 0.25 of other'
    paths = [str(saved(model, tmp_path / name)) for name, model in (('a', first), ('b', second))]
    chosen = choose_model('upscale', paths, None, 0.25)
    np.testing.assert_allclose(chosen(image), quarter(image), atol=1e-6)


def test_the_shipped_pair_is_blended():
    """Without --model the supervised network and the GAN that ship; other factors have no pair."""
    half = choose_model('upscale', [], None, 0.5)
    assert half.name == 'wdsr_x4 with 0.5 of wdsr_gan_x4'
    assert half.description['weights']['sha256'].count('+') == 1
    image = pictures(16, 16, 3)
    ends = [load_model(name)(image) for name in ('wdsr_x4', 'wdsr_gan_x4')]
    between = half(image)
    assert 0 < np.abs(between - ends[0]).mean() < np.abs(ends[1] - ends[0]).mean()
    with pytest.raises(UserError, match=r'--blend: no model wdsr_gan_x2 ships; --factor 4, or two models'):
        choose_model('upscale', [], 2, 0.5)
    with pytest.raises(UserError, match=r'--blend: 1 models are named; name two of one architecture'):
        choose_model('upscale', ['wdsr_x4'], None, 0.5)
    with pytest.raises(UserError, match=r'--blend: wdsr_x2 and wdsr_x4 are no two networks of one architecture'):
        choose_model('upscale', ['wdsr_x2', 'wdsr_x4'], None, 0.5)


def test_what_makes_no_sense_is_refused(run, one_line, models, tmp_path):
    """Each in one line that names the option and what would be right."""
    Image.fromarray(np.full((66, 70, 3), 90, np.uint8)).save(tmp_path / 'a.png')
    one_line('upscale', tmp_path / 'a.png', '--format', 'jpg', '--depth', 16, words=('jpg', '8 bits', '--depth'))
    one_line(
        'upscale', tmp_path / 'a.png', '--format', 'jpg', '--consistent', words=('jpg', '--consistent', '--depth 16')
    )
    one_line('upscale', tmp_path / 'a.png', '--trust', words=('tiny_x2', '--trust', 'measured'))
    with pytest.raises(UserError, match=r'--back-project: tiny_frames takes noise away'):
        refined(framer(), back_project=1)
    with pytest.raises(UserError, match='tiny_color: does not enlarge'):
        refined(colorizer(), self_ensemble=True)
    with pytest.raises(SystemExit):
        cli.main(['upscale', str(tmp_path / 'a.png'), '-o', str(tmp_path / 'o'), '--back-project', '21'])
    assert refined(upscaler(2)) is upscaler(2)
