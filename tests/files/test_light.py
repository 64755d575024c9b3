"""What is shown, kept: transparency, colour profiles, gamma, and the metadata that speaks of pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms

from astro_gan.files import icc, pictures
from astro_gan.files.picture_source import open_picture
from tests.files.test_damage import chunk
from tests.files.test_tiff import HEIGHT, WIDTH, levels


def from_srgb(levels):
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def lightness(light):
    return np.where(light > 0.008856, 116 * np.cbrt(light) - 16, 903.3 * light)


def shown(levels):
    """L* of sRGB levels `[..., 1 or 3]` in [0, 1]."""
    weights = [0.212671, 0.715160, 0.072169] if levels.shape[-1] == 3 else [1.0]
    return lightness(from_srgb(levels) @ np.array(weights))


def gray_profile(gamma):
    """A minimal ICC profile: gray, one exponent, white D65 (as ICC.1:2001 lays it out)."""
    white = b'XYZ \0\0\0\0' + struct.pack('>3i', *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    curve = b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma * 256)) + b'\0\0'
    text = b'test'
    description = b'desc\0\0\0\0' + struct.pack('>I', len(text) + 1) + text + b'\0' + bytes(78)
    description += bytes(-len(description) % 4)
    start = 128 + 4 + 3 * 12
    table, body = b'', b''
    for name, data in ((b'desc', description), (b'wtpt', white), (b'kTRC', curve)):
        table += name + struct.pack('>II', start + len(body), len(data))
        body += data
    size = start + len(body)
    header = struct.pack('>I4sI4s4s4s', size, bytes(4), 0x02400000, b'mntr', b'GRAY', b'XYZ ')
    header += struct.pack('>6H4s', 2024, 1, 1, 0, 0, 0, b'acsp') + bytes(28)
    header += struct.pack('>3i', *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    return header.ljust(128, b'\0') + struct.pack('>I', 3) + table + body


def write_tiff(path, pixels, profile):
    photometric = 'rgb' if pixels.ndim == 3 else 'minisblack'
    tifffile.imwrite(path, pixels, photometric=photometric, iccprofile=profile, metadata=None)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('gamma', [1.0, 1.8, 2.2])
def test_a_gray_profile_is_applied_where_gray_becomes_colour(tmp_path, dtype, gamma):
    """L* of the gray that a colorizer and training get is what the profile shows; upscaling keeps levels."""
    pixels = levels(1, dtype)[..., 0]
    white = np.iinfo(dtype).max
    write_tiff(tmp_path / 'a.tif', pixels, gray_profile(gamma))
    source = open_picture(tmp_path / 'a.tif')
    np.testing.assert_array_equal(np.rint(source.read(0, 0, HEIGHT, WIDTH)[..., 0] * white), pixels)
    assert source.profile == gray_profile(gamma)
    gray = source.to_gray(allow_color=False)
    assert (gray.profile, gray.dtype) == (None, dtype)
    expected = lightness((pixels / white) ** (round(gamma * 256) / 256))  # as the profile holds it
    half = 65  # of L*, half a level (of 1) where the curve is steepest
    assert np.abs(shown(gray.read(0, 0, HEIGHT, WIDTH)) - expected).max() < half / white + 1e-3
    trained = pictures.read_picture(tmp_path / 'a.tif')
    assert np.abs(shown(trained / 255) - expected).max() < 2 * half / 255 + 1e-3


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_colours_become_the_gray_of_their_lightness(tmp_path, dtype):
    """With and without an sRGB profile, by the formula of CIE 1976."""
    pixels = levels(3, dtype)
    white = np.iinfo(dtype).max
    for profile in (None, srgb_profile()):
        write_tiff(tmp_path / 'a.tif', pixels, profile)
        gray = open_picture(tmp_path / 'a.tif').to_gray(allow_color=True).read(0, 0, HEIGHT, WIDTH)
        assert np.abs(shown(gray) - shown(pixels / white)).max() < (0.3 if dtype == np.uint8 else 0.15)


def test_a_wide_gamut_profile_counts(tmp_path):
    """Colours of another RGB space: the gray has the L* that an independent conversion (littleCMS to Lab) shows."""
    profile = _rgb_profile(1.8)
    pixels = levels(3, np.uint8) // 2 + 60  # inside sRGB
    Image.fromarray(pixels).save(tmp_path / 'a.png', icc_profile=profile)
    to_srgb = ImageCms.buildTransform(io.BytesIO(profile), ImageCms.createProfile('sRGB'), 'RGB', 'RGB')
    expected = shown(np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), to_srgb)) / 255)
    gray = open_picture(tmp_path / 'a.png').to_gray(allow_color=True).read(0, 0, HEIGHT, WIDTH)
    difference = shown(gray) - expected
    assert np.abs(difference).max() < 0.6
    assert np.abs(shown(pixels / 255) - expected).mean() > 3  # ignoring the profile would show


def test_parametric_and_sampled_curves():
    """The curve of sRGB in each of its spellings, at every level, by the formula of IEC 61966-2-1."""
    level = np.linspace(0, 1, 65536)
    expected = from_srgb(level)
    numbers = [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]
    parametric = (
        b'para\0\0\0\0' + struct.pack('>H2x', 3) + b''.join(struct.pack('>i', round(v * 65536)) for v in numbers)
    )
    sampled = b'curv\0\0\0\0' + struct.pack('>I', 4096)
    sampled += np.rint(from_srgb(np.linspace(0, 1, 4096)) * 65535).astype('>u2').tobytes()
    for curve in (parametric, sampled):
        profile = gray_profile(1.0)
        start = profile.index(b'curv')
        place = profile.index(b'kTRC') + 8
        profile = profile[:place] + struct.pack('>I', len(curve)) + profile[place + 4 : start] + curve
        (found,) = icc.light_of_levels(profile, 1)
        assert np.abs(found - expected).max() < 3e-5
    assert np.abs(sum(icc.light_of_levels(srgb_profile(), 3)) - expected).max() < 3e-5
    (of_lightness,) = icc.light_of_levels(gray_profile(1.0).replace(b'GRAYXYZ ', b'GRAYLab '), 1)
    assert np.abs(lightness(of_lightness) - 100 * level).max() < 1e-3


def test_broken_profiles_are_left_out(tmp_path):
    """Without a curve, or cut off: a line, and the levels as they are."""
    pixels = levels(1, np.uint8)[..., 0]
    profile = gray_profile(1.0)
    for broken in (profile.replace(b'kTRC', b'xxxx'), profile[:140], profile[:100]):
        write_tiff(tmp_path / 'a.tif', pixels, broken)
        source = open_picture(tmp_path / 'a.tif')
        assert 'profile' in source.notes[0]
        gray = source.to_gray(allow_color=False).read(0, 0, HEIGHT, WIDTH)[..., 0]
        np.testing.assert_array_equal(np.rint(gray * 255), pixels)


def _rgb_profile(gamma):
    """sRGB's primaries with another exponent."""
    profile = bytearray(srgb_profile())
    count = struct.unpack('>I', profile[128:132])[0]
    for index in range(count):
        name, offset, size = struct.unpack('>4sII', profile[132 + 12 * index : 144 + 12 * index])
        if name in (b'rTRC', b'gTRC', b'bTRC'):
            curve = b'curv\0\0\0\0' + struct.pack('>IH', 1, round(gamma * 256))
            profile[offset : offset + size] = curve.ljust(size, b'\0')
    profile[84:100] = bytes(16)  # the profile's own checksum
    return bytes(profile)


def test_gray_saved_as_colour_keeps_its_lightness_too(tmp_path):
    """Three equal channels with a profile: not colour, and not without its curve."""
    plane = levels(1, np.uint8)
    Image.fromarray(np.repeat(plane, 3, -1)).save(tmp_path / 'a.png', icc_profile=_rgb_profile(1.0))
    gray = open_picture(tmp_path / 'a.png').to_gray(allow_color=False)
    assert np.abs(shown(gray.read(0, 0, HEIGHT, WIDTH)) - lightness(plane[..., 0] / 255.0)).max() < 0.3


def test_a_profile_of_other_channels_is_left_out(tmp_path):
    """A gray profile says nothing of RGB; a line says so."""
    Image.fromarray(levels(3, np.uint8)).save(tmp_path / 'a.png', icc_profile=srgb_profile())
    assert open_picture(tmp_path / 'a.png').profile == srgb_profile()
    tifffile.imwrite(
        tmp_path / 'a.tif', levels(3, np.uint8), photometric='rgb', iccprofile=gray_profile(1.0), metadata=None
    )
    source = open_picture(tmp_path / 'a.tif')
    assert source.profile is None
    assert 'profile' in source.notes[0]


def png(pixels, *chunks):
    """A PNG of uint8 or uint16 gray or RGB with extra chunks."""
    depth = 8 * pixels.dtype.itemsize
    color = {1: 0, 3: 2}[pixels.shape[-1]]
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', pixels.shape[1], pixels.shape[0], depth, color, 0, 0, 0))
    rows = b''.join(b'\0' + row.astype(f'>u{pixels.dtype.itemsize}').tobytes() for row in pixels)
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(chunks) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3])
def test_gamma_of_a_png_is_applied(tmp_path, channels, dtype):
    """gAMA 1.0 and 0.5556: the levels become those of sRGB that show as much light, for both readers."""
    pixels, white = levels(channels, dtype), np.iinfo(dtype).max
    for gamma in (1.0, 0.55556):
        data = png(pixels, chunk(b'gAMA', struct.pack('>I', round(gamma * 100_000))))
        (tmp_path / 'a.png').write_bytes(data)
        source = open_picture(tmp_path / 'a.png')
        assert 'gAMA' in source.notes[0]
        light = (pixels / white) ** (1 / gamma)
        expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        assert np.abs(source.read(0, 0, HEIGHT, WIDTH) - expected).max() < 0.51 / white
        assert np.abs(pictures.decode_picture(data, 'x') - 255 * expected).max() < 1.02


def test_gamma_that_is_srgb_or_overruled_changes_nothing(tmp_path):
    """0.45455 means sRGB; where sRGB or a profile is told, gAMA does not count."""
    pixels = levels(3, np.uint8)
    linear = chunk(b'gAMA', struct.pack('>I', 100_000))
    for chunks in ([chunk(b'gAMA', struct.pack('>I', 45455))], [linear, chunk(b'sRGB', b'\0')]):
        (tmp_path / 'a.png').write_bytes(png(pixels, *chunks))
        source = open_picture(tmp_path / 'a.png')
        assert source.notes == ()
        np.testing.assert_array_equal(np.rint(source.read(0, 0, HEIGHT, WIDTH) * 255), pixels)
    profile = b'x\0\0' + zlib.compress(srgb_profile())
    (tmp_path / 'a.png').write_bytes(png(pixels, linear, chunk(b'iCCP', profile)))
    np.testing.assert_array_equal(np.rint(open_picture(tmp_path / 'a.png').read(0, 0, HEIGHT, WIDTH) * 255), pixels)


def test_other_primaries_are_told(tmp_path):
    """cHRM of a wide gamut without a profile: a line."""
    wide = struct.pack('>8I', 31270, 32900, 73470, 26530, 11530, 82640, 11750, 1770)
    (tmp_path / 'a.png').write_bytes(png(levels(3, np.uint8), chunk(b'cHRM', wide)))
    assert 'primaries (cHRM)' in open_picture(tmp_path / 'a.png').notes[0]


def test_animations_are_told(tmp_path):
    """APNG: the first frame, and how many there are."""
    frames = [Image.fromarray(levels(3, np.uint8)), Image.fromarray(levels(3, np.uint8)[::-1].copy())]
    frames[0].save(tmp_path / 'a.png', save_all=True, append_images=frames[1:])
    source = open_picture(tmp_path / 'a.png')
    assert source.notes == ('an animation; the first of 2 frames was taken',)
    np.testing.assert_array_equal(np.rint(source.read(0, 0, HEIGHT, WIDTH) * 255), levels(3, np.uint8))


def disk(size=90):
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    return np.hypot(y, x)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', '16 bits', 'soft', 'palette', 'key'])
def test_colour_under_transparency_is_that_of_the_edge(tmp_path, mode):
    """A white disk on transparent black is white to its edge and beyond, in every window; a colour key too."""
    radius = disk()
    alpha = np.where(radius < 30, 255, 0).astype(np.uint8)
    if mode == 'soft':
        alpha = (255 * np.clip((32 - radius) / 6, 0, 1)).astype(np.uint8)
    color = np.where(alpha[..., None] > 0, 255, 0).astype(np.uint8).repeat(3, -1)
    path = tmp_path / 'a.png'
    if mode == '16 bits':
        both = np.concatenate([color, alpha[..., None]], -1).astype(np.uint16) * 257
        path = tmp_path / 'a.tif'
        tifffile.imwrite(path, both, photometric='rgb', extrasamples=['unassalpha'], metadata=None)
    elif mode == 'LA':
        Image.fromarray(np.stack([color[..., 0], alpha], -1)).save(path)
    elif mode == 'palette':
        image = Image.frombytes('P', (90, 90), (alpha > 0).astype(np.uint8).tobytes())
        image.putpalette([0, 0, 0, 255, 255, 255])
        image.save(path, transparency=0)
    elif mode == 'key':
        Image.fromarray(color).save(path, transparency=(0, 0, 0))
    else:
        Image.fromarray(np.concatenate([color, alpha[..., None]], -1)).save(path)
    source = open_picture(path)
    whole = source.read(0, 0, 90, 90)
    assert (whole == 1).all()
    np.testing.assert_array_equal(source.read_alpha(0, 0, 90, 90)[..., 0] > 0, alpha > 0)
    np.testing.assert_array_equal(source.read(40, 10, 20, 70), whole[40:60, 10:80])
    laid = pictures.read_picture(path)  # training: on black
    assert np.abs(laid - alpha[..., None].astype(float)).max() <= 1


def test_far_from_what_is_visible_windows_agree(tmp_path):
    """A window gives what the whole picture gives, at any distance from the edge of what is visible."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (200, 300, 4), np.uint8)
    pixels[..., 3] = 0
    pixels[60:70, 30:50, 3] = 200
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    source = open_picture(tmp_path / 'a.png')
    whole = source.read(0, 0, 200, 300)
    for top, left, height, width in ((0, 0, 50, 300), (50, 20, 40, 60), (120, 100, 80, 200), (199, 299, 1, 1)):
        np.testing.assert_array_equal(
            source.read(top, left, height, width), whole[top : top + height, left : left + width]
        )


def test_cmyk_by_its_profile_or_by_formula(tmp_path):
    """16 bits stay 16; without a profile (1 - ink)(1 - black)."""
    pixels = levels(4, np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='separated', metadata=None)
    source = open_picture(tmp_path / 'a.tif')
    shares = pixels / 65535
    assert source.dtype == np.uint16
    assert np.abs(source.read(0, 0, HEIGHT, WIDTH) - (1 - shares[..., :3]) * (1 - shares[..., 3:])).max() < 1e-5
    assert source.profile is None
    profile = bytes(pyvips.Operation.call('profile_load', 'cmyk'))
    tifffile.imwrite(tmp_path / 'b.tif', pixels, photometric='separated', iccprofile=profile, metadata=None)
    source = open_picture(tmp_path / 'b.tif')
    found = source.read(0, 0, HEIGHT, WIDTH)
    assert (source.dtype, source.profile) == (np.uint16, None)
    to_srgb = ImageCms.buildTransform(io.BytesIO(profile), ImageCms.createProfile('sRGB'), 'CMYK', 'RGB', 1)
    inks = Image.frombytes('CMYK', (WIDTH, HEIGHT), (pixels // 257).astype(np.uint8).tobytes())
    expected = np.asarray(ImageCms.applyTransform(inks, to_srgb)) / 255
    assert np.abs(found - expected).mean() < 0.01
    assert np.abs(found - (1 - shares[..., :3]) * (1 - shares[..., 3:])).mean() > 0.03  # not the formula


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    """libvips remembers what it read by its name; the second picture is not the first."""
    for value in (10, 200):
        pyvips.Image.black(WIDTH, HEIGHT).linear(0, value).cast('uchar').pngsave(str(tmp_path / 'a.png'))
        assert (open_picture(tmp_path / 'a.png').read(0, 0, HEIGHT, WIDTH) * 255 == value).all()
        assert (pictures.read_picture(tmp_path / 'a.png') == value).all()
