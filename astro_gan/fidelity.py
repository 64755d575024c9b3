"""Whether an enlarged picture can be believed: sources that it lost or invented, and whether it still is its input.

Perceptual scores reward invention; these do not. NumPy, one image at a time; Y is `color.luma` in levels of 255.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

FAINT = (4.0, 15.0)  # levels: the peaks of the truth whose recall is measured
SEEN = 2.0  # levels: from here on a peak counts as a counterpart
CLAIMED = 4.0  # levels: from here on an output's peak claims to be a source
_APART = 2.0  # pixels between a peak and its counterpart, at most


def peaks(y: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Local maxima (3x3) of a difference of Gaussians, sigma 1 and 3 pixels, that are above a threshold.

    Args:
        y: `[H, W]` in levels of 255.
        threshold: levels.

    Returns:
        Their places `[n, 2]` (row, column) and heights `[n]` in levels.
    """
    y = np.asarray(y, np.float64)
    contrast = ndimage.gaussian_filter(y, 1.0) - ndimage.gaussian_filter(y, 3.0)
    places = np.argwhere((contrast == ndimage.maximum_filter(contrast, size=3)) & (contrast > threshold))
    return places, contrast[tuple(places.T)]


def _have_neighbour(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    if not len(others) or not len(places):
        return np.zeros(len(places), bool)
    return np.isfinite(cKDTree(others).query(places, distance_upper_bound=_APART + 1e-9)[0])


def source_counts(output: np.ndarray, truth: np.ndarray) -> dict[str, int]:
    """Count the faint sources of the truth and the output's claims, for shares over many images.

    Args:
        output, truth: Y `[H, W]` of the same size, in levels of 255.

    Returns:
        'faint': peaks of the truth between 4 and 15 levels; 'found': those with a peak over 2 in the output within 2
        pixels; 'claimed': peaks of the output over 4; 'spurious': those without a peak over 2 in the truth within 2.
    """
    theirs, heights = peaks(truth, SEEN)
    ours, strengths = peaks(output, SEEN)
    faint = theirs[(heights >= FAINT[0]) & (heights <= FAINT[1])]
    claimed = ours[strengths > CLAIMED]
    return {
        'faint': len(faint),
        'found': int(_have_neighbour(faint, ours).sum()),
        'claimed': len(claimed),
        'spurious': int((~_have_neighbour(claimed, theirs)).sum()),
    }


def consistency(output: np.ndarray, low_res: np.ndarray) -> float:
    """Mean absolute difference, in levels of 255, between the output made smaller again and the input.

    Args:
        output: `[s h, s w, C]` in [0, 1].
        low_res: `[h, w, C]` in [0, 1].

    Smaller means antialiased bicubic, as everywhere here.
    """
    height, width = low_res.shape[:2]
    planes = [
        Image.fromarray(np.ascontiguousarray(output[..., c], np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for c in range(low_res.shape[-1])
    ]
    return float(255.0 * np.abs(np.stack([np.asarray(p) for p in planes], axis=-1) - low_res).mean())
