"""Which model a frame gets: one for frames, told what was measured of it; or bicubic, if it is unlike the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from astro_gan.errors import UserError
from astro_gan.inference.choose import bicubic
from astro_gan.inference.frames import FrameSource
from astro_gan.inference.observed import observe, unlike
from astro_gan.inference.residual import Residual, residual_path
from astro_gan.model import Model


def prepare(
    model: Model, source: FrameSource, target: Path, settings: Any, *, forced: bool, log: Callable[[str], None]
) -> tuple[Model, Any, dict[str, Any]]:
    """What is applied to a frame: the model and the frame measured for it, or, to one unlike its training, bicubic.

    Args:
        settings: `settings.Settings`.
        forced: the model is applied to any frame.
        log: is told what was measured, and of a frame that is unlike.

    Returns:
        Model, source, and what the output's description has to say of it.

    Raises:
        UserError: there is nothing to measure, or no place for the residual; one line.
    """
    given = {
        name: getattr(settings, name)
        for name in ('sky', 'noise', 'fwhm', 'correlation', 'concentration', 'sharpen', 'denoise')
    }
    residual = None
    if settings.residual:
        if source.turned:
            raise UserError(f'{source.path}: --residual is a frame, beside a frame; leave --format out')
        residual = Residual(residual_path(target), settings.overwrite or settings.resume, log)
    try:
        found = observe(model.networks[0], source, then=model.networks[1:], residual=residual, **given)
    except ValueError as error:
        raise UserError(f'{source.path}: {error}') from None
    names = ('',) if found.channels == 1 else ('red: ', 'green: ', 'blue: ')
    for name, measured in zip(names, found.measured, strict=True):
        log(f'{source.path}: {name}{"; ".join(measured.lines())}')
    reasons = unlike(found)
    facts: dict[str, Any] = {'measured': [measured.facts() for measured in found.measured], 'unlike_training': reasons}
    if not reasons or forced:
        if reasons:
            log(f'{source.path}: unlike what {model.name} learned from: {"; ".join(reasons)}')
        return model, found, facts | ({'residual': residual.facts} if residual else {})
    log(
        f'{source.path}: unlike what {model.name} learned from: {"; ".join(reasons)}; enlarged by bicubic '
        f'interpolation (--model {model.name} uses the network all the same)'
    )
    return bicubic(model.factor), source, facts
