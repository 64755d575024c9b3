"""What is measured on a picture before it may become training data.

Every function takes a whole picture, or a tile of one, and gives one number whose meaning does not depend on the
picture's size. Luma is Rec. 601, in levels 0 to 255, as float32 `[H, W]`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import color

_GRID = 8  # JPEG's block size
_WINDOW = 1024  # pixels: measures of the pixel scale look at windows of at most this size
_BLACK = 24  # levels: below, a flat area is clipped sky and says nothing
_SEGMENTS = 8  # of a row or column, when a seam is looked for
_CONTRAST = 60  # levels by which print stands out
_TALLEST = 48  # pixels: the tallest character
_LINE = 7  # characters: the shortest line


def luma(pixels: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of uint8 RGB `[H, W, 3]`: float32 `[H, W]` in [0, 255]."""
    return pixels @ np.array([0.299, 0.587, 0.114], np.float32)


def reduce(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of `factor` x `factor` pixels: `[H, W]` or `[H, W, C]` to float32, the rest cut off."""
    height, width = (size // factor * factor for size in image.shape[:2])
    blocks = image[:height, :width].reshape(height // factor, factor, width // factor, factor, *image.shape[2:])
    return blocks.mean((1, 3), dtype=np.float32)


def measure_tile(pixels: np.ndarray) -> dict[str, float]:
    """The measures that make sense on a small piece: uint8 `[H, W, 3]`, both sides at least 32."""
    gray = luma(pixels)
    return {
        'colour': colour(pixels),
        'content': content(gray),
        'overexposed': overexposed(pixels),
        'noise': noise(gray),
        'detail': detail(gray),
    }


def measure(pixels: np.ndarray) -> dict[str, float]:
    """All measures of a picture: uint8 `[H, W, 3]`, both sides at least 64."""
    gray = luma(pixels)
    windows = list(_windows(gray))
    whole = max(1, max(gray.shape) // (2 * _WINDOW))  # captions and seams of a large picture are large
    small = reduce(gray, whole) if whole > 1 else gray
    return {
        'colour': colour(pixels),
        'content': content(gray),
        'overexposed': overexposed(pixels),
        'noise': float(np.median([noise(window) for window in windows])),
        'detail': float(np.median([detail(window) for window in windows])),
        'blockiness': float(np.median([blockiness(window) for window in windows])),
        'flat': flat(pixels),
        'seam': seam(small),
        'text': float(text(small)),
    }


def colour(pixels: np.ndarray) -> float:
    """Colour that the brightness does not tell: CIE units (a*, b*), root mean square around the mean at the same L*.

    Zero for gray, and near zero for a gray picture in one tint or through a colour table: there is nothing in these for
    a colorizer to learn. Measured on 2 x 2 averages, so that the noise of the colours does not count.
    """
    lab = color.rgb2lab(reduce(pixels, 2) / 255.0).reshape(-1, 3)
    level = np.clip((2 * lab[:, 0]).astype(int), 0, 199)
    count = np.maximum(np.bincount(level, minlength=200), 1)
    spread = 0.0
    for channel in (lab[:, 1], lab[:, 2]):
        mean = np.bincount(level, channel, minlength=200) / count
        spread += float(np.mean((channel - mean[level]) ** 2))
    return float(np.sqrt(spread))


def content(gray: np.ndarray, step: float = 10.0) -> float:
    """Share in [0, 1] of 4 x 4 averages of luma that lie more than `step` levels away from the median: not just sky."""
    small = reduce(gray, 4)
    return float(np.mean(np.abs(small - np.median(small)) > step))


def overexposed(pixels: np.ndarray) -> float:
    """Share in [0, 1] of pixels that are white, all channels at 250 or more."""
    return float(np.mean(pixels.min(-1) >= 250))


def noise(gray: np.ndarray) -> float:
    """Standard deviation of the noise as a share of the picture's own: 0 is clean, about 1 is nothing but noise.

    The noise is estimated from the diagonal Haar differences by their median absolute deviation (Donoho and Johnstone
    1994, section 4); stars and edges are too few to move a median.
    """
    height, width = (size // 2 * 2 for size in gray.shape)
    quads = gray[:height, :width].reshape(height // 2, 2, width // 2, 2)
    diagonal = (quads[:, 0, :, 0] - quads[:, 0, :, 1] - quads[:, 1, :, 0] + quads[:, 1, :, 1]) / 2
    sigma = float(np.median(np.abs(diagonal))) / 0.6745
    return sigma / max(float(gray.std()), 1.0)


def detail(gray: np.ndarray) -> float:
    """Amplitude at the pixel scale over that at three times coarser scales: near 0 for a picture that was enlarged.

    Ratio of luma's mean Fourier amplitudes at 0.30 to 0.45 and at 0.10 to 0.15 cycles per pixel. An enlargement by two
    or more leaves nothing above 0.25.
    """
    window = np.outer(np.hanning(gray.shape[0]), np.hanning(gray.shape[1])).astype(np.float32)
    amplitude = np.abs(np.fft.rfft2((gray - gray.mean()) * window))
    radius = np.hypot(np.fft.fftfreq(gray.shape[0])[:, None], np.fft.rfftfreq(gray.shape[1])[None])
    fine = amplitude[(radius >= 0.30) & (radius < 0.45)].mean()
    coarse = amplitude[(radius >= 0.10) & (radius < 0.15)].mean()
    return float(fine / max(coarse, 1e-9))


def blockiness(gray: np.ndarray) -> float:
    """How much steeper luma is across the borders of 8 x 8 blocks than within: 1 without JPEG blocks.

    The grid may lie anywhere, as after a crop: the steepest of the 8 phases counts, over the mean of the others, for
    rows and columns; the smaller of the two. After Wang, Bovik and Evans (ICIP 2000), in the pixel domain.
    """
    ratios = []
    for image in (gray, gray.T):
        # The second difference of a ramp is zero: only the step at the border is left.
        jump = (
            np.abs(image[:, 1:-2] - image[:, 2:-1])
            - (np.abs(image[:, :-3] - image[:, 1:-2]) + np.abs(image[:, 2:-1] - image[:, 3:])) / 2
        )
        columns = np.clip(jump, -20, 20).mean(0)
        steep = np.abs(np.diff(image, axis=1)).clip(0, 20).mean()
        phases = np.array([columns[phase::_GRID].mean() for phase in range(_GRID)])
        best = int(phases.argmax())
        ratios.append(1 + (phases[best] - np.delete(phases, best).mean()) / max(float(steep), 0.25))
    return float(min(ratios))


def flat(pixels: np.ndarray) -> float:
    """Share in [0, 1] of pixels that lie in areas of one colour, for the four commonest that are not nearly black.

    Drawings, and the paper around them, have such areas; photographs have noise.
    """
    same = np.ones(pixels.shape[:2], bool)
    for axis in (0, 1):
        span = ndimage.maximum_filter1d(pixels, 5, axis=axis).astype(np.int16)
        span -= ndimage.minimum_filter1d(pixels, 5, axis=axis)
        same &= span.max(-1) <= 2
    same &= pixels.max(-1) > _BLACK
    chosen = pixels[same].astype(np.int32) >> 2
    if not len(chosen):
        return 0.0
    _, counts = np.unique((chosen[:, 0] << 12) | (chosen[:, 1] << 6) | chosen[:, 2], return_counts=True)
    return float(np.sort(counts)[-4:].sum() / same.size)


def seam(gray: np.ndarray) -> float:
    """How much a straight vertical or horizontal break through half of the picture stands out from its surroundings.

    About 1 where there is none. Every row or column of differences is cut into eighths; a break stands out in four
    neighbouring ones.
    """
    return max(_seam(gray), _seam(gray.T))


def _seam(gray: np.ndarray) -> float:
    """Of vertical breaks."""
    # The spike of a star is a line of a few pixels: a median removes it, and leaves the step between two pictures.
    steps = np.abs(np.diff(ndimage.median_filter(gray, (1, 11)), axis=1)).clip(0, 60)
    parts = np.stack([part.mean(0) for part in np.array_split(steps, _SEGMENTS)])
    around = ndimage.median_filter(parts, (1, 17), mode='mirror')
    # JPEG blocks put a small step everywhere on their grid.
    around = np.maximum(around, (np.roll(parts, _GRID, 1) + np.roll(parts, -_GRID, 1)) / 2)
    ratio = (parts + 0.5) / (around + 0.5)  # half a level: the rounding to 8 bits
    through = ndimage.minimum_filter1d(ratio, _SEGMENTS // 2, axis=0)[2:-1]
    return float(through[:, 8:-8].max())


def text(gray: np.ndarray) -> int:
    """Number of characters that stand in lines of print, light on dark or dark on light.

    A character is a connected spot that stands out by `_CONTRAST` levels. A line is `_LINE` or more of them, one to the
    right of the other on one base line, of like height and like brightness: stars are seldom so well arranged.
    """
    return max(_characters(gray), _characters(255 - gray))


def _characters(gray: np.ndarray) -> int:
    standing_out = gray - ndimage.grey_opening(gray, (_TALLEST + 1, _TALLEST + 1))
    spots, _ = ndimage.label(standing_out > _CONTRAST, np.ones((3, 3)))
    boxes = ndimage.find_objects(spots)
    heights = np.array([rows.stop - rows.start for rows, _ in boxes], int)
    widths = np.array([columns.stop - columns.start for _, columns in boxes], int)
    chosen = np.flatnonzero((heights >= 6) & (heights <= _TALLEST) & (widths <= 1.5 * heights + 4))
    if len(chosen) < _LINE:
        return 0
    peaks = ndimage.maximum(standing_out, spots, chosen + 1)
    glyphs = np.array([(boxes[i][1].start, boxes[i][0].stop, heights[i], boxes[i][1].stop) for i in chosen], float)
    left, bottom, height, right = glyphs.T
    tree = cKDTree(np.stack([left, bottom], 1))
    follower = np.full(len(glyphs), -1)
    for i in range(len(glyphs)):
        near = np.array(tree.query_ball_point((right[i], bottom[i]), 1.6 * height[i]), int)
        fits = (
            (left[near] > left[i] + 1)
            & (np.abs(bottom[near] - bottom[i]) <= max(1.0, 0.12 * height[i]))
            & (np.abs(np.log2(height[near] / height[i])) < 0.6)
            & (np.abs(peaks[near] - peaks[i]) < 40)
        )
        if fits.any():
            follower[i] = near[fits][left[near[fits]].argmin()]
    total = 0
    first = np.setdiff1d(np.arange(len(glyphs)), follower)
    counted = np.zeros(len(glyphs), bool)
    for start in first[np.argsort(left[first], kind='stable')]:
        line = [start]
        while follower[line[-1]] >= 0 and not counted[follower[line[-1]]]:
            line.append(follower[line[-1]])
        if len(line) >= _LINE:
            counted[line] = True
            total += len(line)
    return total


def _windows(gray: np.ndarray):
    """At most nine windows, evenly spread; the whole picture where it is small."""
    rows, columns = (
        [slice(0, size)]
        if size <= 2 * _WINDOW
        else [slice(start, start + _WINDOW) for start in np.linspace(0, size - _WINDOW, 3).astype(int)]
        for size in gray.shape
    )
    for row in rows:
        for column in columns:
            yield gray[row, column]
