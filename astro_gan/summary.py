"""From per-tile tables to one row: means, a distance between whole sets, and the health of a colorizer.

Numpy on the host. A table is what `evaluation.evaluate` returns: `{name: [tiles]}`, or `[tiles, D]` for vectors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Mean C* from which a tile counts as coloured, in CIE units: one just noticeable difference (Mahy et al. 1994). The
# 8-bit noise of a dark, colourless sky has 1 to 2.
COLOURED = 2.3
GRAY_SHARE = 0.1  # of the truth's mean C*: a tile with less came out gray
FEWEST = 3  # coloured tiles: fewer say nothing about the generator
# Mean resultant lengths: of hues with a standard deviation below 26 degrees, and above 38.
ONE_HUE, SEVERAL_HUES = 0.9, 0.8
NEAR = 20.0  # degrees
HUES = {'red': 30, 'orange': 65, 'yellow': 95, 'green': 145, 'cyan': 200, 'blue': 280, 'magenta': 330}  # of L*a*b*


def frechet(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to two sets of vectors `[n, D]` and `[m, D]`.

    |mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), S being the covariances (Dowson and Landau 1982; Heusel et
    al. 2017). Exact for any n, m > 1; NaN for fewer vectors, or with values that are not finite.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if features_a.ndim != 2 or features_a.shape[1:] != features_b.shape[1:]:
        raise ValueError(f'frechet: needs [n, D] and [m, D], not {features_a.shape} and {features_b.shape}')
    sets = (features_a, features_b)
    if not all(len(vectors) > 1 and np.isfinite(vectors).all() for vectors in sets):
        return float('nan')
    (mean_a, root_a), (mean_b, root_b) = map(_mean_and_root, sets)
    # With S = R^T R, the eigenvalues of S_a S_b are the squared singular values of R_a R_b^T: no square root of a
    # large and, with fewer vectors than dimensions, singular matrix.
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = np.square(mean_a - mean_b).sum() + np.square(root_a).sum() + np.square(root_b).sum() - 2.0 * cross
    return max(float(distance), 0.0)  # equal sets may round below


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean `[D]` and an R with R^T R the covariance, of at most D rows."""
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    root = (features - mean) / np.sqrt(len(features) - 1)
    if len(root) > root.shape[1]:
        root = np.asarray(np.linalg.qr(root, mode='r'))
    return mean, root


def summarize(table: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The means of all columns `[n]`, and `frechet_alex` if the table has feature vectors; those are left out.

    `frechet_alex` is the Fréchet distance between predictions and truths in pooled AlexNet features (LPIPS's). It is
    made like the FID but is not that: other features, another scale. It is biased upwards for few tiles, so compare
    systems on the same tiles only. NaN for a single tile.
    """
    row = {name: float(values.mean()) for name, values in table.items() if values.ndim == 1}
    if 'features_prediction' in table:
        row['frechet_alex'] = frechet(table['features_prediction'], table['features_truth'])
    return row


def _resultant(vectors: np.ndarray, lengths: np.ndarray) -> complex:
    """The mean of `vectors / lengths`; 0 without any. A length of 0 counts as a vector of 0."""
    return complex((vectors / np.maximum(lengths, 1e-6)).sum() / max(len(vectors), 1))


def colour_health(table: Mapping[str, np.ndarray]) -> tuple[dict[str, float], list[str]]:
    """Has the colorizer stopped colouring, or does it know one colour only? The two ways in which such networks fail.

    Only tiles whose truth has colour (mean C* of 2.3 or more) are looked at.

        gray_outputs      how many came out gray: mean C* below a tenth of the truth's
        one_hue_outputs   how many of the others have the one common hue (within 20 degrees); 0 unless the outputs
                          agree on a hue (mean resultant length above 0.9) where the truth does not (below 0.8)

    The mean resultant length (Mardia and Jupp 2000, section 2.3) is 1 for equal hues and 0 for scattered ones; every
    tile has the same say, however saturated. Outputs are measured by their pixels (a tile of red and blue stars has
    no one hue), the truth by the mean colours of its tiles, in which noise vanishes: both keep false alarms away.

    Args:
        table: `{name: [tiles]}` with the columns of `metrics.colour_metrics`; without them there is nothing to tell.

    Returns:
        the two counts, and a line of warning for each failure: more than half of the coloured tiles are gray, or one
        hue. Fewer than three tiles are no ground for a warning.
    """
    if 'chroma' not in table:
        return {}, []
    coloured = (table['chroma_truth'] >= COLOURED) & np.isfinite(table['chroma'])
    gray = coloured & (table['chroma'] < GRAY_SHARE * table['chroma_truth'])
    tinted = coloured & ~gray
    # Vectors in the plane of a* and b* as complex numbers: the angle is the hue.
    outputs = (table['mean_a'] + 1j * table['mean_b'])[tinted]
    truths = (table['mean_a_truth'] + 1j * table['mean_b_truth'])[tinted]
    common, scattered = _resultant(outputs, table['chroma'][tinted]), _resultant(truths, np.abs(truths))
    total, same, warnings = int(coloured.sum()), 0, []
    if total >= FEWEST and gray.sum() > total / 2:
        warnings.append(
            f'{gray.sum()} of {total} coloured tiles came out gray, with less than a tenth of the colour of the truth: '
            'the generator avoids colour. Try a larger weight of the chroma loss, a boost below 0 in it (saturated '
            'regions count more), or longer adversarial training'
        )
    if len(outputs) >= FEWEST and abs(common) > ONE_HUE and abs(scattered) < SEVERAL_HUES:
        same = int((np.abs(np.angle(outputs / common, deg=True)) <= NEAR).sum())
        hue = np.angle(common, deg=True)
        name = min(HUES, key=lambda name: abs((HUES[name] - hue + 180) % 360 - 180))
        warnings.append(
            f'{same} of {total} coloured tiles came out in one hue, {name}, where the truth has several: the generator '
            'has collapsed, or plays safe. Try longer training and more pictures; in an adversarial stage another '
            'loss, or a lower learning rate of the discriminator'
        )
    return {'gray_outputs': float(gray.sum()), 'one_hue_outputs': float(same)}, warnings
