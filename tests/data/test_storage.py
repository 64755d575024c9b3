"""Crops from disk: parts of JPEGs are decoded, and nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from astro_gan.data import astro_images, pipeline, sources, storage

# TFDS 4.9.10 asks protobuf 6, which Beam needs, for what it wants to be rid of.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')


def quiet(line: str) -> None:
    del line


@pytest.mark.parametrize('way', ['folder', 'set'])
def test_streaming_decodes_parts_to_the_bits_of_the_whole(tmp_path, way):
    """Crops of JPEGs, however colour is stored, of turned and gray ones and of PNGs: from disk as from memory."""
    kinds = [{'subsampling': 0}, {'subsampling': 1}, {'subsampling': 2, 'quality': 30}, {'progressive': True}]
    exif = Image.Exif()
    exif[0x0112] = 3
    kinds.append({'exif': exif})
    y, x = np.mgrid[0:90, 0:120]
    for k, options in enumerate(kinds):
        noise = np.random.default_rng(k).integers(0, 90, (90, 120, 3))
        image = Image.fromarray((noise + np.stack([x, y, x + y // 2], -1) % 160).astype(np.uint8))
        for part in ('train', 'val'):
            (tmp_path / 'in' / part).mkdir(parents=True, exist_ok=True)
            image.rotate(180 if part == 'val' else 0).save(tmp_path / 'in' / part / f'{k}.jpg', **options)
    image.save(tmp_path / 'in' / 'train' / 'a.png')
    image.convert('L').save(tmp_path / 'in' / 'train' / 'gray.jpg')
    where = {'folder': tmp_path / 'in'}
    if way == 'set':
        astro_images.build(tmp_path / 'in', data_dir=tmp_path, log=quiet)
        where = {'name': 'astro_images', 'data_dir': str(tmp_path)}
    source = sources.open_source('train', **where, minimum_size=32, log=quiet)
    assert storage._decoders_agree()

    def make(cache_bytes: int) -> list[dict[str, np.ndarray]]:
        made = pipeline.train_batches(
            source,
            batch_size=7,
            crop_size=32,
            seed=1,
            cache_bytes=cache_bytes,
            log=quiet,
        )
        return [next(made) for _ in range(40)]

    parts = 0
    decode_part = storage._decode_part

    def counted(*arguments: object) -> np.ndarray:
        nonlocal parts
        parts += 1
        return decode_part(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, '_decode_part', counted)
        streamed = make(0)
    for one, other in zip(streamed, make(2**30), strict=True):
        np.testing.assert_array_equal(one['crop'], other['crop'])
    assert parts > 35 * 4  # of 160 visits; the first ones decode the whole picture


def test_a_picture_that_goes_bad_while_streaming(tmp_path):
    """Cut off, of another size or gone after its first use: replaced and named, as when it is decoded whole."""
    for part in ('train', 'val'):
        (tmp_path / part).mkdir()
        for k in range(4):
            noise = np.random.default_rng(k).integers(0, 256, (64, 64, 3), np.uint8)
            noise[..., 2] = 60 * k
            Image.fromarray(noise).save(tmp_path / part / f'{k}.jpg', quality=100, subsampling=0)
    source = sources.open_source('train', folder=tmp_path, minimum_size=32, log=quiet)
    lines: list[str] = []
    made = pipeline.train_batches(
        source,
        batch_size=4,
        crop_size=32,
        seed=0,
        cache_bytes=0,
        log=lines.append,
    )
    next(made)
    assert not any('replaced' in line for line in lines)
    (tmp_path / 'train' / '0.jpg').unlink()
    Image.new('RGB', (80, 64)).save(tmp_path / 'train' / '1.jpg')
    (tmp_path / 'train' / '2.jpg').write_bytes((tmp_path / 'train' / '2.jpg').read_bytes()[:600])
    later = [next(made)['crop'] for _ in range(8)][4:]
    assert {round(float(np.median(sample[..., 2]) / 60)) for batch in later for sample in batch[0]} == {3}
    for k in range(3):
        assert sum(f'{k}.jpg' in line for line in lines) == 1
