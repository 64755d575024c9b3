"""Which files are meant, told by their first bytes, and where their results go."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from astro_gan.errors import UserError
from astro_gan.files.kinds import kind_of
from astro_gan.files.paths import printable, regular_files

_PACKED = ('.gz', '.bz2', '.fz')
_FITS = ('.fits', '.fit', '.fts')
Job = tuple[str, Path]  # an input and its output


def find_jobs(inputs: Iterable[str], out: Path, format: str | None, log: Callable[[str], None] = print) -> list[Job]:
    """Input files with their outputs: `m51.png` -> `OUT/m51.png`, a folder's files with their subfolders.

    Args:
        inputs: files, folders and patterns.
        out: folder of the outputs.
        format: that they shall have; None: the inputs'.
        log: is told what was passed over in a folder.

    Raises:
        UserError: nothing there, or two inputs with one output; one line.
    """
    jobs: dict[str, Path] = {}  # a file that was named twice counts once
    for name in inputs:
        for path, kind, below in _expand(name, out, log):
            jobs.setdefault(path, out / below / _output_name(path, kind, format))
    sources: dict[str, str] = {}
    for path, target in jobs.items():
        key = os.path.abspath(target)
        if key in sources:
            raise UserError(f'{printable(path)} and {printable(sources[key])} would both become {printable(target)}')
        if os.path.exists(target) and os.path.exists(path) and os.path.samefile(path, target):
            raise UserError(f'{printable(path)}: its output would replace it; choose another folder than {out}')
        sources[key] = path
    return list(jobs.items())


def _expand(name: str, out: Path, log: Callable[[str], None]) -> list[tuple[str, str, str]]:
    """Files that an argument stands for, each with its kind and its folder relative to one that was named."""
    if os.path.isdir(name):
        return _in_folder(name, out, log)
    if not os.path.lexists(name) and glob.has_magic(name):
        matches = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
        if not matches:
            raise UserError(f'{printable(name)}: no file matches')
        return [(path, kind_of(path), '') for path in matches]
    return [(name, kind_of(name), '')]


def _in_folder(name: str, out: Path, log: Callable[[str], None]) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    odd: list[str] = []
    others = 0
    for file in regular_files(name, skip=lambda folder: _is_below(folder, out), passed=odd.append):
        path = os.path.join(name, file)
        kind = kind_of(path)
        if kind:
            found.append((path, kind, os.path.dirname(file)))
        else:
            others += 1
    passed = [
        f'{others} file{"s" * (others != 1)} of other kinds' * bool(others),
        f'{len(odd)} pipes, devices, sockets or links to nothing' * bool(odd),
    ]
    line = ' and '.join(part for part in passed if part)
    if not found:
        raise UserError(
            f'{printable(name)}: no JPEG, PNG, TIFF, FITS or XISF file in this folder{f" ({line})" * bool(line)}'
        )
    if line:
        log(f'{printable(name)}: passed over {line}')
    return found


def _is_below(path: str, folder: Path) -> bool:
    """Whether a folder is the results' own."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _output_name(path: str, kind: str, format: str | None) -> str:
    """The name of the output: the input's, with another suffix where that would tell another format than it has."""
    name = os.path.basename(path)
    stem, suffix = os.path.splitext(name)
    inner, inner_suffix = os.path.splitext(stem)
    if suffix.lower() in _PACKED and inner_suffix.lower() in _FITS:
        stem = inner
    like_fits = suffix.lower() in _FITS + _PACKED
    if format:
        return f'{stem}.{format}'
    if kind in ('fits', 'xisf') or (like_fits and not kind):
        return f'{stem}.fits'
    return f'{stem}.{kind}' if like_fits else name
