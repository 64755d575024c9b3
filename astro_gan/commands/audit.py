"""`astro-gan audit`: what an output of any tool has that its input has not."""

from __future__ import annotations

import argparse

from astro_gan import commands
from astro_gan.commands import checks
from astro_gan.commands.apply_options import number, positive


def add_to(subparsers: argparse._SubParsersAction) -> None:
    """Adds `audit`."""
    parser = subparsers.add_parser(
        'audit',
        help='what an output of any tool has that its input has not',
        description='Compare an enlarged picture or frame, by any tool, with its input: sources added, lost, moved '
        '(sources.csv), the output made smaller again less the input and the added detail in units of the noise '
        '(maps), numbers (summary.json).',
    )
    add = parser.add_argument
    add('input', type=commands.expanded, metavar='INPUT', help='picture (JPEG, PNG, TIFF) or frame (FITS, XISF)')
    add('output', type=commands.expanded, metavar='OUTPUT', help='what was made of it, 1 to 16 times larger')
    add('-o', '--out', required=True, type=commands.expanded, metavar='DIR', help='folder for the results')
    add(
        '--kernel',
        type=number(0, 50),
        metavar='PIXELS',
        help='how the output is made smaller: FWHM of a Gaussian, pixels of the input; 0: bicubic; default: bicubic, '
        'or the PSF between the two where it is known (outputs of frames_x2)',
    )
    add('--noise', type=number(1e-30, 1e30), metavar='X', help='of a pixel of the input; default: measured')
    add('--fwhm', type=number(0.5, 50), metavar='PIXELS', help="of the input's stars; default: measured")
    add('--hdu', metavar='N|NAME', help='FITS input: the extension; default: the science image')
    add('--report', type=commands.expanded, metavar='HTML', help='write a report that opens in a browser, too')
    add('--overwrite', action='store_true', help='replace results that are there')
    add('--max-megapixels', type=positive, default=1000, metavar='N', help='refuse larger files (default: 1000)')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare, and say what was found."""
    from pathlib import Path

    from astro_gan.audit.align import open_pair
    from astro_gan.audit.auditor import audit
    from astro_gan.audit.files import check_free, write_audit
    from astro_gan.files.paths import printable

    folder, output = Path(arguments.out), printable(arguments.output)
    check_free(folder, arguments.overwrite)
    if arguments.report:
        checks.check_place(Path(arguments.report), arguments.overwrite)
    pair = open_pair(
        arguments.input, arguments.output, hdu=arguments.hdu, maximum_pixels=arguments.max_megapixels * 10**6
    )
    found = audit(pair, kernel=arguments.kernel, noise=arguments.noise, fwhm=arguments.fwhm)
    write_audit(found, folder, input=arguments.input, output=arguments.output, overwrite=arguments.overwrite)
    for note in found.summary['notes']:
        commands.say(f'{output}: {note}')
    if arguments.report:
        from astro_gan.audit import report

        made = report.described(Path(arguments.output))
        section = report.section(found, input=arguments.input, output=arguments.output, made=made)
        report.write_report(Path(arguments.report), [section])
        commands.say(f'{printable(arguments.report)}: report')
    return 0 if commands.say(f'{output}: {found.summary["line"]}') else 1
