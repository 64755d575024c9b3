"""The options of `astro-gan colorize`, `upscale` and `enhance`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

from astro_gan import commands
from astro_gan.commands import checks, guides

MOST_STEPS = 20  # of back-projection: each widens what a tile has to see
HELP = {
    'colorize': 'gray pictures or frames to colour, same size',
    'upscale': 'pictures or frames made larger',
    'enhance': 'gray to colour and larger, in one pass',
}


def add_to(subparsers: argparse._SubParsersAction, run: Callable[[argparse.Namespace], int]) -> None:
    """The three commands."""
    for name, text in HELP.items():
        parser = subparsers.add_parser(name, help=text, description=text)
        parser.set_defaults(run=run)
        parser.add_argument(
            'inputs',
            nargs='+',
            type=commands.expanded,
            metavar='IN',
            help='files, folders or patterns: JPEG, PNG, TIFF, FITS, XISF',
        )
        parser.add_argument(
            '-o',
            '--out',
            required=True,
            type=commands.expanded,
            metavar='DIR',
            help='folder for the results; made if missing',
        )
        parser.add_argument(
            '--model',
            action='append',
            default=[],
            type=commands.expanded,
            metavar='NAME|DIR',
            help='a shipped model (see `astro-gan models`) or an exported directory; again for a chain of models',
        )
        if name != 'colorize':
            parser.add_argument('--factor', type=int, metavar='N', help="enlargement; default: the model's own, or 4")
            parser.add_argument(
                '--conserve',
                choices=('surface_brightness', 'flux'),
                default='surface_brightness',
                help='FITS: keep the value of a pixel (default), or the sum over an area',
            )
        if name != 'colorize':
            _add_refinements(parser)
        if name == 'upscale':
            _add_frame_settings(parser)
        else:
            parser.add_argument('--allow-color', action='store_true', help='make colour pictures gray first')
            parser.add_argument(
                '--reduction',
                type=positive,
                metavar='N',
                help='predict colours on a copy N times smaller; default: as in the training',
            )
            guides.add_to(parser)
            parser.add_argument(
                '--saturation',
                type=number(0, 10),
                default=1.0,
                metavar='X',
                help='multiply the predicted colours by X, 0 to 10; default: 1',
            )
        parser.add_argument(
            '--format', choices=('png', 'jpg', 'tif', 'fits'), help="of the results; default: the input's"
        )
        parser.add_argument(
            '--depth', type=int, choices=(8, 16), help="bits of a picture's values; default: the input's"
        )
        parser.add_argument('--hdu', metavar='N|NAME', help='FITS: the extension; default: the science image')
        parser.add_argument(
            '--stretch',
            choices=('asinh', 'zscale', 'log', 'linear'),
            default='asinh',
            help='FITS: how values are shown',
        )
        parser.add_argument(
            '--mask',
            choices=('bad', 'good', 'ignore'),
            help='FITS: what 1 in an extension MASK means, or that MASK and DQ are not looked at',
        )
        parser.add_argument(
            '--allow-mosaic', action='store_true', help='FITS, XISF: take a mosaic of colour filters as gray'
        )
        parser.add_argument(
            '--ignore-checksum', action='store_true', help='FITS: read data that do not agree with their DATASUM'
        )
        checks.add_to(parser)
        parser.add_argument('--tile', type=positive, metavar='PIXELS', help='side of a tile of the input; less memory')
        parser.add_argument('--overwrite', action='store_true', help='replace results that are there')
        parser.add_argument('--resume', action='store_true', help='leave results alone that are finished')
        parser.add_argument(
            '--max-megapixels', type=positive, default=1000, metavar='N', help='refuse larger inputs (default: 1000)'
        )
        parser.add_argument(
            '--beam_runner', '--beam-runner', metavar='NAME', help='run as an Apache Beam pipeline: DirectRunner, ...'
        )
        parser.add_argument(
            '--beam_options', default='', metavar='"--key=value ..."', help='options of the Beam runner'
        )


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 1')
    return int(text)


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_STEPS:
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 0 to {MOST_STEPS}')
    return int(text)


def number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            limits = f'from {low:g} to {high:g}' if math.isfinite(high) else f'from {low:g}' * math.isfinite(low)
            raise argparse.ArgumentTypeError(f'{text} is no number {limits}'.strip())
        return value

    return parse


def _add_frame_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('frames', 'for models for frames (frames_x2, which FITS and float TIFF get)')
    any_number, share = number(-sys.float_info.max, sys.float_info.max), number(0, 1)
    group.add_argument('--sky', type=any_number, metavar='X', help='level of the sky, data values; default: measured')
    group.add_argument(
        '--noise',
        type=number(sys.float_info.min, sys.float_info.max),
        metavar='X',
        help='standard deviation of a pixel, data values; default: measured',
    )
    group.add_argument(
        '--fwhm', type=number(0.5, 50), metavar='PIXELS', help="width of a star; default: from the frame's own stars"
    )
    group.add_argument(
        '--correlation',
        type=number(0, 0.7),
        metavar='X',
        help='of the noise of neighbouring pixels, 0 to 0.7; default: measured',
    )
    group.add_argument(
        '--concentration',
        type=share,
        metavar='X',
        help="share of a star's light within 1 FWHM, of that within 3; default: measured",
    )
    group.add_argument('--sharpen', type=share, default=1.0, metavar='X', help='share of the sharpening; default: 1')
    group.add_argument('--denoise', type=share, default=1.0, metavar='X', help='share of the denoising; default: 1')
    group.add_argument(
        '--residual', action='store_true', help='write the input less the reobserved output beside the output'
    )


def _add_refinements(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('refinements', 'of what enlarges; measured in docs/applying.md')
    group.add_argument('--self-ensemble', action='store_true', help='mean over 8 flips and turns; 8 times the work')
    group.add_argument(
        '--back-project',
        type=_steps,
        default=0,
        metavar='N',
        help='N steps towards what becomes the input when reduced',
    )
    group.add_argument(
        '--consistent', action='store_true', help='pictures: what becomes the input, exactly; best with --depth 16'
    )
    group.add_argument(
        '--blend',
        type=number(0, 1),
        metavar='A',
        help='weights between two models, the supervised (0) and the GAN (1): the shipped ones, or two by --model',
    )
    group.add_argument(
        '--trust', action='store_true', help='write an interval that holds 90%% of the errors beside the output'
    )
