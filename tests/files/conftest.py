"""A frame that the tests of files share."""

import numpy as np
import pytest


@pytest.fixture
def pixels() -> np.ndarray:
    """A float32 frame, 30 high and 40 wide, with a NaN and an infinite pixel."""
    data = np.random.default_rng(0).normal(10, 3, (30, 40)).astype(np.float32)
    data[3, 4], data[5, 6] = np.nan, np.inf
    return data
