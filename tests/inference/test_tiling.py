"""Tiles give what the whole image gives, at any size, on all devices, and when memory runs out."""

import jax
import numpy as np
import pytest

from astro_gan.errors import UserError
from astro_gan.inference import tiling
from astro_gan.inference.render import ArraySource, halo, render
from tests.networks import pictures
from tests.small_models import upscaler

CASES = [
    ('wdsr', {'variant': 'a'}),
    ('wdsr', {'variant': 'b', 'back_projection': True}),
    ('edsr', {'back_projection': True}),
    ('srresnet', {}),
]


@pytest.mark.parametrize('size', [(1, 1), (16, 40), (33, 47), (64, 17)])
def test_windows_cover_everything_once(size):
    """Whatever the sizes, every pixel belongs to one tile, and windows have one shape and their halo."""
    for length in size:
        spans = tiling.spans(length, 26, 5)
        covered = np.concatenate([np.arange(s.start, s.stop) for s in spans])
        np.testing.assert_array_equal(covered, np.arange(length))
        assert len({s.size for s in spans}) == 1
        for s in spans:
            assert s.window <= max(0, s.start - 5)
            assert s.window + s.size >= min(length, s.stop + 5)
            assert s.window >= 0
            assert s.window + s.size <= length


@pytest.mark.parametrize(
    ('generator', 'fields', 'factor'),
    [(*case, factor) for case in CASES for factor in (2, 3)] + [('growing_edsr', {}, 8)],
)
def test_radius_is_the_receptive_field(generator, fields, factor):
    """A changed input pixel changes nothing beyond the radius, and something at its edge (so the halo is no guess)."""
    model = upscaler(factor, generator, **fields)
    radius = halo(model.networks)
    size = 2 * radius + 9
    image = pictures(1, size, size, 3)
    middle = size // 2
    changed = image.copy()
    changed[:, middle, middle] += 0.7
    before, after = (np.asarray(model.forward(model.variables, x)) for x in (image, changed))
    rows = np.nonzero(np.abs(before - after).max((0, 2, 3)) > 0)[0]
    first, last = middle - rows.min() / factor, (rows.max() + 1) / factor - (middle + 1)
    assert max(first, last) <= radius
    assert max(first, last) > radius - 1.5


@pytest.mark.parametrize(('generator', 'fields'), CASES)
def test_tiled_equals_untiled(generator, fields):
    """The same values with and without tiles, at sizes that no tile divides, borders included."""
    model = upscaler(2, generator, **fields)
    for height, width in ((37, 53), (20, 81)):
        image = pictures(1, height, width, 3)
        whole = np.asarray(model.forward(model.variables, image))[0]
        tiled = np.concatenate(list(render(model.networks, ArraySource(image[0]), tile=19)))
        np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_chain_tiled_equals_untiled():
    """Two networks one after the other (x2, then x3) need a halo of both."""
    first, second = upscaler(2), upscaler(3)
    networks = first.networks + second.networks
    image = pictures(1, 41, 30, 3)
    whole = second.forward(second.variables, first.forward(first.variables, image))
    tiled = np.concatenate(list(render(networks, ArraySource(image[0]), tile=16)))
    assert tiled.shape == (246, 180, 3)
    np.testing.assert_allclose(tiled, np.asarray(whole)[0], atol=1e-5)


def test_all_devices_work():
    """Tiles go to both simulated devices, and an odd last tile is filled up and dropped."""
    seen = []

    def forward(scale, images):
        seen.append(images.shape)
        return images * scale

    apply, batch = tiling.on_devices(forward, np.float32(3))
    assert batch == 2
    for count in (1, 2):
        images = pictures(count, 4, 5, 1)
        np.testing.assert_allclose(apply(images), 3 * images, rtol=1e-6)
    assert seen == [(1, 4, 5, 1)]  # one image a device, traced once


def test_out_of_memory_shrinks_the_tile_and_goes_on():
    """A device that takes no window larger than 40 pixels still gives the whole picture, once and in order."""
    image = pictures(70, 90, 1)
    lines = []

    def apply(images):
        if images.shape[1] > 40:
            raise MemoryError('RESOURCE_EXHAUSTED: out of memory')
        return images.repeat(2, axis=1).repeat(2, axis=2)

    source = ArraySource(image)
    strips = tiling.strips(apply, source.read, 70, 90, factor=2, halo=3, tile=64, log=lines.append)
    np.testing.assert_array_equal(np.concatenate(list(strips)), image.repeat(2, axis=0).repeat(2, axis=1))
    assert lines == ['out of device memory; going on with tiles of 32 pixels']


def test_out_of_memory_for_the_smallest_tile_is_an_error():
    """Shrinking ends somewhere; other errors are not taken for a want of memory."""

    def apply(images):
        raise MemoryError

    source = ArraySource(pictures(70, 90, 1))
    with pytest.raises(MemoryError):
        list(tiling.strips(apply, source.read, 70, 90, factor=2, halo=3, tile=64, log=lambda line: None))


def test_blending_leaves_no_seam():
    """A linear ramp comes back through overlapping windows as it was, and a window's own offset fades over smoothly."""
    size = (100, 230)
    ramp = np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(*size, 1)
    source = ArraySource(ramp)
    options = {'channels': 1, 'window': 64, 'context': 8}
    np.testing.assert_allclose(tiling.blended(lambda x: x, source.read, *size, **options), ramp, atol=1e-6)
    count = iter(range(100))
    offset = tiling.blended(lambda x: 0 * x + next(count), source.read, *size, **options)
    steps = np.abs(np.diff(offset[..., 0], axis=1)).max()
    assert offset.max() > 3
    assert steps < 0.2  # windows side by side differ by 1


def test_small_image_is_one_window():
    """An image no larger than the window is what the network makes of the whole: nothing is blended."""
    image = pictures(40, 64, 1)
    shapes = []

    def apply(images):
        shapes.append(images.shape)
        return images**2

    result = tiling.blended(apply, ArraySource(image).read, 40, 64, channels=1, window=64, context=8)
    np.testing.assert_array_equal(result, image**2)
    assert shapes == [(1, 40, 64, 1)]


def test_very_wide_images_get_flat_tiles(monkeypatch):
    """No strip of output is larger than the limit, however wide the image; what comes out is the same."""
    image = pictures(40, 900, 1)
    source = ArraySource(image)

    def strips():
        return list(
            tiling.strips(lambda x: x.repeat(2, 1).repeat(2, 2), source.read, 40, 900, factor=2, halo=1, tile=64)
        )

    whole = strips()
    monkeypatch.setattr(tiling, 'STRIP_BYTES', 16 * 4 * 3 * 4 * 900)
    flat = strips()
    assert [len(strip) for strip in whole] == [80]
    assert [len(strip) for strip in flat] == [32, 32, 16]
    np.testing.assert_array_equal(np.concatenate(flat), whole[0])


def test_compiled_networks_do_not_pile_up(monkeypatch):
    """The oldest of many shapes are forgotten (ten megabytes each), the results stay right, and so does all that a
    caller has compiled."""
    monkeypatch.setattr(tiling, '_MOST_SHAPES', 2)
    compiled, callers = [], []
    mine = jax.jit(lambda x: callers.append(x.shape) or x + 1)
    mine(np.float32(1))
    compile = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, 'compile', lambda self: compiled.append(size) or compile(self))
    apply, _ = tiling.on_devices(lambda scale, images: images * scale, np.float32(2))
    for size in (3, 4, 5, 5, 4, 3):
        image = pictures(1, size, size, 1)
        np.testing.assert_array_equal(apply(image), 2 * image)
    assert compiled == [3, 4, 5, 3]
    assert mine(np.float32(2)) == 3
    assert len(callers) == 1


def test_many_sizes_share_a_few_windows():
    """A hundred small sizes are computed in a handful of shapes, each within its image; large ones in one."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(64, 900, (100, 2)).tolist()
    shapes = {tiling.window_shape(height, width, 256, 22) for height, width in sizes}
    assert len(shapes) <= 6
    for height, width in sizes:
        window = tiling.window_shape(height, width, 256, 22)
        assert window[0] <= height
        assert window[1] <= width
    assert tiling.window_shape(300, 5000, 256, 22) == (300, 300)
    assert tiling.window_shape(64, 64, 256, 22) == (64, 64)
    assert tiling.window_shape(40, 500, 256, 22) == (40, 300)


@pytest.mark.parametrize('size', [(64, 64), (65, 97), (90, 131), (127, 300), (70, 299)])
def test_small_images_equal_the_whole(size):
    """Overlapping windows of a shared shape give what the network makes of the whole small image, rim included."""
    model = upscaler(2, 'wdsr', variant='b', back_projection=True)
    image = pictures(1, *size, 3)
    whole = np.asarray(model.forward(model.variables, image))[0]
    tiled = np.concatenate(list(render(model.networks, ArraySource(image[0]))))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize('tile', [0, -3, 2.5, '64'])
def test_a_tile_that_is_none_is_refused(tile):
    """A tile below 1, or no whole number, is a line of words and not a loop without end."""
    with pytest.raises(UserError, match=r'tile .*: must be a whole number of pixels, 1 or more'):
        upscaler(2)(pictures(20, 20, 3), tile=tile)
