"""Good files of every form that is read, small, as bytes: what the campaigns damage."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image, ImageCms

from tests.files.test_xisf import image as xisf_image
from tests.files.test_xisf import write as write_xisf

SIDE = 70  # pixels: a few more than the least


def sky(seed: int = 0) -> np.ndarray:
    """Float32 `[70, 70]`, data numbers around 1000, with two stars."""
    y, x = np.mgrid[:SIDE, :SIDE]
    stars = sum(9000 * np.exp(-(np.hypot(x - a, y - b) ** 2) / 8) for a, b in ((20, 30), (50, 44)))
    return (np.random.default_rng(seed).normal(1000, 30, (SIDE, SIDE)) + stars).astype(np.float32)


def colours() -> np.ndarray:
    """Uint8 `[70, 70, 3]`."""
    return np.stack([np.clip(sky(seed) / 16, 0, 255).astype(np.uint8) for seed in range(3)], -1)


def _encoded(form: str, pixels: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, form, **options)
    return file.getvalue()


def _tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def _fits(*hdus: fits.PrimaryHDU | fits.ImageHDU | fits.BinTableHDU) -> bytes:
    file = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(file)
    return file.getvalue()


def frame() -> bytes:
    """A plain frame with coordinates and sums."""
    header = fits.Header([('OBJECT', 'M 51'), ('BUNIT', 'ELECTRONS/S'), ('CRPIX1', 35.0), ('CRPIX2', 35.0)])
    header.update({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL1': 202.4, 'CRVAL2': 47.2, 'CD1_1': -1e-5})
    header.update({'CD1_2': 0.0, 'CD2_1': 0.0, 'CD2_2': 1e-5})
    file = io.BytesIO()
    fits.PrimaryHDU(sky(), header).writeto(file, checksum=True)
    return file.getvalue()


def _mef() -> bytes:
    flags = (np.random.default_rng(1).random((SIDE, SIDE)) < 0.01).astype(np.int16)
    table = fits.BinTableHDU.from_columns(
        [fits.Column('a', 'E', array=np.ones(3)), fits.Column('b', 'PJ()', array=[[1]] * 3)]
    )
    return _fits(fits.PrimaryHDU(), fits.ImageHDU(sky(), name='SCI'), fits.ImageHDU(flags, name='DQ'), table)


def _packed(kind: str) -> bytes:
    pixels = sky() if kind.startswith('GZIP') else sky().astype(np.int16)
    quantized = {'quantize_level': 16.0} if kind == 'RICE_1_floats' else {}
    pixels = sky() if quantized else pixels
    return _fits(
        fits.PrimaryHDU(),
        fits.CompImageHDU(pixels, name='SCI', compression_type=kind.removesuffix('_floats'), **quantized),
    )


def _scaled() -> bytes:
    hdu = fits.PrimaryHDU(sky().astype(np.int32))
    hdu.header['BLANK'] = -1
    hdu.scale('int16', bzero=32768)
    return _fits(hdu)


def _text_table() -> bytes:
    columns = [
        fits.Column('n', 'I4', array=np.arange(3), ascii=True),
        fits.Column('f', 'F8.2', array=np.ones(3), ascii=True),
    ]
    return _fits(fits.PrimaryHDU(sky()), fits.TableHDU.from_columns(columns, name='LIST'))


def _xisf(**options: str) -> bytes:
    data = sky()[None]
    data = data / data.max() if options else data
    block = zlib.compress(data.tobytes()) if options else data.tobytes()
    compression = {'compression': f'zlib:{data.nbytes}'} if options else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'a.xisf')
        write_xisf(path, xisf_image(data, block, '<FITSKeyword name="A" value="1" comment="b"/>', **compression))
        return path.read_bytes()


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def _jpeg(**options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded('JPEG', colours(), exif=exif, icc_profile=_profile(), dpi=(72, 72), **options)


def _dots() -> bytes:
    """Hints: a few dots on transparency."""
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[10:12, 10:12] = pixels[40, 50] = (255, 120, 30, 255)
    return _encoded('PNG', pixels)


PICTURES: dict[str, dict[str, Callable[[], bytes]]] = {
    'jpeg': {
        'a.jpg': _jpeg,
        'progressive.jpg': lambda: _jpeg(progressive=True),
        'gray.jpg': lambda: _encoded('JPEG', colours()[..., 0]),
        'cmyk.jpg': lambda: _encoded('JPEG', colours(), 'CMYK'),
    },
    'png': {
        'a.png': lambda: _encoded('PNG', colours(), icc_profile=_profile(), dpi=(72, 72)),
        'deep.png': lambda: _encoded('PNG', sky().astype(np.uint16)),
        'alpha.png': lambda: _encoded('PNG', np.dstack([colours(), colours()[..., 0]])),
        'palette.png': lambda: _encoded('PNG', colours(), 'P'),
    },
    'tiff': {
        'a.tif': lambda: _tiff(colours(), photometric='rgb', compression='zlib', tile=(32, 32)),
        'lzw.tif': lambda: _tiff(sky().astype(np.uint16), compression='lzw', rowsperstrip=16),
        'planar.tif': lambda: _tiff(np.moveaxis(colours(), -1, 0), photometric='rgb', planarconfig='separate'),
        'jpeg.tif': lambda: _tiff(colours(), photometric='rgb', compression='jpeg'),
        'palette.tif': lambda: _encoded('TIFF', colours(), 'P'),
        'big.tif': lambda: _tiff(colours(), photometric='rgb', bigtiff=True, compression='zstd'),
        'pages.tif': lambda: _tiff(np.stack([colours()] * 2), photometric='rgb', resolution=(72, 72)),
    },
    'float tiff': {
        'a.tif': lambda: _tiff(sky()),
        'zlib.tif': lambda: _tiff(sky() / 10_000, compression='zlib', predictor=3, tile=(32, 32)),
        'half.tif': lambda: _tiff((colours() / 255).astype(np.float16), photometric='rgb', compression='lzw'),
        'double.tif': lambda: _tiff(sky().astype('>f8'), byteorder='>'),
    },
}
FRAMES: dict[str, dict[str, Callable[[], bytes]]] = {
    'fits': {
        'a.fits': frame,
        'scaled.fits': _scaled,
        'doubles.fits': lambda: _fits(fits.PrimaryHDU(sky().astype(float))),
    },
    'fits.gz, fits.bz2': {
        'a.fits.gz': lambda: gzip.compress(frame(), mtime=0),
        'a.fits.bz2': lambda: bz2.compress(frame()),
    },
    'fits, packed in tiles': {
        f'{kind.lower()}.fits.fz': lambda kind=kind: _packed(kind)
        for kind in ('RICE_1', 'RICE_1_floats', 'GZIP_1', 'GZIP_2', 'PLIO_1', 'HCOMPRESS_1')
    },
    'fits, extensions': {'mef.fits': _mef, 'table.fits': _text_table},
    'fits, cubes': {
        'rgb.fits': lambda: _fits(fits.PrimaryHDU(np.stack([sky(seed) for seed in range(3)]))),
        'last.fits': lambda: _fits(fits.PrimaryHDU(np.stack([sky(seed) for seed in range(3)], -1))),
        'one.fits': lambda: _fits(fits.PrimaryHDU(sky()[None, None])),
        'many.fits': lambda: _fits(fits.PrimaryHDU(np.stack([sky()] * 5))),
    },
    'xisf': {'a.xisf': _xisf, 'zlib.xisf': lambda: _xisf(compression='zlib')},
}
GUIDES: dict[str, Callable[[], bytes]] = {
    'palette.json': lambda: json.dumps({'colours': ['#102030', '#808080', '#ffeedd']}).encode(),
    'list.json': lambda: json.dumps(['#102030', '#ffeedd']).encode(),
    'hints.csv': lambda: b'x,y,colour\n10,20,#ff8800\n60,5,#0044ff\n',
    'dots.png': _dots,
    'like.jpg': _jpeg,
    'colour.png': lambda: _encoded('PNG', colours()),
    'band.fits': frame,
}
MANIFESTS: dict[str, Callable[[], bytes]] = {
    'manifest.csv': lambda: (
        b'file,split,id,group,sha256,ra,dec\na.png,train,a,g,,202.4,47.2\nb/c.png,val,c,h,,1,-1\nd.jpg,test,d,,,,\n'
    ),
    'fetched.csv': lambda: (
        b'\xef\xbb\xbffile,url,status,group\r\na.png,http://x/a.png,ok,m51\r\n"b, c.png",http://x/b,failed,m31\r\n'
        b'd.png,x,ok,\r\n'
    ),
    'overrides.txt': lambda: b'keep a.png\nrefuse "b/c.png" too dark\n# a comment\ncrop d.jpg 0 0 100 80\n',
    'overrides.csv': lambda: b'keep,a.png\nrefuse,b/c.png,"too, dark"\ncrop,d.jpg,0,0,100,80\n',
}
