"""main.py as a user runs it: every config at :smoke, its modes, its errors, several processes."""

import json
import math
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import astro_gan
from astro_gan import workdir
from astro_gan.errors import UserError
from astro_gan.export import export_model
from astro_gan.state import create_state, state_shape
from astro_gan.tables import read_rows
from configs import edsr, srgan, wdsr
from experiments import run, super_resolution
from experiments.initial import initial_state
from tests.runs import ROOT, assert_one_line, main, main_here, records, start

CONFIGS = ('wdsr', 'edsr', 'srgan')


@pytest.fixture(scope='module', params=CONFIGS)
def trained(request, smoke_run):
    """(config name, workdir, standard output) of a :smoke run."""
    return smoke_run(request.param)


def test_a_run_ends_with_the_table_and_leaves_what_it_promises(trained):
    """Both stages are trained, the table has all systems, and the files for people are there."""
    name, workdir, out = trained
    for system in ('bicubic', f'{name} supervised', f'{name} adversarial'):
        assert any(line.startswith(system) for line in out.splitlines())
    rows = read_rows(workdir / 'evaluations.csv')
    assert [row['stage'] for row in rows] == ['supervised'] * 2 + ['adversarial'] * 2
    assert {'eval/l1_r', 'eval/l1_lab', 'eval/psnr_y', 'eval/lpips', 'time/data_wait'} <= rows[0].keys()
    assert {'discriminator/loss', 'generator/adversarial', 'generator/content'} <= rows[-1].keys()
    for picture in ('curves.png', 'samples/test.png', 'samples/adversarial_0000012.png'):
        with Image.open(workdir / picture) as image:
            assert min(image.size) > 90
    assert list((workdir / 'tensorboard').iterdir())


def test_evaluate_and_export_work_from_the_workdir(trained):
    """--mode=evaluate prints the same table again; --mode=export writes models that load_model reads."""
    name, workdir, out = trained
    flags = (f'--config=configs/{name}.py:smoke', f'--workdir={workdir}')
    status, again, err = main_here(*flags, '--mode=evaluate')
    assert status == 0, err
    table = [line for line in out.splitlines() if line.startswith(('bicubic', name))]
    assert table == [line for line in again.splitlines() if line.startswith(('bicubic', name))]
    status, out, err = main_here(*flags, '--mode=export')
    assert status == 0, err
    for stage in ('supervised', 'adversarial'):
        model = astro_gan.load_model(workdir / 'export' / stage)
        assert model(np.zeros((17, 20, 3), np.uint8)).shape == (68, 80, 3)
        description = json.loads((workdir / 'export' / stage / 'model.json').read_text())
        assert description['training_data']['name'] == 'hubble_deep_field'
        assert description['metrics']['psnr_y'] > 20
        assert description['config']['factor'] == 4


def test_a_workdir_of_another_config_is_refused(trained):
    """Another generator or factor in the same workdir is an error that names the setting; nothing is changed."""
    name, workdir, _ = trained
    before = (workdir / 'config.json').read_bytes()
    flags = (f'--config=configs/{name}.py:smoke', f'--workdir={workdir}')
    assert_one_line(main_here(*flags, '--config.generator.blocks=3'), 'config.generator.blocks', 'another --workdir')
    assert (workdir / 'config.json').read_bytes() == before


def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    """SIGTERM in training: exit status 143, a line with the command, and the same command goes on."""
    flags = ('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path}', '--config.adversarial.steps=0')
    process = start(*flags, '--config.supervised.steps=100000', '--config.supervised.eval_every=50000')
    while 'compiling' not in process.stdout.readline():
        pass
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert 'everything is saved. To go on: ' in out
    assert f'main.py {flags[0]}' in out
    step = int(out.split('stopped at step ')[1].split(';')[0])
    status, out, err = main(*flags, f'--config.supervised.steps={step + 2}')
    assert status == 0, err
    assert f'going on from the checkpoint at step {step}' in out
    assert 'changed since this run began: config.supervised.steps' in out


@pytest.mark.parametrize('ignored', [False, True])
@pytest.mark.parametrize('mode', ['train', 'evaluate', 'export'])
def test_signals_outside_of_training_end_with_a_line(tmp_path, monkeypatch, mode, ignored):
    """Before it, in the test, in an export: 143 for SIGTERM, 130 for Ctrl-C, unless the parent had that ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        for signum, expected in ((signal.SIGTERM, 143), (signal.SIGINT, 0 if ignored else 130)):
            monkeypatch.setattr(run, mode, lambda *_, number=signum, **__: os.kill(os.getpid(), number))
            status, out, err = main_here('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path}', f'--mode={mode}')
            assert (status, err) == (expected, '')
            assert out.startswith('stopped; what was saved before is as it was. To go on: ') or not expected
            assert len(out.splitlines()) == bool(expected)
    finally:
        signal.signal(signal.SIGINT, before)


def test_init_from_starts_from_an_exported_model(tmp_path):
    """Fine-tuning: trained at a learning rate of zero, a network is the one that it started from, bit for bit."""
    model = tmp_path / 'model'
    config = wdsr.get_config('smoke')
    net = create_state(*records(config, 'supervised'), jax.random.key(99)).generator
    export_model(net.params, net.batch_stats, super_resolution.describe(config), model)
    settings = {'supervised.steps': 1, 'supervised.learning_rate': 0.0, 'adversarial.steps': 0}
    config.update_from_flattened_dict(settings | {'init_from': str(model)})
    run.train(config, str(tmp_path / 'run'))
    run.export(config, str(tmp_path / 'run'))
    before, after = (astro_gan.load_model(path).variables[0] for path in (model, tmp_path / 'run/export/supervised'))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    config.generator.features = 16
    with pytest.raises(ValueError, match='holds another generator'):
        run.train(config, str(tmp_path / 'other'))


@pytest.mark.parametrize('source', ['export', 'workdir'])
def test_init_from_another_factor(tmp_path, source, smoke_run):
    """A network of factor 3 starts from one of factor 4: with its body, and enlarging layers of its own."""
    config = wdsr.get_config('smoke')
    config.init_from = str(tmp_path / 'model')
    if source == 'workdir':
        config.init_from = str(smoke_run('wdsr')[1])
    else:
        four = create_state(*records(config, 'supervised'), jax.random.key(99)).generator
        export_model(four.params, four.batch_stats, super_resolution.describe(config), config.init_from)
    config.factor = 3
    lines = []
    fill = initial_state(config, super_resolution, lines.append)
    assert 'factor 4, not 3' in lines[0]
    fresh = create_state(*records(config, 'supervised'), jax.random.key(5))
    started = fill(fresh)
    before, after = fresh.generator.params, started.generator.params
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)
    for name in ('tail', 'skip'):
        jax.tree.map(np.testing.assert_array_equal, before[name], after[name])
    assert np.abs(before['head']['kernel'] - after['head']['kernel']).max() > 0.01
    if source == 'export':
        jax.tree.map(np.testing.assert_array_equal, four.params['head'], after['head'])
    jax.tree.map(np.testing.assert_array_equal, started.ema_params, after)


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--config.generator.depth=3'], ['config.generator', "'depth'", 'blocks', 'features']),
        (['--config.supervised.lr=1'], ['config.supervised', 'learning_rate']),
        (['--config.factor=two'], ['--config.factor=two: a whole number is wanted']),
        (['--config.supervised.beta1=x'], ['--config.supervised.beta1=x: a number is wanted']),
        (['--config.generator.back_projection=7'], ['--config.generator.back_projection=7: true or false is wanted']),
        (['--config.fac\x1b[2Jtor=2'], ["config has no setting 'fac\\x1b[2Jtor'"]),
        (['--config.factor=5'], ['config.factor', '2, 3, 4, 6, 8, 12']),
        (['--mode=fly'], ['train', 'export']),
        (['stray'], ['stray']),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_the_right_ones(flags, words, tmp_path):
    """No traceback for a user's mistake, and nothing is left behind."""
    result = main_here('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path / "run"}', *flags)
    assert_one_line(result, *words)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'adversarial.loss': 'magic'}, ['adversarial.loss', 'wasserstein', 'hinge']),
        ({'adversarial.loss': 'wasserstein'}, ['gradient_penalty']),
        ({'adversarial.grid_weight': 5.0, 'dataset.crop_size': 20}, ['crop_size', 'grid_weight', 'at least 24']),
        ({'adversarial.gradient_penalty': 10.0}, ['discriminator.norm', 'spectral']),
        ({'generator.name': 'vae'}, ['edsr, ', 'srresnet, ', 'wdsr']),
        ({'generator.variant': 'c'}, ['variant', "'a'"]),
        ({'precision': 'float8'}, ['precision', 'bfloat16']),
        ({'supervised.decay': 'linear'}, ['supervised.decay', 'cosine']),
        ({'supervised.best_metric': 'beauty'}, ['best_metric', 'lpips']),
        ({'supervised.batch_size': 3}, ['supervised.batch_size', '3', '2 devices']),
        ({'supervised.steps': 0, 'adversarial.steps': 0}, ['steps', 'nothing to train']),
        ({'dataset.folder': '/nonexistent'}, ['/nonexistent']),
        ({'dataset.name': 'no_such_data'}, ['no_such_data', 'hubble_deep_field']),
        ({'dataset.crop_size': 50}, ['crop_size', '50']),
        ({'content.network': 'vgg19', 'content.vgg_file': '/nonexistent'}, ['/nonexistent']),
        ({'content.layer': 'conv9_9'}, ['conv9_9', 'conv3_3']),
        ({'init_from': '/nonexistent'}, ['/nonexistent']),
        ({'log_every': 0}, ['log_every', 'at least 1']),
        ({'dataset.eval_tile': 16}, ['eval_tile', '32']),
        ({'supervised.pixel_weight': 0.0}, ['supervised', 'pixel_weight']),
        ({'task': 'cooking'}, ['task', 'super_resolution']),
        ({'gradient_clip': -1.0}, ['config.gradient_clip', '-1.0', 'at least 0']),
        ({'gradient_clip': math.nan}, ['config.gradient_clip', 'nan']),
        ({'patience': -1}, ['config.patience', 'at least 0']),
        ({'supervised.learning_rate': -1e-3}, ['config.supervised.learning_rate', '-0.001', 'at least 0']),
        ({'supervised.learning_rate': math.inf}, ['config.supervised.learning_rate', 'inf']),
        ({'adversarial.discriminator_learning_rate': -1.0}, ['discriminator_learning_rate', 'at least 0']),
        ({'adversarial.feature_weight': -0.1}, ['config.adversarial.feature_weight', '-0.1', 'at least 0']),
        ({'adversarial.grid_weight': -1.0}, ['config.adversarial.grid_weight', 'at least 0']),
        ({'adversarial.gradient_penalty': -10.0}, ['config.adversarial.gradient_penalty', 'at least 0']),
        ({'supervised.ema_decay': 1.01}, ['config.supervised.ema_decay', '1.01', 'at most 1']),
        ({'adversarial.real_label': 1.2}, ['config.adversarial.real_label', '1.2', 'at most 1']),
        ({'adversarial.real_label': -0.1}, ['config.adversarial.real_label', 'at least 0']),
        ({'supervised.beta1': 1.0}, ['config.supervised.beta1', 'below 1']),
        ({'supervised.steps': -5}, ['config.supervised.steps', 'at least 0']),
        ({'dataset.eval_tiles_per_image': 0}, ['eval_tiles_per_image', 'at least 1']),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_right_ones(settings, words, tmp_path):
    """What main.py prints after 'error:' names the setting and what would be right; nothing is trained."""
    config = wdsr.get_config('smoke')
    config.update_from_flattened_dict(settings)
    with pytest.raises((ValueError, OSError)) as caught:
        run.train(config, str(tmp_path / 'run'))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / 'run' / 'evaluations.csv').exists()


def test_a_stage_may_have_one_loss_of_any_kind():
    """grid_weight alone is a loss too."""
    config = wdsr.get_config('smoke')
    config.update_from_flattened_dict({'supervised.pixel_weight': 0.0, 'supervised.grid_weight': 1.0})
    config.adversarial.steps = 0
    (stage,) = run.make_stages(config, run.make_task(config))
    prediction = np.zeros((1, 24, 24, 3), np.float32)
    target = np.zeros_like(prediction)
    target[:, ::4, ::4] = 1.0
    loss, terms = stage.generator_loss(prediction, {'target': target}, None, None)
    assert list(terms) == ['generator/grid']
    # One pixel of 16 is off by 1: it deviates from the mean by 15/16, each other by 1/16.
    np.testing.assert_allclose(loss, 2 * 15 / 16**2, rtol=1e-6)


@pytest.mark.parametrize('config', [wdsr, edsr, srgan])
def test_the_papers_schedules_have_all_their_steps(config):
    """Early stopping would end SRGAN's million steps after a tenth of them."""
    assert config.get_config('paper').patience == 0
    assert config.get_config().patience == 10


def test_an_unwritable_workdir_is_one_line():
    """The workdir is tried before anything is computed."""
    assert_one_line(main('--config=configs/wdsr.py:smoke', '--workdir=/proc/no'), '/proc/no', 'another --workdir')


def test_a_wrong_config_or_variant_is_one_line():
    """A missing file, a missing flag, an unknown variant."""
    assert_one_line(main_here('--config=configs/absent.py'), 'configs/absent.py')
    assert_one_line(main(), '--config')
    assert_one_line(main_here('--config=configs/wdsr.py:huge'), "'huge'", 'smoke', 'paper')


def test_evaluate_without_a_run_is_one_line(tmp_path):
    """There is nothing to evaluate in an empty workdir."""
    assert_one_line(
        main_here('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path}', '--mode=evaluate'), 'train first'
    )


def test_help_and_import_are_quick_and_without_tensorflow():
    """`import astro_gan` and --help load neither TensorFlow nor, for the import, JAX."""
    check = 'import sys, astro_gan; sys.exit("tensorflow" in sys.modules or "jax" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', check], cwd=ROOT, check=False).returncode == 0
    check = 'import sys; sys.argv=["main.py"]; import main; sys.exit("tensorflow" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', check], cwd=ROOT, check=False).returncode == 0
    check = 'import sys, astro_gan; astro_gan.load_model; sys.exit("tensorflow" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', check], cwd=ROOT, check=False).returncode == 0


def start_hosts(folder, *flags):
    """A training on two hosts of one device each."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        address = f'localhost:{free.getsockname()[1]}'
    flags = ('--config=configs/srgan.py:smoke', f'--workdir={folder}', *flags)
    several = ('--coordinator', address, '--process_count=2')
    return [start(*flags, *several, f'--process_id={number}') for number in range(2)]


def test_two_processes_equal_one_with_two_devices(smoke_run, tmp_path):
    """Two hosts of one device each get what one host with two devices gets, and write one set of files."""
    hosts = start_hosts(tmp_path, '--config.log_every=3')
    results = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], results
    two, one = (read_rows(workdir / 'evaluations.csv') for workdir in (tmp_path, smoke_run('srgan')[1]))
    assert len(two) == len(one) == 4
    for a, b in zip(two, one, strict=True):
        for key in a.keys() - {'stage', 'time/steps_per_second', 'time/data_wait'}:
            np.testing.assert_allclose(a[key], b[key], rtol=2e-3, atol=1e-5, err_msg=key)


def claim(config, folder, *, write):
    return workdir.claim(folder, json.loads(config.to_json()), write=write)


def test_a_mistake_at_the_start_does_not_claim_the_workdir(tmp_path):
    """After a start that failed on a wrong folder, the corrected command may use the same workdir."""
    config = wdsr.get_config('smoke')
    config.dataset.folder = '/nonexistent'
    with pytest.raises(ValueError, match='nonexistent'):
        run.train(config, str(tmp_path))
    assert claim(wdsr.get_config('smoke'), tmp_path, write=True) == []


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path):
    """A setting that its config.json does not know does not keep it from its workdir, unless it is switched on."""
    config = wdsr.get_config('smoke')
    claim(config, tmp_path, write=True)
    (tmp_path / 'checkpoints' / 'supervised' / '3').mkdir(parents=True)
    written = json.loads((tmp_path / 'config.json').read_text())
    del written['generator']['back_projection'], written['adversarial']['grid_weight']
    (tmp_path / 'config.json').write_text(json.dumps(written))
    assert claim(config, tmp_path, write=False) == []
    config.generator.back_projection = True
    with pytest.raises(ValueError, match='back_projection is True, and was None'):
        claim(config, tmp_path, write=False)


def test_a_busy_workdir_is_left_as_it_is(tmp_path):
    """Locked before anything is written: a second training changes no file of the first one's workdir."""
    config = wdsr.get_config('smoke')
    claim(config, tmp_path, write=True)
    before = (tmp_path / 'config.json').read_bytes()
    config.supervised.steps = 77
    with workdir.locked(tmp_path), pytest.raises(UserError, match='another training'):
        run.train(config, tmp_path)
    assert (tmp_path / 'config.json').read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {'.lock', 'config.json'}


def test_all_hosts_leave_a_busy_workdir(tmp_path):
    """The lock is the first host's; when it cannot be had no other host waits for it for ever."""
    with workdir.locked(tmp_path):
        hosts = start_hosts(tmp_path)
        results = [host.communicate(timeout=120) for host in hosts]
    assert [host.returncode for host in hosts] == [1, 1]
    assert 'another training is running there' in results[0][1]
    assert 'the first host has stopped' in results[1][1]
    assert {path.name for path in tmp_path.iterdir()} == {'.lock'}


def test_only_a_users_mistake_becomes_a_line(tmp_path, monkeypatch):
    """A UserError and a file that cannot be read are one line; any other error is a bug, and keeps its traceback."""
    flags = ('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path}')

    def failing(error):
        def train(*_, **__):
            raise error

        monkeypatch.setattr(run, 'train', train)
        return main_here(*flags)

    assert_one_line(failing(UserError('config.x: 3 is\ntoo small')), 'error: config.x: 3 is too small')
    assert_one_line(failing(FileNotFoundError(2, 'No such file or directory', 'a.png')), 'a.png: No such file')
    for bug in (ValueError('shapes differ'), RuntimeError('XLA'), OSError('no name')):
        with pytest.raises(type(bug), match=str(bug)):
            failing(bug)


def test_show_prints_every_setting_as_a_flag(tmp_path):
    """--mode=show: the default workdir, and settings that give the same config again; nothing is made."""
    status, out, _ = main_here('--config=configs/wdsr.py:smoke', '--mode=show', '--config.dataset.name=2021')
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == '--workdir=runs/wdsr_smoke'  # not the default's
    assert '--config.dataset.name=2021' in lines
    assert '--config.supervised.steps=6' in lines
    again = main_here('--config=configs/wdsr.py', '--mode=show', *shlex.split('\n'.join(lines[1:])))
    assert again[0] == 0, again
    assert again[1].splitlines()[0] == '--workdir=runs/wdsr'
    assert again[1].splitlines()[1:] == lines[1:]


@pytest.mark.parametrize('config', [wdsr, edsr, srgan])
def test_paper_variants_need_vgg19_and_say_so(config, tmp_path, monkeypatch):
    """Without the hub the error comes before training and names the setting; the networks themselves are valid."""
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ValueError, match=r'timm/vgg19.*content\.vgg_file'):
        run.train(config.get_config('paper'), str(tmp_path))
    state = state_shape(*records(config.get_config('paper'), 'adversarial'))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.generator.params)) > 600_000


def test_a_folder_of_pictures_trains(tmp_path, hubble, capsys):
    """dataset.folder: pictures of several sizes, a broken one, an automatic split; the test table at the end.

    A start after a picture was added says so."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for number in range(12):
        Image.fromarray(hubble[number * 40 : number * 40 + 100 + number, :200]).save(folder / f'{number}.png')
    (folder / 'broken.jpg').write_text('no picture')
    config = wdsr.get_config('smoke')
    config.dataset.folder = str(folder)
    config.adversarial.steps = 0
    run.train(config, str(tmp_path / 'run'))
    assert {row['system'] for row in read_rows(tmp_path / 'run' / 'test.csv')} == {'bicubic', 'wdsr supervised'}
    capsys.readouterr()
    Image.fromarray(hubble[:100, 300:500]).save(folder / 'new.png')
    run.train(config, str(tmp_path / 'run'))
    assert re.search(r'other pictures in \w+ than before \(\d+, then \d+\)', capsys.readouterr().out)
