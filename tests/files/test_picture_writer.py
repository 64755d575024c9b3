"""Pictures out: what is told beside the pixels is true of the new ones, in each format."""

import io
import re

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image
from PIL.ExifTags import IFD, Base

from astro_gan.files.picture_source import open_picture
from astro_gan.files.picture_writer import write_picture
from tests.files.test_light import gray_profile, srgb_profile, write_tiff
from tests.files.test_tiff import HEIGHT, WIDTH, levels

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" tiff:Orientation="6" tiff:ImageWidth='45' exif:PixelXDimension="45"
 dc:title="M 51" avm:Spatial.ReferenceDimension="45">
<tiff:ImageLength>37</tiff:ImageLength><exif:PixelYDimension>37</exif:PixelYDimension>
<tiff:XResolution>300/1</tiff:XResolution><xmp:Thumbnails><rdf:Alt><rdf:li>old</rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def enlarged(path, target, factor=3, bands=None):
    """Write what `path` tells of itself beside `factor` times as many pixels; opened again by libvips."""
    source = open_picture(path)
    bands = bands or source.channels
    shape = (factor * source.height, factor * source.width, bands)
    strips = [np.full(shape, 99, np.uint8)]
    kind = target.suffix[1:]
    write_picture(target, kind, shape, np.uint8, strips, like=source, comment='{}', notice='made', software='astro_gan')
    return pyvips.Image.new_from_file(str(target), revalidate=True)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
@pytest.mark.parametrize('came', ['jpg', 'png', 'tif'])
def test_the_same_size_in_print(tmp_path, came, suffix):
    """Dots per inch are multiplied by the factor, from and to every format; who does not say gets 72."""
    image = Image.fromarray(levels(3, np.uint8))
    for dpi, expected in ((300, 900), (None, 72)):
        path = tmp_path / f'in{dpi}.{came}'
        image.save(path, **({'dpi': (dpi, dpi)} if dpi else {}))
        target = tmp_path / f'out{dpi}.{suffix}'
        enlarged(path, target)
        with Image.open(target) as opened:
            np.testing.assert_allclose(np.array(opened.info['dpi'], float), expected, rtol=1e-3)


def test_resolution_in_centimetres(tmp_path):
    """A TIFF's unit counts, and one without a unit says nothing."""
    for unit, expected in ((3, 100 * 2.54 * 3), (1, 72)):
        resolution = {'resolution': (100, 100), 'resolutionunit': unit}
        tifffile.imwrite(tmp_path / 'a.tif', levels(3, np.uint8), photometric='rgb', **resolution)
        enlarged(tmp_path / 'a.tif', tmp_path / 'b.tif')
        with Image.open(tmp_path / 'b.tif') as opened:
            np.testing.assert_allclose(np.array(opened.info['dpi'], float), expected, rtol=1e-3)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
def test_sizes_in_xmp_and_exif(tmp_path, suffix):
    """Orientation, sizes and densities are those of the new picture; thumbnails go, words and coordinates stay."""
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    exif[Base.Artist] = 'ESA/Hubble'
    exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] = WIDTH
    exif.get_ifd(IFD.Exif)[Base.ExifImageHeight] = HEIGHT
    exif.get_ifd(IFD.Exif)[Base.FocalPlaneXResolution] = 1234.0
    Image.fromarray(levels(3, np.uint8)).save(tmp_path / 'a.jpg', exif=exif, xmp=XMP)
    target = tmp_path / f'out.{suffix}'
    picture = enlarged(tmp_path / 'a.jpg', target)
    assert (picture.width, picture.height) == (3 * HEIGHT, 3 * WIDTH)  # upright
    packet = bytes(picture.get('xmp-data')).decode()
    for name, value in {
        'tiff:Orientation': 1, 'tiff:ImageWidth': 111, 'exif:PixelXDimension': 111, 'tiff:ImageLength': 135,
        'exif:PixelYDimension': 135, 'tiff:XResolution': 900, 'avm:Spatial.ReferenceDimension': 45,
    }.items():  # fmt: skip
        assert re.findall(rf'{name}(?:=["\']|>)(\d+)', packet) == [str(value)]
    assert 'Thumbnails' not in packet
    assert 'dc:title="M 51"' in packet
    with Image.open(target) as opened:
        tags = opened.getexif()
        assert tags.get(Base.Orientation, 1) == 1
        inner = tags.get_ifd(IFD.Exif)
        if suffix != 'tif':
            assert tags[Base.Artist] == 'ESA/Hubble'
            assert (inner[Base.ExifImageWidth], inner[Base.ExifImageHeight]) == (111, 135)
        assert Base.FocalPlaneXResolution not in inner


def test_profiles_go_where_the_channels_are_the_same(tmp_path):
    """Gray to gray and colour to colour keep theirs; gray made colour has none, CMYK made RGB neither."""
    write_tiff(tmp_path / 'gray.tif', levels(1, np.uint8)[..., 0], gray_profile(1.0))
    Image.fromarray(levels(3, np.uint8)).save(tmp_path / 'rgb.png', icc_profile=srgb_profile())
    tifffile.imwrite(tmp_path / 'cmyk.tif', levels(4, np.uint8), photometric='separated', iccprofile=_as_cmyk())
    for name, bands, profile in (
        ('gray.tif', 1, gray_profile(1.0)), ('gray.tif', 3, None), ('rgb.png', 3, srgb_profile()), ('cmyk.tif', 3, None)
    ):  # fmt: skip
        picture = enlarged(tmp_path / name, tmp_path / 'out.tif', bands=bands)
        found = picture.get('icc-profile-data') if picture.get_typeof('icc-profile-data') else None
        assert found == profile


def _as_cmyk():
    profile = bytearray(gray_profile(1.0))
    profile[16:20] = b'CMYK'
    return bytes(profile)


def test_descriptions_by_programs_do_not_travel(tmp_path):
    """Shapes of tifffile, stacks of ImageJ and OME's XML describe other pixels; a caption stays."""
    for text, stays in (('ImageJ=1.53\nimages=3', False), ('<?xml version="1.0"?><OME/>', False), ('M 51', True)):
        tifffile.imwrite(tmp_path / 'a.tif', levels(3, np.uint8), photometric='rgb', description=text, metadata=None)
        enlarged(tmp_path / 'a.tif', tmp_path / 'b.tif')
        with tifffile.TiffFile(tmp_path / 'b.tif') as file:
            found = file.pages[0].description
        assert found.startswith('M 51; made' if stays else 'made')


def test_thumbnails_do_not_travel(tmp_path):
    """The small picture in EXIF shows the old one."""
    small = io.BytesIO()
    Image.fromarray(levels(3, np.uint8)).resize((16, 12)).save(small, 'JPEG')
    image = pyvips.Image.new_from_array(levels(3, np.uint8)).copy()
    image.set_type(pyvips.GValue.blob_type, 'jpeg-thumbnail-data', small.getvalue())
    image.jpegsave(str(tmp_path / 'a.jpg'))
    assert b'JFIF' in (tmp_path / 'a.jpg').read_bytes()
    picture = enlarged(tmp_path / 'a.jpg', tmp_path / 'b.jpg')
    assert not picture.get_typeof('jpeg-thumbnail-data')
