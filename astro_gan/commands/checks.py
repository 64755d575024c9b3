"""`--check` and `--report` of the commands that apply models."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from astro_gan import commands
from astro_gan.errors import UserError


def add_to(parser: argparse.ArgumentParser) -> None:
    """The two options."""
    parser.add_argument(
        '--check', action='store_true', help='audit each result: maps, sources and numbers in NAME.audit/ beside it'
    )
    parser.add_argument(
        '--report', type=commands.expanded, metavar='HTML', help='--check, and a report of all results for a browser'
    )


class Sections:
    """What a run's report is to say, gathered result by result; nothing where none is wanted."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path = Path(arguments.report) if arguments.report else None
        self.found: list[dict[str, Any]] = []
        if self.path and arguments.beam_runner:
            raise UserError('--report: not with --beam_runner; --check is, and `astro-gan audit --report` makes one')
        if self.path:
            check_place(self.path, arguments.overwrite or arguments.resume)

    def add(self, source: str, target: Path, found: Any, made: dict[str, Any]) -> None:
        """One result's audit."""
        if self.path:
            from astro_gan.audit.report import section

            self.found.append(section(found, input=source, output=str(target), made=made))

    def write(self) -> Iterator[str]:
        """Write the report; a line that says where it is."""
        if not self.path:
            return
        from astro_gan.audit.report import write_report
        from astro_gan.files.paths import printable

        if self.found:
            write_report(self.path, self.found)
            yield f'{printable(self.path)}: report of {len(self.found)} result{"s" * (len(self.found) != 1)}'


def check_place(path: Path, overwrite: bool) -> None:
    """UserError where no report can be written."""
    from astro_gan.files.paths import printable

    if path.is_dir() or not path.absolute().parent.is_dir():
        wrong = 'is a folder' if path.is_dir() else f'the folder {printable(path.parent)} does not exist'
        raise UserError(f'{printable(path)}: {wrong}; --report names an HTML file')
    if path.suffix.lower() not in ('.html', '.htm'):
        raise UserError(f'{printable(path)}: --report names an HTML file: {printable(path.with_suffix(".html"))}')
    if path.exists() and not overwrite:
        raise UserError(f'{printable(path)}: exists already; --overwrite replaces it')
