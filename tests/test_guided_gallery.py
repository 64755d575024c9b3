"""The gallery's picture of guides: columns are what they are called, the credits those of the manifest."""

import numpy as np
import pytest
from PIL import Image

from experiments.study import guided_gallery as gallery
from tests.small_models import colorizer


def test_columns_and_credits(tmp_path, monkeypatch):
    """Gray, four guides and the truth in a row; two bands give the truth's colours back where they are."""
    monkeypatch.setattr(gallery, 'SHOWN', (128, 160))
    (tmp_path / 'val').mkdir()
    y, x = np.mgrid[:160, :200]
    truth = np.stack([60 + 0.6 * x, 80 + 0.4 * y, 100 + 0.3 * (x + y)], axis=-1).astype(np.uint8)
    Image.fromarray(truth).save(tmp_path / 'val' / 'm51.jpg', quality=95)
    (tmp_path / 'manifest.csv').write_text('split,id,page\nval,m51,https://example.org/m51/\n')
    network = colorizer('guided_unet', features=4, stages=1, space='lab').networks[0]
    made = gallery.grid(network, tmp_path, [('m51', 'sho')])
    assert made.shape == (32, 6 * 44 - 4, 3)
    gray, _, palette, hints, bands, true = (made[:, 44 * n : 44 * n + 40].astype(int) for n in range(6))
    assert np.ptp(gray, axis=-1).max() == 0
    assert np.abs(bands - true)[:14].max() < 6
    assert np.abs(bands - true)[18:, 22:].max() > 6  # this quarter is filled in
    for column in (palette, hints):
        assert np.abs(column - true).mean() > 1
    assert gallery.credits(tmp_path, ['m51']) == ('Pictures: ESA/Hubble [m51](https://example.org/m51/); CC BY 4.0.')
    with pytest.raises(ValueError, match='nowhere'):
        gallery.grid(network, tmp_path, [('nowhere', 'sho')])
