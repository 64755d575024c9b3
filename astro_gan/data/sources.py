"""Where pictures come from: a folder, or a TensorFlow data set; either way a `Source` with random access."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from astro_gan.data import folders
from astro_gan.errors import UserError

if TYPE_CHECKING:
    from os import PathLike

SPLITS = ('train', 'validation', 'test')


@dataclasses.dataclass(frozen=True)
class Source:
    """Pictures of one split, decoded one at a time.

    Attributes:
        name: where they come from, for messages.
        ids: what each picture is called: its path in the folder, or data set, split and number.
        sizes: (height, width) of each.
        load: index -> uint8 `[H, W, 3]`. May be called from several threads. Raises ValueError, one line, if the
            picture cannot be read any more.
        encoded: index -> the bytes of the picture's file, if there is one: of a JPEG, parts can be decoded. Threads and
            errors as for `load`.
    """

    name: str
    ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    load: Callable[[int], np.ndarray]
    encoded: Callable[[int], bytes] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def open_source(
    split: str,
    *,
    folder: str | PathLike[str] = '',
    name: str = 'hubble_deep_field',
    data_dir: str | None = None,
    minimum_size: int = 96,
    log: Callable[[str], None] = print,
) -> Source:
    """Open one split of a folder of pictures or, when `folder` is empty, of a TensorFlow data set.

    A folder is split by its `manifest.csv` (columns `file` and `split`), else by its sub-folders `train`, `val` (or
    `validation`) and `test`, else by a hash of each file's name, 80 : 10 : 10. A folder without a test split gives its
    validation pictures as test.

    Args:
        split: 'train', 'validation' or 'test'.
        folder: a folder of pictures; empty to use `name`.
        name: 'hubble_deep_field' (embedded) or any TensorFlow data set with an `image` (or `hr`) feature.
        data_dir: where TensorFlow data sets are kept; None for `~/tensorflow_datasets`.
        minimum_size: pictures with a shorter side are left out; a crop has to fit.
        log: receives what was done and what was left out, one line at a time.

    Raises:
        UserError: nothing usable there, no such split, or an unknown data set; one line.
    """
    if split not in SPLITS:
        raise UserError(f'unknown split {split!r}; valid are {", ".join(SPLITS)}')
    if folder:
        found = folders.open_folder(folder, split, minimum_size, log)
        return Source(str(folder), found.ids, found.sizes, found.load, found.encoded)
    from astro_gan.data import datasets  # TensorFlow Datasets takes seconds to import

    opened = datasets.open_dataset(name, split, data_dir, minimum_size, log)
    return Source(name, opened.ids, opened.sizes, opened.load, opened.encoded)
