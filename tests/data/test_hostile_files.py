"""Files of careless or hostile origin on their whole way: in a folder, in a manifest, into a data set and out of it."""

from __future__ import annotations

import itertools
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from astro_gan.data import astro_images, folders, sources, storage
from astro_gan.files import paths, pictures
from tests.files.test_pictures import HOSTILE

# TFDS 4.9.10 asks protobuf 6, which Beam needs, for what it wants to be rid of.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')


@pytest.fixture(scope='module')
def pixels() -> np.ndarray:
    """A smooth picture, 40 high and 60 wide, that has no symmetry."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([4 * x, 6 * y, 255 - 2 * x - 2 * y], -1).astype(np.uint8)


def png(width: int, height: int, depth: int, color: int, lines: bytes) -> bytes:
    """A PNG file put together by its specification, as Pillow cannot write every kind."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

    header = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(lines)) + chunk(b'IEND', b'')


def rgb_16_bit(pixels: np.ndarray) -> bytes:
    """16 bits per channel: each value v as 257 v, which stands for the same shade."""
    lines = b''.join(b'\0' + (row.astype('>u2') * 257).tobytes() for row in pixels)
    return png(pixels.shape[1], pixels.shape[0], 16, 2, lines)


def turned(path: Path, pixels: np.ndarray) -> None:
    """Stored lying on its side, with the note that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels, 1).copy()).save(path, exif=exif)


def palette(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).quantize(16).convert('RGB').quantize(16).save(path)


def animated(path: Path, pixels: np.ndarray) -> None:
    frames = [Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], **({'lossless': True} if path.suffix == '.webp' else {})
    )


def transparent(path: Path, pixels: np.ndarray) -> None:
    """Opaque but for one pixel, which is hidden white."""
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    rgba = np.concatenate([pixels, alpha], -1)
    rgba[0, 0] = (255, 255, 255, 0)
    Image.fromarray(rgba).save(path)


# Each is the same picture to anyone who reads it rightly; black at the corner where that is transparent.
ODD: dict[str, Callable[[Path, np.ndarray], object]] = {
    'plain.png': lambda path, a: Image.fromarray(a).save(path),
    'png_called.jpg': lambda path, a: Image.fromarray(a).save(path, 'PNG'),
    'turned.png': turned,
    'turned.tif': turned,
    'rgb_16_bit.png': lambda path, a: path.write_bytes(rgb_16_bit(a)),
    'alpha.png': transparent,
    'animated.png': animated,
    'animated.webp': animated,
    'two_pages.tif': animated,
    'bmp.bmp': lambda path, a: Image.fromarray(a).save(path),
    'broken_text.png': lambda path, a: path.write_bytes(with_chunk(path, a, b'tEXt', b'a\0b', 1)),
}


def with_chunk(path: Path, pixels: np.ndarray, kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A PNG with another chunk after its header."""
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return data[:33] + struct.pack('>I', len(body)) + kind + body + struct.pack('>I', checksum) + data[33:]


@pytest.mark.parametrize('name', ODD)
def test_odd_files_are_the_same_picture(tmp_path, pixels, name):
    """Rotation, 16 bits, alpha, frames and names change nothing in what is seen."""
    path = tmp_path / name
    ODD[name](path, pixels)
    got = pictures.read_picture(path)
    expected = pixels.copy()
    if name == 'alpha.png':
        expected[0, 0] = 0
    assert got.shape == pictures.picture_size(path) + (3,) == expected.shape
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    'name', [*ODD, 'plain.jpg', 'gray.jpg', 'cmyk.jpg', 'turned.jpg', 'palette.png', 'gray_16.png']
)
def test_a_data_set_holds_what_every_decoder_reads_alike(tmp_path, pixels, name):
    """TensorFlow's own decoder sees in a stored picture what we saw in the file; plain files keep their bytes."""
    modes = {'gray.jpg': 'L', 'cmyk.jpg': 'CMYK'}
    path = tmp_path / name
    if name in ODD:
        ODD[name](path, pixels)
    elif name == 'turned.jpg':
        turned(path, pixels)
    elif name == 'palette.png':
        palette(path, pixels)
    elif name == 'gray_16.png':
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(pixels).convert(modes.get(name, 'RGB')).save(path)
    key, example = astro_images.read_example(astro_images.Picture(name, 'train', id='x'), str(tmp_path))
    assert key == name
    stored = tf.io.decode_image(example['image'], channels=3, expand_animations=False).numpy()
    seen = pictures.read_picture(path)
    # TensorFlow's default JPEG transform is the fast one, which may differ by a few levels.
    assert np.abs(stored.astype(int) - seen).max() <= (4 if name == 'plain.jpg' else 0)
    assert (example['image'] == path.read_bytes()) == (name in ('plain.jpg', 'plain.png', 'png_called.jpg'))


def test_a_gamma_is_applied_before_a_picture_is_stored(tmp_path, pixels):
    """TensorFlow, which knows no gAMA, sees the levels that we see; one that is sRGB's changes nothing."""
    for gamma, plain in ((100_000, False), (45_455, True)):
        encoded = with_chunk(tmp_path / 'a.png', pixels, b'gAMA', struct.pack('>I', gamma))
        (tmp_path / 'a.png').write_bytes(encoded)
        _, example = astro_images.read_example(astro_images.Picture('a.png', 'train'), str(tmp_path))
        stored = tf.io.decode_image(example['image'], channels=3).numpy()
        np.testing.assert_array_equal(stored, pictures.read_picture(tmp_path / 'a.png'))
        assert ((stored == pixels).all() and example['image'] == encoded) == plain


@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_file_in_a_manifest_stops_the_building(tmp_path, pixels, name):
    """One line that names the file; nothing that could be taken for a data set stays."""
    if '\n' in name:
        pytest.skip('a line of a manifest cannot name it without quotes; the folder has it')
    (tmp_path / 'in').mkdir()
    HOSTILE[name](tmp_path / 'in' / name)
    Image.fromarray(pixels).save(tmp_path / 'in' / 'good.png')
    (tmp_path / 'in' / 'manifest.csv').write_text(f'file,split\n{name},train\ngood.png,val\n')
    with pytest.raises(ValueError, match=re.escape(name)) as caught:
        astro_images.build(tmp_path / 'in', data_dir=tmp_path / 'out', log=lambda line: None)
    assert '\n' not in str(caught.value)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['.astro_images.lock']


def test_hostile_files_in_a_folder_are_left_out_and_named(tmp_path, pixels):
    """A plain folder is built of what can be used; the log has a line for each of the others."""
    for part in ('train', 'val'):
        (tmp_path / 'in' / part).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / 'in' / part / f'good_{part}.png')
    Image.fromarray(255 - pixels).save(tmp_path / 'in' / 'val' / 'good_val.png')
    unusable = set(HOSTILE) - {'folder.jpg', 'no_such_file.jpg'}  # folders are searched, not refused
    for name in unusable:
        HOSTILE[name](tmp_path / 'in' / 'train' / name)
    damaged_inside(tmp_path / 'in' / 'train' / 'inside.jpg')
    os.mkfifo(tmp_path / 'in' / 'train' / 'pipe.png')
    lines: list[str] = []
    built = astro_images.build(tmp_path / 'in', data_dir=tmp_path / 'out', log=lines.append)
    assert {split: part.num_examples for split, part in built.info.splits.items()} == {'train': 1, 'validation': 1}
    text = '\n'.join(lines)
    assert f'{len(unusable) + 2} of {len(unusable) + 3} files are left out' in text


def damaged_inside(path: Path) -> None:
    """A JPEG without a piece in its middle: header and end are whole."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    Image.fromarray(noise).save(path, quality=90)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 + 1000 :])


def test_training_leaves_out_what_is_damaged_inside(tmp_path):
    """Found when it is decoded: named, counted, never seen by the network, from memory and from disk."""
    (tmp_path / 'train').mkdir()
    damaged_inside(tmp_path / 'train' / 'b.jpg')
    for name in 'ac':
        Image.new('RGB', (128, 96), (40, 40, 40)).save(tmp_path / 'train' / f'{name}.png')
    source = sources.open_source('train', folder=tmp_path, minimum_size=32, log=lambda line: None)
    for cache_bytes, counted in ((2**30, '1 of 3 pictures are left out'), (0, '(1 so far)')):
        lines: list[str] = []
        read = storage.crop_reader(source, 32, cache_bytes, lines.append)
        crops = np.stack([read(tf.constant(k % 3, tf.int64), tf.constant([k, 0])) for k in range(9)])
        assert (crops == 40).all()
        assert sum('b.jpg: damaged picture' in line for line in lines) == 1
        assert sum(counted in line for line in lines) == 1


def test_a_pipe_is_not_waited_for(tmp_path, pixels):
    """Opening it would hang for ever."""
    os.mkfifo(tmp_path / 'pipe.png')
    for read in (pictures.read_picture, pictures.picture_size):
        with pytest.raises(ValueError, match=r'pipe\.png: not a regular file'):
            read(tmp_path / 'pipe.png')
    with pytest.raises(ValueError, match=r'pipe\.png: not a regular file'):
        astro_images.read_example(astro_images.Picture('pipe.png', 'train'), str(tmp_path))


def test_a_file_without_permission(tmp_path, pixels, monkeypatch):
    """Said as what it is, for the superuser's tests too."""
    path = tmp_path / 'secret.png'
    Image.fromarray(pixels).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read all
        opener = os.open

        def refuse(name: str, *args: int, **options: int) -> int:
            if os.fspath(name) == str(path):
                raise PermissionError(13, 'Permission denied')
            return opener(name, *args, **options)

        monkeypatch.setattr(os, 'open', refuse)
    with pytest.raises(ValueError, match=r'secret\.png: permission denied'):
        pictures.read_picture(path)
    with pytest.raises(ValueError, match=r'secret\.png: permission denied'):
        astro_images.read_example(astro_images.Picture('secret.png', 'train'), str(tmp_path))


def test_a_file_too_large_for_a_record(tmp_path, monkeypatch, pixels):
    """Refused by its size on disk, before it is read: a record ends at 2 GiB."""
    with (tmp_path / 'large.png').open('wb') as file:
        file.truncate(paths.MAXIMUM_FILE_BYTES + 1)  # takes no room
    with pytest.raises(ValueError, match=r'large\.png: a file of more than 1 GiB'):
        astro_images.read_example(astro_images.Picture('large.png', 'train'), str(tmp_path))


def test_links_are_followed_but_not_in_circles(tmp_path, pixels):
    """A link to a file or a folder serves as it; one that leads back up is passed over."""
    (tmp_path / 'store').mkdir()
    (tmp_path / 'in').mkdir()
    Image.fromarray(pixels).save(tmp_path / 'store' / 'a.png')
    (tmp_path / 'in' / 'link.png').symlink_to(tmp_path / 'store' / 'a.png')
    (tmp_path / 'in' / 'folder').symlink_to(tmp_path / 'store')
    (tmp_path / 'in' / 'up').symlink_to(tmp_path / 'in')
    members, _ = folders.members_by_split(tmp_path / 'in')
    assert sorted(itertools.chain(*members.values())) == ['folder/a.png', 'link.png']
    found = folders.usable_pictures(tmp_path / 'in', ['link.png', 'folder/a.png'], 1, print)
    np.testing.assert_array_equal(found.load(0), pixels)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (b'file,split\n\xff\xfe,train\n', 'not UTF-8 text'),
        (b'file,split\n"a.png,train\n' + b'x' * 200000, 'field'),
        (b'file,split\na\0.png,train\n', 'not a path within|NUL'),
        (b'', 'the file is empty'),
        (b'name,set\n', 'no column file'),
        (b'file,split\na.png\n', 'line 2: not 2 fields'),
        (b'file,split\na.png,\n', 'lists no file'),
    ],
)
def test_broken_manifests(tmp_path, text, message):
    """Bytes that are no text, quotes without end, missing values: one line that names the manifest."""
    (tmp_path / 'manifest.csv').write_bytes(text)
    for use in (lambda: sources.open_source('train', folder=tmp_path), lambda: astro_images.build(tmp_path)):
        with pytest.raises(ValueError, match=message) as caught:
            use()
        assert 'manifest.csv' in str(caught.value)
        assert '\n' not in str(caught.value)


def test_a_damaged_record_is_one_line(tmp_path, pixels):
    """A data set file that is cut off says which data set, not a traceback out of a reader."""
    for part, picture in (('train', pixels), ('val', 255 - pixels)):
        (tmp_path / 'in' / part).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / 'in' / part / 'a.png')
    built = astro_images.build(tmp_path / 'in', data_dir=tmp_path / 'out', log=lambda line: None)
    for file in Path(built.data_dir).glob('*train*'):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match='astro_images') as caught:
        sources.open_source('train', name='astro_images', data_dir=str(tmp_path / 'out'), minimum_size=8)
    assert '\n' not in str(caught.value)
    assert tfds.core.Version('1.0.0') == built.version
