"""SHA-256 of files."""

from __future__ import annotations

import hashlib
import os

from astro_gan.files.paths import open_file


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        ValueError: it is empty, no regular file, or cannot be opened; one line that names it.
    """
    with open_file(path) as (file, _):
        return hashlib.file_digest(file, 'sha256').hexdigest()  # type: ignore[arg-type]
