"""Random crops of a source's pictures: from memory if they fit, decoded anew for every crop if not.

Both ways give the same bits for the same picture and seed. Of a JPEG that has been decoded whole once, and so is known
to be sound, later only the surroundings of the crop are decoded.
"""

from __future__ import annotations

import functools
import gc
import io
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from PIL import Image, JpegImagePlugin

from astro_gan.data.sources import Source
from astro_gan.errors import UserError
from astro_gan.files import pictures

# (picture number int64 [], seed int64 [2]) -> uint8 [S, S, 3]
CropReader = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_SECONDS_BETWEEN_NOTES = 10.0


def crop_reader(source: Source, crop_size: int, cache_bytes: int, log: Callable[[str], None]) -> CropReader:
    """A TensorFlow function that takes a random crop of a picture.

    Raises:
        UserError: no picture can be read; one line.
    """
    total = sum(3 * height * width for height, width in source.sizes)
    if total <= cache_bytes:
        return _from_memory(source, crop_size, log)
    log(
        f'{source.name}: {len(source)} pictures would take {total / 2**30:.1f} GiB decoded, more than the cache of '
        f'{cache_bytes / 2**30:.1f} GiB: those beyond it are decoded for every crop'
    )
    return _from_files(source, crop_size, cache_bytes, log)


def _two_integers(seed: tf.Tensor) -> tf.Tensor:
    """Two uniform integers in 0..2^32-1, int64, from a seed of two integers."""
    # Philox by name: 'auto_select' picks another generator on some devices.
    bits = tf.random.stateless_uniform([2], seed=seed, minval=None, maxval=None, dtype=tf.uint32, alg='philox')
    return tf.cast(bits, tf.int64)


def load_checked(source: Source, number: int) -> np.ndarray:
    """Decode a picture and make sure that it is what the source said, uint8 `[H, W, 3]`.

    Raises:
        UserError: it cannot be read any more, or has another size; one line.
    """
    try:
        picture = source.load(number)
    except Exception as error:  # whatever a source raises, training goes on without this picture
        raise UserError(' '.join(str(error).split())) from error
    expected = (*source.sizes[number], 3)
    if picture.shape != expected or picture.dtype != np.uint8:
        raise UserError(f'{source.ids[number]}: changed from {expected} to {picture.shape}')
    return picture


def _from_memory(source: Source, crop_size: int, log: Callable[[str], None]) -> CropReader:
    """All pictures one after another in a single tensor, cropped without Python."""
    gc.collect()  # TensorFlow functions sit in reference cycles: frees the cache of a pipeline that has ended
    sizes = np.array(source.sizes, np.int64).reshape(-1, 2)
    ends = np.cumsum(3 * sizes.prod(axis=1))
    starts = ends - 3 * sizes.prod(axis=1)
    pixels = np.empty(ends[-1], np.uint8)

    def read(number: int) -> bool:
        try:
            pixels[starts[number] : ends[number]] = load_checked(source, number).reshape(-1)
        except ValueError as error:
            log(f'replaced by the next picture: {error}')
            return False
        return True

    good = []
    noted = time.monotonic()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done in pool.map(read, range(len(source))):
            good.append(done)
            if time.monotonic() - noted > _SECONDS_BETWEEN_NOTES:
                noted = time.monotonic()
                log(f'{source.name}: {len(good)} of {len(source)} pictures decoded')
    if good.count(False):
        log(f'{source.name}: {good.count(False)} of {len(source)} pictures are left out, damaged or changed')
    if not any(good):
        raise UserError(f'{source.name}: none of its {len(source)} pictures can be read')
    instead = np.array([_next_good(number, good) for number in range(len(source))], np.int64)
    with tf.device('CPU:0'):
        flat, start_of, stand_in = tf.constant(pixels), tf.constant(starts), tf.constant(instead)
        size_of = tf.constant(sizes)

    def crop_at(picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        picture = stand_in[picture]
        size = size_of[picture]
        place = _two_integers(seed) % (size - crop_size + 1)
        line = 3 * size[1]
        rows = tf.slice(flat, [start_of[picture] + place[0] * line], [crop_size * line])
        rows = tf.reshape(rows, [crop_size, size[1], 3])
        return tf.ensure_shape(tf.slice(rows, [0, place[1], 0], [crop_size, crop_size, 3]), [crop_size, crop_size, 3])

    return crop_at


def _next_good(number: int, good: list[bool]) -> int:
    count = len(good)
    return next(k % count for k in range(number, number + count) if good[k % count])


def _part_of_jpeg(source: Source, number: int, y: int, x: int, size: int) -> np.ndarray | None:
    """A square of a plain JPEG, uint8 `[size, size, 3]`; None if it has to be decoded whole, or cannot be read."""
    if source.encoded is None or not _decoders_agree():
        return None
    try:
        encoded = source.encoded(number)
        if not encoded.startswith(b'\xff\xd8\xff'):
            return None
        header = JpegImagePlugin.JpegImageFile(io.BytesIO(encoded))
        if header.size[::-1] != source.sizes[number] or header.mode != 'RGB' or header.getexif().get(0x0112, 1) != 1:
            return None
        return _decode_part(encoded, source.sizes[number], y, x, size)
    except Exception:  # decoding it whole says what is wrong, or that nothing is
        return None


def _decode_part(encoded: bytes, whole: tuple[int, int], y: int, x: int, size: int) -> np.ndarray:
    # Colour is stored at half the size, and interpolated beyond a pixel's own block: 16 pixels around make up for it.
    top, left = max(0, y - 16), max(0, x - 16)
    bottom, right = min(whole[0], y + size + 16), min(whole[1], x + size + 16)
    window = [top, left, bottom - top, right - left]
    part = tf.image.decode_and_crop_jpeg(encoded, window, channels=3, dct_method='INTEGER_ACCURATE').numpy()
    return part[y - top : y - top + size, x - left : x - left + size]


@functools.cache
def _decoders_agree() -> bool:
    """Whether TensorFlow decodes parts of a JPEG to the bits of Pillow, which may come with another JPEG library."""
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    for subsampling in (0, 1, 2):  # 4:4:4, 4:2:2, 4:2:0
        file = io.BytesIO()
        Image.fromarray(noise).save(file, 'JPEG', quality=75, subsampling=subsampling)
        whole = pictures.decode_picture(file.getvalue(), 'test')
        if (_decode_part(file.getvalue(), (70, 90), 21, 33, 30) != whole[21:51, 33:63]).any():
            return False
    return True


def _from_files(source: Source, crop_size: int, cache_bytes: int, log: Callable[[str], None]) -> CropReader:
    """Decode when asked; as many pictures as fit are kept, so that only the others are decoded again."""
    kept: dict[int, np.ndarray] = {}
    sound: set[int] = set()
    unreadable: set[int] = set()
    lock = threading.Lock()
    room = cache_bytes

    def picture_for(number: int) -> np.ndarray:
        nonlocal room
        for candidate in range(number, number + len(source)):
            candidate %= len(source)
            if candidate in kept:
                return kept[candidate]
            if candidate in unreadable:
                continue
            try:
                picture = load_checked(source, candidate)
            except ValueError as error:
                with lock:
                    if candidate not in unreadable:
                        unreadable.add(candidate)
                        log(f'replaced by the next picture ({len(unreadable)} so far): {error}')
                continue
            sound.add(candidate)
            with lock:
                if candidate not in kept and picture.nbytes <= room:
                    kept[candidate] = picture
                    room -= picture.nbytes
            return picture
        raise UserError(f'{source.name}: none of its {len(source)} pictures can be read')

    def crop(picture_number: np.int64, bits: np.ndarray) -> np.ndarray:
        number = int(picture_number)
        if number in sound and number not in kept:
            y, x = (int(b) % (side - crop_size + 1) for b, side in zip(bits, source.sizes[number], strict=True))
            part = _part_of_jpeg(source, number, y, x, crop_size)
            if part is not None:
                return part
        picture = picture_for(number)
        y, x = (int(b) % (side - crop_size + 1) for b, side in zip(bits, picture.shape[:2], strict=True))
        return picture[y : y + crop_size, x : x + crop_size]

    def crop_at(picture: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        bits = _two_integers(seed)
        made = tf.numpy_function(crop, [picture, bits], tf.uint8, stateful=False)
        return tf.ensure_shape(made, [crop_size, crop_size, 3])

    return crop_at
