"""Speed, memory and quality, measured: never asserted in tests."""

import astro_gan  # noqa: F401 (sets the compiler's flags, before JAX is imported)
