"""What the fuzz campaign feeds: for every kind a good input, the damage, and how a user would have it read."""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import json
import math
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import requests
from requests.adapters import BaseAdapter

from astro_gan import cli
from astro_gan.errors import UserError
from astro_gan.inference import choose as choices
from astro_gan.inference import render
from tests.campaigns import mutations, samples
from tests.fetch.archive_server import votable
from tests.runs import ROOT
from tests.small_models import colorizer, enhancer, framer, saved, upscaler

Make = Callable[[Path, random.Random], Path]  # a folder: the input that was written into it
Use = Callable[[Path, Path, random.Random], Any]  # the input, a folder for results: exit status, or UserError


def make_models(folder: Path) -> dict[str, Path]:
    """Tiny exported models, by what they do."""
    tiny = {'upscale': upscaler(2), 'colorize': colorizer(), 'enhance': enhancer(2), 'frames': framer()}
    tiny['guided'] = colorizer('guided_unet', features=4, stages=1, space='lab')
    return {name: saved(model, folder / name) for name, model in tiny.items()}


def command(*arguments: object) -> int:
    """`astro-gan ...`; its exit status."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


def enlarging(networks: tuple[Any, ...], channels: int) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """In place of `render._enlarging_networks`: pixels repeated, without a compiler."""
    factor = math.prod(network.factor for network in networks)
    planes = 1 if networks[0].description['task'] == 'frames' else channels
    return lambda images: images[..., :planes].repeat(factor, 1).repeat(factor, 2), 1


def colouring(network: Any) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """In place of `render._chroma_network`: one colour."""
    return lambda images: np.full((*images.shape[:-1], 2), 10.0, np.float32), 1


def instant(use: Use) -> Use:
    """With stand-ins for the networks: they are not what is tried, and take most of the time."""

    def quick(path: Path, out: Path, choose: random.Random) -> Any:
        with mock.patch.multiple(render, _enlarging_networks=enlarging, _chroma_network=colouring):
            return use(path, out, choose)

    return quick


def applied(models: dict[str, Path], *, frame: bool) -> Use:
    """`upscale` and `colorize`, with flags of many kinds."""

    def use(path: Path, out: Path, choose: random.Random) -> int:
        flags: list[str] = choose.choice(([], [], [], ['--format', choose.choice(('png', 'jpg', 'tif', 'fits'))]))
        if frame:
            flags = [*flags, *choose.choice(([], [], ['--hdu', '1'], ['--mask', 'ignore'], ['--ignore-checksum']))]
        which = choose.choice(('upscale', 'frames', 'colorize') if frame else ('upscale', 'upscale', 'colorize'))
        if which == 'colorize':
            return command('colorize', path, '-o', out, '--model', models[which], '--allow-color', *flags)
        return command('upscale', path, '-o', out, '--model', models[which], *flags)

    return use


def guided(models: dict[str, Path], good: Path) -> Use:
    """`colorize` of a good picture with a damaged file of guides, or a damaged one on the command line."""

    def use(path: Path, out: Path, choose: random.Random) -> int:
        options = {'.json': ['--palette'], '.csv': ['--hints'], '.fits': ['--color-from']}
        option = options.get(path.suffix) or [choose.choice(('--hints', '--like', '--color-from'))]
        files = [path] * (2 if path.suffix == '.fits' else 1)
        if choose.random() < 0.2:
            text = mutations.of_text(choose.choice((b'#102030,#808080', b'10,20=#ff8800', b'warm')), choose)
            option, files = (
                [choose.choice(('--palette', '--hint'))],
                [text.decode('utf-8', 'replace').replace('\0', '')],
            )
        picture = path if path.suffix == '.fits' and choose.random() < 0.5 else good
        return command('colorize', picture, '-o', out, '--model', models['guided'], '--allow-color', *option, *files)

    return use


def modelled(good: Path) -> Use:
    """A damaged model shown, or applied to a good picture."""

    def use(path: Path, out: Path, choose: random.Random) -> int:
        if choose.random() < 0.4:
            return command('models', path)
        task = choose.choice(('upscale', 'upscale', 'colorize', 'enhance'))
        return command(task, good, '-o', out, '--model', path, *([] if task == 'upscale' else ['--allow-color']))

    return use


def damaged_model(good: list[Path], folder: Path, choose: random.Random) -> Path:
    """A copy of an exported model with damage in its description, its weights, or in both so that hashes agree."""
    source, path = choose.choice(good), folder / 'model'
    path.mkdir()
    weights, text = (source / 'weights.safetensors').read_bytes(), (source / 'model.json').read_bytes()
    where = choose.choice(('text', 'text', 'weights', 'header', 'hashed'))
    if where == 'text':
        text = mutations.of_json(text, choose)
    elif where == 'weights':
        weights = mutations.of_bytes(weights, choose)
    else:
        (length,) = struct.unpack('<Q', weights[:8])
        header = mutations.of_json(weights[8 : 8 + length], choose)
        length = choose.choice((len(header), len(header), len(header), length, choose.randrange(2**40)))
        weights = struct.pack('<Q', length) + header + weights[8 + struct.unpack('<Q', weights[:8])[0] :]
        text = json.dumps(json.loads(text) | {'weights': {'sha256': hashlib.sha256(weights).hexdigest()}}).encode()
    if where == 'hashed':
        text = mutations.of_json(text, choose)
    (path / 'weights.safetensors').write_bytes(weights)
    (path / 'model.json').write_bytes(text)
    return path


def tabled(path: Path, out: Path, choose: random.Random) -> None:
    """A manifest as training, data sets and curation read it, or a file of decisions."""
    from astro_gan.curation import sources
    from astro_gan.data import folders

    if path.name.startswith('overrides'):
        sources.read_overrides(path, ['a.png', 'b/c.png', 'd.jpg'])
        return
    path = path.rename(path.with_name('manifest.csv'))
    if choose.random() < 0.5:
        folders.manifest_rows(path)
    else:
        for row in sources.read_manifest(path.parent).values():
            sources.coordinates(row)
        sources.earlier_splits({}, path.parent)


def overridden(path: Path, out: Path, choose: random.Random) -> int:
    """`main.py` with a damaged setting, up to the networks and stages that it would train."""
    from experiments import run
    from tests.runs import main_here

    def build(mode: str, config: Any, *_: Any, **__: Any) -> None:
        try:
            run.make_stages(config, run.make_task(config))
        except UserError as error:
            sys.exit(f'error: {error}')

    with mock.patch('experiments.command.run', build):
        status, text, err = main_here(*path.read_text().split('\n'))
    print(text.strip())
    print(err.strip() or 'note: nothing is wrong', file=sys.stderr)
    return status


CONFIGS = ('wdsr', 'edsr', 'srgan', 'frames', 'unet_rgb', 'resnet18_unet_lab', 'colorize')


def override(folder: Path, choose: random.Random) -> Path:
    """A file of flags of main.py: a config and one or two settings with odd values."""
    from astro_gan.workdir import flatten
    from experiments.settings import _load

    file = f'{ROOT}/configs/{choose.choice(CONFIGS)}.py:smoke'
    lines = [f'--config={file}']
    settings = flatten(_load(file).to_dict())
    for _ in range(choose.choice((1, 1, 2))):
        name, value = choose.choice(list(settings.items()))
        text = mutations.of_text(str(value).encode() or b'0', choose).decode('utf-8', 'replace')
        name = mutations.of_text(name.encode(), choose).decode('utf-8', 'replace') if choose.random() < 0.1 else name
        lines.append(f'--config.{name}={choose.choice((text, choose.choice(mutations.WORDS)))}'.replace('\n', ' '))
    (folder / 'flags.txt').write_text('\n'.join(lines), errors='replace')
    return folder / 'flags.txt'


class _Answers(BaseAdapter):
    """A server that gives the same answer to everything."""

    def __init__(self, body: bytes):
        super().__init__()
        self._body = body

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        from urllib3 import HTTPResponse

        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url
        answer.raw = HTTPResponse(io.BytesIO(self._body), status=200, preload_content=False)
        return answer

    def close(self) -> None:
        pass


def answered(path: Path, out: Path, choose: random.Random) -> None:
    """What an archive or a press site answers, read by `fetch`."""
    from astropy.coordinates import SkyCoord

    from astro_gan.fetch import archive, press

    session = requests.Session()
    for scheme in ('http://', 'https://'):
        session.mount(scheme, _Answers(path.read_bytes()))
    if path.suffix == '.json':
        press.list_images(session, url='https://example.org/feed', maximum=5)
        return
    position = SkyCoord(210.8, 54.3, unit='deg')
    found = archive.list_observations(session, position, 0.1, url='https://example.org/list')
    for field in archive.group_fields(found):
        images = archive.choose_filters(field)
        if images:
            archive.cutouts(
                field, images, size=100, centre=position, scale=choose.choice((None, 0.1)) if images[0].scale else None
            )
            archive.covers(images[0], position)


def answers() -> dict[str, Callable[[], bytes]]:
    """A good list of an archive and a good feed."""
    row = (
        '<TR>'
        + ''.join(
            f'<TD>{cell}</TD>'
            for cell in (
                'http://x',
                '{0}',
                'M101',
                'T',
                '210.8',
                '54.3',
                '2',
                '5000 5000',
                '-1.4e-5 1.4e-5',
                'image/fits',
            )
            + ('ACS/WFC', '{1}', '900', '2')
        )
        + '</TR>'
    )
    rows = ''.join(row.format(f'hst_9490_01_acs_wfc_{name}', name.upper()) for name in ('f435w', 'f555w', 'f814w'))
    resource = {'ResourceType': 'Large', 'URL': 'https://example.org/a.jpg', 'FileSize': 1000, 'Dimensions': [10, 10]}
    seen = {'Facility': ['Hubble'], 'Instrument': ['ACS'], 'Spectral': {'Band': ['Optical']}}
    seen['Spatial'] = {'CoordinateFrame': 'ICRS', 'ReferenceValue': ['210.8', '54.3']}
    asset = {'MediaType': 'Image', 'ObservationData': seen, 'Resources': [resource]}
    entry = {'ID': 'heic0506a', 'Title': 'M 51', 'Description': '<p>x</p>', 'Credit': 'NASA', 'Assets': [asset]}
    entry |= {'Rights': 'Creative Commons Attribution 4.0', 'Subject': {'Name': ['M 51'], 'Category': ['C.5']}}
    feed = json.dumps({'Count': 2, 'Collections': [entry, entry | {'ID': 'b'}]}).encode()
    return {'list.xml': lambda: votable(rows), 'feed.json': lambda: feed}


def damaged(name: str, data: bytes, choose: random.Random) -> bytes:
    """A file's bytes with damage that suits its kind."""
    suffix = Path(name).suffix
    if suffix == '.json':
        return mutations.of_json(data, choose)
    if suffix in ('.csv', '.txt', '.xml'):
        return mutations.of_text(data, choose)
    packed = {'.gz': gzip, '.bz2': bz2}.get(suffix)
    if packed and choose.random() < 0.5:
        return packed.compress(mutations.of_headers(packed.decompress(data), choose))
    by_cards = suffix in ('.fits', '.fz') and choose.random() < 0.6
    return (mutations.of_headers if by_cards else mutations.of_bytes)(data, choose)


def files(good: dict[str, Callable[[], bytes]]) -> Make:
    """Makes a damaged copy of one of some files."""
    read = functools.cache(lambda name: good[name]())

    def make(folder: Path, choose: random.Random) -> Path:
        name = choose.choice(list(good))
        (folder / name).write_bytes(damaged(name, read(name), choose))
        return folder / name

    return make


def table(folder: Path) -> dict[str, tuple[Make, Use]]:
    """Per kind: what writes a damaged input, and its use."""
    choices.load_model = functools.lru_cache(4)(choices.load_model)
    models = make_models(folder)
    good = folder / 'good.png'
    good.write_bytes(samples.PICTURES['png']['a.png']())
    kinds: dict[str, tuple[Make, Use]] = {}
    for kind, pictures in samples.PICTURES.items():
        kinds[kind] = (files(pictures), instant(applied(models, frame=kind == 'float tiff')))
    for kind, frames in samples.FRAMES.items():
        kinds[kind] = (files(frames), instant(applied(models, frame=True)))
    kinds['guides'] = (files(samples.GUIDES), instant(guided(models, good)))
    kinds['models'] = (functools.partial(damaged_model, list(models.values())), modelled(good))
    kinds['manifests'] = (files(samples.MANIFESTS), tabled)
    kinds['overrides'] = (override, overridden)
    kinds['archive answers'] = (files(answers()), answered)
    return kinds
