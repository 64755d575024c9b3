"""The report's user story: a small gray JPEG becomes a large picture in colour by one command."""

import numpy as np
from PIL import Image

from astro_gan import cli, images
from astro_gan.color import rgb_to_lab


def test_64_gray_pixels_become_768_in_colour(tmp_path, hubble, capsys):
    """`astro-gan enhance` with the models that ship: 12 times larger, coloured, and made smaller again the input."""
    gray = Image.fromarray(hubble[300:364, 300:364]).convert('L')
    gray.save(tmp_path / 'gray.jpg', quality=95)
    assert cli.main(['enhance', str(tmp_path / 'gray.jpg'), '-o', str(tmp_path / 'out'), '--factor', '12']) == 0
    assert '1 made' in capsys.readouterr().out
    with Image.open(tmp_path / 'out' / 'gray.jpg') as image:
        assert (image.size, image.mode) == ((768, 768), 'RGB')
        made = np.asarray(image, np.float32) / 255
    lab = np.asarray(rgb_to_lab(made))
    assert np.abs(lab[..., 1:]).mean() > 1.0  # in colour
    small = np.asarray(rgb_to_lab(np.asarray(images.downsample(made[None], 12))))[0, ..., 0]
    with Image.open(tmp_path / 'gray.jpg') as image:
        given = np.asarray(rgb_to_lab(np.asarray(image.convert('RGB'), np.float32) / 255))[..., 0]
    assert np.abs(small - given).mean() < 1.0  # of 100 levels of L*
