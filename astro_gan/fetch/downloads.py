"""Files from an archive into a folder: few at a time, checked, and listed in manifest.csv.

A file gets its name only once it is complete and known to be an image, so whatever is there under its name is whole.
The manifest has a row for each file that was asked for: `file` is its name in the folder; `source`, `id`, `title`,
`ra`, `dec` (degrees, ICRS, empty where unknown), `instrument`, `filters` (of a colour cutout red, green, blue), `page`,
`url`, `credit` and `licence` are what the archive says; `sha256`, `bytes`, `width` and `height` what was received;
`fetched` is the time (UTC), `status` ok or failed, and then `reason` says why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import requests
from tqdm import tqdm

from astro_gan.errors import UserError
from astro_gan.fetch import parts, texts
from astro_gan.fetch.transport import LIMITS, Limits
from astro_gan.files import pictures
from astro_gan.files.hashes import sha256_of
from astro_gan.files.locks import only_one
from astro_gan.files.manifest import read_table, write_table
from astro_gan.files.paths import printable

COLUMNS = (
    ('file', 'source', 'id', 'title', 'ra', 'dec', 'instrument', 'filters', 'page', 'url', 'credit', 'licence')
    + ('sha256', 'bytes', 'width', 'height', 'fetched', 'status', 'reason')
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Item:
    """A file to fetch: its name in the folder, its address, and what the manifest says of it.

    `ra` and `dec` are degrees (ICRS), or None; `size` is the number of bytes where the archive announces it.
    """

    file: str
    url: str
    source: str
    id: str
    title: str = ''
    ra: float | None = None
    dec: float | None = None
    instrument: str = ''
    filters: str = ''
    page: str = ''
    credit: str = ''
    licence: str = ''
    size: int | None = None


def fetch(
    items: Iterable[Item],
    folder: str | os.PathLike[str],
    *,
    session: requests.Session,
    jobs: int = 2,
    limits: Limits = LIMITS,
    log: Callable[[str], None] = print,
) -> dict[str, int]:
    """Download items into a folder, `jobs` at a time, and list them in its manifest.csv.

    A file that the manifest lists is checked against its sha256 and not asked for again; what failed before is tried
    again. The manifest is replaced as a whole after each file, so it is complete after a kill at any moment.

    Args:
        limits: a file that is larger, or takes longer, is given up; so is one that a redirect has elsewhere.

    Returns:
        How many were 'fetched', 'kept' (already there) and 'failed'.

    Raises:
        UserError: the folder has a manifest of another kind, or another fetch is writing there.
        OSError: the folder cannot be written.
    """
    root = Path(folder).expanduser()
    root.mkdir(parents=True, exist_ok=True)
    wanted = list({item.file: item for item in items}.values())
    with only_one(root / '.fetch.lock', f'{printable(root)}: another fetch is writing there; wait for it to end'):
        return _fetch(wanted, root, session, jobs, limits, log)


def _fetch(
    items: list[Item], root: Path, session: requests.Session, jobs: int, limits: Limits, log: Callable[[str], None]
) -> dict[str, int]:
    rows, columns = read_manifest(root / 'manifest.csv')
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[str, dict[str, str]] | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    for item in items:
        todo.put(item)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while not stop.is_set():
                item = todo.get_nowait()
                try:
                    results.put(_settle(item, known.get(item.file), root, session, limits, stop))
                except BaseException as error:  # for the main thread: a full disk ends the run
                    results.put(error)
                    return

    known = dict(rows)
    counts = {'fetched': 0, 'kept': 0, 'failed': 0}
    # Daemons: a thread that waits for a server does not hold up the end of the program.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(items)))]
    try:
        for thread in threads:
            thread.start()
        with tqdm(total=len(items), unit='file', disable=None, dynamic_ncols=True) as bar:
            for _ in items:
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                outcome, row = result
                counts[outcome] += 1
                if outcome != 'kept':
                    rows[row['file']] = row
                    write_table(root / 'manifest.csv', columns, (rows[name] for name in sorted(rows)))
                if outcome == 'failed':
                    bar.clear()
                    log(f'{row["file"]}: {row["reason"]}')
                bar.set_postfix_str(f'{counts["failed"]} failed' if counts['failed'] else '')
                bar.update()
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=2)
        written = dict(rows)
        with contextlib.suppress(queue.Empty):  # after an interruption: files that were finished meanwhile
            while True:
                result = results.get_nowait()
                if not isinstance(result, BaseException):
                    rows[result[1]['file']] = result[1]
        if rows != written:
            write_table(root / 'manifest.csv', columns, (rows[name] for name in sorted(rows)))
    return counts


def _settle(
    item: Item, row: dict[str, str] | None, root: Path, session: requests.Session, limits: Limits, stop: threading.Event
) -> tuple[str, dict[str, str]]:
    """See to one item: its outcome and its manifest row."""
    path = root / item.file
    if row and row['status'] == 'ok' and row['url'] == item.url and path.is_file() and sha256_of(path) == row['sha256']:
        return 'kept', row
    row = dict.fromkeys(COLUMNS, '') | {
        name: '' if value is None else f'{value:.6f}' if isinstance(value, float) else str(value)
        for name, value in dataclasses.asdict(item).items()
        if name in COLUMNS
    }
    row['fetched'] = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
    try:
        row |= _download(item, path, session, limits, stop)
    except ValueError as error:
        return 'failed', row | {'status': 'failed', 'reason': texts.one_line(error)}
    return 'fetched', row | {'status': 'ok'}


def _download(
    item: Item, path: Path, session: requests.Session, limits: Limits, stop: threading.Event
) -> dict[str, str]:
    """Receive one file, check it and give it its name. UserError: the reason why that failed."""
    if item.size and item.size > limits.file_bytes:
        limit = limits.file_bytes / 1e6
        raise UserError(f'announced as {item.size / 1e6:.0f} MB, more than the limit of {limit:.0f} MB')
    part = path.with_name(f'.{path.name}.part')  # hidden: what reads folders of pictures passes it over
    parts.receive(item.url, part, session, limits, stop)
    try:
        height, width = _measure(part)
    except ValueError as error:
        parts.forget(part)
        raise UserError(str(error).removeprefix(f'{printable(part)}: ')) from error
    length = str(part.stat().st_size)
    described = {'bytes': length, 'sha256': sha256_of(part), 'width': str(width), 'height': str(height)}
    os.replace(part, path)
    parts.forget(part)
    return described


def _measure(path: Path) -> tuple[int, int]:
    """`(height, width)` of a picture or FITS image that is whole; UserError if it is neither."""
    with path.open('rb') as file:
        start = file.read(4096)
    if start.lstrip()[:1] == b'<':
        raise UserError(texts.web_page(start))
    if path.name.endswith('.fits.part'):
        return _measure_fits(path, start)
    return pictures.picture_size(path)


_WARNINGS = threading.Lock()  # their filters are of the whole process, and downloads run in threads


def _measure_fits(path: Path, start: bytes) -> tuple[int, int]:
    from astro_gan.files import fits_open

    if not start.startswith(b'SIMPLE  ='):
        raise UserError('not a FITS file')
    # Headers only, each looked at before astropy sees it.
    with path.open('rb') as file, _WARNINGS, fits_open.explained(printable(path)):
        hdus, units = fits_open.extensions(file)
        if any(unit.data + unit.length > path.stat().st_size for unit in units):
            raise fits_open.Refused('the end of the FITS file is missing')
        shapes = [hdu.shape for hdu in hdus if fits_open.is_image(hdu) and len(hdu.shape) == 2]
    if not shapes:
        raise UserError('a FITS file without a two-dimensional image')
    return shapes[0][0], shapes[0][1]


def read_manifest(path: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The rows of a manifest by file name, and its columns: `COLUMNS`, then any that others added.

    Raises:
        UserError: it is not one of these manifests, or damaged; one line that names it.
    """
    if not path.exists():
        return {}, list(COLUMNS)
    columns, listed = read_table(path)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise UserError(
            f'{printable(path)}: no column {missing[0]}: not a manifest of astro-gan fetch; choose another folder'
        )
    rows = {row['file']: row for _, row in listed}
    return rows, list(COLUMNS) + [name for name in columns if name not in COLUMNS]
