"""How files are read and written: what the options of the commands say."""

from __future__ import annotations

import dataclasses
from typing import Any

from astro_gan.files.picture_source import MAXIMUM_PIXELS
from astro_gan.inference.guide_options import GuideOptions


@dataclasses.dataclass(frozen=True)
class Settings:
    """How files are read and written. `deciding` names those that make the output's values.

    Attributes:
        allow_color: colour pictures are made gray where gray is meant.
        reduction: working scale of a colorizer; None: that of its training.
        saturation: multiplies the colours that a colorizer predicts.
        guides: of a colorizer.
        hdu: FITS extension; None: the science image.
        stretch: of FITS frames, 'asinh', 'zscale', 'log' or 'linear'.
        conserve: of FITS frames, 'surface_brightness' or 'flux'.
        mask: of FITS frames, what 1 in a MASK means ('bad', 'good'), or 'ignore'; None: bad, unless that is most of it.
        allow_mosaic: frames of colour sensors before debayering are taken as gray.
        ignore_checksum: frames that do not agree with their DATASUM are read.
        sky, noise, fwhm, correlation, concentration: of frames, for models for frames, in place of what is measured;
            data values and pixels.
        sharpen, denoise: how much of what a model for frames does is kept, 0 to 1.
        self_ensemble, back_project, consistent: see `refine.Refined`.
        blend: share of a GAN's weights in a supervised network's; None: one network.
        trust: write an interval of the error beside the output (`trust`).
        residual: write what a model for frames leaves unexplained beside its output.
        depth: bits of a picture's values, 8 or 16; None: the input's.
        check: audit each output (`astro_gan.audit`) and write what was found beside it.
        format: 'png', 'jpg', 'tif' or 'fits'; None: the input's.
        tile: pixels of the input on a side of a tile; None: the default.
        overwrite: replace outputs that are there.
        resume: leave outputs alone that were made from the same input by the same model and settings.
        maximum_pixels: of an input.
    """

    allow_color: bool = False
    reduction: int | None = None
    saturation: float = 1.0
    guides: GuideOptions = dataclasses.field(default_factory=GuideOptions)
    hdu: str | None = None
    stretch: str = 'asinh'
    conserve: str = 'surface_brightness'
    mask: str | None = None
    allow_mosaic: bool = False
    ignore_checksum: bool = False
    sky: float | None = None
    noise: float | None = None
    fwhm: float | None = None
    correlation: float | None = None
    concentration: float | None = None
    sharpen: float = 1.0
    denoise: float = 1.0
    residual: bool = False
    self_ensemble: bool = False
    back_project: int = 0
    consistent: bool = False
    blend: float | None = None
    trust: bool = False
    depth: int | None = None
    check: bool = False
    format: str | None = None
    tile: int | None = None
    overwrite: bool = False
    resume: bool = False
    maximum_pixels: int = MAXIMUM_PIXELS

    def deciding(self) -> dict[str, Any]:
        """Those that decide the output's values."""
        names = ('allow_color', 'reduction', 'hdu', 'stretch', 'conserve', 'format')
        newer = (
            'saturation',
            'mask',
            'allow_mosaic',
            'ignore_checksum',
            'sky',
            'noise',
            'fwhm',
            'correlation',
            'concentration',
            'sharpen',
            'denoise',
            'self_ensemble',
            'back_project',
            'consistent',
            'blend',
            'trust',
            'depth',
        )  # than many results
        changed = [name for name in newer if getattr(self, name) != getattr(Settings, name)]
        told = self.guides.deciding()
        return {name: getattr(self, name) for name in (*names, *changed)} | ({'guides': told} if told else {})
