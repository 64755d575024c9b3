"""What every output says of itself: what made it, from what, and that it is not for photometry."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
from importlib import metadata
from pathlib import Path
from typing import Any

import astro_gan
from astro_gan.model import Model

NOTICE = 'generated detail: not for photometry'
SOFTWARE = f'astro_gan {astro_gan.__version__}'


def describe(model: Model, source: str | os.PathLike[str], settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """All that is known of an output, as JSON values; the same input, model and settings give the same.

    Args:
        model: that is applied.
        source: the input file.
        settings: that decide what the output is.
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
        'input': {'file': os.path.basename(source), 'sha256': file_hash(source)},
        'settings': settings,
        'versions': versions(),
        'history': [
            f'{SOFTWARE}: {model.task}, enlarged {model.factor} times by {model.name}',
            f'weights SHA-256 {weights}',
            NOTICE,
        ],
        **more,
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {name: metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'numpy', 'pyvips')}


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def sidecar(target: Path) -> Path:
    """Where the description of an output lies: `m51.png.json` beside `m51.png`."""
    return target.with_name(f'{target.name}.json')


def write_sidecar(target: Path, made: dict[str, Any]) -> None:
    """Write the description beside an output, whole or not at all."""
    path = sidecar(target)
    temporary = path.with_name(f'.{secrets.token_hex(8)}.json')
    try:
        temporary.write_text(json.dumps(made, indent=2) + '\n')
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_finished(target: Path, made: dict[str, Any]) -> bool:
    """Whether the output is there and was made from the same input by the same model and settings."""
    try:
        found = json.loads(sidecar(target).read_text())
    except (OSError, ValueError):
        return False
    same = ('task', 'model', 'weights_sha256', 'input', 'settings')
    return target.is_file() and isinstance(found, dict) and all(found.get(key) == made[key] for key in same)
