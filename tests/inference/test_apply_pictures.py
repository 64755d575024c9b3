"""Picture files through the commands: kinds, depths, orientation, transparency, metadata, and what is refused."""

import hashlib
import json
import os
import signal
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from astro_gan import cli
from astro_gan.files.picture_writer import check_size, write_picture
from astro_gan.inference import outputs
from astro_gan.model import load_model

NOTICE = 'generated detail: not for photometry'


def opened(path):
    """A picture with its file closed again."""
    with Image.open(path) as picture:
        picture.load()
        picture.getexif()
        return picture


def noise(height, width, *channels, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, (height, width, *channels), dtype, endpoint=True
    )


@pytest.mark.parametrize(
    ('suffix', 'dtype'), [('png', np.uint8), ('tif', np.uint8), ('tif', np.uint16), ('tiff', np.uint16)]
)
def test_upscaled_file_is_what_the_model_gives(run, models, tmp_path, suffix, dtype):
    """The file holds what the Python call gives, in the input's kind, name, depth and number of channels."""
    pixels = noise(66, 81, 3, dtype=dtype)
    path = tmp_path / f'ngc 1.{suffix}'
    Image.fromarray(pixels).save(path) if suffix == 'png' else tifffile.imwrite(path, pixels)
    status, out, _ = run('upscale', path)
    assert status == 0, out
    target = tmp_path / 'out' / path.name
    result = np.asarray(opened(target)) if suffix == 'png' else tifffile.imread(target)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, load_model(models['upscale'])(pixels))


def test_sixteen_bit_png(run, models, tmp_path):
    """A 16-bit PNG stays one; Pillow, which reads 8 bits of colour only, sees the same picture."""
    import pyvips

    pixels = noise(64, 70, 3, dtype=np.uint16)
    pyvips.Image.new_from_array(pixels).copy(interpretation='rgb16').pngsave(str(tmp_path / 'a.png'))
    assert run('upscale', tmp_path / 'a.png')[0] == 0
    result = pyvips.Image.new_from_file(str(tmp_path / 'out/a.png')).numpy()
    np.testing.assert_array_equal(result, load_model(models['upscale'])(pixels))


def test_colorize_and_enhance_pictures(run, models, gray_picture, tmp_path):
    """Gray in, colour out, at the same size and enlarged; a gray picture saved as colour counts as gray."""
    gray = np.asarray(opened(gray_picture))
    for command, factor in (('colorize', 1), ('enhance', 2)):
        status, _, _ = run(command, gray_picture, out=tmp_path / command)
        assert status == 0
        result = np.asarray(opened(tmp_path / command / 'm51.png'))
        assert result.shape == (66 * factor, 70 * factor, 3)
        np.testing.assert_array_equal(result, load_model(models[command])(gray))
    Image.fromarray(gray).convert('RGB').save(tmp_path / 'rgb.png')
    assert run('colorize', tmp_path / 'rgb.png', out=tmp_path / 'rgb')[0] == 0
    np.testing.assert_array_equal(
        np.asarray(opened(tmp_path / 'rgb/rgb.png')), np.asarray(opened(tmp_path / 'colorize/m51.png'))
    )


def test_chain_of_two_models(run, models, gray_picture, tmp_path):
    """--model twice is the fused model; the description names both."""
    assert run('enhance', gray_picture, '--model', models['upscale'], model=models['colorize'])[0] == 1  # wrong order
    out = tmp_path / 'out'
    assert cli.main(
        ['enhance', str(gray_picture), '-o', str(out), '--model', models['colorize'], '--model', models['upscale']]
    ) == 0  # fmt: skip
    expected = load_model(models['enhance'])(np.asarray(opened(gray_picture)))
    np.testing.assert_array_equal(np.asarray(opened(out / 'm51.png')), expected)
    assert json.loads((out / 'm51.png.json').read_text())['model'] == 'tiny_color+tiny_x2'


def test_orientation_and_transparency(run, models, tmp_path):
    """EXIF orientation is applied and gone; alpha is enlarged beside the colours, kept wherever anything shows."""
    pixels = noise(70, 90, 4)
    pixels[..., 3] = np.linspace(1, 255, 90).astype(np.uint8)
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    Image.fromarray(pixels).save(tmp_path / 'a.png', exif=exif)
    assert run('upscale', tmp_path / 'a.png')[0] == 0
    result = opened(tmp_path / 'out/a.png')
    assert result.getexif().get(Base.Orientation, 1) == 1
    upright = np.rot90(pixels, -1)
    expected = load_model(models['upscale'])(np.ascontiguousarray(upright[..., :3]))
    np.testing.assert_array_equal(np.asarray(result)[..., :3], expected)
    alpha = Image.fromarray(upright[..., 3].astype(np.float32)).resize((140, 180), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(result)[..., 3] - np.clip(np.asarray(alpha), 0, 255)).max() <= 0.51


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif'])
def test_outputs_say_what_made_them(run, models, tmp_path, suffix):
    """Picture and sidecar name model, hash, versions and settings, warn of photometry, and keep the credit."""
    exif = Image.Exif()
    exif[Base.Copyright] = 'ESA/Hubble'
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(noise(64, 64, 3)).save(path, exif=exif, icc_profile=profile)
    assert run('upscale', path)[0] == 0
    target = tmp_path / 'out' / path.name
    made = json.loads((target.parent / f'{target.name}.json').read_text())
    description = json.loads((Path(models['upscale']) / 'model.json').read_text())
    assert made['weights_sha256'] == description['weights']['sha256']
    assert (made['notice'], made['factor'], made['model']) == (NOTICE, 2, 'tiny_x2')
    assert {'jax', 'flax', 'numpy'} <= made['versions'].keys()
    data = target.read_bytes()
    assert made.pop('output') == {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
    picture = opened(target)
    if suffix == 'tif':
        assert json.dumps(made) in picture.tag_v2[270]
        assert NOTICE in picture.tag_v2[270]
    else:
        tags = picture.getexif()
        assert NOTICE in tags[Base.ImageDescription]
        assert tags[Base.Software].startswith('astro_gan ')
        assert 'ESA/Hubble' in tags[Base.Copyright]
    if suffix == 'png':
        assert json.loads(picture.text['Comment']) == made
        assert picture.text['Description'] == NOTICE
    assert picture.info['icc_profile'] == profile


def test_same_input_same_bytes(run, gray_picture, tmp_path):
    """The same command twice writes the same files, to the last byte; nothing else is left in the folder."""
    for out in ('one', 'two'):
        run('enhance', gray_picture, out=tmp_path / out)
    names = sorted(os.listdir(tmp_path / 'one'))
    assert names == ['m51.png', 'm51.png.json']
    for name in names:
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()


def test_formats(run, gray_picture, tmp_path):
    """--format changes the kind; FITS is not to be had from a picture."""
    for suffix, kind in (('jpg', 'JPEG'), ('tif', 'TIFF')):
        assert run('upscale', gray_picture, '--format', suffix)[0] == 0
        picture = opened(tmp_path / 'out' / f'm51.{suffix}')
        assert (picture.format, picture.mode, picture.size) == (kind, 'L', (140, 132))


def test_unusual_pictures(run, tmp_path):
    """CMYK, palette, 1-bit, gray with alpha, and a wrong suffix: read as what they are."""
    image = Image.fromarray(noise(64, 64, 3))
    image.convert('CMYK').save(tmp_path / 'cmyk.jpg')
    image.convert('P').save(tmp_path / 'palette.png')
    image.convert('1').save(tmp_path / 'bits.tif')
    image.convert('LA').save(tmp_path / 'la.png')
    image.save(tmp_path / 'really_png.jpg', format='PNG')
    status, _, err = run('upscale', tmp_path)
    assert status == 0, err
    modes = {path.name: opened(path).mode for path in (tmp_path / 'out').iterdir() if path.suffix != '.json'}
    assert modes == {
        'cmyk.jpg': 'RGB', 'palette.png': 'RGB', 'bits.tif': 'L', 'la.png': 'LA', 'really_png.jpg': 'RGB'
    }  # fmt: skip


def write_bomb(path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 0, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', b'x') + chunk(b'IEND', b''))


def bad(path):
    """Writes the picture that a file name stands for."""
    name = path.stem
    if name == 'tiny':
        Image.fromarray(noise(63, 90)).save(path)
    elif name == 'color':
        Image.fromarray(noise(64, 64, 3)).save(path)
    elif name == 'empty':
        path.write_bytes(b'')
    elif name in ('text', 'textual'):
        path.write_text('not a picture at all')
    elif name == 'truncated':
        Image.fromarray(noise(300, 300)).save(path)
        path.write_bytes(path.read_bytes()[:20000])
    elif name == 'bomb':
        write_bomb(path)
    elif name == 'deep':
        tifffile.imwrite(path, np.zeros((70, 70), np.uint32))
    elif name == 'five':
        tifffile.imwrite(path, noise(70, 70, 5), planarconfig='contig')
    elif name == 'link':
        path.symlink_to('nowhere.png')
    elif name == 'folder':
        path.mkdir()


BAD = {
    'tiny.png': '90x63 pixels; at least 64x64 are needed',
    'color.png': '--allow-color',
    'empty.png': 'the file is empty',
    'text.png': 'neither a JPEG, PNG or TIFF picture nor a FITS file',
    'textual.fits': 'neither a JPEG, PNG or TIFF picture nor a FITS file',
    'truncated.png': 'damaged picture',
    'bomb.png': 'megapixels',
    'deep.tif': 'no known white level',
    'five.tif': '5 channels',
    'link.png': 'a link that leads to no file',
    'missing.png': 'no such file',
    'folder.png': 'no JPEG, PNG, TIFF, FITS or XISF file in this folder',
}


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_one_line(one_line, tmp_path, name):
    """Every kind of bad input gives one line that names the file and says what is wrong, and leaves nothing behind."""
    bad(tmp_path / name)
    one_line('colorize', tmp_path / name, words=[name, BAD[name]])
    assert not list((tmp_path / 'out').glob('*')) if (tmp_path / 'out').exists() else True


def test_allow_color_makes_gray(run, models, tmp_path):
    """--allow-color colours the picture's luminance."""
    from astro_gan.color import lightness, lightness_to_gray

    pixels = noise(64, 64, 3)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    assert run('colorize', tmp_path / 'a.png', '--allow-color')[0] == 0
    result = np.asarray(opened(tmp_path / 'out/a.png'), np.float32) / 255
    gray = jax.jit(lambda image: lightness_to_gray(lightness(image)))
    expected, found = (np.asarray(gray(x)) for x in (pixels.astype(np.float32) / 255, result))
    assert np.abs(expected - found).max() < 1.5 / 255


def test_one_bad_file_does_not_stop_the_others(run, tmp_path):
    """The good files of a folder are made, the bad ones named, the exit status says so."""
    folder = tmp_path / 'in' / 'deep'
    folder.mkdir(parents=True)
    bad(folder / 'truncated.png')
    Image.fromarray(noise(64, 64)).save(folder.parent / 'good.png')
    Image.fromarray(noise(64, 64)).save(folder / 'good.png')
    (folder / 'notes.txt').write_text('not asked for')
    status, out, err = run('upscale', tmp_path / 'in')
    assert status == 1
    assert '2 made' in out
    assert '1 failed' in out
    assert 'truncated.png' in err
    made = sorted(str(p.relative_to(tmp_path / 'out')) for p in (tmp_path / 'out').rglob('*.png'))
    assert made == ['deep/good.png', 'good.png']
    assert not list((tmp_path / 'out').rglob('.*'))


def test_resume_and_overwrite(run, one_line, models, gray_picture, tmp_path):
    """Existing files are safe; --resume passes over finished ones and no others; --overwrite replaces."""
    run('upscale', gray_picture)
    target = tmp_path / 'out' / 'm51.png'
    first = target.stat().st_mtime_ns
    one_line('upscale', gray_picture, words=['m51.png', 'exists already', '--overwrite'])
    status, out, _ = run('upscale', gray_picture, '--resume')
    assert (status, target.stat().st_mtime_ns) == (0, first)
    assert '1 already finished' in out
    Image.fromarray(noise(66, 70, seed=1)).save(gray_picture)
    one_line('upscale', gray_picture, '--resume', words=['it was made otherwise', '--overwrite'])
    assert target.stat().st_mtime_ns == first
    assert run('upscale', gray_picture, '--overwrite')[0] == 0
    assert target.stat().st_mtime_ns > first


def test_inputs_and_outputs_do_not_collide(one_line, gray_picture, tmp_path):
    """Two inputs with one output, or an output that is its input, are errors before anything is made."""
    opened(gray_picture).save(gray_picture.with_suffix('.tif'))
    one_line('upscale', gray_picture.parent, '--format', 'jpg', words=['m51.png', 'm51.tif', 'would both become'])
    one_line('upscale', gray_picture, out=gray_picture.parent, words=['m51.png', 'its output would replace it'])
    one_line('upscale', tmp_path / '*.xyz', words=['no file matches'])
    one_line('upscale', gray_picture, out=gray_picture, words=['is a file; -o names a folder'])


def test_patterns(run, gray_picture, tmp_path):
    """A quoted pattern is expanded."""
    assert run('upscale', gray_picture.parent / 'm*.png')[0] == 0
    assert (tmp_path / 'out' / 'm51.png').exists()


def test_wrong_models_are_one_line(one_line, models, gray_picture, tmp_path):
    """A model of another task or factor, none at all, or one whose weights were changed."""
    one_line('upscale', gray_picture, model=models['colorize'], words=['adds colour', 'super-resolution models only'])
    one_line('colorize', gray_picture, model=models['upscale'], words=['enlarges', 'one colorizer'])
    one_line('enhance', gray_picture, model=models['upscale'], words=['a fused model'])
    one_line('upscale', gray_picture, '--factor', 3, words=['--factor 3', 'enlarges 2 times'])
    one_line('upscale', gray_picture, model='nothing_x4', words=['nothing_x4', 'no shipped model of that name'])
    for file in Path(models['upscale']).iterdir():
        (tmp_path / 'broken').mkdir(exist_ok=True)
        (tmp_path / 'broken' / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / 'broken' / 'weights.safetensors'
    weights.write_bytes(weights.read_bytes()[:-1] + b'\x7f')
    one_line('upscale', gray_picture, model=tmp_path / 'broken', words=['does not match the hash'])


def test_interrupted_run_leaves_nothing_half_written(run, gray_picture, tmp_path, monkeypatch):
    """Ctrl-C in the middle of a picture: exit 130, no picture, no temporary file."""

    def interrupted(*arguments, **options):
        yield np.zeros((8, 140, 1), np.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, 'render', interrupted)
    status, _, err = run('upscale', gray_picture)
    assert status == 130
    assert 'stopped' in err
    assert list((tmp_path / 'out').iterdir()) == []


def test_a_format_that_cannot_hold_the_size(tmp_path):
    """JPEG ends at 65500 pixels; the line says what can hold more."""
    with pytest.raises(ValueError, match=r'70000x10 pixels are more than a jpg file can hold; choose --format tif'):
        check_size(tmp_path / 'a.jpg', 'jpg', 10, 70000)


def test_interrupt_ends_the_encoding(tmp_path):
    """Ctrl-C while libvips encodes ends it at once; neither the picture nor anything temporary is left."""

    def strips():
        rng = np.random.default_rng(0)
        for _ in range(40):
            yield rng.integers(0, 256, (100, 4000, 3), np.uint8)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    options = {'like': None, 'comment': '{}', 'notice': '', 'software': ''}
    with pytest.raises(KeyboardInterrupt):
        write_picture(tmp_path / 'a.png', 'png', (4000, 4000, 3), np.uint8, strips(), **options)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_results_are_no_inputs(run, gray_picture, tmp_path):
    """A folder that holds its own output is enlarged once, however often; so is a file that is named twice."""
    folder = gray_picture.parent
    for _ in range(2):
        assert run('upscale', folder, folder / 'm51.png', '--resume', out=folder / 'out')[0] == 0
    assert sorted(path.name for path in folder.rglob('*.png')) == ['m51.png', 'm51.png']


def test_the_users_own_json_is_safe(run, one_line, gray_picture, tmp_path):
    """A file that happens to have the description's name is not replaced without --overwrite."""
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'm51.png.json').write_text('{"mine": 1}')
    one_line('upscale', gray_picture, words=['m51.png.json', 'exists already'])
    assert (tmp_path / 'out' / 'm51.png.json').read_text() == '{"mine": 1}'
    assert run('upscale', gray_picture, '--overwrite')[0] == 0


def test_a_failed_overwrite_keeps_what_was_there(run, gray_picture, tmp_path, monkeypatch):
    """When the new picture fails, the old one and its description are as they were, and the line names the file."""

    run('upscale', gray_picture)
    before = {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()}

    def failing(*arguments, **options):
        yield np.zeros((8, 140, 1), np.float32)
        raise RuntimeError('RESOURCE_EXHAUSTED: no room')

    monkeypatch.setattr(outputs, 'render', failing)
    status, _, err = run('upscale', gray_picture, '--overwrite')
    assert status == 1
    assert 'm51.png: out of memory; --tile with fewer pixels' in err
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == before


def test_a_short_write_is_noticed(run, gray_picture, tmp_path, monkeypatch):
    """If rows are lost on the way to the disk, there is no picture rather than one with a black band."""
    write = tifffile.TiffWriter.write

    def lossy(self, *arguments, **options):
        write(self, *arguments, **options)
        self.filehandle._fh.truncate(9000)

    monkeypatch.setattr(tifffile.TiffWriter, 'write', lossy)
    status, _, err = run('upscale', gray_picture)
    assert status == 1
    assert 'm51.png: cannot be written' in err
    assert list((tmp_path / 'out').iterdir()) == []


def test_credits_travel(run, tmp_path):
    """PNG texts and a TIFF's description are still there, beside the program's own."""
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text('Copyright', 'NASA, ESA')
    Image.fromarray(noise(64, 64)).save(tmp_path / 'a.png', pnginfo=texts)
    tifffile.imwrite(tmp_path / 'b.tif', noise(64, 64), description='M 51, by ESA/Hubble', metadata=None)
    assert run('upscale', tmp_path / 'a.png', tmp_path / 'b.tif')[0] == 0
    assert opened(tmp_path / 'out/a.png').text['Copyright'] == 'NASA, ESA'
    description = opened(tmp_path / 'out/b.tif').tag_v2[270]
    assert description.startswith('M 51, by ESA/Hubble; generated detail')


def test_transparency_becomes_black_in_a_jpeg(run, models, tmp_path):
    """A white disk on transparent green: what the model makes of white inside, black outside, nothing green."""
    y, x = np.mgrid[:80, :96]
    opaque = np.hypot(y - 40, x - 48) < 25
    rgba = np.where(opaque, 255, 0).astype(np.uint8)[..., None].repeat(4, -1)
    rgba[~opaque, :3] = (0, 200, 0)
    Image.fromarray(rgba).save(tmp_path / 'a.png')
    status, _, err = run('upscale', tmp_path / 'a.png', '--format', 'jpg')
    assert status == 0
    assert 'laid on black' in err
    result = np.asarray(opened(tmp_path / 'out/a.jpg')).astype(int)
    large = np.hypot(*(np.mgrid[:160, :192] - np.array([80, 96])[:, None, None]))
    white = load_model(models['upscale'])(np.full((80, 96, 3), 255, np.uint8)).astype(int)
    assert np.abs(result - white)[large < 45].mean() < 5
    assert result[large > 58].max() < 10
