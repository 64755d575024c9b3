"""Faults of every kind that a curation has to find, planted into a real picture, uint8 `[H, W, 3]`.

The kinds and their names are those of the reasons in `astro_gan.curation`.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CREDIT = 'Credit: NASA, ESA and the Hubble Heritage Team'


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """What JPEG makes of a picture."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', quality=quality)
    return np.asarray(Image.open(file))


def noisy(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A short exposure: little light, and noise of five times its spread."""
    faint = pixels * 0.2
    return np.clip(faint + 60 + rng.normal(0, 5 * max(faint.std(), 4), pixels.shape), 0, 255).astype(np.uint8)


def empty(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sky, with the picture at one level or two."""
    return np.clip(pixels * 0.01 + rng.normal(20, 2, pixels.shape), 0, 255).astype(np.uint8)


def overexposed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tenth of the picture, its brightest, is burnt out."""
    white = max(float(np.quantile(pixels.min(-1), 0.9)), 1.0)
    return np.clip(pixels * (255 / white), 0, 255).astype(np.uint8)


def gray(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black and white."""
    return np.asarray(Image.fromarray(pixels).convert('L').convert('RGB'))


def tinted(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gray through a colour table, as one filter is often shown."""
    level = np.linspace(0, 1, 256)[:, None]
    table = np.rint(255 * level ** np.array([0.7, 1.1, 1.6])).astype(np.uint8)
    return table[np.asarray(Image.fromarray(pixels).convert('L'))]


def enlarged(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The middle, enlarged threefold, and saved as a good JPEG."""
    height, width = pixels.shape[:2]
    part = Image.fromarray(pixels).crop((width // 3, height // 3, width // 3 * 2, height // 3 * 2))
    return as_jpeg(np.asarray(part.resize((width, height), Image.Resampling.BICUBIC)), 92)


def crushed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG of quality 12, and a crop, so that the grid of its blocks starts anywhere."""
    return as_jpeg(pixels, 12)[3:, 5:]


def captioned(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A line of white print on the picture."""
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text((30, image.height - 50), CREDIT, 'white', ImageFont.load_default(22))
    return np.asarray(image)


def diagram(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A plot on white paper with a small picture in it."""
    image = Image.new('RGB', pixels.shape[1::-1], (250, 250, 245))
    draw = ImageDraw.Draw(image)
    width, height = image.size
    image.paste(Image.fromarray(pixels).resize((width // 4, height // 4)), (width // 2, height // 8))
    draw.line([(60, 40), (60, height - 60), (width - 40, height - 60)], 'black', 3)
    x = np.arange(0, width - 100, 4)
    y = height - 80 - (height - 200) * np.exp(-(((x - 300) / 150) ** 2))
    draw.line(list(zip((x + 60).tolist(), y.tolist(), strict=True)), (200, 30, 30), 3)
    draw.text((width // 3, height - 45), 'Wavelength [nanometres]', 'black', ImageFont.load_default(24))
    return np.asarray(image)


def montage(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two pictures side by side: the left half, and the right half upside down."""
    half = pixels.shape[1] // 2
    return np.concatenate([pixels[:, :half], pixels[::-1, half:]], axis=1)


def framed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A white frame of 20 pixels."""
    result = np.full_like(pixels, 255)
    result[20:-20, 20:-20] = pixels[20:-20, 20:-20]
    return result


def turned(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A field turned by ten degrees in a black canvas, at half brightness over a sky of 15 levels."""
    lit = Image.fromarray((pixels * 0.9 + 15).astype(np.uint8))
    return as_jpeg(np.asarray(lit.rotate(10, Image.Resampling.BICUBIC)), 92)


def small(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """200 pixels high."""
    return pixels[:200]


Fault = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# Refused, for one of these reasons.
REFUSED: dict[str, tuple[Fault, tuple[str, ...]]] = {
    'too small': (small, ('too small',)),
    'gray': (gray, ('not colour',)),
    'one tint': (tinted, ('not colour',)),
    'noise': (noisy, ('noise-dominated',)),
    'empty': (empty, ('near-empty', 'not colour')),
    'overexposed': (overexposed, ('overexposed',)),
    'JPEG of quality 12': (crushed, ('JPEG artefacts',)),
    'enlarged threefold': (enlarged, ('upscaled',)),
    'caption': (captioned, ('caption',)),
    'diagram': (diagram, ('diagram', 'caption', 'borders', 'montage')),
    'montage': (montage, ('montage',)),
}
# Not refused but cropped.
CROPPED: dict[str, Fault] = {'frame': framed, 'turned field': turned}
