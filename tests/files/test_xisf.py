"""XISF, PixInsight's format: values, keywords and order of rows, from files made by hand and by another library."""

import lzma
import re
import zlib

import numpy as np
import pytest

from astro_gan.files.kinds import kind_of
from astro_gan.files.xisf import read_xisf


def picture(channels=1, dtype=np.float32) -> np.ndarray:
    """`[channels, 30, 41]`: floats in [0, 1], or integers over their range."""
    data = np.random.default_rng(0).random((channels, 30, 41))
    return data.astype(dtype) if np.dtype(dtype).kind == 'f' else (data * np.iinfo(dtype).max).astype(dtype)


NAMES = {'u1': 'UInt8', 'u2': 'UInt16', 'u4': 'UInt32', 'f4': 'Float32', 'f8': 'Float64'}


def image(data: np.ndarray, block: bytes, inside='', **attributes) -> tuple[str, bytes]:
    """An <Image> whose block is to be placed, and the block. `data`: `[channels, H, W]`."""
    channels, height, width = data.shape
    known = {
        'geometry': f'{width}:{height}:{channels}',
        'sampleFormat': NAMES[data.dtype.str[1:]],
        'colorSpace': 'RGB' if channels > 2 else 'Gray',
        'location': f'attachment:@:{len(block)}',
    } | attributes
    return f'<Image {" ".join(f"{k}={chr(34)}{v}{chr(34)}" for k, v in known.items())}>{inside}</Image>', block


def write(path, *images, head='') -> None:
    """A monolithic file: signature, length of the XML, XML, blocks from byte 8192."""
    text, blocks = '', b''
    for element, block in images:
        text += element.replace('@', str(8192 + len(blocks)))
        blocks += block
    text = f'<?xml version="1.0"?>{head}<xisf version="1.0" xmlns="http://www.pixinsight.com/xisf">{text}</xisf>'
    header = b'XISF0100' + len(text).to_bytes(4, 'little') + bytes(4) + text.encode()
    path.write_bytes(header.ljust(8192, b'\0') + blocks)


@pytest.mark.parametrize('kind', list(NAMES))
@pytest.mark.parametrize('order', ['little', 'big'])
@pytest.mark.parametrize('storage', ['Planar', 'Normal'])
def test_every_layout_by_value(tmp_path, kind, order, storage):
    """All formats of samples, byte orders and storages; integers become [0, 1], the last row comes first."""
    for channels, shuffle, codec in ((1, False, None), (3, False, None), (3, True, 'zlib'), (2, False, 'zlib')):
        data = picture(channels, kind)
        stored = (data if storage == 'Planar' else np.moveaxis(data, 0, -1)).astype('<>'[order == 'big'] + kind)
        block, attributes = stored.tobytes(), {'byteOrder': order, 'pixelStorage': storage}
        if codec:
            plain = len(block)
            if shuffle:
                block = np.frombuffer(block, np.uint8).reshape(-1, stored.itemsize).T.tobytes()
            block = zlib.compress(block)
            attributes['compression'] = f'zlib+sh:{plain}:{stored.itemsize}' if shuffle else f'zlib:{plain}'
        write(tmp_path / 'a.xisf', image(data, block, **attributes))
        assert kind_of(tmp_path / 'a.xisf') == 'xisf'
        frame = read_xisf(tmp_path / 'a.xisf')
        colors = 1 if channels == 2 else channels  # gray with transparency
        expected = data[:colors, ::-1].astype(np.float64 if kind == 'f8' else np.float32)
        if data.dtype.kind == 'u':
            expected = expected / np.float32(np.iinfo(data.dtype).max)
        np.testing.assert_array_equal(frame.data, expected[0] if colors == 1 else expected)
        assert frame.display
        assert ('its transparency is left out' in frame.notes) == (channels == 2)


@pytest.mark.parametrize('storage', ['Planar', 'Normal'])
def test_values_that_are_no_numbers(tmp_path, storage):
    """1e30 is none, however the pixels are stored; values beyond [0, 1] are to be stretched."""
    data = 2 * picture(3)
    data[1, 5:7, 8] = 1e30
    stored = data if storage == 'Planar' else np.moveaxis(data, 0, -1)
    write(tmp_path / 'a.xisf', image(data, stored.tobytes(), pixelStorage=storage))
    frame = read_xisf(tmp_path / 'a.xisf')
    np.testing.assert_array_equal(frame.data, np.where(data > 1e20, np.nan, data)[:, ::-1])
    assert not frame.display
    assert frame.notes[0].startswith('2 pixels of 1e+30')


def test_parts_of_a_compressed_image(tmp_path):
    """Large images are compressed in several parts."""
    data = picture()
    whole = data.tobytes()
    parts = [zlib.compress(whole[:1000]), zlib.compress(whole[1000:])]
    sizes = f'{len(parts[0])},1000:{len(parts[1])},{len(whole) - 1000}'
    write(tmp_path / 'a.xisf', image(data, b''.join(parts), compression=f'zlib:{len(whole)}', subblocks=sizes))
    np.testing.assert_array_equal(read_xisf(tmp_path / 'a.xisf').data, data[0, ::-1])


@pytest.mark.parametrize('codec', [None, 'zlib', 'lz4', 'lz4hc', 'zstd'])
@pytest.mark.parametrize('shuffle', [False, True])
def test_files_of_another_library(tmp_path, codec, shuffle):
    """What the xisf package writes is read as it reads it."""
    xisf = pytest.importorskip('xisf', reason='the xisf package is not installed')
    data = np.round(np.moveaxis(picture(3), 0, -1), 2)  # so that it can be compressed
    keywords = {'OBJECT': [{'value': "'M 31'", 'comment': 'name'}], 'EXPTIME': [{'value': '30.', 'comment': 's'}]}
    xisf.XISF.write(
        str(tmp_path / 'a.xisf'), data, image_metadata={'FITSKeywords': keywords}, codec=codec, shuffle=shuffle
    )
    frame = read_xisf(tmp_path / 'a.xisf')
    np.testing.assert_array_equal(np.moveaxis(frame.data, 0, -1)[::-1], data)
    assert (frame.header['OBJECT'], frame.header['EXPTIME']) == ('M 31', 30.0)


def test_keywords_and_filters(tmp_path):
    """FITS keywords become cards, those of structure and of the order of rows do not; a mosaic is one."""
    keywords = {'OBJECT': "'M 31'", 'CRVAL1': '10.5', 'CRVAL3': '1.0', 'NAXIS1': '5', 'BZERO': '32768'}
    inside = ''.join(f'<FITSKeyword name="{k}" value="{v}" comment="c"/>' for k, v in keywords.items())
    inside += '<FITSKeyword name="ROWORDER" value="\'TOP-DOWN\'" comment=""/><ColorFilterArray pattern="RGGB"/>'
    inside += '<FITSKeyword name="HISTORY" value="" comment="stacked"/><FITSKeyword name="BAD" value="\'x" comment=""/>'
    data = picture()
    write(tmp_path / 'a.xisf', image(data, data.tobytes(), inside))
    header = read_xisf(tmp_path / 'a.xisf').header
    assert (header['OBJECT'], header['CRVAL1'], header['BAYERPAT']) == ('M 31', 10.5, 'RGGB')
    assert 'stacked' in list(header['HISTORY'])
    assert not {'CRVAL3', 'NAXIS1', 'BZERO', 'ROWORDER'} & set(header)


def test_one_of_several_images(tmp_path):
    """Which is meant is asked; a number or an id says it."""
    one, two = picture(), picture() / 2
    write(tmp_path / 'a.xisf', image(one, one.tobytes(), id='light'), image(two, two.tobytes(), id='weights'))
    with pytest.raises(ValueError, match=re.escape('holds 2 images; choose one with --hdu: 0 light (41:30:1), 1 weig')):
        read_xisf(tmp_path / 'a.xisf')
    for hdu in ('1', 'weights'):
        frame = read_xisf(tmp_path / 'a.xisf', hdu=hdu)
        np.testing.assert_array_equal(frame.data, two[0, ::-1])
        assert frame.hdu == 'weights'
    with pytest.raises(ValueError, match="no image '7'; --hdu takes a number or an id: 0 light"):
        read_xisf(tmp_path / 'a.xisf', hdu='7')


def _changed(**attributes):
    data = picture()
    return lambda path: write(path, image(data, data.tobytes(), **attributes))


def _bomb(path):
    data = picture()
    write(path, image(data, zlib.compress(bytes(10 << 20)), compression=f'zlib:{data.nbytes}'))


HOSTILE = {
    'text.xisf': (lambda p: p.write_text('nothing'), 'not an XISF file'),
    'length.xisf': (lambda p: p.write_bytes(b'XISF0100' + b'\xff' * 100), 'damaged picture: a header of 4294967295'),
    'xml.xisf': (lambda p: p.write_bytes(b'XISF0100\x04\0\0\0\0\0\0\0<xis'), 'damaged picture'),
    'entities.xisf': (lambda p: write(p, head='<!DOCTYPE x [<!ENTITY a "b">]>'), 'its header defines entities'),
    'empty.xisf': (lambda p: write(p), 'holds no image'),
    'huge.xisf': (_changed(geometry='1000000:1000000:1'), '1000000x1000000 pixels are more than the 100 megapixels'),
    'channels.xisf': (_changed(geometry='41:30:7'), '7 channels of Gray'),
    'size.xisf': (_changed(geometry='41:31:1'), 'an image of 5084 bytes in 4920'),
    'geometry.xisf': (_changed(geometry='41:30'), 'an image of 41:30; width:height:channels is wanted'),
    'words.xisf': (_changed(geometry='a:b:c'), 'damaged picture'),
    'complex.xisf': (_changed(sampleFormat='Complex32'), 'pixels of Complex32; UInt8,'),
    'place.xisf': (_changed(location='attachment:8192:999999'), 'truncated: its image ends at byte 1008191'),
    'negative.xisf': (_changed(location='attachment:-8192:4920'), 'truncated'),
    'path.xisf': (_changed(location='path(/etc/passwd)'), 'only those attached to the file are read'),
    'codec.xisf': (_changed(compression='rar:4920'), 'compressed by rar; zlib, lz4'),
    'claim.xisf': (_changed(compression='zlib:99999999999'), 'an image of 4920 bytes compressed as zlib:99999999999'),
    'damaged.xisf': (_changed(compression='zlib:4920'), 'damaged picture'),
    'bomb.xisf': (_bomb, ''),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_unusable_files_give_one_line_that_names_them(tmp_path, name):
    """What a header claims is judged before anything is allocated; a bomb is unpacked to the image and no further."""
    make, words = HOSTILE[name]
    make(tmp_path / name)
    if name == 'bomb.xisf':
        assert (read_xisf(tmp_path / name).data == 0).all()
        return
    with pytest.raises(ValueError, match=f'{name}: .*{re.escape(words)}') as caught:
        read_xisf(tmp_path / name, maximum_pixels=100_000_000)
    assert '\n' not in str(caught.value)


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    """lz4 and zstandard are an extra; without them the line says which."""
    monkeypatch.setitem(__import__('sys').modules, 'lz4.block', None)
    data = picture()
    write(tmp_path / 'a.xisf', image(data, lzma.compress(data.tobytes()), compression=f'lz4:{data.nbytes}'))
    with pytest.raises(ValueError, match=r"compressed by lz4: reading it needs lz4: pip install 'astro_gan\[xisf\]'"):
        read_xisf(tmp_path / 'a.xisf')
