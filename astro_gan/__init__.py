"""astro_gan: colorize and super-resolve astronomical images with generative adversarial networks."""

from __future__ import annotations

from typing import Any

from astro_gan.xla_flags import set_flags

__version__ = '0.1.0'
__all__ = ['load_model']

set_flags()  # before JAX is imported


def __getattr__(name: str) -> Any:
    # JAX is imported at the first use, so that `import astro_gan` and `--help` are quick.
    if name == 'load_model':
        from astro_gan.model import load_model

        return load_model
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
