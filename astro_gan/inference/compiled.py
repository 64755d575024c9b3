"""Compiled networks kept on disk: the next start neither traces nor compiles them.

JAX's own cache spares the compiling only, and an entry that was damaged, or cut by a kill, stays as it is. Here every
entry has its hash. As with JAX's: who can write to the folder can have a program run, so it is the user's own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import re
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import astro_gan
from astro_gan.files import atomic

_MOST_ENTRIES = 64  # of half a megabyte to a few
_DIGEST_BYTES = 32
_folder: Path | None = None


def keep_in(folder: Path) -> None:
    """Keep what is compiled in a folder, which is made if missing.

    Raises:
        OSError: nothing can be kept there.
    """
    global _folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with atomic.scratch(folder / 'trial'):
        pass
    _folder = folder


def load_or_compile(
    key: str, lower: Callable[[], jax.stages.Lowered], devices: Sequence[jax.Device]
) -> Callable[..., Any]:
    """A compiled function: one that was kept, or `lower()`, compiled and kept for the next time.

    Args:
        key: all that decides what is computed, but for the code of this package and the machine; '': nothing is kept.
        lower: traces the function.
        devices: that it runs on.
    """
    config: Any = jax.config  # its settings are not declared
    # What XLA for CPUs has loaded from JAX's own cache it cannot write whole: functions are missing when that is run.
    if not _folder or not key or config.jax_compilation_cache_dir:
        return lower().compile()
    path = _folder / hashlib.sha256(f'{_surroundings()} {key}'.encode()).hexdigest()
    with contextlib.suppress(Exception):  # missing, damaged, of another kind of machine: compiled anew
        return _load(path.read_bytes(), devices)
    compiled = lower().compile()
    with contextlib.suppress(Exception):  # no room, or a form that cannot be kept: it works without
        atomic.write(path, _dump(compiled))
        _remove_oldest(path.parent)
    return compiled


def _dump(compiled: jax.stages.Compiled) -> bytes:
    from jax.experimental import serialize_executable

    data = pickle.dumps(serialize_executable.serialize(compiled))
    return hashlib.sha256(data).digest() + data


def _load(data: bytes, devices: Sequence[jax.Device]) -> Callable[..., Any]:
    from jax.experimental import serialize_executable

    digest, data = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError('damaged')
    options = {'backend': devices[0].client, 'execution_devices': devices}
    return serialize_executable.deserialize_and_load(*pickle.loads(data), **options)


def _remove_oldest(folder: Path) -> None:
    atomic.remove_stale(folder)
    entries = sorted((path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime)
    for path in entries[:-_MOST_ENTRIES]:
        path.unlink(missing_ok=True)


@functools.cache
def _surroundings() -> str:
    """What else decides what a compiled function is: the code of this package, versions, settings and the machine."""
    digest = hashlib.sha256()
    for path in sorted(Path(astro_gan.__file__).parent.rglob('*.py')):
        digest.update(path.read_bytes())
    versions = [metadata.version(name) for name in ('jax', 'jaxlib', 'flax')]
    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith(('JAX_', 'XLA_')))
    config: Any = jax.config  # its settings are not declared
    numbers = [config.jax_enable_x64, config.jax_default_matmul_precision]
    devices = [(device.id, device.device_kind, device.client.platform_version) for device in jax.local_devices()]
    return repr((digest.hexdigest(), versions, settings, numbers, devices, platform.machine(), _processor()))


def _processor() -> str:
    """What instructions the processor knows, where the system tells."""
    with contextlib.suppress(OSError):
        found = re.search(r'^(flags|Features)\s*:.*$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
        return found[0] if found else ''
    return platform.processor()
