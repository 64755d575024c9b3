"""Faults of servers: `astro-gan fetch` against a local server that breaks or cheats, in ways chosen at random.

Each run must end within its deadline in a result or in lines that say why, ask no host but the one it was sent to, and
leave whole, listed files only.

    python -m tests.campaigns.servers --count 100 --seed 0
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.campaigns import hostile
from tests.fetch.archive_server import DEC, RA, ArchiveServer, noise

# Seconds: for a name, a list and the files of it, as the options below have them; and for a busy machine.
LONGEST = 1 + 1.5 + 1.5
SPARE = 6.0
LIMITS = ['--timeout', '0.5', '--answer-time', '1', '--list-time', '1.5', '--file-time', '1.5', '--wait', '0.5']
LIMITS += ['--answer-limit', '4', '--limit', '1', '--pages', '20', '--rows', '1000']


def command(target: str, url: str, out: Path) -> list[str]:
    """The command that meets the faults of `target`."""
    place = ['--object', 'M101', '--resolver-url', f'{url}/sesame/']
    here = ['--ra', str(RA), '--dec', str(DEC)]
    hla = ['--sia-url', f'{url}/cgi-bin/hlaSIAP.cgi', '--cutout-url', f'{url}/cgi-bin/fitscut.cgi', '--size', '64']
    asked = {
        'feed': ['press', '--url', f'{url}/images/d2d/'],
        'picture': ['press', '--url', f'{url}/images/d2d/'],
        'list': ['hla', *here, *hla],
        'cutout': ['hla', *here, *hla, '--format', 'fits', '--filters', 'F814W'],
        'name': ['hla', *place, *hla],
        'portal': ['mast', *here, '--url', url],
        'frame': ['mast', *here, '--url', url],
    }
    return ['fetch', *asked[target], '-o', str(out), *LIMITS]


def trial(seed: int) -> tuple[str, str, float]:
    """Meet one fault; its name, what was wrong ('' if nothing), and the seconds that it took."""
    from astro_gan import cli
    from astro_gan.fetch import transport

    transport.BACKOFF_SECONDS = 0.01
    os.environ['NO_PROXY'] = os.environ['no_proxy'] = '127.0.0.1'
    rng = random.Random(seed)
    server, other = ArchiveServer(), ArchiveServer()
    server.add_press('first', noise(1, 64))
    server.add_press('second', noise(2, 64))
    target = rng.choice(list(hostile.TARGETS))
    path, own = hostile.TARGETS[target]
    faults = hostile.transport_faults(server, other, rng)
    if own and rng.random() < 0.6:
        faults = own(server, other, rng)
    kind = rng.choice(list(faults))

    def act(handler: hostile.Handler) -> None:
        with contextlib.suppress(OSError):  # the client has left
            faults[kind](handler)

    server.hostile[path] = act
    said, wrong = io.StringIO(), ''
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'in', 'out')
        out.parent.mkdir()
        began = time.monotonic()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                status = cli.main(command(target, server.url, out))
        except BaseException:
            wrong, status = traceback.format_exc(), -1
        took = time.monotonic() - began
        server.close()
        other.close()
        wrong = wrong or judged(status, said.getvalue(), out, other, took)
    return f'{target}: {kind}', wrong, took


def judged(status: int, said: str, out: Path, other: ArchiveServer, took: float) -> str:
    """What is wrong with the end of a run; '' if nothing."""
    from astro_gan.files.hashes import sha256_of
    from astro_gan.files.manifest import read_table

    lines = re.split(r'[\n\r]', said)
    bars = [line for line in lines if 'file/s' in line or '%|' in line]
    if other.requests:
        return f'another host was asked: {other.requests[0][0]}'
    if took > LONGEST + SPARE:
        return f'took {took:.1f} s'
    if any(not line.isprintable() for line in lines if line not in bars):
        return f'unprintable: {said!r}'
    if 'Traceback' in said or 'Warning' in said or len(said) > 5000:
        return f'said {said[:2000]!r}'
    if status not in (0, 1) or (status == 1 and not said.strip()):
        return f'status {status} and {said!r}'
    if sorted(path.name for path in out.parent.parent.rglob('*') if out not in path.parents) not in (
        ['in'],
        ['in', 'out'],
    ):
        return 'files outside the folder'
    if not out.exists():
        return ''
    rows = [row for _, row in read_table(out / 'manifest.csv')[1]] if (out / 'manifest.csv').exists() else []
    for line in (out / 'manifest.csv').read_text().splitlines()[1:] if rows else []:
        if re.search(r'(^|,)"?[=+@]', line):
            return f'a cell is a formula: {line}'
    whole = {row['file'] for row in rows if row['status'] == 'ok' and sha256_of(out / row['file']) == row['sha256']}
    there = {path.name for path in out.iterdir() if not path.name.startswith('.')} - {'manifest.csv'}
    return '' if there == whole else f'files {there}, listed as whole {whole}'


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=100, help='faults')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args(arguments)
    kinds: collections.Counter[str] = collections.Counter()
    wrong, worst = 0, (0.0, 'nothing')
    context = multiprocessing.get_context('spawn')
    pool = context.Pool(1)
    for number in range(options.count):
        seed = options.seed * 1_000_003 + number
        try:
            kind, fault, took = pool.apply_async(trial, (seed,)).get(timeout=60)
        except multiprocessing.TimeoutError:
            pool.terminate()
            pool = context.Pool(1)
            kind, fault, took = f'number {number}', 'hangs', 60.0
        kinds[kind] += 1
        worst = max(worst, (took, kind))
        if fault:
            wrong += 1
            print(f'wrong: {kind} (seed {seed}): {fault}', flush=True)
    pool.terminate()
    pool.join()
    print(f'{options.count} faults tried, of {len(kinds)} kinds: {options.count - wrong} right, {wrong} wrong')
    print(f'the longest took {worst[0]:.1f} s: {worst[1]}')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
