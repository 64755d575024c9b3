"""main.py as a user runs it: every config at :smoke, its modes, its errors, several processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import astro_gan
from astro_gan.logbook import read_rows

ROOT = Path(__file__).parents[1]
CONFIGS = ('wdsr', 'edsr', 'srgan')


def start(*flags, devices=1, **options):
    environment = os.environ | {
        'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0'
    }
    return subprocess.Popen(
        [sys.executable, 'main.py', *map(str, flags)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def main(*flags, **options):
    """Run to the end: (exit status, standard output, standard error)."""
    process = start(*flags, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def assert_one_line(result, *words):
    """A non-zero exit, and one line that holds the words; no traceback."""
    status, out, err = result
    assert status != 0
    lines = [line for line in err.splitlines() if line.startswith('error:')]
    assert len(lines) == 1, err
    assert 'Traceback' not in err + out
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope='module', params=CONFIGS)
def trained(request, tmp_path_factory):
    """(config name, workdir, standard output) of a :smoke run."""
    workdir = tmp_path_factory.mktemp(request.param)
    status, out, err = main(f'--config=configs/{request.param}.py:smoke', f'--workdir={workdir}', devices=2)
    assert status == 0, err
    return request.param, workdir, out


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
    status, again, err = main(*flags, '--mode=evaluate', devices=2)
    assert status == 0, err
    assert again.splitlines()[-8:-1] and set(again.splitlines()[1:]) <= set(out.splitlines())
    status, out, err = main(*flags, '--mode=export')
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
    assert_one_line(main(*flags, '--config.generator.blocks=3'), 'config.generator.blocks', 'another --workdir')
    assert (workdir / 'config.json').read_bytes() == before


def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    """SIGTERM in training: exit status 143, a line with the command, and the same command goes on."""
    flags = ('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path}', '--config.adversarial.steps=0')
    process = start(*flags, '--config.supervised.steps=100000', '--config.eval_every=50000')
    while 'compiling' not in process.stdout.readline():
        pass
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert 'everything is saved. To go on: python main.py' in out
    step = int(out.split('stopped at step ')[1].split(';')[0])
    status, out, err = main(*flags, f'--config.supervised.steps={step + 2}')
    assert status == 0, err
    assert f'going on from the checkpoint at step {step}' in out
    assert 'changed since this run began: config.supervised.steps' in out


def test_init_from_starts_from_an_exported_model(trained, tmp_path):
    """Fine-tuning: with a learning rate of zero the supervised network is the one it started from."""
    name, workdir, _ = trained
    flags = (f'--config=configs/{name}.py:smoke', f'--workdir={workdir}')
    if not (workdir / 'export').exists():
        assert main(*flags, '--mode=export')[0] == 0
    changes = ('--config.supervised.steps=1', '--config.supervised.learning_rate=0.0', '--config.adversarial.steps=0')
    source = workdir / 'export' / 'adversarial'
    flags = (f'--config=configs/{name}.py:smoke', f'--workdir={tmp_path}', f'--config.init_from={source}', *changes)
    status, _, err = main(*flags)
    assert status == 0, err
    assert main(*flags, '--mode=export')[0] == 0
    before, after = (astro_gan.load_model(path).variables for path in (source, tmp_path / 'export' / 'supervised'))
    for key, value in before['params'].items():
        for leaf in value:
            np.testing.assert_array_equal(value[leaf], after['params'][key][leaf])


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--config.generator.depth=3'], ['config.generator', "'depth'", 'blocks', 'features']),
        (['--config.supervised.lr=1'], ['config.supervised', 'learning_rate']),
        (['--config.factor=5'], ['config.factor', '2, 3, 4, 6, 8, 12']),
        (['--config.factor=two'], ['config.factor']),
        (['--config.adversarial.loss=magic'], ['adversarial.loss', 'wasserstein', 'hinge']),
        (['--config.generator.name=unet'], ['edsr, srresnet, wdsr']),
        (['--config.adversarial.loss=wasserstein'], ['gradient_penalty']),
        (['--config.precision=float8'], ['precision', 'bfloat16']),
        (['--config.dataset.folder=/nonexistent'], ['/nonexistent']),
        (['--config.dataset.name=no_such_data'], ['no_such_data', 'hubble_deep_field']),
        (['--config.dataset.crop_size=50'], ['crop_size', '50']),
        (['--config.supervised.best_metric=beauty'], ['best_metric', 'lpips']),
        (['--config.content.network=vgg19', '--config.content.vgg_file=/nonexistent'], ['/nonexistent']),
        (['--config.init_from=/nonexistent'], ['/nonexistent']),
        (['--workdir=/proc/no'], ['/proc/no']),
        (['--mode=fly'], ['train', 'export']),
        (['stray'], ['stray']),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_right_ones(flags, words, tmp_path):
    """No traceback for a user's mistake, and nothing is trained."""
    result = main('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path / "run"}', *flags)
    assert_one_line(result, *words)
    assert not (tmp_path / 'run' / 'evaluations.csv').exists()


def test_a_wrong_config_or_variant_is_one_line():
    """A missing file, a missing flag, an unknown variant."""
    assert_one_line(main('--config=configs/absent.py'), 'configs/absent.py')
    assert_one_line(main(), '--config')
    assert_one_line(main('--config=configs/wdsr.py:huge'), "'huge'", 'smoke', 'paper')


def test_a_batch_that_devices_cannot_share_is_one_line(tmp_path):
    """The error names the setting and a size that would do."""
    flags = ('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path}', '--config.supervised.batch_size=3')
    assert_one_line(main(*flags, devices=2), 'supervised.batch_size', '3', '2 devices')


def test_evaluate_without_a_run_is_one_line(tmp_path):
    """There is nothing to evaluate in an empty workdir."""
    assert_one_line(main('--config=configs/wdsr.py:smoke', f'--workdir={tmp_path}', '--mode=evaluate'), 'train first')


def test_help_and_import_are_quick_and_without_tensorflow():
    """`import astro_gan` and --help load neither TensorFlow nor, for the import, JAX."""
    check = 'import sys, astro_gan; sys.exit("tensorflow" in sys.modules or "jax" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', check], cwd=ROOT, check=False).returncode == 0
    check = 'import sys; sys.argv=["main.py"]; import main; sys.exit("tensorflow" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', check], cwd=ROOT, check=False).returncode == 0
    check = 'import sys, astro_gan; astro_gan.load_model; sys.exit("tensorflow" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', check], cwd=ROOT, check=False).returncode == 0


def test_two_processes_equal_one_with_two_devices(tmp_path):
    """Two hosts of one device each get what one host with two devices gets, and write one set of files."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        address = f'localhost:{free.getsockname()[1]}'
    flags = ('--config=configs/srgan.py:smoke',)
    several = ('--coordinator', address, '--process_count=2')
    hosts = [
        start(*flags, f'--workdir={tmp_path}/two', *several, f'--process_id={i}', '--config.eval_every=4')
        for i in range(2)
    ]
    results = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], results
    status, _, err = main(*flags, f'--workdir={tmp_path}/one', '--config.eval_every=4', devices=2)
    assert status == 0, err
    two, one = (read_rows(tmp_path / name / 'evaluations.csv') for name in ('two', 'one'))
    assert len(two) == len(one) == 4
    for a, b in zip(two, one, strict=True):
        for key in a.keys() - {'stage', 'time/steps_per_second', 'time/data_wait'}:
            np.testing.assert_allclose(a[key], b[key], rtol=2e-3, atol=1e-5, err_msg=key)
