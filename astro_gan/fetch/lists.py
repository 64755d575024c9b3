"""Lists of images as archives send them, VOTables: looked at before a library sees them."""

from __future__ import annotations

import re
from xml.parsers import expat

from astro_gan.errors import UserError

_CELLS = 50  # for each row that is allowed: an image list has some 20, and a reader does 80,000 in a second
_HEADER_ELEMENTS = 2000  # readers take a time that grows with their square
_LONGEST_CELL = 10_000  # values
_DEEPEST = 32


def check_votable(answer: bytes, rows: int) -> None:
    """Refuse what would keep a reader busy, or send it elsewhere.

    A STREAM names a file, here or on any host, that readers of VOTables open; arrays are made as large as a table says
    that it is; entities of a document type grow without an end.

    Raises:
        UserError: more rows than `rows` or what fits so many, a STREAM, a document type, not XML.
    """
    counts = {'TR': 0, 'TD': 0, 'others': 0, 'depth': 0}

    def start(name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(':')[2].upper()
        counts['depth'] += 1
        counts[name if name in counts else 'others'] += 1
        if name == 'STREAM':
            raise UserError('the list is not in the answer but in a STREAM, which is not followed')
        if counts['TR'] > rows or _product(attributes.get('nrows', '')) > rows:
            raise UserError(f'the list has more than {rows} rows (--rows); ask for a smaller radius')
        if counts['TD'] > rows * _CELLS:
            raise UserError(f'the list has more than {rows * _CELLS} cells (--rows); ask for a smaller radius')
        if counts['others'] > _HEADER_ELEMENTS or counts['depth'] > _DEEPEST:
            raise UserError('not a list of images: too many elements')
        if _product(attributes.get('arraysize', '')) > _LONGEST_CELL:
            raise UserError('not a list of images: a column has too many values a row')

    def end(name: str) -> None:
        counts['depth'] -= 1

    def doctype(*_: object) -> None:
        raise UserError('not a list of images: it declares a document type')

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(answer, True)
    except expat.ExpatError as error:
        raise UserError(f'not a VOTable ({error})') from error
    except (ValueError, LookupError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError('not a VOTable (text in an unknown encoding)') from error


def _product(size: str) -> float:
    """How many values '10x20*' stands for, at least; digits beyond any sense count as endless."""
    product = 1.0
    for number in re.findall(r'\d+', size):
        product *= float(number[:300])
    return product
