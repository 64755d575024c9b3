"""What a TIFF says of its pixels, read before anything decodes them: which page, which samples, and what they mean."""

from __future__ import annotations

import os
from typing import Any

import tifffile

MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the last two: BigTIFF
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: a smaller copy, a transparency mask


def is_float_tiff(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a TIFF of floating-point pixels: a frame, not a picture. False for what cannot be read."""
    try:
        with open(path, 'rb') as file:
            if not file.read(4).startswith(MAGIC):
                return False
            file.seek(0)
            with tifffile.TiffFile(file) as tiff:
                page, _ = main_page(tiff)
                return page.sampleformat == tifffile.SAMPLEFORMAT.IEEEFP
    except Exception:  # damaged in one of many ways: said by what opens it
        return False


def main_page(tiff: tifffile.TiffFile) -> tuple[Any, str]:
    """The page that is the picture, and a note for the user if there is a choice ('' if there is none).

    Reduced-resolution copies and masks (NewSubfileType) are passed over, those in sub-IFDs are looked at if nothing
    else is there.
    """
    pages = [page.aspage() for page in tiff.pages]
    full = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)]
    inner = [sub for page in pages for sub in page.pages or () if not sub.subfiletype & (_REDUCED | _MASK)]
    page = (full or inner or pages)[0]
    if not full and not inner:
        return page, 'all its pages are marked as reduced copies; the first was taken'
    if not full:
        return page, 'its pages are reduced copies; the first full picture of the sub-IFDs was taken'
    if len(full) > 1:
        return page, f'page {pages.index(page) + 1} of {len(pages)} was taken'
    return page, ''
