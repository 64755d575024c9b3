"""The pixels of a TIFF as a libvips image, whoever decodes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import pyvips
import tifffile
from tifffile import EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from astro_gan.errors import UserError
from astro_gan.files import tiff

_IN_MEMORY = 100 * 2**20  # bytes; larger arrays go to a temporary file, as with libvips
_MILLIMETRES = {2: 25.4, 3: 10.0}  # of a ResolutionUnit: inch, centimetre


class Opened(NamedTuple):
    """A picture file that was opened.

    Attributes:
        image: as it is stored (not turned), uint8 or uint16 with white at the top of the range: gray, RGB or CMYK.
        has_alpha: whether its last band is transparency.
        resolution: pixels per millimetre in x and y; None: the file does not say.
        notes: for the user.
    """

    image: pyvips.Image
    has_alpha: bool
    resolution: tuple[float, float] | None
    notes: list[str]


def load(
    file: BinaryIO, place: bytes | None, options: dict[str, Any], check_size: Callable[[int, int], None]
) -> Opened:
    """Open a TIFF of integers and make sure that its parts are whole.

    Args:
        file: the file, from its start.
        place: its path; None: what `file` holds.
        options: of libvips' loader.
        check_size: is told height and width, and raises if that is too much.

    Raises:
        UserError: the reason why it is not supported, or where it is damaged.
    """
    with tiff.opened(file) as pages:
        page, note = tiff.main_page(pages)
        check_size(page.imagelength, page.imagewidth)
        tiff.refuse_unsupported(page)
        tiff.check_parts(page)
        if not tiff.is_ordinary(page):
            image = _through_tifffile(page)
        elif place is not None:
            image = pyvips.Image.tiffload(place, **_where(pages, page), **options)
        else:
            file.seek(0)
            image = pyvips.Image.tiffload_buffer(file.read(), **_where(pages, page), **options)
        return Opened(image, tiff.has_alpha(page), _resolution(page), [note] if note else [])


def _where(pages: tifffile.TiffFile, page: Any) -> dict[str, int]:
    """How libvips is told which page is meant."""
    for number, other in enumerate(pages.pages):
        if other.offset == page.offset:
            return {'page': number}
        for index, inner in enumerate(other.aspage().pages or ()):
            if inner.offset == page.offset:
                return {'page': number, 'subifd': index}
    raise UserError('a picture inside a sub-IFD of a sub-IFD is not supported')


def _resolution(page: Any) -> tuple[float, float] | None:
    """Pixels per millimetre in x and y."""
    x, y, unit = tiff.densities(page) or (0, 0, 0)
    length = _MILLIMETRES.get(unit)
    return (float(x) / length, float(y) / length) if length else None


def _through_tifffile(page: Any) -> pyvips.Image:
    """All of a page that libvips does not read rightly."""
    deep = page.bitspersample > 8
    kind, top = ('ushort', 65535) if deep else ('uchar', 255)
    size = math.prod(page.shape) * (2 if deep else 1)
    array = page.asarray(out='memmap' if size > _IN_MEMORY else None)
    separate = page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    bands = 1 if separate else page.samplesperpixel
    planes = [
        pyvips.Image.new_from_memory(plane, page.imagewidth, page.imagelength, bands, kind)
        for plane in (array if separate else [array])
    ]
    image = planes[0].bandjoin(planes[1:]) if separate else planes[0]
    if not array.dtype.isnative:
        image = image.byteswap()
    white = 2**page.bitspersample - 1
    if white != top:  # 12 bits and their kin
        image = (image * (top / white)).rint().cast(kind)
    colors = image.bands - tiff.has_alpha(page)
    alpha = image[colors:].cast(kind) if colors < image.bands else None
    image = image[:colors]
    if alpha is not None and page.extrasamples[0] == EXTRASAMPLE.ASSOCALPHA:  # the colours were multiplied with it
        image = (image * (top / (alpha == 0).ifthenelse(1, alpha))).rint().cast(kind)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        image = (top - image).cast(kind)
    image = image if alpha is None else image.bandjoin(alpha)
    names = ('b-w', 'srgb', 'cmyk') if not deep else ('grey16', 'rgb16', 'cmyk')
    return _describe(image.copy(interpretation=names[(colors > 1) + (colors > 3)]), page)


def _describe(image: pyvips.Image, page: Any) -> pyvips.Image:
    """Give an image what libvips itself would have read from the tags."""
    image.set_type(pyvips.GValue.gint_type, 'orientation', int(page.tags.valueof('Orientation', 1)))
    if page.description:
        image.set_type(pyvips.GValue.gstr_type, 'image-description', page.description)
    for tag, field in ((34675, 'icc-profile-data'), (700, 'xmp-data'), (33723, 'iptc-data')):
        value = page.tags.valueof(tag)
        if isinstance(value, bytes):
            image.set_type(pyvips.GValue.blob_type, field, value)
    return image
