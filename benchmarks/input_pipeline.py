"""Training pictures per second and core: this library's pipeline against a plain PyTorch DataLoader of the same work.

    python -m benchmarks.input_pipeline --folder DIR
    python -m benchmarks.input_pipeline --folder DIR --cores 4 --crop 192 --repeats 5
    python -m benchmarks.input_pipeline --folder DIR --data-set     # ours from a TFDS data set built of that folder

Needs PyTorch: `pip install 'astro_gan[benchmarks]'`. The work: decode a picture, cut a random crop, and batch 16 of
them as uint8 (flips, the reduction and colours are made on the device, by the training step). Each row is measured in
processes of its own, pinned to the same cores; the two sides take turns, and what is given is the median of the turns.
`stream` decodes a picture for every crop, `memory` has all pictures decoded beforehand. PyTorch's side: Pillow, one
worker process per core. The first batches, and so starting up, are not counted; `stream` is measured from the second
epoch on unless --first-epoch is given.

Then the memory of our process over passes of a set that is larger than its cache: the folder's pictures repeated as
hard links (symbolic ones where these cannot be made), with nothing kept. The last column is what the last pass added.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

BATCH = 16
WARM_UP = 4  # batches
GIB = 2**30


def ours(source: Any, crop: int, cache_bytes: int, start_step: int = 0) -> Iterator[Any]:
    """Batches of astro_gan."""
    from astro_gan.data import pipeline

    return pipeline.train_batches(
        source, batch_size=BATCH, crop_size=crop, seed=0, cache_bytes=cache_bytes, start_step=start_step,
        log=lambda line: None,
    )  # fmt: skip


def open_ours(options: argparse.Namespace) -> Any:
    """The folder, or the data set built of it, as a source."""
    from astro_gan.data.sources import open_source

    where: dict[str, Any] = {'folder': options.folder}
    if options.data_set:
        where = {'name': 'astro_images', 'data_dir': options.data_set}
    return open_source('train', **where, minimum_size=options.crop, log=lambda line: None)


def pytorch(paths: list[str], crop: int, cores: int, in_memory: bool) -> Iterator[Any]:
    """Batches of a DataLoader, epoch after epoch."""
    import numpy as np
    import torch
    from PIL import Image

    def decode(path: str) -> np.ndarray:
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))

    class Crops(torch.utils.data.Dataset):
        kept = [decode(path) for path in paths] if in_memory else None

        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            picture = self.kept[index] if self.kept else decode(paths[index])
            y, x = (int(torch.randint(side - crop + 1, ())) for side in picture.shape[:2])
            return torch.from_numpy(np.array(picture[y : y + crop, x : x + crop]))

    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(
        Crops(), BATCH, shuffle=True, num_workers=cores, drop_last=True, persistent_workers=True
    )
    while True:
        yield from loader


def measure(options: argparse.Namespace) -> float:
    """Pictures per second of one side and way, in this process."""
    # Before any import that counts processors; PyTorch's workers inherit it.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    side, way = options.measure.split()
    source = open_ours(options)
    epoch = max(1, len(source) // BATCH)
    skip = WARM_UP if options.first_epoch or way == 'memory' else epoch + WARM_UP
    if side == 'astro_gan':
        batches = ours(source, options.crop, 2**62 if way == 'memory' else 0)
    else:
        paths = [str(Path(options.folder, name)) for name in options.files]
        batches = pytorch(paths, options.crop, options.cores, way == 'memory')
    next(itertools.islice(batches, skip, None))
    start = time.perf_counter()
    done = 0
    while time.perf_counter() - start < options.seconds:
        next(batches)
        done += BATCH
    return done / (time.perf_counter() - start)


def memory(options: argparse.Namespace) -> list[float]:
    """MiB of this process after a tenth of the first pass and after each whole pass."""
    import psutil

    process = psutil.Process()
    source = open_ours(options)
    steps = len(source) // BATCH
    batches = ours(source, options.crop, 0)
    sizes = []
    for count in (steps // 10, steps - steps // 10, *[steps] * (options.passes - 1)):
        for _ in range(count):
            next(batches)
        sizes.append(process.memory_info().rss / 2**20)
    decoded = sum(3 * height * width for height, width in source.sizes) / GIB
    return [len(source), decoded, *sizes]


def in_a_process(options: argparse.Namespace, **changes: Any) -> Any:
    """Run `measure` or `memory` in a fresh interpreter; what it returns."""
    given = vars(options) | changes
    command = [
        sys.executable,
        '-m',
        'benchmarks.input_pipeline',
        '--folder',
        given['folder'],
        '--job',
        json.dumps(given),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout.splitlines()[-1])


def repeated(folder: str, files: list[str], count: int, into: Path) -> None:
    """A training folder of `count` names, each a link to one of the files."""
    (into / 'train').mkdir(parents=True)
    for number, name in zip(range(count), itertools.cycle(files)):
        link = into / 'train' / f'{number:06}{Path(name).suffix}'
        try:
            os.link(os.path.realpath(Path(folder, name)), link)
        except OSError:
            link.symlink_to(Path(folder, name).resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', required=True, help='of pictures, as config.dataset.folder')
    parser.add_argument('--data-set', action='store_true', help='read ours from a TFDS data set of the same pictures')
    parser.add_argument('--cores', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--crop', type=int, default=96)
    parser.add_argument('--seconds', type=float, default=5.0, help='of one measurement')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--first-epoch', action='store_true', help='measure `stream` from the first epoch on')
    parser.add_argument('--repeated', type=int, default=4000, help='pictures in the pass that memory is measured over')
    parser.add_argument('--passes', type=int, default=2)
    parser.add_argument('--job', help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    if options.job:
        options = argparse.Namespace(**json.loads(options.job))
        print(json.dumps(memory(options) if options.measure == 'memory' else measure(options)))
        return
    from astro_gan.data.sources import open_source

    options.files = open_source('train', folder=options.folder, minimum_size=options.crop).ids
    options.folder = os.path.abspath(options.folder)
    with tempfile.TemporaryDirectory(dir=os.environ.get('TMPDIR')) as scratch:
        if options.data_set:
            from astro_gan.data import astro_images

            options.data_set = scratch
            astro_images.build(options.folder, data_dir=scratch)
        speeds(options)
        links = Path(scratch, 'links')
        repeated(options.folder, options.files, options.repeated, links)
        count, decoded, *sizes = in_a_process(options, measure='memory', folder=str(links), data_set='')
        print(f'\nmemory, {count} pictures that would take {decoded:.1f} GiB decoded, nothing kept:')
        print(
            f'  {sizes[0]:.0f} MiB after a tenth of the first pass, then {", ".join(f"{s:.0f}" for s in sizes[1:])} MiB'
        )


def speeds(options: argparse.Namespace) -> None:
    """Print the table of pictures per second and core."""
    print(f'\n{len(options.files)} pictures, crops of {options.crop}, batches of {BATCH}, {options.cores} cores\n')
    print('| way | astro_gan, images/s/core | PyTorch, images/s/core | ratio |\n|---|---|---|---|')
    for way in ('stream', 'memory'):
        turns = [
            [in_a_process(options, measure=f'{side} {way}') / options.cores for side in ('astro_gan', 'pytorch')]
            for _ in range(options.repeats)
        ]
        left, right = (median(side) for side in zip(*turns, strict=True))
        ratio = median(a / b for a, b in turns)
        print(f'| {way} | {left:.1f} | {right:.1f} | {ratio:.2f} |', flush=True)


if __name__ == '__main__':
    main()
