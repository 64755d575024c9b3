"""What a network for frames does not explain: the input less its output, seen again as the telescope saw the sky."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_gan.files.fits import enlarged_header, open_writer

if TYPE_CHECKING:
    from astro_gan.inference.observed import Observed

FAINT = 10.0  # noise units: pixels that the chi-square counts, as brighter ones have more noise than the sky


def residual_path(target: Path) -> Path:
    """`m51.residual.fits` beside `m51.fits`."""
    return target.with_name(f'{target.name.removesuffix(target.suffix)}.residual.fits')


@dataclasses.dataclass(eq=False)
class Residual:
    """The input less the output seen again: what the network did not explain, written as a frame.

    Attributes:
        path: of the file.
        overwrite: replace one that is there.
        facts: gets 'chi_square', the mean square of the residual in units of the noise, over the pixels that the output
            has fainter than FAINT.
    """

    path: Path
    overwrite: bool
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, observed: Observed) -> Iterator[Callable[[np.ndarray], None]]:
        """Takes rows of the output through the PSF between the two, in noise units `[rows, W, planes]`."""
        data = observed.source.frame.data
        header = enlarged_header(observed.source.frame.header, 1, data.shape)
        header.add_history('the input less the enlarged frame, seen again through the PSF of the input')
        factor, top, total, count = observed.network.factor, 0, 0.0, 0
        with open_writer(self.path, data.shape, header, overwrite=self.overwrite) as write:

            def rows(again: np.ndarray) -> None:
                nonlocal top, total, count
                height, width, planes = again.shape
                again = again.reshape(height // factor, factor, width // factor, factor, planes).mean((1, 3))
                values, bad = observed.source.rows(top, len(again))
                residual = values - observed.to_data(again, top, 1)
                chi = residual / observed.noise(top, len(again))
                counted = np.isfinite(chi) & ~bad & (np.moveaxis(again, -1, 0) < FAINT)
                total += float(np.square(chi[counted], dtype=np.float64).sum())
                count += int(counted.sum())
                top += len(again)
                write(residual if data.ndim == 3 else residual[0])

            yield rows
            self.facts['chi_square'] = round(total / count, 4) if count else None
