"""Point spread functions as transfer functions: complex64 `[size, size // 2 + 1]`, for `rfft2` on the fine grid.

Their value at frequency 0 is 1 (flux is kept), and they are centred on pixel 0 (positions are kept). Widths are full
widths at half maximum in fine pixels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.simulation.scenes import wrapped

Array = jax.Array
SIGMA = 1 / np.sqrt(8 * np.log(2))  # standard deviation of a Gaussian with FWHM 1
WINDOW = 64  # samples on a side that hold the aperture of a telescope; an Airy disk of FWHM f spans 1.03 size / f


def frequencies(size: int) -> tuple[Array, Array]:
    """Cycles per fine pixel along y `[size, 1]` and x `[1, size // 2 + 1]`."""
    return jnp.fft.fftfreq(size)[:, None], jnp.fft.rfftfreq(size)[None]


def _turned(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    return x * jnp.cos(angle) + y * jnp.sin(angle), y * jnp.cos(angle) - x * jnp.sin(angle)


def gaussian(fwhm: Array, size: int, *, ratio: Array | float = 1.0, angle: Array | float = 0.0) -> Array:
    """A Gaussian; the geometric mean of its two widths is `fwhm`, `ratio` is minor / major, at `angle` from x to y."""
    fy, fx = frequencies(size)
    along, across = _turned(fx, fy, jnp.asarray(angle))
    variance = (fwhm * SIGMA) ** 2
    return jnp.exp(-2 * jnp.pi**2 * variance * (along**2 / ratio + across**2 * ratio)).astype(jnp.complex64)


def moffat(fwhm: Array, beta: Array, size: int, *, ratio: Array | float = 1.0, angle: Array | float = 0.0) -> Array:
    """Seeing: (1 + r^2 / a^2)^-beta (Moffat 1969), beta 2.5 to 5."""
    distance = wrapped(size, jnp.zeros(()))
    along, across = _turned(distance[None], distance[:, None], jnp.asarray(angle))
    core = fwhm / (2 * jnp.sqrt(2 ** (1 / beta) - 1))
    return from_picture((1 + (along**2 * ratio + across**2 / ratio) / core**2) ** -beta)


def from_picture(picture: Array) -> Array:
    """A picture `[size, size]` of the PSF with its centre on pixel (0, 0)."""
    return jnp.fft.rfft2(picture / picture.sum())


def _circle(u: Array, v: Array, radius: Array) -> Array:
    return jnp.clip(radius - jnp.hypot(u, v) + 0.5, 0, 1)  # edges one sample wide


def round_aperture(u: Array, v: Array, radius: Array, obstruction: Array, vanes: Array, width: Array) -> Array:
    """A round mirror, its central `obstruction` (of the radius) and `vanes` struts, `width` samples wide."""
    light = _circle(u, v, radius) - _circle(u, v, radius * obstruction)
    for index in range(4):
        angle = 2 * jnp.pi * index / vanes
        along, across = _turned(u, v, angle)
        strut = jnp.clip(width / 2 + 0.5 - jnp.abs(across), 0, jnp.minimum(width, 1)) * (along > 0)
        light = light * jnp.where(index < vanes, 1 - strut, 1)
    return light


def hexagon_aperture(u: Array, v: Array, radius: Array) -> Array:
    """Eighteen hexagons around a missing one, as JWST's mirror; `radius` of a circle of the same extent."""
    apothem = radius / 5  # the outline is five segments across
    total = jnp.zeros_like(u)
    for q in range(-2, 3):
        for r in range(-2, 3):
            if not 1 <= max(abs(q), abs(r), abs(q + r)) <= 2:
                continue
            x, y = 2 * apothem * (q + r / 2), np.sqrt(3) * apothem * r
            inside = [jnp.abs((u - x) * np.cos(a) + (v - y) * np.sin(a)) for a in (0, np.pi / 3, 2 * np.pi / 3)]
            total += jnp.clip(apothem - jnp.stack(inside).max(0) + 0.5, 0, 1)
    return jnp.minimum(total, 1)


def telescope(
    fwhm: Array,
    size: int,
    *,
    obstruction: Array | float = 0.33,
    vanes: Array | int = 4,
    width: Array | float = 0.03,
    hexagons: Array | bool = False,
    aberrations: Array | None = None,
    angle: Array | float = 0.0,
) -> Array:
    """Diffraction at a telescope's aperture, over a band of 20%.

    Args:
        fwhm: of the Airy disk of the aperture without obstruction, from 1.03 size / 60 on.
        size: of the grid.
        obstruction: of the radius.
        vanes: 0, 3 or 4.
        width: of a vane, of the diameter.
        hexagons: a mirror as JWST's in place of all that.
        aberrations: waves `[5]` of defocus, two of astigmatism and two of trefoil, each with a mean square of 1 over
            the aperture. None of them moves a star.
        angle: of the whole.
    """
    u, v = jnp.meshgrid(*[jnp.arange(WINDOW) - WINDOW / 2.0] * 2)
    u, v = _turned(u, v, jnp.asarray(angle))
    aberrations = jnp.zeros(5) if aberrations is None else aberrations
    dimmed = jnp.sinc(jnp.fft.fftfreq(size))

    def at(wavelength: float) -> Array:
        radius = 1.03 * size / fwhm / wavelength / 2
        plain = round_aperture(u, v, radius, jnp.asarray(obstruction), jnp.asarray(vanes), 2 * radius * width)
        light = jnp.where(hexagons, hexagon_aperture(u, v, radius), plain)
        rho, theta = jnp.minimum(jnp.hypot(u, v) / radius, 1.2), jnp.arctan2(v, u)
        modes = [np.sqrt(3) * (2 * rho**2 - 1)]
        modes += [np.sqrt(6) * rho**2 * f(2 * theta) for f in (jnp.cos, jnp.sin)]
        modes += [np.sqrt(8) * rho**3 * f(3 * theta) for f in (jnp.cos, jnp.sin)]
        waves = sum((a * mode for a, mode in zip(aberrations, modes, strict=True)), jnp.zeros_like(u))
        field = jnp.zeros((size, size), jnp.complex64).at[:WINDOW, :WINDOW].set(light * jnp.exp(2j * jnp.pi * waves))
        # Edges are averages over a sample, which dims what is far from the centre as a pixel's width does.
        return jnp.square(jnp.abs(jnp.fft.fft2(field)) / (dimmed[:, None] * dimmed[None]))  # the place is only a phase

    return from_picture(at(0.9) + at(1.0) + at(1.1))


def pixel(side: int, size: int) -> Array:
    """Integration over square pixels, `side` fine pixels wide, real `[size, size // 2 + 1]`."""
    offsets = np.arange(side) - (side - 1) / 2
    fy, fx = frequencies(size)
    return _mean_cosine(fy, offsets) * _mean_cosine(fx, offsets)


def _mean_cosine(frequency: Array, offsets: np.ndarray) -> Array:
    return jnp.cos(2 * jnp.pi * frequency[..., None] * offsets[None, None]).mean(-1)


def measured_fwhm(transfer: Array, size: int, *, reach: int = 32, finer: int = 4) -> Array:
    """The diameter of a circle with the area in which the PSF is above half its maximum."""
    picture = jnp.fft.irfft2(transfer, (size, size))
    reach = min(reach, size // 2)
    picture = jnp.roll(picture, (reach, reach), (0, 1))[: 2 * reach, : 2 * reach]
    picture = jax.image.resize(picture, (2 * reach * finer,) * 2, 'cubic')
    return jnp.sqrt((picture > picture.max() / 2).sum() * 4 / jnp.pi) / finer


def concentration(transfer: Array, fwhm: Array, size: int, *, radii: tuple[float, float]) -> Array:
    """Share of the light within the larger of two radii (in units of `fwhm`) that the smaller one holds."""
    picture = jnp.fft.irfft2(transfer, (size, size))
    distance = wrapped(size, jnp.zeros(()))
    distance = jnp.hypot(distance[:, None], distance[None])
    # A fine pixel at the rim counts by its part that is inside, so that the share has no steps.
    inner, outer = ((picture * jnp.clip(radius * fwhm - distance + 0.5, 0, 1)).sum() for radius in radii)
    return inner / outer


def enlarged(transfer: Array, old: int, new: int) -> Array:
    """The same PSF on a larger grid, 0 beyond the old one."""
    picture = jnp.fft.fftshift(jnp.fft.irfft2(transfer, (old, old)))
    before = new // 2 - old // 2
    return from_picture(jnp.fft.ifftshift(jnp.pad(picture, (before, new - old - before))))
