"""Around networks that enlarge: means over flips, back-projection, exact consistency with the input."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from astro_gan.errors import UserError
from astro_gan.images import downsample, resize_bicubic
from astro_gan.inference.network import Network
from astro_gan.inference.render import halo
from astro_gan.model import Model
from astro_gan.models.enlarging import back_project, back_projection_radius

FLIPS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))  # axes
_ROUNDS = 10  # of projection and clipping
_RELAXATION = 1.9  # of these projections: 1 reaches the plane, up to 2 converges (Gubin, Polyak and Raik 1967)
_REACH = 20  # pixels of the input: farther away the pseudo-inverse is below 1e-7


@dataclasses.dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Refined:
    """Networks that enlarge, one after the other, as one network, and what is done with its output, in this order.

    Attributes:
        networks: of pictures, or one of frames.
        self_ensemble: the mean over the eight flips and quarter turns of the input, each turned back.
        back_project: steps of iterative back-projection.
        consistent: project onto the images that become the input when made smaller; see `project`.
    """

    networks: tuple[Network, ...]
    self_ensemble: bool = False
    back_project: int = 0
    consistent: bool = False
    colorizes: bool = False

    @property
    def description(self) -> dict[str, Any]:
        """The first network's; the generator is told by all that decides what is computed."""
        parts = [network.description['generator'] for network in self.networks]
        done = [self.self_ensemble, self.back_project, self.consistent]
        return self.networks[0].description | {'factor': self.factor, 'generator': {'parts': parts, 'refined': done}}

    @property
    def factor(self) -> int:
        return math.prod(network.factor for network in self.networks)

    @property
    def smallest(self) -> int:
        return self.networks[0].smallest

    @property
    def variables(self) -> Any:
        return [network.variables for network in self.networks]

    @property
    def generator(self) -> Any:
        wider = self.back_project * back_projection_radius(self.factor) + self.consistent * _REACH
        return types.SimpleNamespace(radius=halo(self.networks) + wider)

    def forward(self, variables: Any, images: jax.Array) -> jax.Array:
        """`[N, h, w, C]` -> `[N, factor h, factor w, C]`."""
        run = functools.partial(self._run, variables)
        output = turned(run, images).mean(0) if self.self_ensemble else run(images)
        for _ in range(self.back_project):
            output = back_project(output, images, self.factor)
        return project(output, images, self.factor) if self.consistent else output

    def _run(self, variables: Any, images: jax.Array) -> jax.Array:
        for network, own in zip(self.networks, variables, strict=True):
            images = network.forward(own, images)
        return images


def turned(forward: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """What `forward` makes of the eight flips and quarter turns of `[N, h, w, C]`, each turned back: `[8, N, ...]`.

    The first is that of the images as they are.
    """
    outputs: list[jax.Array] = []
    for quarter in (False, True):
        batch = jnp.concatenate([jnp.flip(images, axes) for axes in FLIPS])
        made = forward(batch.swapaxes(1, 2)).swapaxes(1, 2) if quarter else forward(batch)
        outputs += [jnp.flip(part, axes) for part, axes in zip(jnp.split(made, len(FLIPS)), FLIPS, strict=True)]
    return jnp.stack(outputs)


def project(output: jax.Array, low_res: jax.Array, factor: int) -> jax.Array:
    """The nearest image, but for clipping, that becomes the input when made smaller by antialiased bicubic resampling.

    x + A^+ (y - A x), with A the reduction, its borders included (Wang et al. 2023, "Zero-Shot Image Restoration Using
    Denoising Diffusion Null-Space Model", section 3.1). A works on rows and columns apart, so its pseudo-inverse A^T (A
    A^T)^-1 does. Rounds of that and of clipping to [0, 1] come first, so that a picture, which cannot hold more, loses
    little of it.

    Args:
        output: `[N, factor h, factor w, C]`.
        low_res: `[N, h, w, C]` in [0, 1].
        factor: of the enlargement.
    """
    rows, columns = (_inverse_gram(size, factor) for size in low_res.shape[1:3])
    reduce = functools.partial(downsample, factor=factor)

    def missing(images: jax.Array) -> jax.Array:
        small, enlarge = jax.vjp(reduce, images)
        solved = jnp.einsum('ij,njkc,kl->nilc', rows, low_res - small, columns, precision='highest')
        return enlarge(solved)[0]

    def towards(_: int, images: jax.Array) -> jax.Array:
        return jnp.clip(images + _RELAXATION * missing(images), 0.0, 1.0)

    output = jax.lax.fori_loop(0, _ROUNDS, towards, output)
    return output + missing(output)


@functools.lru_cache(maxsize=8)
def _inverse_gram(size: int, factor: int) -> np.ndarray:
    """(A A^T)^-1 `[size, size]` of the reduction along one axis, float32."""
    with jax.ensure_compile_time_eval():
        reduction = resize_bicubic(jnp.eye(factor * size)[None, ..., None], size, factor * size)
        rows = np.asarray(reduction, np.float64)[0, ..., 0]
    return np.linalg.inv(rows @ rows.T).astype(np.float32)


@functools.lru_cache(maxsize=4)
def refined(model: Model, *, self_ensemble: bool = False, back_project: int = 0, consistent: bool = False) -> Model:
    """A model whose enlargement is refined; the model itself if nothing is asked for.

    Raises:
        UserError: the model does not enlarge, or is one for frames, whose noise would be brought back.
    """
    if not (self_ensemble or back_project or consistent):
        return model
    colorizer = [network for network in model.networks if network.colorizes]
    rest = model.networks[len(colorizer) :]
    if not rest:
        raise UserError(f'{model.name}: does not enlarge; nothing is refined')
    if model.task == 'frames':
        if back_project or consistent:
            name = '--back-project' if back_project else '--consistent'
            raise UserError(f'{name}: {model.name} takes noise away, which this would bring back; it is for pictures')
        rest, then = rest[:1], rest[1:]
    else:
        then = ()
    network: Any = Refined(rest, self_ensemble, back_project, consistent)
    words = ['mean over 8 flips and turns'] * self_ensemble
    words += [f'back-projection, {back_project} step{"s" * (back_project > 1)}'] * bool(back_project)
    words += ['projected: made smaller again it is the input'] * consistent
    return Model(model.description | {'refined': words}, (*colorizer, network, *then))
