"""What a frame is, whatever file it comes from: data values, bad pixels, header."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
from astropy.io import fits

from astro_gan.files import fill
from astro_gan.files.fits_units import Refused

_SAMPLE = 1_000_000  # values from which limits are found
_CHUNK_VALUES = 1 << 20
Chunks = Callable[[], Iterator[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image with data values.

    `data` `[H, W]`, or `[3, H, W]` for red, green and blue: floats of 32 or 64 bits, where they are large a map of a
    file, in its byte order, so convert the windows taken from it, `np.asarray(data[..., rows, columns], np.float32)`.
    Rows in FITS order: the first is the bottom of the picture, unless the header says `ROWORDER = 'TOP-DOWN'`. Pixels
    without a number are NaN.
    `bad`: bool `[H, W]`, pixels flagged by the file's data quality extension, None where there are none. Pixels that
    are NaN or infinite are not looked for.
    `header`: of the image's extension, with the primary header's cards that it lacks; of two axes.
    `hdu`: which extension that is, for messages: 'SCI,1' or '0'.
    `notes`: lines that a user should see.
    `display`: whether the values are what a screen shows, 0 black and 1 white, as in pictures.
    """

    data: np.ndarray
    bad: np.ndarray | None
    header: fits.Header
    hdu: str
    notes: tuple[str, ...] = ()
    display: bool = False

    @property
    def planes(self) -> int:
        """1, or 3 for colour."""
        return 1 if self.data.ndim == 2 else self.data.shape[0]

    @property
    def height(self) -> int:
        return self.data.shape[-2]

    @property
    def width(self) -> int:
        return self.data.shape[-1]

    @property
    def first_row_is_top(self) -> bool:
        """Whether the header says so; the standard has no word for it, and by custom the first row is the bottom."""
        return str(self.header.get('ROWORDER', '')).strip().upper() == 'TOP-DOWN'


@np.errstate(over='ignore', invalid='ignore')  # conversions of NaN that signal, and values beyond float32
def without_fills(
    data: np.ndarray, *, blank: float | None = None, chunks: Chunks | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Data with NaN where a value stands for "no number" (see `fill`), and a line that says how many.

    Args:
        data: of any shape; changed in place where its rows lie one after the other.
        blank: the header's BLANK.
        chunks: gives all values, some rows `[n, W]` at a time, for data that should not be touched in passing (a map of
            a file counts as memory once it has been). None: from `data`.
    """
    if not data.flags.c_contiguous:  # its rows would be copies
        data = np.array(data, order='C')
    rows = data.reshape(-1, data.shape[-1])
    chunks = chunks or (lambda: row_chunks(rows))
    step = max(1, math.ceil(math.sqrt(data.size / _SAMPLE)))
    first, samples = 0, []
    lowest, highest = math.inf, -math.inf
    for chunk in chunks():
        samples.append(chunk[-first % step :: step, ::step].ravel())
        first += len(chunk)
        low, high = float(chunk.min()), float(chunk.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = chunk[np.isfinite(chunk)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.inf, -math.inf)
        lowest, highest = min(lowest, low), max(highest, high)
    limits = fill.find_limits(np.concatenate([*samples, [lowest, highest]]), blank)
    if limits is None or not limits.reached(lowest, highest):
        return data, ()
    fills = fill.count_fills(chunks(), limits)
    if not fills:
        return data, ()
    for part in row_chunks(rows):
        part[np.isin(part, np.array(list(fills)))] = np.nan
    return data, (fill.describe(fills, limits),)


def check_pixels(height: int, width: int, most: int | None, where: str = '') -> None:
    """Refuse an image of more pixels than are allowed."""
    if most is not None and height * width > most:
        raise Refused(
            f'{where}{width}x{height} pixels are more than the {most / 1e6:.0f} megapixels that are read; '
            f'--max-megapixels {height * width // 10**6 + 1} reads it all the same'
        )


def within_display(data: np.ndarray) -> bool:
    """Whether all numbers of an image `[..., W]` lie in [0, 1]: by the formats' convention black and white."""
    with np.errstate(invalid='ignore'):
        return not any(((chunk < 0) | (chunk > 1)).any() for chunk in row_chunks(data.reshape(-1, data.shape[-1])))


def display_note(display: bool) -> str:
    return 'values in [0, 1], taken as they are' if display else 'values beyond [0, 1], stretched and taken back'


def row_chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Views of some rows of `[N, W]` at a time."""
    step = max(1, _CHUNK_VALUES // rows.shape[-1])
    for top in range(0, len(rows), step):
        yield rows[top : top + step]


def mosaic_pattern(header: fits.Header) -> str | None:
    """The colour filters before the pixels ('RGGB') where a header says that there are some; None for gray sensors."""
    for keyword in ('BAYERPAT', 'CFAPAT', 'COLORTYP'):
        if keyword in header:
            pattern = str(header[keyword]).strip().upper()
            return None if pattern in ('', '0', 'FALSE', 'NONE', 'MONO', 'MONOCHROME', 'GRAY', 'GREY') else pattern
    return 'colour filter' if any(key in header for key in ('XBAYROFF', 'YBAYROFF', 'BAYOFFX', 'BAYOFFY')) else None
