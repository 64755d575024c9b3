"""Whose a workdir is, and under what its run began: one training at a time, one config, the same pictures."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from astro_gan.errors import UserError
from astro_gan.files import atomic, locks

# What decides the shape of a run's checkpoints or the meaning of its numbers; the rest may change when a run goes on.
FIXED = ('task', 'factor', 'generator', 'discriminator', 'dataset', 'supervised.best_metric', 'adversarial.best_metric')
FREE = ('dataset.data_dir', 'dataset.cache_mib', 'dataset.eval_batch_size', 'dataset.crop_size')
PACKAGES = ('astro_gan', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'tensorflow', 'tensorflow-cpu', 'pillow')


class Pictures(Protocol):
    """What `data.sources.Source` has of this."""

    ids: Sequence[str]
    sizes: Sequence[tuple[int, int]]


def flatten(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested settings -> {'dataset.name': value}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f'{prefix}{key}.') if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def begun(workdir: Path) -> bool:
    """Whether a run has a checkpoint there; before its first one a run may still become another."""
    return any(path.name.isdigit() for path in workdir.glob('checkpoints/*/*'))  # not one that is kept aside


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Make `workdir`, keep a second training out of it, and remove what killed ones have left half written.

    Raises:
        UserError: another training holds it, or it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = locks.only_one(
            workdir / '.lock', f'{workdir}: another training is running there; choose another --workdir'
        )
        with lock:
            for folder in (workdir, workdir / 'samples'):
                atomic.remove_stale(folder)
            yield
    except OSError as error:
        if error.filename is None or Path(error.filename) not in (workdir, workdir / '.lock', *workdir.parents):
            raise
        raise UserError(f'{workdir}: cannot be written ({error.strerror}); choose another --workdir') from error


def claim(workdir: Path, settings: Mapping[str, Any], *, write: bool) -> list[str]:
    """See that `workdir` belongs to these settings, and (`write`) keep them in its config.json.

    Returns:
        Lines that name settings changed since the run began.

    Raises:
        UserError: the workdir holds the run of another config.
        OSError: the workdir cannot be written.
    """
    path = workdir / 'config.json'
    lines = []
    if begun(workdir) and path.exists():
        old, new = flatten(_read(path)), flatten(settings)
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) == new.get(name) or (name not in old and not new[name]):
                continue  # a setting that is newer than the run, and off, changes nothing
            change = f'config.{name} is {new.get(name)!r}, and was {old.get(name)!r}'
            if not write and name.startswith('dataset'):
                continue  # a trained network may be measured on other pictures
            if name.startswith(FIXED) and name not in FREE:
                raise UserError(f'{workdir} holds the run of another config: {change}; choose another --workdir')
            lines.append(f'changed since this run began: {change}')
    if write:
        write_json(path, settings)
    return lines


def environment(pictures: Mapping[str, Pictures]) -> dict[str, Any]:
    """What besides the settings decides the bits of a run: its pictures by split, the devices, the versions."""
    import jax  # here: main.py answers a wrong flag without it

    versions = {'python': platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        'devices': {'count': jax.device_count(), 'kind': jax.devices()[0].device_kind, 'hosts': jax.process_count()},
        'versions': versions,
        'pictures': {split: _digest(source) for split, source in pictures.items()},
    }


def note_environment(workdir: Path, now: Mapping[str, Any]) -> list[str]:
    """Keep the environment in <workdir>/environment.json.

    Returns:
        Of a run that had begun: what has changed since it was last started, and what that means, in lines.
    """
    path = workdir / 'environment.json'
    before = _read(path, now.keys()) if begun(workdir) and path.exists() else now
    lines = []
    for split, found in now['pictures'].items():
        if found != (had := before['pictures'].get(split, found)):
            meaning = (
                'the batches are others than an undisturbed run would have got'
                if split == 'train'
                else 'scores from here on cannot be compared with those before, the best one among them'
            )
            lines.append(
                f'other pictures in {split} than before ({found["count"]}, then {had.get("count")}): {meaning}'
            )
    old, new = (flatten({key: record[key] for key in ('devices', 'versions')}) for record in (before, now))
    names = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    changed = [f'{name} {new.get(name)}, then {old.get(name)}' for name in names]
    if changed:
        lines.append(f'not as before ({"; ".join(changed)}): sums may round otherwise, and dropout differs by device')
    if lines:
        lines.append('the run goes on, but will not end with the bits of one that was never stopped')
    write_json(path, now)
    return lines


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file; a ValueError for NaN and infinity, which JSON does not have."""
    atomic.write(path, json.dumps(value, indent=2, allow_nan=False) + '\n')


def _read(path: Path, tables: Iterable[str] = ()) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError('no table of settings')
        for name in tables:
            if not isinstance(value.get(name), dict):
                raise ValueError(f'{name} is missing')
        return value
    except ValueError as error:
        raise UserError(f'{path}: damaged ({error}); remove it if the run is yours') from error


def _digest(source: Pictures) -> dict[str, Any]:
    lines = (f'{name} {height}x{width}\n' for name, (height, width) in zip(source.ids, source.sizes, strict=True))
    text = ''.join(lines).encode(errors='surrogateescape')
    return {'count': len(source.ids), 'sha256': hashlib.sha256(text).hexdigest()}
