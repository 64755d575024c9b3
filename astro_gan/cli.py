"""The command line, `astro-gan COMMAND ...`: hands over to a module of `astro_gan.commands` and explains errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import astro_gan
from astro_gan.commands import apply, curate, dataset, export, fetch, models, simulate


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog='astro-gan', description=astro_gan.__doc__)
    parser.add_argument('--version', action='version', version=f'astro_gan {astro_gan.__version__}')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    for module in (apply, models, export, fetch, curate, dataset, simulate):
        module.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # for the commands that use TensorFlow
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    arguments = make_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except BrokenPipeError:  # the reader of a pipe has left: `astro-gan models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print('stopped; finished files are kept, unfinished ones are gone', file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        if arguments.debug:
            raise
        print(f'error: {" ".join(str(error).split()) or "out of memory"}', file=sys.stderr)
        return 1
