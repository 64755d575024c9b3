"""`--check`: an output audited as soon as it is finished, before it takes its name; its maps beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from astro_gan.audit.align import open_pair
from astro_gan.audit.auditor import Audit, audit
from astro_gan.audit.files import audit_folder, write_audit
from astro_gan.errors import UserError
from astro_gan.files.paths import printable
from astro_gan.files.stretch import Stretch
from astro_gan.inference.settings import Settings


def check(
    source: str,
    written: Path,
    target: Path,
    settings: Settings,
    *,
    stretch: Stretch | None,
    lightness: bool,
    origin: np.ndarray | None,
    log: Callable[[str], None],
    audited: Callable[[Audit], Any],
) -> dict[str, Any]:
    """Audit an output and write what was found to `audit_folder(target)`.

    Args:
        source: the input.
        written: the output, which may not have its name yet.
        target: its name.
        settings: how the input was read.
        stretch: of a frame that becomes a picture.
        lightness: colours were added: what counts is the lightness.
        origin: where the colours come from, as in `Audit`; None where nothing was known of them.
        log: is told the line.
        audited: is given the audit.

    Returns:
        What the output's description says of it; empty where there is nothing to measure, with a line.
    """
    try:
        pair = open_pair(
            source,
            written,
            hdu=settings.hdu,
            mask=settings.mask,
            ignore_checksum=settings.ignore_checksum,
            stretch=stretch,
            lightness=lightness or None,
        )
        found = dataclasses.replace(audit(pair, noise=settings.noise, fwhm=settings.fwhm), origin=origin)
    except UserError as error:
        log(f'{printable(target)}: not checked: {str(error).replace(str(written), str(target))}')
        return {}
    write_audit(found, audit_folder(target), input=source, output=target, overwrite=True)
    log(f'{printable(target)}: {found.summary["line"]}')
    audited(found)
    return {'check': found.summary}
