"""Guides of training examples, drawn at random and read from the truth: the JAX twins of `astro_gan.guides`.

Functions of one example, to be vmapped: shapes are static, so every kind of guide is made and one is chosen.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from astro_gan import guides

# Kinds of guides with their shares. A quarter of the palettes and of the pictures comes with hints too.
KINDS = {'none': 0.1, 'colour': 0.15, 'three': 0.18, 'curve': 0.17, 'hints': 0.2, 'picture': 0.14, 'bands': 0.06}
ROWS = {'colour': 1, 'three': 3, 'curve': guides.CURVE}
HINTS_TOO = 0.25
POINTS = 200  # the most hints; and as many of the pixels of bands are spread into their holes
RECOLOURED = 0.5  # share of the examples with a guide that get other colours
LEAST_SCALE, MOST_SCALE = 0.7, 3.0  # of their chroma
SQUEEZED = 0.4  # at most, of it along one direction: other contrasts of hue


def draw(key: jax.Array, lab: jax.Array, context: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A training example's truth in a*b* `[H, W, 2]`, and its guides' planes `[H, W, PLANES]`.

    The kind of guide is drawn from KINDS. Half of the examples that have a guide get other colours, turned in hue and
    more or less saturated: what the network learns from them is to follow guides of any colour.

    Args:
        key: decides.
        lab: the truth `[H, W, 3]`.
        context: the same sky and more of it `[h, w, 3]`, which palettes are read from: a user's are of whole pictures.
    """
    kind_key, colour_key, soft_key, hint_key, band_key, too_key = jax.random.split(key, 6)
    kind = jax.random.choice(kind_key, len(KINDS), p=jnp.array(list(KINDS.values())) / sum(KINDS.values()))
    is_kind = {name: kind == number for number, name in enumerate(KINDS)}
    lab, context = (recoloured(colour_key, image, ~is_kind['none']) for image in (lab, context))
    lightness, ab = lab[..., 0], lab[..., 1:]
    height, width = lightness.shape

    guess = jnp.zeros_like(ab)
    for name, rows in ROWS.items():
        guess = jnp.where(is_kind[name], paint(lightness, *palette_of(context, rows)), guess)
    # From a colour picture of 2 pixels to one of half the size.
    small = jnp.round(2.0 * (height / 4) ** jax.random.uniform(soft_key))
    guess = jnp.where(is_kind['picture'], enlarge(lightness, ab, small), guess)

    follows = sum(is_kind[name] for name in (*ROWS, 'picture')) > 0
    hinted = is_kind['hints'] | (follows & (jax.random.uniform(too_key) < HINTS_TOO))
    places, hints = _hints(hint_key, height, width)
    measured = _bands(band_key, height, width) & is_kind['bands']
    mask = (hints & hinted) | measured
    # Hints are spread from all of them, bands from as many places that happen to be measured.
    correction, distance = spread(lightness, ab - guess, mask, places)
    fall = jnp.where(mask.any(), jnp.exp(-distance / guides.FALL), 0.0)
    guess = guess + jnp.where(mask.any(), jnp.where(follows, fall, 1.0), 0.0)[..., None] * correction

    strength = sum(is_kind[name] * guides.palette_strength(rows) for name, rows in ROWS.items())
    told = [mask, fall, jnp.full((height, width), strength), jnp.full((height, width), is_kind['picture'])]
    planes = [guess / guides.AB_SCALE, *(jnp.asarray(plane, jnp.float32)[..., None] for plane in told)]
    return ab, jnp.concatenate(planes, axis=-1)


def recoloured(key: jax.Array, lab: jax.Array, told: jax.Array) -> jax.Array:
    """With `told`, and then in half of the cases: a*b* turned by any angle, mirrored or not, scaled and squeezed."""
    chance, first, second, flip, size, squeeze = jax.random.uniform(key, (6,))
    scale = LEAST_SCALE * (MOST_SCALE / LEAST_SCALE) ** size
    flat = jnp.where(flip < 0.5, -1.0, 1.0) * SQUEEZED**squeeze
    a, b = _turned(2.0 * jnp.pi * first, lab[..., 1], lab[..., 2])
    turned = jnp.stack(_turned(2.0 * jnp.pi * second, scale * a, scale * flat * b), axis=-1)
    turned = jnp.clip(turned, -guides.AB_SCALE, guides.AB_SCALE)
    chosen = jnp.where(told & (chance < RECOLOURED), turned, lab[..., 1:])
    return jnp.concatenate([lab[..., :1], chosen], axis=-1)


def _turned(angle: jax.Array, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.cos(angle) * a - jnp.sin(angle) * b, jnp.sin(angle) * a + jnp.cos(angle) * b


def _hints(key: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """POINTS random pixels, as numbers; and the first 1 to POINTS of them as a mask, their count log-uniform."""
    count_key, place_key = jax.random.split(key)
    count = (POINTS ** jax.random.uniform(count_key)).astype(jnp.int32)
    places = jax.random.randint(place_key, (POINTS,), 0, height * width)
    mask = jnp.zeros(height * width, bool).at[places].max(jnp.arange(POINTS) < count)
    return places, mask.reshape(height, width)


def _bands(key: jax.Array, height: int, width: int) -> jax.Array:
    """Where bands were measured: all but five discs, and in 3 of 10 examples one side."""
    discs, rest = jax.random.split(key)
    y, x, radius = jax.random.uniform(discs, (3, 5)) * jnp.array([[1.0], [1.0], [0.25]])
    rows, columns = (jnp.arange(height) / height)[:, None, None], (jnp.arange(width) / width)[None, :, None]
    y, x, radius = (value[None, None] for value in (y, x, radius))
    mask = (jnp.square(rows - y) + jnp.square(columns - x) > jnp.square(radius)).all(-1)
    cut, end, whole = jax.random.uniform(rest, (3,))
    side = jnp.where(end < 0.5, columns[..., 0], 1.0 - columns[..., 0]) < 0.3 + 0.6 * cut
    return mask & (side | (whole > 0.3))


def palette_of(lab: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
    """`guides.palette_of` as `rows` rows, and which of them count."""
    pixels = lab.reshape(-1, 3)
    if rows <= 8:
        edges = jnp.quantile(pixels[:, 0], jnp.arange(1, rows) / rows)
        least = 1
    else:
        edges = jnp.linspace(0.0, 100.0, rows + 1)[1:-1]
        least = max(1, len(pixels) // 1000)
    number = (pixels[:, :1] >= edges[None]).sum(-1)
    counts = jax.ops.segment_sum(jnp.ones(len(pixels)), number, rows)
    means = jax.ops.segment_sum(pixels, number, rows) / jnp.maximum(counts, 1.0)[:, None]
    return means, counts >= least


def paint(lightness: jax.Array, palette: jax.Array, used: jax.Array) -> jax.Array:
    """`guides.paint`, of the rows that are used; they are in order of L*."""
    # A row that is not used becomes the one before it, and the first ones the first that is.
    last = jax.lax.cummax(jnp.where(used, jnp.arange(len(used)), -1))
    palette = palette[jnp.where(last < 0, jnp.argmax(used), last)]
    at = palette[:, 0] + 1e-4 * jnp.arange(len(used))  # strictly increasing
    return jnp.stack([jnp.interp(lightness, at, palette[:, c]) for c in (1, 2)], axis=-1)


def enlarge(lightness: jax.Array, ab: jax.Array, small: jax.Array) -> jax.Array:
    """`guides.enlarge` of a square that was shrunk to `small` pixels on a side: areas, and the Keys cubic."""
    size = ab.shape[0]
    cells, pixels = jnp.arange(size)[:, None], jnp.arange(size)[None]
    step = size / small
    start, stop = cells * step, (cells + 1) * step
    reduce = jnp.clip(jnp.minimum(stop, pixels + 1) - jnp.maximum(start, pixels), 0.0, 1.0) / step
    place = (cells + 0.5) / step - 0.5
    taps = jnp.floor(place).astype(jnp.int32) + jnp.arange(-1, 3)[None]
    away = jnp.abs(place - taps)
    near, far = (1.5 * away - 2.5) * away**2 + 1.0, ((-0.5 * away + 2.5) * away - 4.0) * away + 2.0
    weights = jnp.where(away <= 1.0, near, far) * ((taps >= 0) & (taps < small))
    weights = weights / weights.sum(-1, keepdims=True)
    grow = (jax.nn.one_hot(taps, size) * weights[..., None]).sum(1)
    sides = jnp.clip(cells + jnp.arange(-1, 2)[None], 0, jnp.int32(small) - 1)
    shares = jnp.array([guides.NEIGHBOUR, 1.0 - 2.0 * guides.NEIGHBOUR, guides.NEIGHBOUR])
    smooth = (jax.nn.one_hot(sides, size) * shares[None, :, None]).sum(1)

    def along(matrix: jax.Array, image: jax.Array) -> jax.Array:
        return jnp.einsum('yi,xj,ijc->yxc', matrix, matrix, image)

    light = lightness[..., None]
    low, colours = along(reduce, light), along(reduce, ab)
    mean = along(smooth, low)
    slope = along(smooth, low * colours) - mean * along(smooth, colours)
    slope = slope / (along(smooth, low * low) - mean * mean + guides.CONTRAST)
    made = along(grow, colours) + along(grow, slope) * (light - along(grow, low))
    for _ in range(guides.ROUNDS):
        made = made + along(grow, colours - along(reduce, made))
    return made


def spread(lightness: jax.Array, values: jax.Array, mask: jax.Array, places: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`guides.spread` from those pixels of `places` `[n]` that are in `mask`."""
    height, width = mask.shape
    size = (height * width) ** 0.5
    rows, columns = jnp.mgrid[:height, :width] / size
    all_places = jnp.stack([rows, columns, lightness / guides.REACH - 1.0], axis=-1).reshape(-1, 3)
    points = all_places[places]
    # A pixel that was drawn twice counts once, as in a mask.
    first = jnp.zeros(height * width, jnp.int32).at[places[::-1]].set(jnp.arange(len(places))[::-1])
    counts = mask.reshape(-1)[places] & (first[places] == jnp.arange(len(places)))
    among, _ = _covariance(points, points)
    among = jnp.where(counts[:, None] & counts[None], among, 0.0) + jnp.diag(jnp.where(counts, guides.DOUBT, 1.0))
    known = jnp.where(counts[:, None], values.reshape(-1, 2)[places], 0.0)
    weights = _solve(among, known)
    covariance, distances = _covariance(all_places, points)
    filled = (covariance @ jnp.where(counts[:, None], weights, 0.0)).reshape(height, width, 2)
    nearest = jnp.where(counts[None], distances, jnp.inf).min(-1).reshape(height, width)
    return jnp.where(mask[..., None], values, filled), jnp.where(mask, 0.0, nearest)


def _solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """The solution `[n, c]` for a positive definite `matrix` `[n, n]`, by elimination.

    Without LAPACK, whose calls wait for ever where several simulated devices share a process's threads.
    """

    def eliminated(i: jax.Array, rows: jax.Array) -> jax.Array:
        row = rows[i] / rows[i, i]
        return (rows - rows[:, i][:, None] * row[None]).at[i].set(row)

    rows = jnp.concatenate([matrix, right], axis=1)
    return jax.lax.fori_loop(0, len(matrix), eliminated, rows)[:, len(matrix) :]


def _covariance(places: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As in `guides`, of `places` `[m, 3]` and `points` `[n, 3]`."""
    distances = jnp.sqrt(sum(jnp.square(places[:, c, None] - points[None, :, c]) for c in range(3)))
    return jnp.exp(-distances) + guides.COMMON + guides.ALONG * places[:, 2:] * points[None, :, 2], distances
