"""A report of audits: one HTML file that needs nothing else, opens offline, and tells how to read it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from astro_gan.audit.auditor import Audit
from astro_gan.audit.views import views
from astro_gan.files import atomic
from astro_gan.files.paths import printable
from astro_gan.inference import provenance

_FOLDER = Path(__file__).parent
_NUMBERS = {
    'without_counterpart': ('Sources without a counterpart', 'shown by the output, not by the input (below 3 sigma)'),
    'without_counterpart_high': ('... over 10 times the noise', 'nobody overlooks these'),
    'sources': ('Sources of the output', 'peaks of 4 times the noise, and all without a counterpart'),
    'added': ('Added', 'no source of the input answers to them; close pairs that were split count too'),
    'lost': ('Lost', 'sources of the input over 5 sigma of whose light the output has less than 0.3'),
    'moved': ('Moved', 'by more than half a pixel of the input, and than noise explains'),
    'kept': ('Kept', ''),
    'chi_square': ('Chi-square per pixel', '1: only noise was left out; near 0: the noise was kept; above 1: changed'),
    'beyond_5_sigma': ('Pixels off by more than 5 sigma', 'share of those that are not bright'),
    'largest_difference': ('Largest difference', 'of the output at the size of the input'),
    'added_detail': ('Added detail', 'root mean square, in units of the noise'),
    'noise': ('Noise of a pixel', 'of the input'),
    'fwhm': ('Width of a star', 'FWHM, pixels of the input'),
    'factor': ('Enlargement', ''),
}
_UNITS = ('largest_difference', 'noise')


def section(found: Audit, *, input: str, output: str, made: dict[str, Any] | None = None) -> dict[str, Any]:
    """One output of a report, with its pictures; nothing of the audit is held any longer.

    Args:
        input, output: names of the files, as they are shown.
        made: description of the output (see `provenance.describe`), where there is one.
    """
    summary = found.summary
    numbers = [
        (title, _number(summary[key]) + (f' {summary["unit"]}' if key in _UNITS else ''), text)
        for key, (title, text) in _NUMBERS.items()
        if summary.get(key) is not None
    ]
    facts = {'Input': printable(input), 'Output': printable(output), 'Laid on one another by': summary['aligned_by']}
    for key in ('model', 'weights_sha256', 'software'):
        if made and made.get(key):
            facts[key.replace('_', ' ').capitalize()] = str(made[key])
    if made and made.get('input'):
        facts['SHA-256 of the input'] = str(made['input'].get('sha256', ''))
    if made and made.get('settings'):
        facts['Settings'] = json.dumps(made['settings'])
    if made and made.get('colours'):
        facts['Colours'] = ', '.join(f'{100 * share:.3g}% {name}' for name, share in made['colours'].items())
    facts |= {'Audited by': provenance.SOFTWARE}
    return {
        'title': printable(Path(output).name),
        'line': summary['line'],
        'calm': summary['without_counterpart'] == 0,
        'numbers': numbers,
        'notes': summary['notes'],
        'facts': facts,
        **views(found),
    }


def described(output: Path) -> dict[str, Any] | None:
    """The description beside an output of ours."""
    try:
        found = json.loads(provenance.sidecar(output).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def render(sections: Sequence[dict[str, Any]]) -> str:
    """The report as HTML. All that comes from files is escaped; scripts but the report's own do not run."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    script = (_FOLDER / 'report.js').read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template('report.html').render(
        sections=sections,
        script=script,
        digest=digest,
        style=(_FOLDER / 'report.css').read_text(),
        notice=provenance.NOTICE.capitalize(),
        software=provenance.SOFTWARE,
    )


def write_report(path: Path, sections: Sequence[dict[str, Any]]) -> None:
    """Write the report, whole or not at all."""
    atomic.write(path, render(sections))


def _number(value: Any) -> str:
    return f'{value:,}' if isinstance(value, int) else f'{value:.3g}'
