"""Two simulated devices, for every test: what runs on one only is a bug. Set before jax is imported.

The compiler does not optimize here, and keeps what it compiled for the next run: tests run tiny networks for a few
steps, and compiling would take most of their time.
"""

import os
from pathlib import Path

os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0'
)
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(Path(__file__).parents[1] / '.pytest_cache' / 'jax'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / 'shared' / 'data'


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
