"""`astro-gan dataset`: build a TensorFlow data set of pictures, and say what is in one."""

from __future__ import annotations

import argparse

from astro_gan.commands import expanded

_BUILD = """
Build a TensorFlow data set from the output of `astro-gan curate` (a folder with a manifest.csv), from a manifest, or
from any folder of pictures: train/, val/ and test/ in it, or else shared out 80:10:10. Checksums in the manifest are
compared. The data set appears when it is whole.
"""


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add `dataset build` and `dataset info`."""
    parser = commands.add_parser('dataset', help='build a TensorFlow data set of pictures, or describe one')
    actions = parser.add_subparsers(metavar='ACTION', required=True)

    build = actions.add_parser('build', help='build one from a manifest or a folder', description=_BUILD)
    build.add_argument(
        'source', type=expanded, metavar='MANIFEST_OR_DIR', help='a manifest.csv, a folder with one, or any folder'
    )
    build.add_argument('--name', default='astro_images', help='what the data set is called (%(default)s)')
    _add_data_dir(build)
    build.add_argument('--overwrite', action='store_true', help='replace the data set of that name')
    build.add_argument(
        '--beam-runner',
        '--beam_runner',
        metavar='RUNNER',
        help='build by Apache Beam: DirectRunner (this machine), DataflowRunner, FlinkRunner, SparkRunner, ...',
    )
    build.add_argument(
        '--beam-options',
        '--beam_options',
        metavar='KEY=VALUE,...',
        default='',
        help='for the runner, such as direct_num_workers=4,direct_running_mode=multi_processing',
    )
    build.set_defaults(run=_build)

    info = actions.add_parser('info', help='splits, counts, sizes, licences and place of one')
    info.add_argument('name', metavar='NAME', nargs='?', default='astro_images', help='(%(default)s)')
    _add_data_dir(info)
    info.set_defaults(run=_info)


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--data-dir',
        '--data_dir',
        type=expanded,
        metavar='DIR',
        help='where data sets are kept (~/tensorflow_datasets)',
    )


def _build(arguments: argparse.Namespace) -> int:
    from astro_gan.data import astro_images

    builder = astro_images.build(
        arguments.source,
        name=arguments.name,
        data_dir=arguments.data_dir,
        overwrite=arguments.overwrite,
        beam_runner=arguments.beam_runner,
        beam_options=arguments.beam_options,
    )
    print(astro_images.describe(builder))
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from astro_gan.data import astro_images

    print(astro_images.describe(astro_images.open_built(arguments.name, arguments.data_dir)))
    return 0
