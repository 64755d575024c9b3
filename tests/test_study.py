"""The study: one smoke-sized system from training to the written tables, and the statistics behind its words."""

import csv

import numpy as np
import pytest

from astro_gan.logbook import read_rows
from experiments import runner, study, study_report
from experiments.systems import ASTRO, NATURAL, SYSTEMS, make_config
from tests.small_models import colorizer, saved, upscaler


def arguments(tmp_path, *flags):
    return study.parse([f'--runs={tmp_path / "runs"}', f'--output={tmp_path / "out"}', '--smoke', *flags])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The study of one system and of one other model, trained."""
    tmp_path = tmp_path_factory.mktemp('study')
    saved(upscaler(4), tmp_path / 'mine')
    study.run(arguments(tmp_path, '--train', '--only', 'wdsr', '--models', str(tmp_path / 'mine')))
    return tmp_path


def test_tables_figures_and_numbers(trained):
    """Every row stands in every table, the CSV and the README say the same, and all pictures are there."""
    out = trained / 'out'
    text = (out / 'README.md').read_text()
    rows = {row['system']: row for row in read_rows(out / 'super_resolution.csv')}
    assert list(rows) == ['bicubic', 'WDSR', 'WDSR-GAN', 'mine']
    for title in study_report.TABLES['super_resolution']:
        assert f'**Table {title[0]}.**' in text
    quality = text.partition('8.4, quality')[2].partition('**Table')[0]
    for name, row in rows.items():
        assert f'| {name} | {row["psnr"]:.2f} | {row["psnr_y"]:.2f} | {row["ssim_y"]:.4f} |' in quality
    for name in ('figure_8_2.png', 'figure_8_6.jpg'):
        assert f'({name})' in text
        assert (out / name).stat().st_size > 5000
    assert 'the numbers mean nothing' in text
    assert '| WDSR is better than EDSR | | | | | not measured |' in text
    with (out / 'super_resolution_pictures.csv').open() as file:
        pictures = list(csv.DictReader(file))
    assert len(pictures) == 4  # systems, one picture
    assert float(pictures[1]['psnr']) == pytest.approx(rows['WDSR']['psnr'])


def test_agrees_with_the_evaluation_of_a_run(trained):
    """On the test split the study measures what main.py has measured at the end of the training."""
    study.run(arguments(trained, '--only', 'wdsr', '--split=test', f'--output={trained / "test"}'))
    ours = {row['system']: row for row in read_rows(trained / 'test' / 'super_resolution.csv')}
    theirs = {row['system']: row for row in read_rows(trained / 'runs' / 'wdsr' / 'test.csv')}
    for mine, other in (('bicubic', 'bicubic'), ('WDSR', 'wdsr supervised'), ('WDSR-GAN', 'wdsr adversarial')):
        for metric in ('l1', 'l2_lab', 'psnr_y', 'ssim_y', 'lpips', 'frechet_alex', 'report_wrapped_l1_r'):
            assert ours[mine][metric] == pytest.approx(theirs[other][metric], rel=1e-3), (mine, metric)


def test_what_is_trained_is_not_trained_again(trained, monkeypatch):
    """A second study with --train only measures."""

    def refuse(*_):
        raise AssertionError('trained again')

    monkeypatch.setattr(runner, 'train', refuse)
    study.run(arguments(trained, '--train', '--only', 'wdsr', f'--output={trained / "again"}'))
    first, second = ((trained / folder / 'super_resolution.csv').read_text() for folder in ('out', 'again'))
    assert second == '\n'.join(line for line in first.splitlines() if not line.startswith('mine')) + '\n'


def test_colorizers(tmp_path):
    """A colorizer from elsewhere is measured against leaving it gray, whatever its colour space."""
    saved(colorizer(features=4, stages=1, space='rgb'), tmp_path / 'mine')
    study.run(arguments(tmp_path, '--models', str(tmp_path / 'mine')))
    rows = {row['system']: row for row in read_rows(tmp_path / 'out' / 'colorization.csv')}
    assert list(rows) == ['gray', 'mine']
    assert rows['gray']['colourfulness'] == pytest.approx(0, abs=1e-6)
    assert rows['mine']['l1_L'] < 0.2  # the luminance is kept
    assert not (tmp_path / 'out' / 'super_resolution.csv').exists()


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ([], ['no trained system', '--train']),
        (['--only', 'wsdr'], ["'wsdr'", 'wdsr', 'unet_rgb']),
        (['--rows=0'], ['--rows', 'at least 1']),
        (['--models', '/nonexistent'], ['/nonexistent', 'no model.json']),
    ],
)
def test_a_wrong_call_gets_one_line(tmp_path, flags, words):
    """Nothing to compare, an unknown system, a missing model: what is wrong and what would be right."""
    with pytest.raises(ValueError, match=words[0]) as error:
        study.run(arguments(tmp_path, *flags))
    assert all(word in str(error.value) for word in words)
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'out').exists()


def test_natural_pictures_have_to_be_named(tmp_path, capsys):
    """At full size nothing is trained on astronomical pictures under the name of natural ones."""
    wanted = study.parse(['--train', f'--runs={tmp_path}', '--only', 'srgan_natural', 'srgan'])
    with pytest.raises(ValueError, match='no trained system'):
        study.run(wanted)
    assert [line.split(':')[0] for line in capsys.readouterr().out.splitlines()] == ['srgan_natural', 'srgan']
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('smoke', [False, True])
def test_every_system_has_a_valid_config(smoke, tmp_path):
    """Settings of the study exist in the configs, and a system starts from one of the same generator."""
    for task, systems in SYSTEMS.items():
        configs = {
            system.name: make_config(system, task, smoke=smoke, folders={ASTRO: '', NATURAL: ''}, runs=tmp_path)
            for system in systems
        }
        for system in systems:
            config = configs[system.name]
            assert config.task == task
            assert (system.start == '') == (config.init_from == '')
            if system.start:
                assert config.generator == configs[system.start].generator


def results(values):
    """Results with one metric; `values` `{title: [a tile each of a picture]}`."""
    rows = [
        study.Measured(title, {'l1': np.array(x), 'psnr': -np.array(x)}, np.zeros(0)) for title, x in values.items()
    ]
    names = [f'{k}.png' for k in range(len(rows[0].table['l1']))]
    return study_report.Results('super_resolution', rows, lambda t: (t, []), names, [], np.zeros(0), np.zeros(0))


def test_difference_and_verdict():
    """Paired by picture, positive where the first is better whichever way a metric counts; few pictures say nothing."""
    random = np.random.default_rng(3)
    base = random.random(40)
    zigzag = base + 0.1 * (-1) ** np.arange(40)
    found = results({'good': base - 0.1, 'bad': base + 0.01 * random.random(40)})
    good, bad = found.rows
    for metric in ('l1', 'psnr'):
        mean, low, high, share = study_report.difference(found, good, bad, metric)
        assert low <= mean <= high
        assert mean == pytest.approx(float((bad.table['l1'] - good.table['l1']).mean()))
        assert (study_report.verdict(low, high, 40), share) == ('holds', 1.0)
        _, low, high, _ = study_report.difference(found, bad, good, metric)
        assert study_report.verdict(low, high, 40) == 'does not hold'
    noise = results({'a': base, 'b': zigzag})
    mean, low, high, share = study_report.difference(noise, *noise.rows, 'l1')
    assert study_report.verdict(low, high, 40) == 'undecided'
    # An independent check of the interval: the normal approximation of the mean of 40 differences of +-0.1.
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(40), rel=0.1)
    assert study_report.verdict(0.1, 0.2, 3) == 'too few pictures'


def test_tiles_of_a_picture_count_once():
    """Pictures, not tiles, are what a spread is over."""
    found = results({'a': [1.0, 3.0, 5.0]})
    found = study_report.Results(**{**vars(found), 'pictures': ['x', 'x', 'y']})
    np.testing.assert_allclose(found.by_picture(found.rows[0], 'l1'), [2.0, 5.0])


def test_choice_of_tiles():
    """By the truth alone: one tile of each picture, its most structured, pictures from plain to rich."""
    random = np.random.default_rng(0)
    scales = np.array([0.1, 0.2, 0.9, 0.5, 0.3, 0.7])
    truth = scales[:, None, None, None] * random.random((6, 8, 8, 3))
    pictures = ['a', 'a', 'b', 'c', 'd', 'd']
    assert study_report.choose(pictures, truth, count=9) == [1, 3, 5, 2]
    assert study_report.choose(pictures, truth, count=2) == [3, 2]
