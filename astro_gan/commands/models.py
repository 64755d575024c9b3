"""`astro-gan models`: what trained models there are, and what is known of each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from astro_gan.commands import expanded

_LIGHT = {'psnr_y': 'PSNR Y {:.2f} dB', 'ssim_y': 'SSIM Y {:.3f}', 'lpips': 'LPIPS {:.3f}'}
_COLOUR = {'l1_ab': 'L1 a*b* {:.2f}', 'psnr': 'PSNR {:.2f} dB', 'lpips': 'LPIPS {:.3f}'}  # their Y is the input's
_LARGEST_CARD = 2**20  # bytes of a model card that are shown


def add_to(commands: argparse._SubParsersAction) -> None:
    """Adds `models`."""
    parser = commands.add_parser(
        'models',
        help='list the models that ship with the package, or show one',
        description='List the models that ship with the package. With MODEL, show one in full and check its files.',
    )
    parser.add_argument(
        'model',
        nargs='?',
        type=expanded,
        metavar='MODEL',
        help='name of a shipped model, or directory of an exported one',
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the list, or one model."""
    from astro_gan.model import SHIPPED, model_directory, shipped_models

    if arguments.model is not None:
        _show(model_directory(arguments.model))
        return 0
    models = shipped_models()
    if not models:
        print('no models ship with this version; `python main.py --config=... --mode=export` makes one')
        return 0
    rows = [{'name': name, **_facts(description, SHIPPED / name)} for name, description in models.items()]
    titles = list(rows[0])
    widths = [max(len(title), *(len(row[title]) for row in rows)) for title in titles]
    for cells in ([title.upper() for title in titles], *(row.values() for row in rows)):
        print('  '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return 0


def _show(directory: Path) -> None:
    import json

    from astro_gan.export import check_files
    from astro_gan.files.paths import printable
    from astro_gan.inference.exported import read_description

    description = read_description(directory)
    check_files(directory)
    facts = {
        'name': _text(description.get('name')),
        **_facts(description, directory),
        'directory': printable(directory),
    }
    if isinstance(description.get('parts'), list):
        facts['made of'] = ' + '.join(_text(part.get('name', part.get('task'))) for part in description['parts'])
    for title, value in facts.items():
        print(f'{title:<12}{value}')
    card = directory / 'README.md'
    if card.is_file():
        with card.open('rb') as file:
            text = file.read(_LARGEST_CARD).decode('utf-8', 'replace')
        print('\nREADME.md\n')
        for line in text.splitlines():
            print(_text(line.expandtabs()))
    print('\nmodel.json\n')
    print(json.dumps(description, indent=2))


def _facts(description: dict[str, Any], directory: Path) -> dict[str, str]:
    """What a list says of a model; '-' where the description does not."""
    weights, data, metrics = (_mapping(description.get(key)) for key in ('weights', 'training_data', 'metrics'))
    parts = [_mapping(part) for part in description.get('parts', [])]
    names = [_mapping(part.get('training_data')).get('name') for part in parts] or [data.get('name')]
    licences = [part.get('licence') for part in parts] or [description.get('licence')]
    path = directory / 'weights.safetensors'
    size = path.stat().st_size if path.is_file() else weights.get('bytes')
    parameters = weights.get('parameters')
    forms = _COLOUR if description.get('task') == 'colorization' else _LIGHT
    measured = [form.format(metrics[key]) for key, form in forms.items() if isinstance(metrics.get(key), float)]
    return {
        'task': _text(description.get('task')),
        'factor': f'x{_text(description.get("factor"))}',
        'parameters': f'{parameters:,}' if isinstance(parameters, int) else '-',
        'size': f'{size / 1e6:.1f} MB' if isinstance(size, int) else '-',
        'licence': ' + '.join(dict.fromkeys(map(_text, licences))),
        'trained on': ' + '.join(dict.fromkeys(map(_text, names))),
        'quality': ', '.join(measured) or '-',
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """A value of a description as text of one line, without control characters."""
    text = '-' if value in (None, '') else str(value)
    return text if text.isprintable() else ascii(text)
