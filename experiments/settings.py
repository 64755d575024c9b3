"""Settings at the edge: what is wrong with a flag, and all settings as flags."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from astro_gan.errors import UserError
from astro_gan.workdir import flatten

# What absl's parsers, that is float(), int() and one for bool, say of a value.
_KINDS = {'could not convert': 'a number', 'invalid literal': 'a whole number', "('Non-boolean": 'true or false'}
_OTHER_KIND = re.compile(rf'flag --(?P<name>[\w.]+)=(?P<value>.*): (?P<kind>{"|".join(map(re.escape, _KINDS))})')


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
    if found := _OTHER_KIND.match(words):
        return f'--{found["name"]}={found["value"][:80]}: {_KINDS[found["kind"]]} is wanted'
    return words[:1000] or type(error).__name__


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
