"""`python -m astro_gan`: the same as the `astro-gan` command."""

import sys

from astro_gan.cli import main

sys.exit(main())
