"""The process in which the fuzz campaign's cases run: numbers come in, a line of JSON about each goes out.

It is given up and replaced when it hangs or dies, so nothing here has to survive anything.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from astro_gan.errors import UserError

ADDRESSES = 6 << 30  # bytes beyond those in use at the start: what asks for more is stopped before the machine is
# Words of a library about its own code, in what a user reads.
FOREIGN = re.compile(
    r'cannot be interpreted|has no attribute|_CorruptedHDU|NoneType|not subscriptable|not iterable|not callable'
    r'|unsupported operand|unhashable|positional argument|keyword argument|invalid literal|could not convert'
    r"|out of range: |index out of|list index|object of type|dtype\(|codec can't|cannot reshape|could not be broadcast"
    r'|could not broadcast|must be real number|bytes-like|unpack requires|buffer of|Error -\d|Error\(|Traceback'
    r'|<class|<astro|<jax|\b0x[0-9a-f]{6,}|\bpyvips\b|\btifffile\b|\bastropy\b|\bnumpy\b|\bjax\b|Vips[A-Z]|vips_|\bflax\b'
    r"|'(str|int|float|bytes|list|dict|tuple|bool)' (object|and|instances)|instances of|fault of this program"
    r'|Bad code word|[a-z]_[a-z]+ returned|IMCD_|DEFLATE_|[a-z]{3}\(\)|ignore_missing|setting an array|malformed node'
    r'|not enough values|too many values|does not fit in memory|out of memory|cannot allocate'
    r'|expected (str|int|bytes|a )|truth value|\bself\b|ufunc|Verification reported|end-of-stream'
)
TELLING = ('error: ', 'note: ', 'astro-gan ', 'usage: ', '  ', 'FATAL Flags')


def main() -> None:
    """Run the numbers that standard input names."""
    root = Path(sys.argv[1])
    os.chdir(root)
    for name in ('tmp', 'home', 'cwd'):
        (root / name).mkdir(exist_ok=True)
    os.environ |= {'MPLCONFIGDIR': str(root / 'mpl')}
    os.environ |= {'HOME': str(root / 'home'), 'TMPDIR': str(root / 'tmp'), 'JAX_COMPILATION_CACHE_DIR': ''}
    tempfile.tempdir = None
    from tests.campaigns import fuzz_kinds

    kinds = fuzz_kinds.table(Path(tempfile.mkdtemp(dir=root)))
    os.chdir(root / 'cwd')
    # As in a program that has just started: every warning is shown, but those that only developers see.
    warnings.simplefilter('always')
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter('ignore', category)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, resource.RLIM_INFINITY))
    report = os.fdopen(os.dup(1), 'w')
    faulthandler.enable(os.fdopen(os.dup(2), 'w'))  # for the parent's SIGABRT
    for kind, functions in kinds.items():  # what is imported and compiled but once is no part of a case's time
        for number in range(3):
            run(root, kind, -number, *functions)
    print(json.dumps({'kinds': list(kinds)}), file=report, flush=True)
    for line in sys.stdin:
        kind, number = json.loads(line)
        print(json.dumps(run(root, kind, number, *kinds[kind])), file=report, flush=True)


def run(root: Path, kind: str, number: int, make: Any, use: Any) -> dict[str, Any]:
    """One case: what went wrong ('' if nothing did), seconds of a processor, and the most memory in MiB."""
    choose = random.Random(f'{kind} {number}')
    folder = root / 'case'
    (folder / 'in').mkdir(parents=True)
    path, out = make(folder / 'in', choose), folder / 'out'
    given = _listing(folder)
    own = path.read_bytes() if path.is_file() else b''
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
    began = time.process_time()
    with _captured(root) as said:
        try:
            status = use(path, out, choose) or 0
        except (UserError, OSError) as error:  # as the command line shows it
            status = 1
            print('error:', ' '.join(str(error).split()), file=sys.stderr)
        except BaseException as error:
            status = ''.join(traceback.format_exception(error)[-3:])
    seconds, peak = time.process_time() - began, _peak()
    wrong = _wrong(status, *said, root, own)
    new = {name for name in _listing(folder) - given if not name.startswith('out')}
    made = {name for name in _listing(folder) - given if name.startswith('out/')}
    left = {name for place in ('tmp', 'home', 'cwd') for name in _listing(root / place)}
    odd = {name for name in made if os.path.basename(name).startswith('.')}
    if new - {'in/manifest.csv'} or left or odd:
        wrong = wrong or f'left behind: {sorted(new | left | odd)}'
        for place in ('tmp', 'home', 'cwd'):
            shutil.rmtree(root / place)
            (root / place).mkdir()
        os.chdir(root / 'cwd')
    elif not wrong and status == 1 and made:
        wrong = f'a result of a file that was refused: {sorted(made)}'
    if peak > 2048:
        wrong = wrong or f'{peak:.0f} MiB of memory'
    shutil.rmtree(folder)
    return {'wrong': wrong, 'seconds': seconds, 'mib': peak, 'said': said[1][:300]}


@contextlib.contextmanager
def _captured(root: Path) -> Iterator[list[str]]:
    """What is said on standard output and standard error, by libraries in C too."""
    said: list[str] = []
    kept = [os.dup(1), os.dup(2)]
    with (root / 'stdout').open('w+b') as out, (root / 'stderr').open('w+b') as err:
        for descriptor, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), descriptor)
        try:
            yield said
        finally:
            for stream, descriptor, old in ((sys.stdout, 1, kept[0]), (sys.stderr, 2, kept[1])):
                stream.flush()
                os.dup2(old, descriptor)
                os.close(old)
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode('utf-8', 'replace'))


def _wrong(status: Any, out: str, err: str, root: Path, own: bytes) -> str:
    """What is wrong with an outcome; '' if it is a result or a refusal in words that a user understands, or in the
    input's `own` words, quoted."""
    if isinstance(status, str):
        return ' '.join(status.split())[-600:]
    if 'Traceback' in err:
        return ' '.join(err.split())[-700:]
    for line in err.splitlines():
        if not line.startswith(TELLING) and not line.startswith(str(root)):
            return f'a library says: {line[:300]}'
    errors = [line for line in err.splitlines() if line.startswith(('error: ', 'astro-gan '))]
    for line in errors:
        line = line.replace(str(root), '')
        for quoted in re.findall("'([^']{6,})'", line):  # the names of types are shorter
            own_words = all(word.encode() in own for word in quoted.split())
            line = line.replace(quoted, '...') if own_words else line
        if match := FOREIGN.search(line):
            return f'in the words of a library, {match[0]!r}: {line[:300]!r}'
        if not line.isprintable():
            return f'raw characters: {line[:300]!r}'
    if status and len(errors) != 1:
        return f'status {status} with {len(errors)} lines of error: {err[:300]}'
    if len(out) + len(err) > 200_000:
        return f'{len(out) + len(err)} characters said'
    return ''


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*')}


def _peak() -> float:
    found = re.search(r'VmHWM:\s*(\d+) kB', Path('/proc/self/status').read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == '__main__':
    main()
