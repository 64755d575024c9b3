"""`astro-gan curate`: from a folder of pictures to a training set."""

from __future__ import annotations

import argparse
import dataclasses

from astro_gan.commands import expanded
from astro_gan.curation.limits import Limits
from astro_gan.errors import UserError


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `curate`."""
    parser = commands.add_parser(
        'curate',
        help='check pictures, cut them into tiles, split them by object',
        description='Check all pictures below a folder, crop borders, refuse what is of no use, find pictures of the '
        'same sky, and write tiles with a manifest, the reason for every refusal and a contact sheet to look through.',
    )
    parser.add_argument(
        'folder', type=expanded, metavar='DIR', help='searched with all folders below; its manifest.csv is used'
    )
    parser.add_argument(
        '-o', '--out', required=True, type=expanded, metavar='OUT', help='folder to write, new or an earlier output'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier output')
    parser.add_argument(
        '--overrides',
        type=expanded,
        metavar='FILE',
        help='decisions by hand, one a line: keep PATH | refuse PATH [REASON] | crop PATH X0 Y0 X1 Y1',
    )
    parser.add_argument('--tile', type=int, default=256, help='pixels of a tile; 0 leaves pictures whole [%(default)s]')
    parser.add_argument('--format', choices=('png', 'jpg'), default='png', help='of the tiles [%(default)s]')
    parser.add_argument('--test-fraction', type=float, default=0.1, help='share of the objects [%(default)s]')
    parser.add_argument('--validation-fraction', type=float, default=0.1, help='share of the objects [%(default)s]')
    parser.add_argument('--seed', type=int, default=0, help='another one gives other splits [%(default)s]')
    parser.add_argument('--jobs', type=int, default=1, help='processes [%(default)s]')
    thresholds = parser.add_argument_group('thresholds')
    for field in dataclasses.fields(Limits):
        thresholds.add_argument(
            f'--{field.name.replace("_", "-")}',
            type=float,
            default=field.default,
            metavar='X',
            help=f'{field.metadata["help"]} [%(default)s]',
        )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Curate, and say what became of the pictures."""
    from astro_gan.curation.curate import Settings, curate

    if arguments.jobs < 1:
        raise UserError(f'--jobs is {arguments.jobs}: must be 1 or more')
    settings = Settings(
        limits=Limits(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Limits)}),
        tile=arguments.tile,
        format=arguments.format,
        test_fraction=arguments.test_fraction,
        validation_fraction=arguments.validation_fraction,
        seed=arguments.seed,
    )
    summary = curate(
        arguments.folder,
        arguments.out,
        settings,
        overrides=arguments.overrides,
        overwrite=arguments.overwrite,
        jobs=arguments.jobs,
    )
    print(report(summary))
    print(f'look through {arguments.out}/contact_sheet.html')
    return 0


def report(summary: dict) -> str:
    """The counts of a run as a table."""
    lines = [f'{summary["kept"]:6} of {summary["pictures"]} pictures kept, {summary["cropped"]} of them cropped']
    lines += [f'{count:6} refused: {reason}' for reason, count in summary['refused'].items()]
    lines += [f'{count:6} refused {reason}' for reason, count in summary['refused_tiles'].items()]
    lines += [f'{count:6} written to {split}' for split, count in summary['written'].items()]
    return '\n'.join(lines + [f'{summary["groups"]:6} objects (groups of pictures of the same sky)'])
