"""What a report shows of an audit: pictures of bounded size as data URIs, a histogram, the sources that matter most."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from astro_gan.audit.auditor import Audit, without_counterpart
from astro_gan.audit.files import LIMIT, bottom_first, colored, origin_picture, thumbnail
from astro_gan.audit.planes import Plane
from astro_gan.audit.reobserve import columns, row_of

PICTURE, MAP = 1400, 900  # pixels on a side at most
CROPS, CROP = 8, 24  # how many sources are shown closely, and pixels of the input around each
LISTED, MARKED = 200, 1500  # sources in the table; circles on the picture
_ROWS = 256


def views(found: Audit) -> dict[str, Any]:
    """Pictures and lists of one audit, as the template of the report takes them."""
    pair = found.pair
    height, width = pair.input.shape
    first, last, (left, right) = row_of(pair, 0), row_of(pair, height), columns(pair)
    flip = bottom_first(pair.after)
    after = _picture(pair.after, first, last - first, left, right)
    before = _picture(pair.before, pair.corner[0], height, pair.corner[1], pair.corner[1] + width)
    size = (after.shape[1], after.shape[0])
    before = np.asarray(Image.fromarray(before).resize(size, Image.Resampling.BICUBIC))
    turned = slice(None, None, -1 if flip else 1)
    table = found.sources
    lonely = without_counterpart(table)
    shape = (last - first, right - left)
    rank = np.lexsort(
        (-table['height'], -(2.0 * lonely + (table['kind'] == 'lost') + 0.5 * (table['kind'] == 'added')))
    )
    marks = [
        {
            'x': round(float(table['x'][i]) - left + 0.5, 1),
            'y': round(float(shape[0] - (table['y'][i] - first) - 0.5 if flip else table['y'][i] - first + 0.5), 1),
            'kind': 'lonely' if lonely[i] else 'lost',
        }
        for i in rank[:MARKED]
        if lonely[i] or table['kind'][i] == 'lost'
    ]
    return {
        'before': _jpeg(before[turned]),
        'after': _jpeg(after[turned]),
        'size': size,
        'shape': shape,
        'radius': round(max(shape) / 110, 1),
        'marks': marks,
        'maps': [
            ('The output at the size of the input, less the input', _png(_map(found.residual)[turned])),
            (
                'The output less the bicubically enlarged input',
                _png(_map(found.detail[first:last, left:right])[turned]),
            ),
        ],
        'origin': None if found.origin is None else _png(origin_picture(thumbnail(found.origin, MAP))[turned]),
        'limit': LIMIT,
        'histogram': histogram(found.residual),
        'crops': [_crop(found, int(i), turned) for i in rank[:CROPS] if lonely[i]],
        'listed': [
            {name: values[i].item() for name, values in table.items()} | {'lonely': bool(lonely[i])}
            for i in rank[:LISTED]
        ],
        'unlisted': max(0, len(rank) - LISTED),
    }


def _map(values: np.ndarray) -> np.ndarray:
    return colored(thumbnail(values, MAP))


def _picture(plane: Plane, top: int, count: int, left: int, right: int) -> np.ndarray:
    """A part of a plane as a screen shows it, uint8 `[h, w, 3]`, made smaller by whole pixels."""
    step = max(1, math.ceil(max(count, right - left) / PICTURE))
    rows = max(1, _ROWS // step) * step
    parts = []
    for first in range(top, top + count // step * step, rows):
        last = min(first + rows, top + count // step * step)
        part = plane.shown(first, last - first)[:, left : left + (right - left) // step * step]
        h, w, bands = part.shape
        parts.append(part.reshape(h // step, step, w // step, step, bands).mean((1, 3)))
    levels = np.round(255 * np.clip(np.concatenate(parts), 0, 1)).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:2], 3))


def _crop(found: Audit, index: int, turned: slice) -> dict[str, Any]:
    """A source closely: input, output, added detail."""
    pair, table = found.pair, found.sources
    here = np.array([table['y'][index], table['x'][index]])
    factor = pair.alignment.factor
    size = min(round(CROP * factor), pair.after.height, pair.after.width)
    y, x = (
        int(np.clip(round(at) - size // 2, 0, n - size))
        for at, n in zip(here, (pair.after.height, pair.after.width), strict=True)
    )
    after = pair.after.shown(y, size)[:, x : x + size]
    corners = pair.alignment.to_input(np.array([(y - 0.5, x - 0.5), (y + size - 0.5, x + size - 0.5)])) + 0.5
    (top, left), (bottom, right) = corners
    first, last = max(0, math.floor(top)), min(pair.input.shape[0], math.ceil(bottom))
    before = pair.before.shown(first + pair.corner[0], last - first)
    before = before[:, pair.corner[1] : pair.corner[1] + pair.input.shape[1]]
    box = (max(0.0, left), max(0.0, top - first), min(right, before.shape[1]), min(bottom - first, last - first))
    pictures = [
        np.stack([_resized(before[..., c], box, size) for c in range(before.shape[-1])], -1),
        after,
    ]
    both = [np.round(255 * np.clip(np.broadcast_to(p, (size, size, 3)), 0, 1)).astype(np.uint8) for p in pictures]
    detail = colored(np.asarray(found.detail[y : y + size, x : x + size]))
    facts = {name: table[name][index].item() for name in ('x', 'y', 'snr_in_input', 'height')}
    return facts | {'pictures': [_png(picture[turned]) for picture in (*both, detail)]}


def _resized(plane: np.ndarray, box: tuple[float, ...], size: int) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST, box=box))  # type: ignore[arg-type]


def histogram(residual: np.ndarray, bins: int = 60, limit: float = 6.0) -> dict[str, Any]:
    """Shares of the pixels in bins of the residual, and what noise alone would give: points of an SVG of 600 x 200."""
    edges = np.linspace(-limit, limit, bins + 1)
    counts, outside, total = np.zeros(bins), 0, 0
    for top in range(0, len(residual), 1024):
        values = np.asarray(residual[top : top + 1024])
        values = values[np.isfinite(values)]
        counts += np.histogram(values, edges)[0]
        outside += int((np.abs(values) > limit).sum())
        total += values.size
    shares = counts / max(total, 1)
    centres = (edges[1:] + edges[:-1]) / 2
    noise = np.exp(-np.square(centres) / 2) / math.sqrt(2 * math.pi) * (edges[1] - edges[0])

    # Logarithmic: what is rare is what matters.
    def y(share: np.ndarray) -> np.ndarray:
        return np.clip(200 + 200 * (np.log10(np.maximum(share, 1e-9)) + 0) / 6, 0, 200)

    bars = [
        {'x': round(10 * i, 1), 'height': round(float(h), 1)} for i, h in enumerate(y(shares) * (shares > 0)) if h > 0
    ]
    line = ' '.join(f'{10 * i + 5:.0f},{200 - v:.1f}' for i, v in enumerate(y(noise)) if v > 0)
    return {'bars': bars, 'noise': line, 'limit': limit, 'outside': outside, 'pixels': total}


def _jpeg(picture: np.ndarray) -> str:
    return _uri(picture, 'JPEG', quality=88)


def _png(picture: np.ndarray) -> str:
    return _uri(picture, 'PNG', optimize=True)


def _uri(picture: np.ndarray, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, kind, **options)
    return f'data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}'
