"""`astro-gan demo`: a local web page on which the models can be tried."""

from __future__ import annotations

import argparse
import contextlib

from astro_gan import commands


def add_to(subparsers: argparse._SubParsersAction) -> None:
    """Adds `demo`."""
    text = 'a web page on this computer to try the models on'
    parser = subparsers.add_parser(
        'demo',
        help=text,
        description=f'{text}. It needs no network, reports nothing, and can be reached from this computer alone '
        'unless --host says otherwise.',
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0: all of this computer (default 127.0.0.1)')
    add('--port', type=_number(65535, 0), default=7860, metavar='N', help='0: any free one (default 7860)')
    add('--max-megapixels', type=_number(1000), default=16, metavar='N', help='largest image (default 16)')
    add('--max-megabytes', type=_number(10000), default=100, metavar='N', help='largest upload (default 100)')


def _number(most: int, least: int = 1):
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'{text} is no whole number from {least} to {most}')
        return int(text)

    return parse


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from astro_gan import extras

    extras.need('demo', 'gradio')
    from astro_gan.demo.serve import serve

    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
        serve(
            host=arguments.host,
            port=arguments.port,
            megapixels=arguments.max_megapixels,
            megabytes=arguments.max_megabytes,
            log=commands.say,
        )
    return 0
