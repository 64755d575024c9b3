"""From a config to a trained, evaluated and exported network."""

import astro_gan  # noqa: F401 (sets the compiler's flags, before JAX is imported)
