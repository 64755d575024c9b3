"""Batches: the same for the same seed, however the work is cut up, resumed or stored."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from astro_gan.data import pipeline
from astro_gan.data.sources import Source

CROP = 24
QUIET = {'log': lambda line: None}


def make_source(count: int = 5, *, bad: tuple[int, ...] = (), size: int = 40) -> Source:
    """Pictures of noise of different shapes; the blue channel of number k is k."""
    shapes = [(size + 3 * k, size + 10 - k) for k in range(count)]

    def load(index: int) -> np.ndarray:
        if index in bad:
            raise ValueError(f'{index}.png: damaged')
        noise = np.random.default_rng(index).integers(0, 256, (*shapes[index], 3), np.uint8)
        noise[..., 2] = index
        return noise

    return Source('noise', tuple(f'{k}.png' for k in range(count)), tuple(shapes), load)


def batches(source: Source, steps: int, **options) -> list[dict[str, np.ndarray]]:
    options = {'batch_size': 4, 'crop_size': CROP, 'seed': 3, **QUIET, **options}
    return list(itertools.islice(pipeline.train_batches(source, **options), steps))


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def numbers(made) -> list[int]:
    """Which picture each sample is of."""
    return np.concatenate([batch['crop'][..., 0, 0, 2].ravel() for batch in made]).tolist()


def test_shapes_and_types():
    """Leading axis for devices, then samples."""
    (batch,) = batches(make_source(), 1, local_device_count=2)
    assert batch['crop'].shape == (2, 2, CROP, CROP, 3)
    assert batch['crop'].dtype == np.uint8


def test_two_runs_are_alike_and_two_seeds_are_not():
    """The seed decides everything."""
    first = batches(make_source(), 5)
    assert_same(first, batches(make_source(), 5))
    other = batches(make_source(), 5, seed=4)
    assert any((a['crop'] != b['crop']).any() for a, b in zip(first, other, strict=True))


def test_starting_late_equals_skipping():
    """A resumed run gets the batches that it would have got."""
    assert_same(batches(make_source(), 9)[6:], batches(make_source(), 3, start_step=6))
    late = batches(make_source(), 1, start_step=10**9)
    assert late[0]['crop'].shape == (1, 4, CROP, CROP, 3)


def test_two_processes_equal_two_devices():
    """Samples do not depend on how many processes make them."""
    whole = batches(make_source(), 4, local_device_count=2)
    parts = [batches(make_source(), 4, process_index=p, process_count=2) for p in range(2)]
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*parts, strict=True)]
    assert_same(whole, joined)


@pytest.mark.parametrize('bad', [(), (1, 2)])
@pytest.mark.parametrize('cache_bytes', [0, 12000])
def test_memory_and_disk_give_the_same_bits(bad, cache_bytes):
    """What fits into memory is a matter of speed alone, with unreadable pictures too."""
    source = make_source(bad=bad)
    assert_same(batches(source, 8), batches(source, 8, cache_bytes=cache_bytes))


def test_every_epoch_shows_every_picture_once():
    """Shuffled without repetition, differently in each epoch; one picture alone works too."""
    seen = np.array(numbers(batches(make_source(8), 12))).reshape(6, 8)
    assert (np.sort(seen, 1) == np.arange(8)).all()
    assert len({tuple(row) for row in seen}) > 3
    assert set(numbers(batches(make_source(1), 2))) == {0}


def test_crops_differ():
    """Crops of a picture are from anywhere in it."""
    samples = np.concatenate([batch['crop'][0] for batch in batches(make_source(1, size=200), 4)])
    assert len({sample.tobytes() for sample in samples}) == 16


def test_crops_are_pixels_of_the_picture():
    """A crop is an exact square of its picture."""
    source = make_source()
    picture = {k: source.load(k) for k in range(len(source))}
    for batch in batches(source, 2):
        for sample in batch['crop'][0]:
            whole = picture[int(sample[0, 0, 2])]
            windows = np.lib.stride_tricks.sliding_window_view(whole, sample.shape)[:, :, 0]
            assert (windows == sample).all((2, 3, 4)).any()


@pytest.mark.parametrize('cache_bytes', [0, 2**30])
def test_unreadable_pictures_are_replaced_and_named_once(cache_bytes):
    """A file that goes bad does not end a run of days; all files bad does."""
    lines: list[str] = []
    source = make_source(bad=(1, 2))
    made = batches(source, 10, cache_bytes=cache_bytes, log=lines.append)
    assert set(numbers(made)) == {0, 3, 4}
    assert [sum(f'{k}.png' in line for line in lines) for k in range(5)] == [0, 1, 1, 0, 0]
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match='none of its 2 pictures'):
        batches(make_source(2, bad=(0, 1)), 1, cache_bytes=cache_bytes)


def test_a_picture_of_another_size_counts_as_unreadable():
    """A file exchanged behind our back cannot shift every later picture in memory."""
    source = make_source(2)
    wrong = Source(source.name, source.ids, ((40, 50), (60, 60)), source.load)
    assert set(numbers(batches(wrong, 3))) == {0}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'batch_size': 10, 'process_count': 2, 'local_device_count': 4}, 'such as 8 or 16'),
        ({'batch_size': 3, 'local_device_count': 4}, 'such as 4'),
        ({'batch_size': 0}, 'such as 1'),
        ({'crop_size': 42}, '1 of 5 pictures are smaller than a crop of 42 pixels, such as 0.png'),
        ({'start_step': -1}, 'negative'),
        ({'process_index': 1}, 'not below process_count'),
    ],
)
def test_sizes_that_do_not_fit(options, message):
    """Said at once, in one line, with what would do."""
    with pytest.raises(ValueError, match=message):
        batches(make_source(), 1, **options)


def tiles(source: Source, **options) -> pipeline.EvalBatches:
    options = {'tile': CROP, 'batch_size': 4, **QUIET, **options}
    return pipeline.EvalBatches(source, **options)


def test_tiles_cover_each_picture_once_in_order():
    """Every whole tile of every picture, centred, once; padding is masked."""
    source = make_source(5)  # 40x50, 43x49, 46x48, 49x47, 52x46 pixels
    made = list(tiles(source))
    mask = np.concatenate([batch['mask'].ravel() for batch in made])
    index = np.concatenate([batch['index'].ravel() for batch in made])
    target = np.concatenate([batch['crop'][0] for batch in made])
    assert mask.tolist() == [1.0] * 10 + [0.0] * 2
    assert index.tolist() == [*range(10), -1, -1]
    assert index.dtype == np.int32
    assert target[:10, 0, 0, 2].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    np.testing.assert_array_equal(target[0], source.load(0)[8:32, 1:25])
    assert tiles(source).names[:2] == ('0.png at 8,1', '0.png at 8,25')


def test_evaluation_repeats(monkeypatch):
    """A second pass equals the first, with tiles kept in memory and without."""
    source = tiles(make_source())
    first = list(source)
    assert len(first) == len(source)
    assert_same(first, list(source))
    monkeypatch.setattr(pipeline, '_KEPT_TILE_BYTES', 0)
    streamed = tiles(make_source())
    assert_same(first, list(streamed))
    assert_same(first, list(streamed))


def test_evaluation_can_be_left_early(monkeypatch):
    """Taking one batch for sample pictures leaves nothing running and spoils no later pass."""
    monkeypatch.setattr(pipeline, '_KEPT_TILE_BYTES', 0)
    source = tiles(make_source())
    first = next(iter(source))
    assert_same([first], list(source)[:1])


@pytest.mark.parametrize('count', [1, 2, 5])
def test_processes_share_the_tiles(count):
    """Every process has the same number of batches, and together they have every tile once."""
    parts = [list(tiles(make_source(count), process_index=p, process_count=2)) for p in range(2)]
    assert len(parts[0]) == len(parts[1])
    whole = list(tiles(make_source(count), local_device_count=2))
    joined = [{name: np.concatenate([a[name], b[name]]) for name in a} for a, b in zip(*parts, strict=True)]
    assert_same(whole, joined)


def test_tiles_of_unreadable_and_small_pictures():
    """Neither stops an evaluation; both are named; nothing left at all is an error."""
    lines: list[str] = []
    made = list(tiles(make_source(5, bad=(1,)), log=lines.append))
    mask = np.concatenate([batch['mask'].ravel() for batch in made])
    assert mask.tolist() == [1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert sum('1.png' in line for line in lines) == 1
    large = tiles(make_source(5), tile=45, log=lines.append)
    assert len(large.names) == 3
    assert 'left out: 0.png, 1.png' in lines[-1]
    with pytest.raises(ValueError, match='all 5 pictures of noise are smaller than a tile of 99'):
        tiles(make_source(), tile=99)


def test_few_tiles_per_image_are_spread():
    """A limit takes tiles from all over the picture."""
    source = make_source(1, size=100)  # 100x110 pixels: 4 rows of 4 tiles
    names = tiles(source, maximum_tiles_per_image=4).names
    assert [name.split(' at ')[1] for name in names] == ['2,55', '26,55', '50,55', '74,55']
    for no_limit in (99, 0, None):
        assert len(tiles(source, maximum_tiles_per_image=no_limit).names) == 16
