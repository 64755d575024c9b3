"""What a file will take is judged by its size before the work begins."""

import types

import numpy as np
import pytest

from astro_gan.files import memory
from astro_gan.inference.needs import require_memory
from astro_gan.inference.settings import Settings
from tests.small_models import colorizer, upscaler

GIB = 2**30


@pytest.mark.parametrize(
    ('make', 'height', 'width', 'settings', 'gib', 'way_out'),
    [
        # 200 MiB, and three strips: of 256 rows, of as many as fit into 256 MiB, of 16 where a row is 0.6 GB.
        (upscaler, 9000, 1000, {}, 0.195 + 3 * 256 * 48e3 / GIB, '--tile 64 needs less'),
        (upscaler, 9000, 1000, {'tile': 64}, 0.195 + 3 * 64 * 48e3 / GIB, 'cut it into narrower parts'),
        (upscaler, 64, 12_500_000, {}, 0.195 + 3 * 16 * 0.6e9 / GIB, 'cut it into narrower parts'),
        # The copy of a colorizer, and the rows that it is made of.
        (
            colorizer,
            20_000,
            20_000,
            {'reduction': 2},
            0.195 + (256 * 3 * 24e4 + 16e8 + 512 * 24e4) / GIB,
            '--reduction 4',
        ),
    ],
)
def test_what_is_needed(monkeypatch, make, height, width, settings, gib, way_out):
    """Numbers worked out by hand; a model and a size that find no room are refused with what takes less."""
    asked = []
    monkeypatch.setattr(memory, 'require', lambda needed, way_out: asked.append((needed, way_out)))
    model = make(2) if make is upscaler else make()
    require_memory(model, types.SimpleNamespace(height=height, width=width), Settings(**settings))
    ((needed, said),) = asked
    assert needed / GIB == pytest.approx(gib, rel=0.02)
    assert way_out in said


def test_a_file_that_finds_no_room_is_one_line(run, monkeypatch, tmp_path):
    """The line names the file, and nothing is left behind."""
    from PIL import Image

    Image.fromarray(np.zeros((64, 66), np.uint8)).save(tmp_path / 'a.png')
    monkeypatch.setattr(memory, 'left', lambda: (1e8, 'the container'))
    status, _, err = run('upscale', tmp_path / 'a.png', '-o', tmp_path / 'out')
    assert status == 1
    assert 'a.png: about 0.2 GiB of memory are needed, and 0.1 are left (the container); cut it' in err
    assert list((tmp_path / 'out').iterdir()) == []
