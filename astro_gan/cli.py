"""The command line, `astro-gan COMMAND ...`: hands over to a module of `astro_gan.commands` and explains errors."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import sys
from collections.abc import Sequence

import astro_gan
from astro_gan import commands, extras
from astro_gan.commands import (
    apply,
    audit,
    curate,
    dataset,
    demo,
    export,
    fetch,
    import_weights,
    models,
    mosaic,
    simulate,
)
from astro_gan.errors import UserError
from astro_gan.interrupts import ended_by_signals

_ADDRESSES = 3  # GiB that a picture of 64 x 64 pixels takes, a tenth of them in use
_LEAST = 0.5  # GiB without which libraries do not even load, each with a page of its own about it


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog='astro-gan', description=astro_gan.__doc__)
    parser.add_argument('--version', action='version', version=f'astro_gan {astro_gan.__version__}')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    subparsers = parser.add_subparsers(metavar='COMMAND', dest='command', required=True)
    for module in (apply, audit, models, export, import_weights, fetch, curate, dataset, simulate, mosaic, demo):
        module.add_to(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    _repair_streams()
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # for the commands that use TensorFlow
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    arguments = make_parser().parse_args(argv)
    try:
        with ended_by_signals():
            if _allowed() < _LEAST:
                raise MemoryError
            status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of a pipe has left: `astro-gan models | head -1`
        commands.mute(sys.stdout)
        return 1
    except KeyboardInterrupt:
        commands.say('stopped; finished files are kept, unfinished ones are gone', sys.stderr)
        return 130
    except Exception as error:
        line = _explain(arguments.command, error)
        if arguments.debug or not line:
            raise
        commands.say(f'error: {line}', sys.stderr)
        return 1


def _explain(command: str, error: Exception) -> str:
    """One line for what a user can change; '' for a bug, which keeps its traceback."""
    if isinstance(error, ModuleNotFoundError):
        return extras.explain(command, error)
    if isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error):
        return f'out of memory{_limit()}'
    if isinstance(error, FileNotFoundError) and error.errno and error.filename is None:
        return 'the working folder is gone; change to another one'
    if isinstance(error, UserError | OSError):
        line = ' '.join(str(error).split()) or type(error).__name__
        # Of others, a server or a file, what a terminal would obey is shown as what it is.
        return ''.join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
    return ''


def _limit() -> str:
    """What the shell allows, where that is less than the usual."""
    if math.isinf(_allowed()):
        return ''
    return f': {_allowed():.1f} GiB are allowed (ulimit -v), and {_ADDRESSES} are needed to begin with'


def _allowed() -> float:
    """GiB of addresses that a process may have."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            return limit / 2**30
    return math.inf


def _repair_streams() -> None:
    """Standard streams that are closed lead nowhere, lest a result be opened in their place and written into.

    Characters that a terminal cannot show are escaped.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # noqa: SIM115 (open as long as the program runs)
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == 'strict':
            stream.reconfigure(errors='backslashreplace')
