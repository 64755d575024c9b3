"""The commands of `astro-gan`. Each module here has one name that `astro_gan.cli` uses:

    add_to(commands)    adds its parsers, `commands.add_parser(...)`, each with `set_defaults(run=...)`

`run(arguments)` does the work and returns the exit status; a UserError or OSError out of it is the user's mistake and
becomes one line. Nothing heavy (NumPy, JAX, TensorFlow, astropy) is imported before `run`: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TextIO

from astro_gan.files.paths import without_controls


def expanded(text: str) -> str:
    """The type of an argument that names a file or folder: `~` is the user's home, also in `--out=~/x`."""
    if not text:
        raise argparse.ArgumentTypeError('an empty path')
    return os.path.expanduser(text)


def say(line: str, stream: TextIO | None = None) -> bool:
    """Print a line at once, without control characters; False where nobody takes it, and work goes on.

    That is a pipe whose reader has left, or a full disk.
    """
    stream = stream or sys.stdout
    try:
        print(without_controls(line), file=stream, flush=True)
    except OSError:
        mute(stream)
        return False
    return True


def mute(stream: TextIO) -> None:
    """Let a stream lead nowhere: what it still holds would fail again when the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
