"""What every output says of itself: what made it, from what, and that it is not for photometry."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import astro_gan
from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.hashes import sha256_of
from astro_gan.files.paths import open_file, printable
from astro_gan.model import Model

NOTICE = 'generated detail: not for photometry'
SOFTWARE = f'astro_gan {astro_gan.__version__}'
# What lies at an output's place.
NOTHING, FINISHED, STALE, UNTOLD, OTHER = 'nothing', 'finished', 'stale', 'untold', 'other'
_LARGEST_SIDECAR = 2**20  # bytes


def describe(
    model: Model,
    source: str | os.PathLike[str],
    settings: dict[str, Any],
    *,
    notes: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """All that is known of an output, as JSON values; the same input, model and settings give the same.

    Args:
        model: that is applied.
        source: the input file.
        settings: that decide what the output is.
        notes: what a user should know of how the input was read.
        more: what else there is to say, such as the stretch of a FITS frame.
    """
    weights = model.description['weights']['sha256']
    return {
        'notice': NOTICE,
        'software': SOFTWARE,
        'task': model.task,
        'model': model.name,
        'weights_sha256': weights,
        'factor': model.factor,
        'input': {'file': os.path.basename(source), 'sha256': sha256_of(source)},
        'settings': settings,
        'notes': list(notes),
        'versions': versions(),
        'history': [
            f'{SOFTWARE}: {model.task}, enlarged {model.factor} times by {model.name}',
            *model.description.get('refined', []),
            f'weights SHA-256 {weights}',
            NOTICE,
        ],
        **more,
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {name: metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'numpy', 'pyvips')}


def sidecar(target: Path) -> Path:
    """Where the description of an output lies: `m51.png.json` beside `m51.png`."""
    name = os.fsencode(target.name)
    if len(name) <= 250:
        return target.with_name(f'{target.name}.json')
    mark = hashlib.sha256(name).hexdigest()[:8]
    return target.with_name(f'{name[:240].decode("ascii", "ignore")}-{mark}.json')


def seal(target: Path, made: dict[str, Any], written: Path) -> None:
    """Write the description of an output that is finished, and will take its name in a moment.

    In this order whatever a crash leaves can be told: a description with a hash that the output does not have, or
    without any, is that of an output which has not come.
    """
    text = json.dumps(made | {'output': _facts(written)}, indent=2, allow_nan=False)
    atomic.write(sidecar(target), text + '\n')


def seal_same(target: Path, made: dict[str, Any], written: Path) -> None:
    """As `seal`, where an output is that has no description.

    Raises:
        UserError: it is not the one that has been made, so it may be anybody's.
    """
    if sha256_of(target) != sha256_of(written):
        raise UserError(
            f'{printable(target)}: exists already without a description, and is not what is made of this input; '
            '--overwrite replaces it'
        )
    seal(target, made, written)


def state(target: Path, made: dict[str, Any]) -> str:
    """What lies at an output's place.

    Returns:
        NOTHING; FINISHED: an output that was made of the same input by the same model and settings, and is whole;
        STALE: the description of such an output, which itself is missing, cut or changed, or a description that was
        cut; UNTOLD: an output without a description, or with a cut one; OTHER: anything else.
    """
    there = os.path.lexists(target)
    if not os.path.lexists(sidecar(target)):
        return NOTHING if not there else UNTOLD if _size(target) else STALE
    found = _read(sidecar(target))
    if found is None:
        return OTHER
    if not found:
        return UNTOLD if there and _size(target) else STALE
    if any(found.get(key) != made[key] for key in ('task', 'model', 'weights_sha256', 'input', 'settings')):
        return OTHER
    return FINISHED if _size(target) and found.get('output') == _facts(target) else STALE


def _facts(path: Path) -> dict[str, Any]:
    return {'bytes': path.stat().st_size, 'sha256': sha256_of(path)}


def _size(path: Path) -> int:
    """Of a file; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def _read(path: Path) -> dict[str, Any] | None:
    """A description; {} if it was cut or emptied; None if the file is another's."""
    try:
        with open_file(path) as (file, _):
            data = file.read(_LARGEST_SIDECAR + 1)
    except UserError:
        return {} if path.is_file() and not _size(path) else None
    beginning = f'{{\n  "notice": "{NOTICE}"'.encode()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        cut = data.startswith(beginning) or beginning.startswith(data) or not data.strip(b'\0')
        return {} if cut else None
    return found if isinstance(found, dict) and found.get('notice') == NOTICE else None
