"""Frames with random damage: read, or refused in a line that names them; never another error, a warning or a hang."""

import random
import zlib

import numpy as np
import pytest
import tifffile
from astropy.io import fits as astropy_fits

from astro_gan.errors import UserError
from astro_gan.inference.frames import open_frame
from tests.files.test_xisf import image, write

NUMBERS = (b'99999999999999999999', b'%20d' % -1, b"'many'".ljust(20), b'%20s' % b'1E9', b'%20d' % 0, b'%20d' % 999)


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


def mutated(data: bytes, choose: random.Random) -> bytes:
    """One kind of damage, in a few places, mostly in the headers."""
    result, kind = bytearray(data), choose.choice(('bit', 'digit', 'card', 'gone', 'twice', 'zeros'))
    for _ in range(choose.choice((1, 1, 3, 10))):
        place = choose.randrange(choose.choice((min(3000, len(data)), len(data))))
        card = place // 80 * 80
        if kind == 'bit':
            result[place : place + 1] = bytes([data[place] ^ 1 << choose.randrange(8)])
        elif kind == 'digit':
            result[place : place + 1] = choose.choice((b'0', b'9', b'-', b"'", b' ', b'T'))
        elif kind == 'card':
            result[card + 10 : card + 30] = choose.choice(NUMBERS)
        elif kind == 'gone':
            del result[place : place + choose.choice((1, 80, 2880))]
        elif kind == 'twice':
            result[place:place] = data[card : card + choose.choice((80, 2880))]
        else:
            result[place : place + 80] = bytes(80)
    return bytes(result)


@pytest.mark.parametrize('name', KINDS)
def test_damaged_frames_are_read_or_refused(tmp_path, name):
    """60 kinds of damage to a file of every sort: a frame whose windows can be read, or one line with its name."""
    KINDS[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    refusals = []
    for seed in range(60):
        (tmp_path / name).write_bytes(mutated(data, random.Random(seed)))
        try:
            source = open_frame(tmp_path / name, stretch='asinh', upright=True, maximum_pixels=10**7)
            source.read(0, 0, min(8, source.height), min(8, source.width))
            source.rows(0, 1)
        except UserError as error:
            refusals.append(str(error))
    assert 5 < len(refusals) < 60
    assert all(name in line and '\n' not in line for line in refusals)
