"""What a network for frames does not explain: the input less its output, seen again as the telescope saw the sky."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_gan.files.fits import enlarged_header, open_writer
from astro_gan.files.paths import printable

if TYPE_CHECKING:
    from astro_gan.inference.observed import Observed

FAINT = 10.0  # noise units: pixels that the chi-square counts, as brighter ones have more noise than the sky
LARGE = 5.0  # noise units


def residual_path(target: Path) -> Path:
    """`m51.residual.fits` beside `m51.fits`."""
    return target.with_name(f'{target.name.removesuffix(target.suffix)}.residual.fits')


@dataclasses.dataclass(eq=False)
class Residual:
    """The input less the output seen again: what the network did not explain, written as a frame.

    Attributes:
        path: of the file.
        overwrite: replace one that is there.
        log: is told what they are.
        facts: of the pixels that the output has fainter than FAINT, 'beyond' gets the share whose residual is more than
            LARGE times the noise (cosmic rays, and what the network took away), and 'chi_square' the mean square of the
            others' in units of the noise: 1 where nothing but noise is left.
    """

    path: Path
    overwrite: bool
    log: Callable[[str], None] = print
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, observed: Observed) -> Iterator[Callable[[np.ndarray], None]]:
        """Takes rows of the residual in noise units, `[planes, rows, w]`; what is not usable is NaN in the file."""
        data = observed.source.frame.data
        header = enlarged_header(observed.source.frame.header, 1, data.shape)
        header.add_history('the input less the enlarged frame, seen again through the PSF of the input')
        top, total, count, beyond = 0, 0.0, 0, 0
        with open_writer(self.path, data.shape, header, overwrite=self.overwrite) as write:

            def rows(chi: np.ndarray) -> None:
                nonlocal top, total, count, beyond
                z, usable = observed.noise_units(top, chi.shape[1])
                counted = usable & (z - chi < FAINT)
                small = counted & (np.abs(chi) < LARGE)
                total += float(np.square(chi[small], dtype=np.float64).sum())
                count += int(small.sum())
                beyond += int(counted.sum()) - int(small.sum())
                values = observed.to_data(np.moveaxis(np.where(usable, chi, np.nan), 0, -1), top, 1, sky=False)
                top += chi.shape[1]
                write(values if data.ndim == 3 else values[0])

            yield rows
            if count:
                share = beyond / (beyond + count)
                self.facts |= {'chi_square': round(total / count, 4), 'beyond': float(f'{share:.3g}')}
                self.log(
                    f'{printable(self.path)}: chi-square {total / count:.3f} per pixel where it is dark; a share of '
                    f'{share:.2g} of the pixels differs by more than {LARGE:g} times the noise'
                )
