"""Compiled networks on disk: loaded again at the next start, never stale, never damaged."""

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from astro_gan.inference import compiled, tiling
from tests.networks import pictures


@pytest.fixture
def compilations(monkeypatch, tmp_path):
    """The folder, and a list that grows with every compilation."""
    done = []
    compile = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, 'compile', lambda self: done.append(1) or compile(self))
    monkeypatch.setattr(compiled, '_folder', None)
    compiled.keep_in(tmp_path / 'kept')
    before = jax.config.jax_compilation_cache_dir
    jax.config.update('jax_compilation_cache_dir', None)
    compilation_cache.reset_cache()
    yield tmp_path / 'kept', done
    jax.config.update('jax_compilation_cache_dir', before)
    compilation_cache.reset_cache()


def enlarge(scale, images):
    return scale * images.repeat(2, axis=1).repeat(2, axis=2)


def start(key, scale=3):
    """A network as a new process has it, on a picture."""
    apply, _ = tiling.on_devices(enlarge, np.float32(scale), key)
    return apply(pictures(2, 8, 9, 3))


def test_the_next_start_compiles_nothing(compilations):
    """What was compiled is loaded, with other weights too, on all devices; another key or none is compiled."""
    folder, done = compilations
    expected = pictures(2, 8, 9, 3).repeat(2, axis=1).repeat(2, axis=2)
    for scale in (3, 3, 5):
        np.testing.assert_array_equal(start('a', scale), np.float32(scale) * expected)
    assert (len(done), len(list(folder.iterdir()))) == (1, 1)
    start('b')
    assert (len(done), len(list(folder.iterdir()))) == (2, 2)
    start('')
    start('')
    assert (len(done), len(list(folder.iterdir()))) == (4, 2)


def test_damaged_entries_are_made_anew(compilations):
    """An entry with a flipped bit, cut or emptied is never run: it is compiled and replaced, without a word."""
    folder, done = compilations
    expected = start('a')
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for count, data in enumerate((bytes(flipped), whole[:1000], b'', b'no such thing'), 2):
        path.write_bytes(data)
        np.testing.assert_array_equal(start('a'), expected)
        assert len(done) == count
        np.testing.assert_array_equal(start('a'), expected)
        assert len(done) == count


def test_other_code_and_settings_are_compiled_anew(compilations, monkeypatch):
    """The same key under other settings of JAX or XLA, or with other source code, is another function."""
    _, done = compilations
    start('a')
    for change in (
        lambda: monkeypatch.setenv('XLA_ANYTHING', '1'),
        lambda: monkeypatch.setattr(compiled, '_processor', str),
    ):
        change()
        compiled._surroundings.cache_clear()
        start('a')
    assert len(done) == 3
    compiled._surroundings.cache_clear()


def test_the_folder_stays_small(compilations, monkeypatch):
    """The oldest entries go."""
    folder, _ = compilations
    monkeypatch.setattr(compiled, '_MOST_ENTRIES', 2)
    for key in 'abc':
        start(key)
    assert len(list(folder.iterdir())) == 2


def test_a_full_disk_is_no_matter(compilations, monkeypatch):
    """Where nothing can be written any more the result is the same."""

    def full(path, data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(compiled.atomic, 'write', full)
    assert start('a').shape == (2, 16, 18, 3)
