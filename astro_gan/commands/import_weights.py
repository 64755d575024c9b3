"""`astro-gan import`: another project's network as a model of this package."""

from __future__ import annotations

import argparse
from pathlib import Path

from astro_gan import commands

TEXT = (
    'Read the weights of an SRGAN, EDSR or WDSR generator of krasserm/super-resolution (h5), or of an EDSR or '
    'MSRResNet of BasicSR (safetensors), and write them as a model that all commands take. Nothing is unpickled.'
)


def add_to(subparsers: argparse._SubParsersAction) -> None:
    """Adds `import`."""
    parser = subparsers.add_parser('import', help="another project's network as a model", description=TEXT)
    parser.add_argument('weights', type=commands.expanded, metavar='FILE', help='h5 or safetensors')
    parser.add_argument('-o', '--output', required=True, type=commands.expanded, metavar='DIR', help='the model; made')
    parser.add_argument('--name', help='what the model calls itself; default: the name of DIR')
    parser.add_argument('--licence', help='of the weights, to be kept with the model')
    parser.add_argument(
        '--trained-on', metavar='DATA', help='what the weights were trained on, to be kept with the model'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier export in DIR')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import the network that the arguments name."""
    from astro_gan.export import write_model
    from astro_gan.foreign_weights import as_model

    output = Path(arguments.output)
    model = as_model(
        arguments.weights,
        name=arguments.name or output.name,
        licence=arguments.licence,
        trained_on=arguments.trained_on,
    )
    directory, difference = write_model(model, output, overwrite=arguments.overwrite)
    generator = model.description['generator']
    fields = ', '.join(f'{key} {value}' for key, value in generator['fields'].items())
    print(
        f'{directory}/: {generator["name"]} ({fields}); '
        f'greatest difference between live, reloaded and StableHLO: {difference:.1e}'
    )
    return 0
