"""Settings at the edge: what is wrong with a flag, and whether a workdir belongs to a config."""

from __future__ import annotations

import contextlib
import fcntl
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

# What decides the shape of a run's checkpoints or the meaning of its numbers; the rest may change when a run goes on.
FIXED = ('task', 'factor', 'generator', 'discriminator', 'dataset', 'supervised.best_metric', 'adversarial.best_metric')
FREE = ('dataset.data_dir', 'dataset.cache_mib', 'dataset.eval_batch_size', 'dataset.crop_size')


def flatten(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested settings -> {'dataset.name': value}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value}
    return flat


def explain_flag_error(error: Exception, argv: list[str]) -> str:
    """One line for an error in the flags; for an unknown setting, with the valid ones of its group."""
    config: Any = None
    for argument, following in zip(argv[1:], [*argv[2:], ''], strict=False):
        name, equals, value = argument.lstrip('-').partition('=')
        value = value if equals else following
        if name == 'config':
            try:
                config = _load(value)
            except Exception as reason:
                return f'--config={value}: {" ".join(str(reason).split())}'
        elif name.startswith('config.') and config is not None:
            group, keys = config, name.split('.')[1:]
            for depth, key in enumerate(keys):
                if not isinstance(group, ConfigDict) or key not in group:
                    where = '.'.join(['config', *keys[:depth]])
                    valid = ', '.join(sorted(group)) if isinstance(group, ConfigDict) else 'none: it is a value itself'
                    return f'--{name}: {where} has no setting {key!r}; valid are {valid}'
                group = group[key]
    return ' '.join(str(error).split()) or type(error).__name__


def _load(value: str) -> ConfigDict:
    """The config that `--config=value` names; raises whatever is wrong with it."""
    path, _, variant = value.partition(':')
    if not Path(path).is_file():
        there = ', '.join(
            str(file) for file in sorted(Path('configs').glob('*.py')) if 'get_config' in file.read_text()
        )
        raise ValueError(f'no such file; configs are {there}')
    namespace = runpy.run_path(path)
    return namespace['get_config'](*([variant] if variant else []))


@contextlib.contextmanager
def lock_workdir(workdir: Path) -> Iterator[None]:
    """Keep a second training out of `workdir`; the system lets go of the lock when the process ends, however it does.

    Raises:
        ValueError: another training holds it.
    """
    with (workdir / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f'{workdir}: another training is running there; choose another --workdir') from None
        yield


def claim_workdir(config: ConfigDict, workdir: Path, *, write: bool) -> list[str]:
    """Make `workdir` and keep the config in it; or see that it belongs to this config.

    Returns:
        Lines that name settings changed since the run began.

    Raises:
        ValueError: the workdir holds the run of another config.
        OSError: the workdir cannot be written.
    """
    path = workdir / 'config.json'
    begun = any(workdir.glob('checkpoints/*/[0-9]*'))  # before its first checkpoint a run may still become another
    now = json.loads(config.to_json())
    lines = []
    if begun and path.exists():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f'{path}: damaged ({error}); remove it if the run is yours') from error
        old, new = flatten(before), flatten(now)
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) == new.get(name) or (name not in old and not new[name]):
                continue  # a setting that is newer than the run, and off, changes nothing
            change = f'config.{name} is {new.get(name)!r}, and was {old.get(name)!r}'
            if not write and name.startswith('dataset'):
                continue  # a trained network may be measured on other pictures
            if name.startswith(FIXED) and name not in FREE:
                raise ValueError(f'{workdir} holds the run of another config: {change}; choose another --workdir')
            lines.append(f'changed since this run began: {change}')
    if write:
        from astro_gan.logbook import write_atomically

        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(now, indent=2) + '\n')
        except OSError as error:
            raise OSError(f'{workdir}: cannot be written ({error.strerror}); choose another --workdir') from error
    return lines
