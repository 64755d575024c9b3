"""TensorFlow data sets with random access, the embedded one among them."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import difflib
import functools
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from astro_gan.data import hubble_deep_field
from astro_gan.errors import UserError
from astro_gan.files import atomic, pictures
from astro_gan.files.locks import only_one

_IMAGE_FEATURES = ('image', 'hr')  # div2k calls its pictures hr
_KEPT = contextlib.ExitStack()
atexit.register(_KEPT.close)
_VALIDATION_NAMES = ('validation', 'valid', 'val', 'dev')


@dataclasses.dataclass(frozen=True)
class Examples:
    """Usable pictures: `rows` are their numbers in `records`, `key` their feature there, `sizes` (height, width)."""

    records: Sequence[Any]
    key: str
    rows: tuple[int, ...]
    ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def load(self, index: int) -> np.ndarray:
        """Decode one, uint8 `[H, W, 3]`; a ValueError if it is damaged."""
        return pictures.decode_picture(self.encoded(index), self.ids[index])

    def encoded(self, index: int) -> bytes:
        """The bytes of its file, as they are stored."""
        return self.records[self.rows[index]][self.key]


def open_dataset(
    name: str, split: str, data_dir: str | None, minimum_size: int, log: Callable[[str], None]
) -> Examples:
    """Open one split of a TensorFlow data set, preparing it on first use (some have to be downloaded for that).

    A data set without a validation or a test split has them carved off its training split, a tenth each. One with a
    feature `group` (see `astro_images`) is not cut up, as that would divide groups: its validation pictures serve as
    test too.

    Raises:
        UserError: unknown data set, no `image` (or `hr`) feature, or nothing usable; one line.
    """
    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)
    builder = _prepared(name, data_dir, log)
    features = builder.info.features
    there = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    key = next((key for key in _IMAGE_FEATURES if isinstance(there.get(key), tfds.features.Image)), None)
    if key is None:
        raise UserError(f'data set {name!r} has no feature `image` (or `hr`) that holds a picture')
    if 'group' in features and split == 'test' and 'test' not in builder.info.splits:
        part = split_expression('validation', (*builder.info.splits, 'test'), name)
    elif 'group' in features and split == 'train':
        part = 'train'
    else:
        part = split_expression(split, tuple(builder.info.splits), name)
    if part != split:
        log(f'{name}: {split} is {part}')
    # Undecoded, so that sizes are read from headers and pictures are decoded as those in folders are.
    records = builder.as_data_source(part, decoders={key: tfds.decode.SkipDecoding()})
    ids = [f'{name}/{part}/{row}' for row in range(len(records))]

    def check(row: int) -> tuple[int, int] | None:
        try:
            encoded = records[row][key]
        except Exception as error:  # the readers of records raise several types
            reason = ' '.join(str(error).split())
            raise UserError(f'data set {name!r} in {builder.data_dir} is damaged ({reason}): make it anew') from error
        try:
            return pictures.encoded_picture_size(encoded, ids[row])
        except ValueError:
            return None

    with ThreadPoolExecutor(4) as pool:
        checked = pool.map(check, range(len(records)))
        # All of the data is read here once: large sets take a while.
        sizes = dict(
            enumerate(tqdm.tqdm(checked, f'{name}: sizes', len(records), leave=False, delay=2, unit=' pictures'))
        )
    usable = {row: size for row, size in sizes.items() if size and min(size) >= minimum_size}
    if not usable:
        raise UserError(
            f'no usable picture in {part} of data set {name!r}: none of its {len(records)} pictures is at least '
            f'{minimum_size}x{minimum_size} pixels'
        )
    left_out = len(records) - len(usable)
    note = f', {left_out} left out as unreadable or smaller than {minimum_size} pixels' if left_out else ''
    log(f'{name}: {len(usable)} pictures in {split}{note}')
    return Examples(records, key, tuple(usable), tuple(ids[row] for row in usable), tuple(usable.values()))


def split_expression(split: str, there: tuple[str, ...], name: str) -> str:
    """Which part of a data set with the splits `there` serves as 'train', 'validation' or 'test'.

    Raises:
        UserError: there is no training split to carve from.
    """
    if 'train' not in there:
        raise UserError(f'data set {name!r} has no split `train`; it has {", ".join(there)}')
    validation = next((name for name in _VALIDATION_NAMES if name in there), None)
    if validation and 'test' in there:
        carved = {'train': 'train'}
    elif validation:
        carved = {'train': 'train[:90%]', 'test': 'train[90%:]'}
    elif 'test' in there:
        carved = {'train': 'train[:90%]', 'validation': 'train[90%:]'}
    else:
        carved = {'train': 'train[:80%]', 'validation': 'train[80%:90%]', 'test': 'train[90%:]'}
    return carved.get(split) or (validation if validation and split == 'validation' else split)


def _prepared(name: str, data_dir: str | None, log: Callable[[str], None]) -> tfds.core.DatasetBuilder:
    """A builder whose files are there."""
    builder = _builder(name, data_dir)
    if builder.data_path.exists():
        return builder
    embedded = isinstance(builder, hubble_deep_field.HubbleDeepField)
    if embedded:
        hubble_deep_field.photograph_path()  # say what is wrong before files are written
    if embedded and data_dir is None and not _can_be_made(builder.data_path.parent):
        log(f'{name}: {builder.data_dir} cannot be written; it goes to a temporary folder, for this run')
        return _prepared(name, _temporary(), log)
    log(f'{name}: preparing the data set in {builder.data_dir} (only once)')
    try:
        builder.data_path.parent.mkdir(parents=True, exist_ok=True)
        with only_one(Path(builder.data_path.parent, '.preparing'), busy=''):
            builder = _builder(name, data_dir)
            if not builder.data_path.exists():
                _prepare(builder, quiet=embedded)
    except OSError as error:
        # Where locks do not work (some network file systems) another process may have put its files in place first.
        builder = _builder(name, data_dir)
        if not builder.data_path.exists():
            reason = ' '.join(str(error).split())
            raise UserError(f'data set {name!r} cannot be prepared in {builder.data_dir}: {reason}') from error
    return builder


def _can_be_made(folder: Path) -> bool:
    """Whether files can be written there; the folder is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic.scratch(folder / 'trial'):
            return True
    except OSError:
        return False


@functools.cache
def _temporary() -> str:
    """A folder that is there as long as the process."""
    return _KEPT.enter_context(tempfile.TemporaryDirectory())


def _builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    try:
        return tfds.builder(name, data_dir=data_dir, file_format='array_record')
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name, known, 3, 0.6)
        hint = f' (did you mean {" or ".join(near)}?)' if near else ''
        raise UserError(
            f'unknown data set {name!r}{hint}; valid are hubble_deep_field, what `astro-gan dataset build` '
            f'has put into the same data_dir, and the {len(known)} data sets of TensorFlow Datasets; for your own '
            f'pictures give a folder'
        ) from None
    except ValueError as error:
        if 'already set' not in str(error):
            raise
        raise UserError(
            f'data set {name!r} was prepared there as TFRecord files, which cannot be read in random order; '
            f'give another data_dir or delete it'
        ) from error


def _prepare(builder: tfds.core.DatasetBuilder, *, quiet: bool) -> None:
    """Write the files; the embedded data set does so without TFDS's messages and progress bars."""
    if not quiet:
        builder.download_and_prepare(file_format='array_record')
        return
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(file_format='array_record')
    finally:
        tfds.enable_progress_bar()
