"""Settings at the edge: what is wrong with a flag, and all settings as flags."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from astro_gan.errors import UserError
from astro_gan.files.paths import printable
from astro_gan.workdir import flatten

# What absl's parsers, that is float() and int(), say of a value.
_NO_NUMBER = re.compile(r'flag --(?P<name>[\w.]+)=(?P<value>.*): (?P<kind>could not convert|invalid literal)')


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
    words = ' '.join(str(error).split())
    if found := _NO_NUMBER.match(words):
        kind = 'whole number' if found['kind'].startswith('invalid') else 'number'
        return f'--{found["name"]}={printable(found["value"][:80])}: a {kind} is wanted'
    return printable(words[:1000]) or type(error).__name__


def _load(value: str) -> ConfigDict:
    """The config that `--config=value` names; raises whatever is wrong with it."""
    path, _, variant = value.partition(':')
    if not Path(path).is_file():
        there = ', '.join(
            str(file) for file in sorted(Path('configs').glob('*.py')) if 'get_config' in file.read_text()
        )
        raise UserError(f'no such file; configs are {there}')
    namespace = runpy.run_path(path)
    return namespace['get_config'](*([variant] if variant else []))


def flag_lines(config: ConfigDict) -> list[str]:
    """Every setting that has a value as a flag of the command line, `--config.factor=4`."""
    settings = flatten(config.to_dict()).items()
    return [f'--config.{name}={_text(value)}' for name, value in settings if value is not None]


def _text(value: Any) -> str:
    return shlex.quote(value) if isinstance(value, str) else str(value)
