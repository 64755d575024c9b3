"""How a picture that cannot be read is told of: one line that names it, whatever a decoder raised."""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from astro_gan.errors import UserError

# What decoders raise when the parts of a file contradict each other: their words are about their own code.
_CONFUSED = (TypeError, AttributeError, LookupError, AssertionError, ArithmeticError, RecursionError, struct.error)
_PACKED = (zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_SPEAKER = re.compile(
    r'\b(\w*vips\w*|tj[A-Z]\w+|\w+load)(\(\))?: *', re.IGNORECASE
)  # a function or class before what it says
_CODE = re.compile(
    r"\w_\w|\(\)|0x[0-9a-f]{3}|-\d while|\bcodec\b|reshape|broadcast|\bbuffer\b|\bliteral\b|\bself\b|'\w+' object|<\w+"
)

_MACHINE = ('No space left', 'Too many open files', 'Cannot allocate')  # not the file's fault


def reason_of(error: Exception) -> str:
    """What a decoder's error says of the file, in one line; words about its own code are left out."""
    if isinstance(error, _CONFUSED):
        return 'what it says of itself does not fit together'
    if isinstance(error, EOFError):
        return 'it ends before its compressed data do, as a download that was cut'
    if isinstance(error, _PACKED):
        return 'its compressed data are not what was written'
    words = ' '.join(str(getattr(error, 'detail', None) or error).split())  # libvips has more to say
    sayings = dict.fromkeys(part.strip() for part in _SPEAKER.sub('\n', words).splitlines() if part.strip())
    return '; '.join(saying for saying in sayings if not _CODE.search(saying)) or 'its inside cannot be decoded'


def refusal(name: str, error: Exception, what: str = 'damaged picture') -> Exception:
    """What to raise for a file of which a decoder made an error: UserError, or OSError if the machine is at fault."""
    if any(fault in str(error) for fault in _MACHINE):
        return OSError(f'{name}: cannot be decoded here ({" ".join(str(error).split())})')
    reason = reason_of(error)
    unsupported = 'not supported' in reason or 'Unsupported JPEG' in reason
    return UserError(f'{name}: {"not supported" if unsupported else what} ({reason})')


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Give a `UserError` (a reason) the file's name; anything else that a decoder raises means a damaged picture."""
    try:
        yield
    except UserError as error:
        raise UserError(f'{name}: {error}') from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly every type on hostile files
        raise refusal(name, error) from error
