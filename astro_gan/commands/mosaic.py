"""`astro-gan mosaic` and `compose`: frames co-added on their coordinates, and bands composed to a picture."""

from __future__ import annotations

import argparse
import sys

from astro_gan import commands


def add_to(subparsers: argparse._SubParsersAction) -> None:
    """The two commands."""
    text = 'FITS frames co-added by their coordinates'
    parser = subparsers.add_parser(
        'mosaic',
        help=text,
        description=f'{text}: backgrounds matched, weighted by noise, NaN where there is nothing; frames that share '
        'one grid of pixels are not interpolated. OUT.png beside OUT.fits is a picture of it.',
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add('frames', nargs='+', type=commands.expanded, metavar='FRAME', help='FITS')
    add('-o', '--out', required=True, type=commands.expanded, metavar='OUT.fits')
    add(
        '--weights',
        nargs='+',
        type=commands.expanded,
        default=[],
        metavar='MAP',
        help="inverse variances, a FITS map for each frame, of its size or its input's; default: from measured noise",
    )
    add(
        '--cosmic-rays',
        action='store_true',
        help='leave out what sticks out of the median, where three frames or more overlap',
    )
    add('--no-match', action='store_true', help='leave the backgrounds as they are')
    add(
        '--rim',
        type=_whole,
        metavar='PIXELS',
        help='at the edges of a frame, counted only where there is nothing else; default: 24 times the enlargement, '
        'more where stars are wide',
    )
    add('--hdu', metavar='N|NAME', help='the extension; default: the science image')
    add('--overwrite', action='store_true', help='replace a mosaic that is there')
    add('--max-megapixels', type=_whole, default=1000, metavar='N', help='refuse a larger mosaic (default: 1000)')
    text = 'two or three bands, FITS frames, to a colour picture'
    parser = subparsers.add_parser(
        'compose',
        help=text,
        description=f'{text}, aligned by their coordinates on the pixels of the first (Lupton et al. 2004). Of two, '
        'red and blue, the green is the mean.',
    )
    parser.set_defaults(run=run_compose)
    add = parser.add_argument
    add('bands', nargs='+', type=commands.expanded, metavar='BAND.fits', help='red, green, blue; or red, blue')
    add('-o', '--out', required=True, type=commands.expanded, metavar='OUT', help='.png, .tif, .jpg or .fits')
    add(
        '--scales',
        nargs='+',
        type=_positive,
        metavar='X',
        help='factors on the bands, one each; default: so that bright pixels are white on the whole',
    )
    add('--stretch', type=_positive, default=50.0, metavar='X', help='in units of the noise; larger is darker (50)')
    add('--softening', type=_positive, default=8.0, metavar='X', help='larger shows more of the bright parts (8)')
    add('--hdu', metavar='N|NAME', help='the extension; default: the science image')
    add('--overwrite', action='store_true', help='replace a picture that is there')


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is no number above 0')
    return value


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 0')
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Co-add the frames."""
    from pathlib import Path

    from astro_gan import extras
    from astro_gan.files.paths import printable

    extras.need('mosaic', 'reproject')
    from astro_gan.mosaic.files import make_mosaic, preview_path

    target = Path(arguments.out)
    made = make_mosaic(
        arguments.frames,
        target,
        weights=arguments.weights,
        match=not arguments.no_match,
        rays=arguments.cosmic_rays,
        rim=arguments.rim,
        hdu=arguments.hdu,
        maximum_pixels=arguments.max_megapixels * 10**6,
        overwrite=arguments.overwrite,
        log=lambda line: commands.say(line, sys.stderr),
    )
    lines = [line.strip() for line in made['history'] if line.startswith('  ')]
    for facts, line in zip(made['inputs'], lines, strict=True):
        commands.say(f'{printable(facts["file"])}: {line}')
    left_out = f', {made["cosmic_rays"]} values of cosmic rays left out' if arguments.cosmic_rays else ''
    commands.say(f'{printable(target)}, {printable(preview_path(target).name)}: {len(made["inputs"])} frames{left_out}')
    return 0


def run_compose(arguments: argparse.Namespace) -> int:
    """Compose the picture."""
    from pathlib import Path

    from astro_gan.files.paths import printable
    from astro_gan.mosaic.compose import compose

    target = Path(arguments.out)
    height, width = compose(
        arguments.bands,
        target,
        scales=arguments.scales,
        stretch=arguments.stretch,
        softening=arguments.softening,
        hdu=arguments.hdu,
        overwrite=arguments.overwrite,
    )
    commands.say(f'{printable(target)}: {width}x{height} pixels')
    return 0
