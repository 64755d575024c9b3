"""A folder of pictures in, a training set with its reasons out: `curate`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

import astro_gan
from astro_gan.curation import contact_sheet, duplicates, groups, sources
from astro_gan.curation.limits import Limits, Refusal
from astro_gan.curation.work import KEPT_BY_HAND, Picture, Settings, cut, examine
from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.files.manifest import write_table
from astro_gan.files.paths import printable

_MEASURES = ('colour', 'content', 'overexposed', 'noise', 'detail', 'blockiness', 'flat', 'seam', 'text')
_REFUSED = ('source', 'id', 'x0', 'y0', 'x1', 'y1', 'reason', 'measured', 'limit', *_MEASURES)
_KEPT = ('file', 'split', 'source', 'id', 'x0', 'y0', 'x1', 'y1', 'width', 'height', 'group', 'sha256') + (
    'credit',
    'licence',
    'page',
    'ra',
    'dec',
    'decision',
    *_MEASURES,
)


def curate(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: Settings,
    *,
    overrides: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    jobs: int = 1,
) -> dict[str, Any]:
    """Check all pictures below a folder and write what can be used as a data set; return what `curate.json` holds.

    The output folder appears whole or not at all, and the same input gives the same bytes: train/, validation/ and
    test/, manifest.csv, refused.csv, curate.json, contact_sheet.html and thumbnails/.

    A picture that has a split keeps it: from the earlier output in `out`, else from a column `split` of the manifest in
    `folder`. A new one that shows the sky of pictures in two splits is refused.

    Raises:
        UserError: nothing usable, or input or settings that cannot be used; nothing is written then.
    """
    root, target = Path(folder).expanduser(), Path(out).expanduser()
    names = sources.find(root)
    _check_target(root, target, overwrite)
    rows = sources.read_manifest(root)
    earlier = sources.earlier_splits(rows, target)
    by_hand = sources.read_overrides(Path(overrides).expanduser(), names) if overrides else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.remove_stale(target.parent)
    with atomic.replacing_folder(target) as partial:
        summary = _fill(partial, root, names, rows, earlier, by_hand, settings, jobs)
    return summary


def _fill(
    partial: Path,
    root: Path,
    names: list[str],
    rows: dict[str, dict[str, str]],
    earlier: dict[str, str],
    by_hand: dict[str, sources.Override],
    settings: Settings,
    jobs: int,
) -> dict[str, Any]:
    (partial / 'thumbnails').mkdir()
    tasks = [(root, name, partial, f'{n:06d}', by_hand.get(name), settings) for n, name in enumerate(names)]
    found = list(_each(examine, tasks, 'measuring', jobs))
    kept = [one for one in found if one.refusal is None]
    matched = duplicates.matches(
        [one.print for one in kept if one.print is not None],
        points=int(settings.limits.match_points),
        correlation=settings.limits.match_correlation,
    )
    _refuse_duplicates(kept, matched, settings.limits)
    group_of = _group(kept, matched, rows, earlier, settings.limits.same_sky)
    inherited = {group_of[name]: split for name, split in earlier.items() if name in group_of}
    kept = [one for one in kept if one.refusal is None]
    wanted = {group_of[one.name] for one in kept}
    inherited = {group: split for group, split in inherited.items() if group in wanted}
    split_of = groups.splits(wanted, settings.test_fraction, settings.validation_fraction, settings.seed, inherited)
    stems = _stems([one.name for one in kept])
    cuts = [(root, one, partial, f'{split_of[group_of[one.name]]}/{stems[one.name]}', settings) for one in kept]
    manifest: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    tiles: Counter[str] = Counter()
    for one, (good, bad) in zip(kept, _each(cut, cuts, 'writing', jobs), strict=True):
        carried = {key: rows.get(one.name, {}).get(key, '') for key in sources.CARRIED}
        common = {**carried, 'source': one.name, **_rounded(one.measured), 'decision': one.decision}
        manifest += [{**common, 'group': group_of[one.name], **_rounded(tile)} for tile in good]
        refused += [{**common, **_rounded(tile)} for tile in bad]
        tiles[one.name] = len(good)
        if not good:
            one.refusal = Refusal('no tile left')
    for one in found:
        if one.refusal:
            box = dict(zip(('x0', 'y0', 'x1', 'y1'), one.box, strict=True)) if any(one.box) else {}
            row = {'source': one.name, 'id': rows.get(one.name, {}).get('id', ''), **box}
            refused.append({**row, **dataclasses.asdict(one.refusal), **_rounded(one.measured)})
    if not manifest:
        reasons = Counter(one.refusal.reason for one in found if one.refusal)
        listed = ', '.join(f'{count} {reason}' for reason, count in reasons.most_common())
        raise UserError(f'{printable(root)}: none of {len(found)} pictures can be used: {listed}')
    manifest.sort(key=lambda row: row['file'])
    refused.sort(key=lambda row: (row['source'], row.get('y0', -1), row.get('x0', -1)))
    write_table(partial / 'manifest.csv', _KEPT, manifest)
    write_table(partial / 'refused.csv', _REFUSED, refused)
    summary = {
        'made_by': 'astro-gan curate',
        'versions': {'astro_gan': astro_gan.__version__, 'numpy': np.__version__, 'pillow': Image.__version__},
        'settings': dataclasses.asdict(settings),
        'pictures': len(found),
        'kept': sum(one.refusal is None for one in found),
        'cropped': sum(one.refusal is None and one.measured.get('area', 1) < 1 for one in found),
        'groups': len({row['group'] for row in manifest}),
        'written': dict(sorted(Counter(row['split'] for row in manifest).items())),
        'refused': dict(sorted(Counter(one.refusal.reason for one in found if one.refusal).items())),
        'refused_tiles': dict(sorted(Counter(r['reason'] for r in refused if r['reason'].startswith('tile:')).items())),
    }
    (partial / 'curate.json').write_text(json.dumps(summary, indent=2, allow_nan=False) + '\n')
    _write_sheet(partial, found, group_of, split_of, tiles)
    return summary


def _each(work: Callable, tasks: list[tuple], what: str, jobs: int) -> Iterator[Any]:
    """Results in the order of the tasks, with a progress bar."""
    with contextlib.ExitStack() as stack:
        results: Iterable[Any] = map(work, tasks)
        if jobs > 1 and len(tasks) > 1:
            # 'spawn': a fork of a process that runs threads can hang.
            pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=multiprocessing.get_context('spawn'))
            stack.callback(pool.shutdown, cancel_futures=True)
            results = pool.map(work, tasks)
        yield from tqdm(results, total=len(tasks), desc=what, unit=' pictures', smoothing=0.1)


def _refuse_duplicates(kept: list[Picture], matched: list[duplicates.Match], limits: Limits) -> None:
    """Of pictures with the same framing the largest stays; what was kept by hand stays in any case."""

    def rank(one: Picture) -> tuple:
        x0, y0, x1, y1 = one.box
        return one.decision != KEPT_BY_HAND, -(x1 - x0) * (y1 - y0), one.name

    pairs = []
    for match in matched:
        if match.overlap >= limits.duplicate_overlap and match.correlation >= limits.duplicate_correlation:
            better, worse = sorted((kept[match.first], kept[match.second]), key=rank)
            pairs.append((better, worse, match))
    # The best first, so that what is itself refused refuses nothing.
    for better, worse, match in sorted(pairs, key=lambda pair: (rank(pair[0]), rank(pair[1]))):
        if better.refusal is None and worse.refusal is None and worse.decision != KEPT_BY_HAND:
            measured = f'correlation {match.correlation:.4g} over {match.overlap:.0%} with {better.name}'
            worse.refusal = Refusal('duplicate', measured, f'duplicate_correlation {limits.duplicate_correlation:g}')


def _group(
    kept: list[Picture],
    matched: list[duplicates.Match],
    rows: dict[str, dict[str, str]],
    earlier: dict[str, str],
    degrees: float,
) -> dict[str, str]:
    """The group of each picture; those that would bring two splits together are refused, the new ones first."""
    # Refused duplicates stay in: they may be the link between two pictures.
    names = [one.name for one in kept]
    group_of = groups.by_sky(names, matched, rows, degrees)
    torn = groups.torn(group_of, earlier)
    between = {one.name for one in kept if group_of[one.name] in torn and one.name not in earlier}
    if between:
        links = [match for match in matched if not between & {names[match.first], names[match.second]}]
        apart = {name: row for name, row in rows.items() if name not in between}
        came, group_of = group_of, groups.by_sky(names, links, apart, degrees)
        for one in kept:
            if one.name in between and one.refusal is None:
                one.refusal = Refusal('same sky', f'shows what is in {" and ".join(sorted(torn[came[one.name]]))}')
    # What is left over comes of other limits than before: a picture that was trained on stays.
    for group, splits in groups.torn(group_of, earlier).items():
        first = next(split for split in sources.SPLITS if split in splits)
        for one in kept:
            if group_of[one.name] == group and earlier[one.name] != first:
                group_of[one.name] = one.name
                one.refusal = one.refusal or Refusal('same sky', f'shows what is in {first}')
    return group_of


def _stems(names: list[str]) -> dict[str, str]:
    """A plain file name for each path; with a piece of the path's hash where two would be the same."""
    plain = {name: re.sub(r'[^A-Za-z0-9._-]+', '-', os.path.splitext(name)[0]).strip('.-')[-80:] for name in names}
    often = Counter(stem.lower() for stem in plain.values())
    marked = {name: f'{stem}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}' for name, stem in plain.items()}
    return {name: stem if stem and often[stem.lower()] == 1 else marked[name] for name, stem in plain.items()}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f'{value:.5g}') if isinstance(value, float) else value for key, value in row.items()}


def _write_sheet(
    partial: Path, found: list[Picture], group_of: dict[str, str], split_of: dict[str, str], tiles: Counter[str]
) -> None:
    sections: dict[str, list[contact_sheet.Card]] = {}
    for one in found:
        hover = ', '.join(f'{key} {value:.4g}' for key, value in one.measured.items())
        if one.refusal:
            heading = f'Refused: {one.refusal.reason}'
            lines = [text for text in (one.refusal.measured, one.refusal.limit) if text]
        else:
            group = group_of[one.name]
            heading = f'Kept: {split_of[group]}'
            lines = [f'{tiles[one.name]} written, {one.decision}'] + ([f'group {group}'] if group != one.name else [])
        sections.setdefault(heading, []).append((one.thumbnail, one.name, lines, hover))
    contact_sheet.write(
        partial / 'contact_sheet.html', 'Contact sheet of astro-gan curate', sorted(sections.items(), reverse=True)
    )


def _check_target(root: Path, target: Path, overwrite: bool) -> None:
    """Refuse to write into the pictures, or over something that is not an earlier output."""
    shown, real, pictures_at = printable(target), target.resolve(), root.resolve()
    if real == pictures_at or pictures_at in real.parents or real in pictures_at.parents:
        raise UserError(f'{shown}: must be neither in the folder of pictures nor around it')
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise UserError(f'{shown}: exists and is not a folder')
    if not any(target.iterdir()):
        return
    try:
        earlier = json.loads((target / 'curate.json').read_text())['made_by'] == 'astro-gan curate'
    except (OSError, ValueError, KeyError, TypeError):
        earlier = False
    if not earlier:
        raise UserError(f'{shown}: is not empty, and no earlier output of astro-gan curate')
    if not overwrite:
        raise UserError(f'{shown}: exists already; --overwrite replaces it')
