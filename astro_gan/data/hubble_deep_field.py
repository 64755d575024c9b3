"""The embedded data set: one photograph of the Hubble eXtreme Deep Field, split by area.

The photograph ships inside the scikit-image wheel, so this data set needs no network. Importing this module registers
`hubble_deep_field` with TensorFlow Datasets.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from astro_gan.errors import UserError
from astro_gan.files import pictures

HEIGHT, WIDTH = 872, 1000
SHA256 = '3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4'
# (x0, y0, x1, y1), end exclusive: three strips with gaps of 16 pixels, so that no pixel and no 8x8 JPEG block is shared
# and a galaxy on an edge is not in two splits. The held-out strips hold four tiles of 192 pixels each (192 divides by
# every factor up to 12).
REGIONS = {
    'train': (0, 0, 584, HEIGHT),
    'validation': (600, 0, 792, HEIGHT),
    'test': (808, 0, 1000, HEIGHT),
}

_DESCRIPTION = """
The Hubble eXtreme Deep Field (NASA/ESA, 2012), 1000 x 872 pixels, as it ships with scikit-image, split by area into a
training strip of 584 columns and two held-out strips of 192 columns with gaps of 16 pixels between them. Small on
purpose: it serves tests, examples and first runs without a network. Credit: NASA, ESA, G. Illingworth, D. Magee and
P. Oesch (University of California, Santa Cruz), R. Bouwens (Leiden University) and the HUDF09 team.
"""
_CITATION = """
@article{illingworth2013hst,
  title = {The {HST} eXtreme Deep Field ({XDF}): Combining all {ACS} and {WFC3/IR} data on the {HUDF} region into the
           deepest field ever},
  author = {Illingworth, G. D. and Magee, D. and Oesch, P. A. and Bouwens, R. J. and others},
  journal = {The Astrophysical Journal Supplement Series},
  volume = {209},
  number = {1},
  pages = {6},
  year = {2013},
}
"""


class HubbleDeepField(tfds.core.GeneratorBasedBuilder):
    """One picture per split: features `image` (uint8 `[H, W, 3]`) and `region` (x0, y0, x1, y1 in the photograph)."""

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
    # TFDS looks beside the code for checksums of downloads, of which there are none; its search needs
    # importlib_resources, which TFDS 4.9.10 does not ask for.
    code_path = None

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            'image': tfds.features.Image(shape=(HEIGHT, None, 3)),
            'region': tfds.features.Tensor(shape=(4,), dtype=np.int32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            homepage='http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/',
            license='Public domain (NASA)',
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(region) for split, region in REGIONS.items()}

    def _generate_examples(self, region: tuple[int, int, int, int]) -> Iterator[tuple[int, dict[str, Any]]]:
        x0, y0, x1, y1 = region
        image = photograph()[y0:y1, x0:x1]
        yield 0, {'image': np.ascontiguousarray(image), 'region': np.array(region, np.int32)}


def photograph_path() -> Path:
    """Where the installed scikit-image keeps the photograph; scikit-image itself is not imported.

    Raises:
        UserError: scikit-image is not installed, or its file is missing or another one.
    """
    spec = importlib.util.find_spec('skimage')
    if spec is None or not spec.submodule_search_locations:
        raise UserError('hubble_deep_field: its photograph comes with scikit-image: pip install scikit-image')
    path = Path(spec.submodule_search_locations[0], 'data', 'hubble_deep_field.jpg')
    if not path.is_file():
        raise UserError(f'hubble_deep_field: {path} is missing; reinstall scikit-image')
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise UserError(f'hubble_deep_field: {path} is not the photograph that is expected (its SHA-256 differs)')
    return path


def photograph() -> np.ndarray:
    """The whole photograph, uint8 `[872, 1000, 3]`."""
    return pictures.read_picture(photograph_path())
