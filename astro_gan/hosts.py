"""What several hosts have to agree on; one host agrees with itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from astro_gan.errors import UserError

T = TypeVar('T')


def gather(value: float) -> list[float]:
    """The number that each host gives, the same list on every host; all hosts have to call it."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    return [float(number) for number in multihost_utils.process_allgather(np.float32(value))]


def on_first(action: Callable[[], T]) -> T | None:
    """Do something on the first host alone, where its result comes back; all hosts wait for it.

    Raises:
        UserError: on the other hosts, when it failed on the first, which raises the error itself: all leave together.
    """
    result, error = None, None
    if jax.process_index() == 0:
        try:
            result = action()
        except Exception as failure:
            error = failure
    failed = max(gather(float(error is not None)))
    if error is not None:
        raise error
    if failed:
        raise UserError('the first host has stopped; its message says why')
    return result
