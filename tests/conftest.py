"""Two simulated devices, for every test: what runs on one only is a bug. Set before jax is imported.

The compiler keeps what it compiled for the next run.
"""

import functools
import gc
import os
import signal
from pathlib import Path

from tests.runs import compiler_flags, main_here

os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {compiler_flags(devices=2)}'
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUMPY_RANK_PROMOTION'] = 'raise'  # a shape that fits by chance is a bug that nobody sees
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(Path(__file__).parents[1] / '.pytest_cache' / 'jax'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import astro_gan  # noqa: F401, I001 (adds its flag of the compiler before JAX is imported)
import jax
import numpy as np
import pytest

# Where the parent ignores Ctrl-C (background jobs of a script) this process, and with it its children, would too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
LONGEST = ('test_colorization_runs.py', 'test_main.py', 'test_loop.py', 'test_campaigns.py')
REAL_DATA = ROOT.parent / 'shared' / 'data'
MOST_MEMORY = 3 * 2**30


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first: with several workers none of them is left over at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope='module', autouse=True)
def compiled_programs_are_dropped():
    """A worker that has grown beyond `MOST_MEMORY` lets its compiled programs go; the suite would take 10 GiB each."""
    yield
    pages = Path('/proc/self/statm')
    if pages.exists() and int(pages.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') > MOST_MEMORY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder of real images beside the project; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip('the real images are not beside this checkout')
    return REAL_DATA


@pytest.fixture(scope='session')
def hubble() -> np.ndarray:
    """The Hubble Deep Field, uint8 [872, 1000, 3]."""
    from skimage import data

    return data.hubble_deep_field()


@pytest.fixture(scope='session')
def smoke_run(tmp_path_factory):
    """`smoke_run(name)`: config name, workdir and standard output of the config's :smoke run, trained once."""

    @functools.cache
    def run(name: str) -> tuple[str, Path, str]:
        workdir = tmp_path_factory.mktemp(name)
        status, out, err = main_here(f'--config=configs/{name}.py:smoke', f'--workdir={workdir}')
        assert status == 0, err
        return name, workdir, out

    return run
