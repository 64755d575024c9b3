"""Frames with random damage: read, or refused in a line that names them; never another error, a warning or a hang."""

import random
import zlib

import numpy as np
import pytest
import tifffile
from astropy.io import fits as astropy_fits

from astro_gan.errors import UserError
from astro_gan.inference.frames import open_frame
from tests.campaigns import mutations
from tests.files.test_xisf import image, write


def sky() -> np.ndarray:
    return np.random.default_rng(0).normal(1000, 30, (70, 80)).astype(np.float32)


def _mef(path):
    flags = (np.random.default_rng(1).random((70, 80)) < 0.01).astype(np.int16)
    table = astropy_fits.BinTableHDU.from_columns([astropy_fits.Column('a', 'E', array=np.ones(3))])
    images = [astropy_fits.ImageHDU(sky(), name='SCI'), astropy_fits.ImageHDU(flags, name='DQ')]
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), *images, table]).writeto(path)


def _tiles(path):
    compressed = astropy_fits.CompImageHDU(sky().astype(np.int16), name='SCI')
    astropy_fits.HDUList([astropy_fits.PrimaryHDU(), compressed]).writeto(path)


def _xisf(path):
    data = sky()
    block = zlib.compress(data.tobytes())
    write(path, image(data[None], block, '<FITSKeyword name="A" value="1"/>', compression=f'zlib:{data.nbytes}'))


KINDS = {
    'cube.fits': lambda path: astropy_fits.writeto(path, np.stack([sky()] * 3)),
    'mef.fits': _mef,
    'tiles.fits': _tiles,
    'floats.tif': lambda path: tifffile.imwrite(path, sky(), compression='zlib'),
    'pi.xisf': _xisf,
}


@pytest.mark.parametrize('name', KINDS)
def test_damaged_frames_are_read_or_refused(tmp_path, name):
    """60 kinds of damage to a file of every sort: a frame whose windows can be read, or one line with its name."""
    KINDS[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    refusals = []
    for seed in range(60):
        (tmp_path / name).write_bytes(mutations.of_headers(data, random.Random(seed)))
        try:
            source = open_frame(tmp_path / name, stretch='asinh', upright=True, maximum_pixels=10**7)
            source.read(0, 0, min(8, source.height), min(8, source.width))
            source.rows(0, 1)
        except UserError as error:
            refusals.append(str(error))
    assert 5 < len(refusals) < 60
    assert all(name in line and '\n' not in line for line in refusals)
