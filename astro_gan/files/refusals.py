"""How a picture that cannot be read is told of: one line that names it, whatever a decoder raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from astro_gan.errors import UserError

# What decoders raise when the parts of a file contradict each other: their words are about their own code.
_CONFUSED = (TypeError, AttributeError, LookupError, AssertionError, ArithmeticError, RecursionError)

_MACHINE = ('No space left', 'Too many open files', 'Cannot allocate')  # not the file's fault


def reason_of(error: Exception) -> str:
    """What a decoder's error says of the file, in one line."""
    if isinstance(error, _CONFUSED):
        return 'what it says of itself does not fit together'
    words = getattr(error, 'detail', None) or error  # libvips has more to say
    return ' '.join(str(words).split()) or type(error).__name__


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
        reason = reason_of(error)
        if any(fault in reason for fault in _MACHINE):
            raise OSError(f'{name}: cannot be decoded here ({reason})') from error
        unsupported = 'not supported' in reason or 'Unsupported JPEG' in reason
        what = 'not supported' if unsupported else 'damaged picture'
        raise UserError(f'{name}: {what} ({reason})') from error
