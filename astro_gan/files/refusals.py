"""How a picture that cannot be read is told of: one line that names it, whatever a decoder raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyvips

from astro_gan.errors import UserError


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
        words = error.detail if isinstance(error, pyvips.Error) and error.detail else error
        reason = ' '.join(str(words).split()) or type(error).__name__
        what = 'not supported' if 'nsupported' in reason or 'not supported' in reason else 'damaged picture'
        raise UserError(f'{name}: {what} ({reason})') from error
