"""How much memory a file will take, told from its size before the work begins."""

from __future__ import annotations

from typing import Any

from astro_gan.files import memory
from astro_gan.inference.render import TILES, working_size
from astro_gan.inference.settings import Settings
from astro_gan.inference.tiling import SMALLEST_TILE, STRIP_BYTES
from astro_gan.model import Model

_ALWAYS = 200 << 20  # bytes: networks, a window, buffers of the writer
_STRIPS = 3  # of output that are there at once, with what is made of them
_COPY = 16  # bytes per pixel of the copy that is coloured
_REDUCED = 512  # rows that are reduced at a time


def require_memory(model: Model, source: Any, settings: Settings) -> None:
    """Go on only where a file's strips, and the copy on which it is coloured, find room: about, from measurements.

    Raises:
        UserError: they do not: a reason with what would take less.
    """
    height, width, factor, first = source.height, source.width, model.factor, model.networks[0]
    row = 4 * 3 * factor**2 * width
    rows = min(height, settings.tile or TILES['cpu'], max(SMALLEST_TILE, STRIP_BYTES // row))
    needed = _ALWAYS + _STRIPS * rows * row
    way_out = '--tile 64 needs less' if rows > 64 else 'cut it into narrower parts'
    if first.colorizes:
        reduction = settings.reduction or first.reduction
        copy_height, copy_width = working_size(height, width, reduction, first.smallest)
        copy = _COPY * copy_height * copy_width + 12 * min(height, _REDUCED) * width
        if copy > needed:
            way_out = f'--reduction {2 * reduction} needs less'
        needed += copy
    memory.require(needed, way_out)
