"""Kills of `astro-gan upscale`: SIGKILL at a random moment, then --resume, until it ends; the files must be those of an
undisturbed run, and nothing else may lie beside them.

    python -m tests.campaigns.kills --count 30 --seed 0
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image

from tests.small_models import saved, upscaler


def inputs(folder: Path) -> Path:
    """Pictures and a frame, which take longer to write than to compute."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    Image.fromarray(rng.integers(0, 256, (500, 600, 3), np.uint8)).save(folder / 'a.png')
    Image.fromarray(rng.integers(0, 256, (400, 700), np.uint8)).save(folder / 'b.jpg')
    tifffile.imwrite(folder / 'c.tif', rng.integers(0, 65536, (600, 500, 3), np.uint16))
    fits.PrimaryHDU(rng.normal(100, 5, (500, 500)).astype(np.float32)).writeto(folder / 'd.fits')
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=30, help='kills')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = saved(upscaler(2), folder / 'model')
        command = [sys.executable, '-m', 'astro_gan', 'upscale', str(inputs(folder / 'in')), '--model', str(model)]
        environment = os.environ | {'XDG_CACHE_HOME': str(folder / 'cache'), 'PYTHONPATH': os.getcwd()}

        def start(out: str, *flags: str) -> subprocess.Popen:
            quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
            return subprocess.Popen([*command, '-o', str(folder / out), *flags], env=environment, **quiet)

        start('cold').wait()
        began = time.monotonic()
        start('whole').wait()
        took = time.monotonic() - began
        expected = contents(folder / 'whole')
        killed = wrong = worst = 0
        while killed < arguments.count:
            out, here, status = f'out{killed}', 0, -9
            while status:
                flags = ['--resume'] if here else []
                process = start(out, *flags)
                try:
                    # Half of the moments early, as a run that is resumed has less to do.
                    status = process.wait(timeout=took * rng.uniform(0.2, 1.1)) if here < 4 else process.wait()
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    here += 1
                if status > 0:
                    break
            killed += max(here, 1)
            worst = max(worst, here)
            if contents(folder / out) != expected:
                wrong += 1
                print(f'wrong after {here} kills: {sorted(set(contents(folder / out)) ^ set(expected))}')
        print(f'{killed} kills of runs of {took:.1f} s, {worst} of one folder at most: {wrong} folders wrong')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
