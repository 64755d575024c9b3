"""The form of all campaigns: a count and a seed, what was tried, right and wrong, the worst cases, an exit status."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any


def parser(doc: str, count: int, what: str) -> argparse.ArgumentParser:
    """Flags that every campaign has: `--count` (of `what`) and `--seed`."""
    flags = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument('--count', type=int, default=count, metavar='N', help=f'{what} (default: {count})')
    flags.add_argument('--seed', type=int, default=0, metavar='S', help='what is drawn (default: 0)')
    return flags


def case(kind: str, name: str, wrong: str = '', *, seconds: float = 0.0, mib: float = 0.0) -> dict[str, Any]:
    """One thing that was tried: `wrong` says what went wrong, '' where nothing did."""
    return {'kind': kind, 'name': name, 'wrong': wrong, 'seconds': seconds, 'mib': mib}


def conclude(cases: Iterable[dict[str, Any]]) -> int:
    """Print a table by kind, the worst cases and what was wrong; the exit status, 1 if anything was."""
    cases = list(cases)
    kinds = dict.fromkeys(case['kind'] for case in cases)
    rows = [(kind, [case for case in cases if case['kind'] == kind]) for kind in kinds]
    print(f'{"kind":24}{"tried":>8}{"right":>8}{"wrong":>8}{"slowest":>10}{"largest":>12}')
    for kind, own in [*rows, ('all', cases)]:
        wrong = sum(bool(case['wrong']) for case in own)
        slowest, largest = (max((case[key] for case in own), default=0) for key in ('seconds', 'mib'))
        size = f'{largest:.0f} MiB' if largest else '-'
        print(f'{kind:24}{len(own):8}{len(own) - wrong:8}{wrong:8}{slowest:8.1f} s{size:>12}')
    for word, key in (('slowest', 'seconds'), ('largest', 'mib')):
        worst = max(cases, key=lambda case: case[key], default=None)
        if worst and worst[key]:
            print(f'{word}: {worst["kind"]}, {worst["name"]}')
    wrong = [case for case in cases if case['wrong']]
    for case in wrong:
        print(f'wrong: {case["kind"]}, {case["name"]}: {case["wrong"]}')
    return 1 if wrong else 0
