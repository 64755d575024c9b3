"""`--check` and `--report`: each result is audited before it takes its name, and what was found lies beside it."""

import json
import re

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_gan import cli


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'm51.png'
    Image.fromarray(np.random.default_rng(0).integers(20, 40, (70, 80, 3), np.uint8)).save(path)
    return path


def test_a_checked_picture(run, picture, tmp_path):
    """Maps as PNG, the numbers in the description too, the line printed; --resume finds it finished and as it was."""
    status, _, err = run('upscale', picture, '--check')
    assert status == 0
    assert ' sources have no counterpart in the input at 3 sigma' in err
    folder = tmp_path / 'out' / 'm51.png.audit'
    assert {path.name for path in folder.iterdir()} == {'detail.png', 'residual.png', 'sources.csv', 'summary.json'}
    for name, size in (('detail', (160, 140)), ('residual', (80, 70))):
        with Image.open(folder / f'{name}.png') as opened:
            assert opened.size == size
    made = json.loads((tmp_path / 'out' / 'm51.png.json').read_text())
    summary = json.loads((folder / 'summary.json').read_text())
    assert made['check']['line'] == summary['line']
    assert summary['factor'] == 2
    before = (tmp_path / 'out' / 'm51.png').read_bytes()
    status, out, _ = run('upscale', picture, '--check', '--resume')
    assert status == 0
    assert '1 already finished' in out
    assert (tmp_path / 'out' / 'm51.png').read_bytes() == before


@pytest.mark.parametrize('model', ['upscale', 'frames'])
def test_a_checked_frame(run, models, tmp_path, model):
    """Maps as FITS, on the pixels of input and output; as a picture by the stretch that made it."""
    data = np.random.default_rng(0).normal(100, 2, (72, 80)).astype(np.float32)
    data[30:33, 40:43] += 60
    data[:5, :5] = np.nan
    fits.PrimaryHDU(data).writeto(tmp_path / 'm13.fits')
    status, _, err = run('upscale', tmp_path / 'm13.fits', '--check', model=models[model])
    assert status == 0
    assert 'no counterpart' in err
    folder = tmp_path / 'out' / 'm13.fits.audit'
    with fits.open(folder / 'detail.fits') as hdus:
        assert hdus[0].data.shape == (144, 160)
        assert np.isnan(hdus[0].data[:8, :8]).all()
    status, _, err = run('upscale', tmp_path / 'm13.fits', '--check', '--format', 'png', model=models['upscale'])
    assert status == 0
    assert 'not checked' not in err
    assert json.loads((tmp_path / 'out' / 'm13.png.json').read_text())['check']['unit'] == 'levels of 255'


def test_a_checked_colorization(run, tmp_path):
    """Nothing is added by colours, and the brightness is kept to the rounding of 8 bits."""
    rng = np.random.default_rng(0)
    path = tmp_path / 'gray.png'
    Image.fromarray(np.clip(rng.normal(80, 10, (70, 70)), 0, 255).astype(np.uint8)).save(path)
    status, _, err = run('colorize', path, '--check')
    assert status == 0
    found = json.loads((tmp_path / 'out' / 'gray.png.json').read_text())['check']
    assert found['largest_difference'] < 1
    assert found['without_counterpart'] == 0
    assert 'brightness kept to 0.' in err


def test_a_report_of_a_run(run, picture, tmp_path):
    """One file for all results; nothing is written where it cannot be, before anything is made."""
    other = tmp_path / 'ngc.png'
    Image.fromarray(np.random.default_rng(1).integers(20, 40, (66, 66), np.uint8)).save(other)
    status, out, _ = run('upscale', picture, other, '--report', tmp_path / 'r.html')
    assert status == 0
    assert 'report of 2 results' in out
    text = (tmp_path / 'r.html').read_text()
    assert text.count('class="compare"') == 2
    assert '//' not in re.sub(r'base64,[^"]*', '', text)
    for place, words in (
        (tmp_path / 'r.html', 'exists already'),
        (tmp_path / 'none' / 'r.html', 'does not exist'),
        (tmp_path / 'r.txt', 'names an HTML file'),
    ):
        status, _, err = run('upscale', picture, '--report', place, out=tmp_path / 'other')
        assert status == 1
        assert words in err
    assert not list((tmp_path / 'other').glob('*'))


def test_the_command(picture, tmp_path, capsys):
    """`audit` of any tool's output: the folder, the report, the line; mistakes are one line."""
    output = tmp_path / 'large.png'
    with Image.open(picture) as opened:
        opened.resize((320, 280), Image.Resampling.BICUBIC).save(output)
    arguments = ['audit', str(picture), str(output), '-o', str(tmp_path / 'found')]
    assert cli.main([*arguments, '--report', str(tmp_path / 'r.html')]) == 0
    out = capsys.readouterr().out
    assert 'sources have no counterpart in the input at 3 sigma' in out.splitlines()[-1]
    assert json.loads((tmp_path / 'found' / 'summary.json').read_text())['without_counterpart'] == 0
    assert (tmp_path / 'r.html').stat().st_size > 10_000
    assert cli.main(arguments) == 1
    assert '--overwrite replaces it' in capsys.readouterr().err
    Image.new('L', (100, 300)).save(output)
    assert cli.main([*arguments[:-1], str(tmp_path / 'new')]) == 1
    assert 'no one factor' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()
