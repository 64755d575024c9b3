"""How much memory is left, and a refusal in one line before a run begins that would not find enough."""

from __future__ import annotations

import contextlib
from pathlib import Path

from astro_gan.errors import UserError


def left() -> tuple[float, str]:
    """Bytes that this process can still take, and by whose leave: the machine, its control group or `ulimit -v`.

    Infinite where nothing says so.
    """
    found = [(float('inf'), 'the machine')]
    with contextlib.suppress(OSError, ValueError, KeyError):
        found.append((_table('/proc/meminfo')['MemAvailable'], 'the machine'))
    with contextlib.suppress(OSError, ValueError):  # what a control group may use, and what it could give back
        group = Path('/sys/fs/cgroup')
        limit, used = (int((group / name).read_text()) for name in ('memory.max', 'memory.current'))
        files = dict(line.split() for line in (group / 'memory.stat').read_text().splitlines())
        found.append((limit - used + int(files.get('inactive_file', 0)), 'the container'))
    with contextlib.suppress(ImportError, OSError, ValueError, KeyError):  # no such module on Windows
        import resource

        allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
        if allowed != resource.RLIM_INFINITY:
            found.append((allowed - _table('/proc/self/status')['VmSize'], 'ulimit -v'))
    size, whose = min(found)
    return max(size, 0.0), whose


def _table(path: str) -> dict[str, int]:
    """`name: number kB` per line, in bytes."""
    words = [line.split() for line in Path(path).read_text().splitlines()]
    return {line[0].rstrip(':'): 1024 * int(line[1]) for line in words if line[-1] == 'kB'}


def require(needed: float, way_out: str) -> None:
    """Go on only where about so many bytes are left.

    Raises:
        UserError: they are not: a reason, with the way out.
    """
    there, whose = left()
    if needed > there:
        sizes = f'{needed / 2**30:.1f} GiB of memory are needed, and {there / 2**30:.1f} are left ({whose})'
        raise UserError(f'about {sizes}; {way_out}')
