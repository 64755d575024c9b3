"""The study: one smoke-sized system from training to the written tables, and the statistics behind its words."""

import csv
import dataclasses

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image
from safetensors.numpy import save_file
from scipy import stats

from astro_gan.errors import UserError
from astro_gan.models import make_generator
from astro_gan.tables import read_rows
from experiments import run as modes
from experiments.study import report
from experiments.study import results as comparing
from experiments.study import run as study
from experiments.study.systems import ASTRO, NATURAL, SYSTEMS, make_config
from experiments.study.trainings import load_others
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
    assert list(rows) == ['bicubic', 'WDSR', 'WDSR-GAN', 'tiny_x4']
    for title in report.TABLES['super_resolution']:
        assert f'**Table {title[0]}.**' in text
    quality = text.partition('8.5, quality')[2].partition('**Table')[0]
    for name, row in rows.items():
        assert f'| {name} | {row["psnr"]:.2f} | {row["psnr_y"]:.2f} | {row["ssim_y"]:.4f} |' in quality
    assert not [path for path in trained.iterdir() if path.name.startswith('.')]
    for name in ('figure_8_2.png', 'figure_8_6.jpg'):
        assert f'({name})' in text
        assert (out / name).stat().st_size > 5000
    assert 'the numbers mean nothing' in text
    assert '| WDSR is better than EDSR (equal parameters) | | | | | | not measured |' in text
    table = text.partition('**Table 8.5.**')[2].partition('**Table')[0]
    gan = next(line for line in table.splitlines() if line.startswith('| WDSR-GAN |'))
    assert gan.endswith(f'| {rows["WDSR-GAN"]["psnr_y"]:.2f} | 79.7262; 3.627 |')  # the report's own beside ours
    assert '| WDSR | supervised | hubble_deep_field | 2 |' in text
    assert '| WDSR-GAN is better than its supervised stage | LPIPS |' in text
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

    monkeypatch.setattr(modes, 'train', refuse)
    study.run(arguments(trained, '--train', '--only', 'wdsr', f'--output={trained / "again"}'))
    first, second = ((trained / folder / 'super_resolution.csv').read_text() for folder in ('out', 'again'))
    assert second == '\n'.join(line for line in first.splitlines() if not line.startswith('tiny_x4')) + '\n'


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (['thesis.csv', 'README.md'], 'is not empty, and no earlier output of the study'),
        (['figure_8_1.png'], 'is not empty, and no earlier output of the study'),
        (['+README.md', 'colorization.csv', 'figure_8_1.png', 'notes.txt'], 'has notes.txt, which no study wrote'),
        (['+README.md', 'figure_8_old.png'], 'has figure_8_old.png, which no study wrote'),
    ],
)
def test_what_no_study_wrote_is_not_replaced(tmp_path, names, words):
    """-o DIR: a folder with anything of the user's is refused before anything is measured, and left as it is."""
    out = tmp_path / 'out'
    out.mkdir()
    for name in names:
        text = f'# The study\n\n{report.MADE_BY}; ...' if name.startswith('+') else 'mine'
        (out / name.removeprefix('+')).write_text(text)
    before = {path.name: path.read_text() for path in out.iterdir()}
    saved(upscaler(4), tmp_path / 'mine')
    with pytest.raises(UserError, match=words):
        study.run(arguments(tmp_path, '--models', str(tmp_path / 'mine')))
    assert {path.name: path.read_text() for path in out.iterdir()} == before


def test_an_earlier_report_is_replaced_as_a_whole(trained, tmp_path, monkeypatch):
    """What the earlier one had and this one has not is gone; an error in between leaves the earlier one."""
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'README.md').write_text(f'# The study\n\n{report.MADE_BY}; ...')
    (out / 'colorization.csv').write_text('of an earlier study')
    call = arguments(trained, '--only', 'wdsr', f'--output={out}')
    with monkeypatch.context() as patch:
        patch.setattr(report, '_conclusions', lambda results: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            study.run(call)
    assert {path.name for path in out.iterdir()} == {'README.md', 'colorization.csv'}
    study.run(call)
    assert not (out / 'colorization.csv').exists()
    assert (out / 'super_resolution.csv').is_file()
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_colorizers(tmp_path):
    """A colorizer from elsewhere is measured against leaving it gray, whatever its colour space."""
    saved(colorizer(features=4, stages=1, space='rgb'), tmp_path / 'mine')
    study.run(arguments(tmp_path, '--models', str(tmp_path / 'mine')))
    rows = {row['system']: row for row in read_rows(tmp_path / 'out' / 'colorization.csv')}
    assert list(rows) == ['gray', 'tiny_color']
    assert rows['gray']['colourfulness'] == pytest.approx(0, abs=1e-6)
    assert rows['tiny_color']['l1_L'] < 0.2  # the luminance is kept
    assert not (tmp_path / 'out' / 'super_resolution.csv').exists()


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ([], ['no trained system', '--train']),
        (['--only', 'wsdr'], ["'wsdr'", 'wdsr', 'unet_rgb']),
        (['--astro', '/nonexistent', '--train'], ['/nonexistent', 'does not exist']),
        (['--natural', '/nonexistent'], ['/nonexistent', 'does not exist']),
        (['-o', __file__], ['is a file', '-o']),
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


def test_what_cannot_be_trained_is_left_out(tmp_path, capsys):
    """At full size nothing is trained on astronomical pictures under the name of natural ones, nor from nothing."""
    wanted = study.parse(['--train', f'--runs={tmp_path}', '--only', 'srgan_natural', 'srgan_natural_tuned'])
    with pytest.raises(ValueError, match='no trained system'):
        study.run(wanted)
    said = capsys.readouterr().out
    assert 'srgan_natural: left out, it needs natural pictures' in said
    assert 'srgan_natural_tuned: left out, it starts from srgan_natural' in said
    assert not list(tmp_path.iterdir())


def test_the_published_network_is_pre_trained_and_fine_tuned(tmp_path):
    """`--published`: an imported SRGAN is a row, and the start of its fine-tuning, which learns from the first step."""
    module = make_generator('srresnet', features=8, blocks=2, norm_epsilon=1e-3, tanh=True)
    variables = jax.jit(module.init)(jax.random.key(3), np.zeros((1, 16, 16, 3), np.float32))
    tensors = {name: np.asarray(leaf) for name, leaf in flatten_dict(variables, sep='/').items()}
    save_file(tensors, tmp_path / 'srgan.safetensors')
    flags = ['--train', '--only', 'srgan_x4', f'--published={tmp_path / "srgan.safetensors"}']
    study.run(arguments(tmp_path, *flags))
    rows = {row['system']: row for row in read_rows(tmp_path / 'out' / 'super_resolution.csv')}
    assert list(rows) == ['bicubic', 'SRGAN pre-trained', 'SRGAN fine-tuned']
    assert rows['SRGAN fine-tuned']['l1'] == pytest.approx(rows['SRGAN pre-trained']['l1'], rel=0.2)  # two steps away
    assert rows['SRGAN fine-tuned']['l1'] != rows['SRGAN pre-trained']['l1']
    text = (tmp_path / 'out' / 'README.md').read_text()
    assert '| fine-tuned is better than pre-trained only | L1 |' in text
    assert '| SRGAN pre-trained |  | not known |  |' in text


def test_a_training_with_other_settings_is_not_taken(trained):
    """Networks of the smoke size are not measured as those of the study."""
    full = study.parse([f'--runs={trained / "runs"}', f'--output={trained / "full"}', '--only', 'wdsr'])
    with pytest.raises(ValueError, match=r'wdsr: was trained with config\..* choose another --runs'):
        study.run(full)
    assert not (trained / 'full').exists()


def test_models_that_cannot_be_compared(tmp_path):
    """Another factor, or a chain: said before anything is measured. A workdir stands for its exports."""
    saved(upscaler(2), tmp_path / 'x2')
    with pytest.raises(ValueError, match='x2: is super_resolution, factor 2; colorization and factor 4 are compared'):
        study.run(arguments(tmp_path, '--models', str(tmp_path / 'x2')))
    for name in ('a', 'b'):
        (tmp_path / name / 'export').mkdir(parents=True)
        saved(upscaler(4), tmp_path / name / 'export' / 'adversarial')
    names = list(load_others([str(tmp_path / 'a'), str(tmp_path / 'b')]))
    assert names == ['tiny_x4', str(tmp_path / 'b' / 'export' / 'adversarial')]


def test_pictures_of_a_folder(tmp_path, hubble):
    """Several pictures, one of them unreadable: the others keep their names, numbers and credits."""
    lines = ['file,split,page,licence']
    for number in range(4):
        for split in ('train', 'val'):
            name = f'{split}{number}.png'
            Image.fromarray(hubble[96 * number : 96 * number + 96, :96]).save(tmp_path / name)
            lines.append(f'{name},{split},https://example.org/{name},CC0')
    data = (tmp_path / 'val1.png').read_bytes()
    (tmp_path / 'val1.png').write_bytes(data[:100] + bytes(len(data) - 200) + data[-100:])  # its header is whole
    (tmp_path / 'manifest.csv').write_text('\ufeff' + '\n'.join(lines))
    saved(upscaler(4), tmp_path / 'mine')
    study.run(arguments(tmp_path, f'--astro={tmp_path}', '--models', str(tmp_path / 'mine')))
    with (tmp_path / 'out' / 'super_resolution_pictures.csv').open() as file:
        pictures = [row['picture'] for row in csv.DictReader(file)]
    assert pictures == ['val0.png', 'val2.png', 'val3.png'] * 2
    text = (tmp_path / 'out' / 'README.md').read_text()
    shown = comparing.choose(pictures[:3], _tiles(tmp_path, pictures[:3]))
    for number, picture in zip((6, 7, 8), shown, strict=True):
        assert f'Figure 8.{number}. Picture: https://example.org/{pictures[picture]}, CC0.' in text


def _tiles(folder, names):
    return np.stack([np.asarray(Image.open(folder / name)) / 255 for name in names])


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
            if system.start in configs:
                assert config.generator == configs[system.start].generator


def results(values):
    """Results with one metric; `values` `{title: [a tile each of a picture]}`."""
    tables = {title: {'l1': np.array(tiles), 'psnr': -np.array(tiles)} for title, tiles in values.items()}
    rows = [comparing.Row(title, tables=[table]) for title, table in tables.items()]
    names = [f'{k}.png' for k in range(len(rows[0].tables[0]['l1']))]
    return comparing.Results('super_resolution', rows, lambda t: (t, []), names, [], np.zeros(0), np.zeros(0))


def test_difference_and_verdict():
    """Paired by picture, positive where the first is better whichever way a metric counts; few pictures say nothing."""
    random = np.random.default_rng(3)
    base = random.random(40)
    found = results({'good': base - 0.1, 'bad': base + 0.01 * random.random(40)})
    good, bad = found.rows
    for metric in ('l1', 'psnr'):
        there = comparing.difference(found, good, bad, metric)
        ours, theirs = good.tables[0]['l1'], bad.tables[0]['l1']
        assert there.mean == pytest.approx(float((theirs - ours).mean()))
        assert there.pictures == pytest.approx(tuple(stats.ttest_rel(theirs, ours).confidence_interval()))
        assert np.isnan(there.seeds).all()
        assert (comparing.verdict(there), there.share) == ('holds', 1.0)
        assert comparing.verdict(comparing.difference(found, bad, good, metric)) == 'does not hold'
    zigzag = results({'a': base, 'b': base + 0.1 * (-1) ** np.arange(40)})
    assert comparing.verdict(comparing.difference(zigzag, *zigzag.rows, 'l1')) == 'undecided'
    few = results({'a': base[:3], 'b': base[:3] + 1})
    assert comparing.verdict(comparing.difference(few, *few.rows, 'l1')) == 'too few pictures'


def test_seeds_have_an_interval_of_their_own():
    """Means and deviations over the seeds; what the seeds contradict is undecided, whatever the pictures say."""
    base = np.random.default_rng(5).random(20)
    found = results({'a': base, 'b': base + 0.1, 'one': base + 0.2})
    a, b, one = found.rows
    a.tables = [{'l1': base + shift} for shift in (0.0, 0.02, 0.04)]
    b.tables = [{'l1': base + 0.1 + shift} for shift in (0.01, 0.0, -0.01)]
    mean = dataclasses.replace(found, summarize=lambda table: ({'l1': float(table['l1'].mean())}, []))
    assert mean.means(a)['l1'] == pytest.approx(base.mean() + 0.02)
    assert mean.deviations(a)['l1'] == pytest.approx(0.02)
    assert mean.deviations(one) == {}
    there = comparing.difference(found, a, b, 'l1')
    expected = stats.ttest_1samp([0.11, 0.08, 0.05], 0).confidence_interval()
    assert there.seeds == pytest.approx(tuple(expected))
    assert comparing.verdict(there) == ('holds' if expected[0] > 0 else 'undecided')
    against_one = comparing.difference(found, a, one, 'l1')  # a shipped model stands beside every seed
    assert against_one.seeds == pytest.approx(tuple(stats.ttest_1samp([0.2, 0.18, 0.16], 0).confidence_interval()))
    b.tables = [{'l1': base + shift} for shift in (0.3, 0.0, -0.1)]
    torn = comparing.difference(found, a, b, 'l1')
    assert torn.pictures[0] > 0 > torn.seeds[0]
    assert comparing.verdict(torn) == 'undecided'


def test_distances_against_the_eye():
    """Claims on which L1 and LPIPS give contrary verdicts are named."""
    verdicts = {
        'GAN': {'l1': 'does not hold', 'psnr_y': 'holds', 'lpips': 'holds'},
        'EDSR': {'l1': 'undecided', 'psnr_y': 'holds', 'lpips': 'holds'},
    }
    (text,) = report._against_the_eye(results({'a': [1.0]}), verdicts)
    assert text.endswith('the two contradict each other in 1 of 2 claims (GAN).')


def test_tiles_of_a_picture_count_once():
    """Pictures, not tiles, are what a spread is over."""
    found = results({'a': [1.0, 3.0, 5.0]})
    found = dataclasses.replace(found, pictures=['x', 'x', 'y'])
    np.testing.assert_allclose(found.by_picture(found.rows[0], 'l1'), [2.0, 5.0])


def test_choice_of_tiles():
    """By the truth alone: one tile of each picture, its most structured, pictures from plain to rich."""
    random = np.random.default_rng(0)
    scales = np.array([0.1, 0.2, 0.9, 0.5, 0.3, 0.7])
    truth = scales[:, None, None, None] * random.random((6, 8, 8, 3))
    pictures = ['a', 'a', 'b', 'c', 'd', 'd']
    assert comparing.choose(pictures, truth, count=9) == [1, 3, 5, 2]
    assert comparing.choose(pictures, truth, count=2) == [3, 2]
