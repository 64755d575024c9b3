"""Small frames with known sky, noise, stars: what measuring them must find."""

import numpy as np
from scipy import ndimage, special


def stars(size, places, fluxes, fwhm):
    """Gaussian stars integrated over the pixels, [size, size]; places [n, 2] in pixels."""
    sigma = fwhm / np.sqrt(8 * np.log(2)) * np.sqrt(2)
    edges = np.arange(size + 1) - 0.5
    rows, columns = (np.diff(special.erf((edges - at[:, None]) / sigma)) / 2 for at in np.asarray(places).T)
    return np.einsum('n,ny,nx->yx', fluxes, rows, columns)


def field(seed, *, size=256, count=60, fwhm=2.5, faintest=30.0, slope=0.7, correlation=0.0, sky=100.0, noise=2.0):
    """A star field: data [size, size], places [count, 2], fluxes [count] in units of the noise; brightest first."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(3, size - 4, (count, 2))
    fluxes = np.sort(faintest * rng.uniform(1e-5, 1, count) ** (-1 / slope))[::-1]
    return sky + noise * (stars(size, places, fluxes, fwhm) + grain(rng, size, correlation)), places, fluxes


def grain(rng, size, correlation=0.0):
    """Noise of standard deviation 1 whose neighbours share `correlation` along rows and columns."""
    values = rng.normal(size=(size, size))
    if correlation:
        tap = correlation / (1 + np.sqrt(1 - 2 * correlation**2))
        for axis in (0, 1):
            values = ndimage.convolve1d(values, [tap, 1, tap], axis, mode='wrap') / np.sqrt(1 + 2 * tap**2)
    return values
