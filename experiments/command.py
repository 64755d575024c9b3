"""What main.py does with its flags: they are parsed and checked, a mode is run, and an error becomes a line."""

from __future__ import annotations

import os
import shlex
import sys

from absl import flags, logging
from ml_collections import ConfigDict

from astro_gan.errors import UserError
from astro_gan.files.paths import without_controls
from experiments.settings import explain_flag_error, flag_lines


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, but a wrong setting gives one line that names the valid ones."""
    try:
        rest = flags.FLAGS(argv)
        config = flags.FLAGS['config'].value
        if config is None or not config.name:  # a config that failed to load says so when it is read
            raise flags.Error('--config is missing: give a file, as in --config=configs/wdsr.py')
        if len(rest) > 1:
            raise flags.Error(f'{rest[1]!r} is no flag; settings look like --config.factor=2')
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit(f'error: {without_controls(explain_flag_error(error, argv))}')


def default_workdir(config: ConfigDict, file: str) -> str:
    """runs/<name>, and _<variant> after it: the tiny networks of `:smoke` are not those of the default."""
    variant = file.partition(':')[2]
    return f'runs/{config.name}' + (f'_{variant}' if variant not in ('', 'default') else '')


def run(
    mode: str, config: ConfigDict, workdir: str, *, profile: int, hosts: tuple[str | None, int, int], debug: bool
) -> None:
    """Run a mode of main.py; leaves by sys.exit with a line for a user's mistake, a bug keeps its traceback.

    Args:
        mode: 'train', 'evaluate', 'export' or 'show'.
        config: of the run.
        workdir: its folder.
        profile: steps of each stage to profile.
        hosts: address and port of the first host, their number, and which one this is.
        debug: show the traceback of a user's mistake too.
    """
    if mode == 'show':
        print('\n'.join([f'--workdir={workdir}', *flag_lines(config)]))
        return
    # TensorFlow only feeds data here; without these it greets with its own lines.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    if not flags.FLAGS['verbosity'].present:
        logging.set_verbosity(logging.FATAL)  # Orbax tells every detail, and a full disk with a page of traceback
    from astro_gan.interrupts import Interrupted, Terminated, ended_by_signals

    workdir = os.path.expanduser(workdir)
    python = os.path.relpath(sys.executable)
    again = shlex.join([sys.executable if python.startswith('..') else python, *sys.argv])
    try:
        _meet(*hosts)
        with ended_by_signals():
            # Imported here: --help and a wrong flag answer at once.
            from experiments import run as modes

            if mode == 'train':
                modes.train(config, workdir, profile=profile)
            else:
                {'evaluate': modes.evaluate, 'export': modes.export}[mode](config, workdir)
    except Interrupted as stop:
        print(f'{stop}; everything is saved. To go on: {again}', flush=True)
        sys.exit(128 + stop.signum)
    except KeyboardInterrupt as stop:
        print(f'stopped; what was saved before is as it was. To go on: {again}', flush=True)
        sys.exit(143 if isinstance(stop, Terminated) else 130)
    except (UserError, OSError) as error:
        if debug or not (line := user_line(error)):
            raise
        sys.exit(f'error: {line}')


def user_line(error: Exception) -> str:
    """What a user's mistake is in one line; '' for any other error."""
    if isinstance(error, UserError):
        return without_controls(' '.join(str(error).split()))
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    return ''


def _meet(coordinator: str | None, count: int, number: int) -> None:
    if count <= 1:
        return
    import jax

    try:
        jax.distributed.initialize(coordinator, count, number)
    except (ValueError, RuntimeError) as error:
        raise UserError(f'--coordinator={coordinator}: {count} processes do not meet there ({error})') from error
