"""`astro-gan export`: a model in the form that another program wants."""

from __future__ import annotations

import argparse

from astro_gan.commands import expanded
from astro_gan.errors import UserError

FORMATS = {
    'safetensors': 'weights, for astro_gan itself, with a StableHLO program',
    'stablehlo': 'one StableHLO program, for jax.export',
    'savedmodel': 'TensorFlow SavedModel',
    'onnx': "ONNX, for onnxruntime and others (needs: pip install 'astro_gan[onnx]')",
}


def add_to(commands: argparse._SubParsersAction) -> None:
    """Adds `export`."""
    parser = commands.add_parser(
        'export',
        help='write a model as StableHLO, SavedModel, ONNX or safetensors; several as one',
        description='Write a model, or several applied one after the other, in one form. Every form takes images '
        'of any batch, height and width, is compared with the live model before it is kept, and carries its '
        'description (model.json). Formats: ' + '; '.join(f'{name}: {text}' for name, text in FORMATS.items()) + '.',
    )
    parser.add_argument(
        'models',
        nargs='+',
        type=expanded,
        metavar='MODEL',
        help='the name of a shipped model or the directory of an export; several: a chain, a colorizer first or none',
    )
    parser.add_argument('-o', '--output', required=True, type=expanded, metavar='DIR', help='directory to be made')
    parser.add_argument('--format', choices=FORMATS, default='safetensors', help='default: safetensors')
    parser.add_argument('--name', default='', help='what a model made of several calls itself')
    parser.add_argument('--half', action='store_true', help='store weights as float16 (safetensors)')
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier export in DIR')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export the models that the arguments name."""
    import numpy as np

    from astro_gan.export import to_half, write_model
    from astro_gan.export_forms import greatest_difference, live
    from astro_gan.inference.chain import join
    from astro_gan.model import load_model

    if arguments.half and arguments.format != 'safetensors':
        raise UserError(f'--half: stores weights, which is --format safetensors, not {arguments.format}')
    if arguments.name and len(arguments.models) == 1:
        raise UserError('--name: names a model made of several; there is one')
    models = [load_model(name) for name in arguments.models]
    model = models[0] if len(models) == 1 else join(models, arguments.name)
    if arguments.half:
        half = to_half(model)
        print(f'rounding to float16 changes the output by up to {greatest_difference(model, [live(half)]):.1e}')
        model = half
    dtype = np.float16 if arguments.half else np.float32
    directory, difference = write_model(
        model, arguments.output, form=arguments.format, dtype=dtype, overwrite=arguments.overwrite
    )
    size = sum(path.stat().st_size for path in directory.rglob('*') if path.is_file())
    print(
        f'{directory}/: {model.name} as {arguments.format}, {size / 1e6:.1f} MB; '
        f'greatest difference from the live model {difference:.1e}'
    )
    reduction = model.networks[0].reduction
    if reduction > 1 and arguments.format != 'safetensors':
        print(
            f'note: its colours were learned on pictures made {reduction} times smaller. `astro-gan` makes such a copy '
            'by itself; this program colours at the scale of the image that it is given'
        )
    return 0
