"""Every threshold of the curation, with what it means. Standard library only: the command line is made from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from astro_gan.errors import UserError


def _setting(default: float, description: str) -> float:
    return dataclasses.field(default=default, metadata={'help': description})


@dataclasses.dataclass(frozen=True)
class Limits:
    """Thresholds. In brackets: what 266 ESA/Hubble press pictures, about 1024 pixels wide, have."""

    minimum_size: float = _setting(256, 'pixels of the shorter side, after borders are cut away')
    minimum_area: float = _setting(0.4, 'share of the picture that must be left when borders are cut away')
    minimum_colour: float = _setting(0.8, 'colour that brightness does not tell, CIE units [median 7.7, 1%% 1.2]')
    maximum_noise: float = _setting(0.7, 'noise over the whole standard deviation [median 0.04, highest 0.54]')
    minimum_content: float = _setting(0.01, 'share of the picture that differs from the sky [median 0.74, lowest 0.06]')
    maximum_overexposed: float = _setting(0.05, 'share of white pixels [median 0.0002, highest 0.024]')
    minimum_detail: float = _setting(
        0.08, 'amplitude at the pixel scale over that at three times coarser ones [1%% 0.075]'
    )
    maximum_blockiness: float = _setting(1.8, 'steps between JPEG blocks, 1 is none [median 1.07, highest 1.69]')
    maximum_text: float = _setting(6, 'characters in lines of print [0, but for the one picture with a caption]')
    maximum_flat: float = _setting(0.15, 'share of areas of one colour, as in drawings [99%% 0.02, highest 0.05]')
    maximum_seam: float = _setting(
        2.5, 'contrast of a straight break through half of the picture, 1 is none [highest 2.7]'
    )
    tile_minimum_content: float = _setting(0.01, 'minimum_content of a single tile')
    tile_maximum_noise: float = _setting(0.9, 'maximum_noise of a single tile')
    tile_maximum_overexposed: float = _setting(0.3, 'maximum_overexposed of a single tile')
    match_points: float = _setting(6, 'key points that must agree before two pictures count as the same sky')
    match_correlation: float = _setting(0.7, 'correlation of two pictures of the same sky where they overlap')
    duplicate_overlap: float = _setting(0.95, 'share of the framing that duplicates have in common')
    duplicate_correlation: float = _setting(0.97, 'correlation of duplicates')
    same_sky: float = _setting(0.05, 'degrees: sources with coordinates nearer than this are one group')

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise UserError(f'{field.name} is {value!r}: must be a number, 0 or more')
        if self.minimum_size < 64:
            raise UserError(f'minimum_size is {self.minimum_size:g}: must be 64 or more')


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why something is not used."""

    reason: str
    measured: str = ''
    limit: str = ''


# In this order: an empty sky is not called noise, nor the blocks of JPEG a montage.
_CHECKS = (
    ('not colour', 'colour', 'minimum_colour'),
    ('near-empty', 'content', 'minimum_content'),
    ('noise-dominated', 'noise', 'maximum_noise'),
    ('overexposed', 'overexposed', 'maximum_overexposed'),
    ('JPEG artefacts', 'blockiness', 'maximum_blockiness'),
    ('upscaled', 'detail', 'minimum_detail'),
    ('caption', 'text', 'maximum_text'),
    ('diagram', 'flat', 'maximum_flat'),
    ('montage', 'seam', 'maximum_seam'),
)
_TILE_CHECKS = (
    ('tile: near-empty', 'content', 'tile_minimum_content'),
    ('tile: noise-dominated', 'noise', 'tile_maximum_noise'),
    ('tile: overexposed', 'overexposed', 'tile_maximum_overexposed'),
)


def judge(measured: Mapping[str, float], limits: Limits, *, tile: bool = False) -> Refusal | None:
    """The first check that a picture, or a tile of one, fails; None if it passes all."""
    for reason, name, limit in _TILE_CHECKS if tile else _CHECKS:
        value, bound = measured[name], getattr(limits, limit)
        too_much = 'maximum_' in limit
        if (value > bound) if too_much else (value < bound):
            return Refusal(reason, f'{name} {value:.4g}', f'{limit} {bound:g}')
    return None
