"""Hostile and broken servers: `astro-gan fetch` against a local one that shows a fault in each run. A run has to end
within its deadlines in a result or one line; wrong is a traceback, a hang, 1 GiB of memory more than before, raw bytes
on the screen, a formula in the manifest, a question to another host, or a file that is not the archive's (but for other
bytes in what is a whole picture: archives announce no hashes).

    python -m tests.campaigns.servers --count 100 --seed 0

A case is drawn by its number alone, from `--seed` on: `--count 1 --seed NUMBER` repeats one.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import random
import re
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from astro_gan import cli
from astro_gan.fetch import transport
from tests.campaigns import hostile, report
from tests.fetch.archive_server import DEC, RA, ArchiveServer, frame, noise

PACE = 1.0  # seconds for a file or an answer
MOST = 1024.0  # MiB
_FORMULA = re.compile(r'\s*[=+\-@]')
_NUMBER = re.compile(r'[+-]?[0-9.]+')


def command(server: ArchiveServer, target: str, out: Path, choose: random.Random) -> list[str]:
    """A run of `astro-gan fetch` that asks a service."""
    limits = ['--timeout', PACE / 2, '--answer-time', PACE, '--list-time', 2 * PACE, '--file-time', PACE]
    limits += ['--wait', PACE / 4, '--limit', 2, '--answer-limit', 2, '--pages', 20, '--rows', 500]
    if target in (hostile.FEED, hostile.FILE):
        flags = ['press', '--url', f'{server.url}/images/d2d/', *(['--max', 5] if choose.random() < 0.5 else [])]
    elif target in (hostile.PORTAL, hostile.FRAME):
        flags = ['mast', '--url', server.url, '--ra', RA, '--dec', DEC]
    else:
        flags = ['hla', '--sia-url', f'{server.url}/cgi-bin/hlaSIAP.cgi']
        flags += ['--cutout-url', f'{server.url}/cgi-bin/fitscut.cgi', '--resolver-url', f'{server.url}/sesame/']
        flags += ['--size', 64, '--filters', 'F814W', '--max', 1]
        named = target == hostile.RESOLVER
        flags += ['--object', 'M101'] if named else ['--ra', RA, '--dec', DEC]
        flags += ['--format', 'fits'] if target == hostile.CUTOUT or choose.random() < 0.5 else []
    return ['fetch', *map(str, flags), *map(str, limits), '-o', str(out)]


def ended(arguments: list[str], seconds: float) -> tuple[int | str | None, str]:
    """The exit status (a traceback; None for a run that has not ended in time), and what was said."""
    outcome: list[int | str] = []
    said = io.StringIO()

    def run() -> None:
        try:
            outcome.append(cli.main(arguments))
        except BaseException as error:
            outcome.append(''.join(traceback.format_exception(error)[-3:]))

    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
    return outcome[0] if outcome else None, said.getvalue()


def judged(status: int | str | None, said: str, out: Path, good: set[bytes] | None) -> str:
    """What is wrong with the outcome of a run; '' if nothing is. `good` are the files there can be, None for any."""
    if status is None:
        return 'has not ended'
    if isinstance(status, str) or 'Traceback' in said:
        return ' '.join((said if status in (0, 1) else str(status)).split())[-500:]
    lines = said.splitlines()
    if any(not line.isprintable() for line in lines):
        return f'raw characters: {said[:300]!r}'
    if len(said) > 20_000:
        return f'{len(said)} characters said'
    failed = [line for line in lines if line.startswith('error: ')]
    listed = out / 'manifest.csv'
    table = list(csv.DictReader(io.StringIO(listed.read_text()))) if listed.exists() else []
    if status and not failed and all(row['status'] == 'ok' or not row['reason'] for row in table):
        return f'status {status} without a reason: {said[:300]!r}'
    for row in table:
        if bad := [cell for cell in row.values() if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)]:
            return f'a formula: {bad[0][:80]!r}'
        if row['status'] == 'ok' and good is not None and (out / row['file']).read_bytes() not in good:
            return f'{row["file"]} is not what the archive has'
    names = {path.name for path in out.iterdir() if not path.name.startswith('.')} if out.exists() else set()
    if others := names - {row['file'] for row in table if row['status'] == 'ok'} - {'manifest.csv'}:
        return f'left behind: {sorted(others)}'
    return ''


def good_files(folder: Path) -> set[bytes]:
    """All that the archive has, fetched while it shows no fault."""
    bodies = {noise(1), frame()}
    with contextlib.closing(ArchiveServer()) as server:
        flags = ['--sia-url', f'{server.url}/cgi-bin/hlaSIAP.cgi', '--cutout-url', f'{server.url}/cgi-bin/fitscut.cgi']
        for form in ('jpg', 'fits'):
            where = ['--ra', str(RA), '--dec', str(DEC), '--size', '64', '--filters', 'F814W', '--format', form]
            status, said = ended(['fetch', 'hla', *flags, *where, '-o', str(folder)], 60)
            assert status == 0, said
    return bodies | {path.read_bytes() for path in folder.iterdir() if path.suffix in ('.jpg', '.fits')}


def run(count: int, seed: int) -> Iterator[dict[str, object]]:
    """The outcomes of `count` faults."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(mock.patch.object(transport, 'BACKOFF_SECONDS', 0.01))
        stack.enter_context(mock.patch.dict(os.environ, NO_PROXY='127.0.0.1', no_proxy='127.0.0.1'))
        good = good_files(folder / 'good')
        names = list(hostile.FAULTS)
        for number in range(seed, seed + count):
            choose = random.Random(number)
            name = names[number % len(names)]
            targets, fault = hostile.FAULTS[name]
            target = choose.choice(targets)
            with contextlib.closing(ArchiveServer()) as server, contextlib.closing(ArchiveServer()) as other:
                server.add_press('heic0602a', noise(1))
                server.other_url, server.drawn = other.url, choose.random()
                server.sabotage = hostile.sabotage(fault, target, choose)
                with contextlib.suppress(OSError):
                    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
                out = folder / str(number)
                arguments = command(server, target, out, choose)
                began, held = time.monotonic(), _peak()  # a process that has done other work holds much already
                status, said = ended(arguments, 60 * PACE)
                seconds, mib = time.monotonic() - began, _peak() - held
                wrong = judged(status, said, out, None if fault is hostile.damaged else good)
                if seconds > 8 * PACE + 2:  # a list, two files, and what is not waiting
                    wrong = wrong or f'{seconds:.1f} s'
                if mib > MOST:
                    wrong = wrong or f'{mib:.0f} MiB'
                if other.requests:
                    wrong = wrong or f'another host was asked for {other.requests[0][0]}'
            yield report.case(name, f'--seed {number} ({target})', wrong, seconds=seconds, mib=mib) | {'said': said}


def _peak() -> float:
    """MiB, as the system counts them; 0 where it does not say."""
    with contextlib.suppress(OSError):
        if found := re.search(r'VmHWM:\s*(\d+) kB', Path('/proc/self/status').read_text()):
            return int(found[1]) / 1024
    return 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """The campaign; 1 if anything was wrong."""
    flags = report.parser(__doc__, 100, 'faults')
    flags.add_argument('--verbose', action='store_true', help='what each run says')
    arguments = flags.parse_args(argv)
    cases = []
    for case in run(arguments.count, arguments.seed):
        cases.append(case)
        if arguments.verbose:
            print(
                f'{case["kind"]}, {case["name"]}: {case["seconds"]:.1f} s: {case["wrong"]}\n{case["said"]}', flush=True
            )
    return report.conclude(cases)


if __name__ == '__main__':
    sys.exit(main())
