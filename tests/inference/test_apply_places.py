"""Names and places: whatever lies in a folder, however it is called, and wherever the program runs."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_gan import cli
from astro_gan.commands import export, fetch
from astro_gan.commands.apply import use_compilation_cache
from astro_gan.files.kinds import kind_of
from astro_gan.inference import compiled, files, outputs
from astro_gan.inference.jobs import find_jobs
from tests.runs import ROOT


def picture(path, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 66), np.uint8)).save(path, **options)
    return path


def frame(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).normal(100, 5, (64, 66)).astype(np.float32)
    hdus = [fits.PrimaryHDU(), fits.CompImageHDU(data)] if '.fz' in path.name else [fits.PrimaryHDU(data)]
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.fixture
def instant(monkeypatch):
    """A network that is done at once."""

    def render(networks, source, **options):
        yield source.read(0, 0, source.height, source.width).repeat(2, axis=0).repeat(2, axis=1)

    monkeypatch.setattr(outputs, 'render', render)


def start(arguments, models, env):
    """The program as a process of its own; (exit status, standard output, standard error)."""
    arguments = [str(argument) for argument in arguments] + ['--model', models['upscale']]
    environment = os.environ | {'PYTHONPATH': str(ROOT)} | env
    command = [sys.executable, '-m', 'astro_gan', *arguments]
    done = subprocess.run(command, env=environment, timeout=100, capture_output=True)
    return done.returncode, done.stdout, done.stderr


def test_a_folder_is_walked_by_what_is_in_it(run, instant, tmp_path):
    """Suffixes do not matter, links are followed but not round in circles, and pipes, devices, sockets and links to
    nothing are passed over and counted."""
    folder = tmp_path / 'in'
    picture(folder / 'a.jfif', format='JPEG')
    picture(folder / 'b.jpe', format='JPEG')
    picture(folder / 'deep' / 'c', format='PNG')
    frame(folder / 'd.fit.fz')
    frame(folder / 'e.dat')
    picture(tmp_path / 'elsewhere' / 'f.png')
    (folder / 'linked').symlink_to(tmp_path / 'elsewhere')
    (folder / 'deep' / 'up').symlink_to(folder)
    (folder / 'g.png').symlink_to(tmp_path / 'elsewhere' / 'f.png')
    (folder / 'notes.png').write_text('no picture')
    (folder / '.hidden.png').write_text('no picture')
    (folder / 'nothing.png').symlink_to('nowhere')
    os.mkfifo(folder / 'pipe.png')
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / 's.png'))
        status, _, err = run('upscale', folder)
    assert status == 0, err
    assert 'passed over 1 file of other kinds and 3 pipes, devices, sockets or links to nothing' in err
    made = {str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*') if path.is_file()}
    expected = {'a.jfif', 'b.jpe', 'deep/c', 'd.fits', 'e.fits', 'linked/f.png', 'g.png'}
    assert {name for name in made if not name.endswith('.json')} == expected
    with Image.open(tmp_path / 'out' / 'a.jfif') as result:
        assert (result.format, result.size) == ('JPEG', (132, 128))


@pytest.mark.parametrize('kind', ['a pipe', 'a device', 'a socket'])
def test_a_pipe_is_one_line_and_no_hang(one_line, tmp_path, kind):
    """A FIFO, a device or a socket that is named directly is refused at once."""
    path = tmp_path / 'p.png'
    unix = socket.socket(socket.AF_UNIX)
    with unix:
        if kind == 'a pipe':
            os.mkfifo(path)
        elif kind == 'a socket':
            unix.bind(str(path))
        else:
            path = Path('/dev/zero')
        one_line('upscale', path, words=[path.name, f'not a regular file but {kind}'])
        assert kind_of(path) == ''


def test_home_is_expanded_everywhere(run, instant, models, monkeypatch, tmp_path):
    """`~` is the home folder in inputs, outputs and models, also after `=`; in the other commands too."""
    monkeypatch.setenv('HOME', str(tmp_path))
    picture(tmp_path / 'in' / 'a.png')
    shutil.copytree(models['upscale'], tmp_path / 'my_model')
    assert cli.main(['upscale', '~/in', '~/in/a*.png', '--out=~/x', '--model=~/my_model']) == 0
    assert sorted(path.name for path in (tmp_path / 'x').iterdir()) == ['a.png', 'a.png.json']
    parser = cli.make_parser()
    home = str(tmp_path)
    given = parser.parse_args(['export', '~/m', '-o', '~/e'])
    assert (given.models, given.output, given.run) == ([f'{home}/m'], f'{home}/e', export.run)
    given = parser.parse_args(['fetch', 'hla', '--output=~/f', '--positions=~/p.csv'])
    assert (str(given.output), str(given.positions), given.run) == (f'{home}/f', f'{home}/p.csv', fetch.run_hla)
    given = parser.parse_args(['curate', '~/c', '--out=~/d', '--overrides=~/o.txt'])
    assert (given.folder, given.out, given.overrides) == (f'{home}/c', f'{home}/d', f'{home}/o.txt')
    given = parser.parse_args(['dataset', 'build', '~/c', '--data-dir=~/d'])
    assert (given.source, given.data_dir) == (f'{home}/c', f'{home}/d')
    assert parser.parse_args(['models', '~/m']).model == f'{home}/m'


@pytest.mark.parametrize('name', ['x' * 251 + '.png', 'ü' * 125 + '.png', 'a\nb.png', 'M 51 ø Nebel.png'])
def test_any_name_goes_through(run, instant, tmp_path, name):
    """Names of 255 bytes, with line breaks or other letters: the result has the name, its description lies by it."""
    picture(tmp_path / 'in' / name)
    for options in ((), ('--resume',)):
        status, out, err = run('upscale', tmp_path / 'in', *options)
        assert (status, err) == (0, '')
    assert '1 already finished' in out
    made = sorted(os.listdir(tmp_path / 'out'), key=lambda file: file.endswith('.json'))
    assert (len(made), made[0], made[1][-5:]) == (2, name, '.json')


def test_a_terminal_of_ascii(models, tmp_path):
    """Where the terminal knows ASCII only, names with other letters go through, escaped on the screen."""
    picture(tmp_path / 'in' / 'Nebel ø ü.png')
    (tmp_path / 'in' / 'fäil.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    for index, env in enumerate(({'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii'}, {'LC_ALL': 'C', 'PYTHONUTF8': '0'})):
        env |= {'PYTHONCOERCECLOCALE': '0'}
        status, out, err = start(['upscale', tmp_path / 'in', '-o', tmp_path / f'öut{index}'], models, env=env)
        assert (status, b'1 made, 1 failed' in out) == (1, True), err
        assert b'Traceback' not in err
        assert b'damaged picture' in err
        assert 'Nebel ø ü.png' in os.listdir(tmp_path / f'öut{index}')


def test_siril_compressed_by_name(run, instant, tmp_path):
    """A tile-compressed frame that is named directly gives a plain one: siril.fit.fz -> siril.fits."""
    path = frame(tmp_path / 'siril.fit.fz')
    assert run('upscale', path)[0] == 0
    with fits.open(tmp_path / 'out' / 'siril.fits') as hdus:
        assert hdus[0].shape == (128, 132)
    assert find_jobs([str(path)], Path('o'), 'png') == [(str(path), Path('o/siril.png'))]


def test_standard_streams_that_take_nothing(models, tmp_path):
    """With standard streams closed, full or left by their reader results are made all the same; the exit status tells
    what was not said, and no message ends up in a result."""
    path = picture(tmp_path / 'a.png')
    cases = {'>&- 2>&- <&-': 0, '> /dev/full 2> /dev/full': 1, '| true': 0}
    command = [sys.executable, '-m', 'astro_gan', 'upscale', str(path), '--model', models['upscale'], '-o']
    lines = [f'{shlex.join([*command, str(tmp_path / str(index))])} {way}' for index, way in enumerate(cases)]
    script = '\n'.join(f'{line}\necho status $?' for line in lines)
    done = subprocess.run(['sh', '-c', script], capture_output=True, text=True, cwd=ROOT, timeout=200)
    statuses = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith('status')]
    assert statuses == list(cases.values()), done
    assert done.stderr == ''
    results = [(tmp_path / str(index) / 'a.png').read_bytes() for index in range(len(cases))]
    assert len(set(results)) == 1


@pytest.mark.parametrize('home', ['missing', 'a file', 'none'])
def test_a_home_that_cannot_be_written(monkeypatch, capsys, tmp_path, home):
    """Without a place for compiled networks the work is done, and one line says so."""
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('HOME', {'missing': '/proc/nowhere', 'a file': str(tmp_path / 'file'), 'none': 'here'}[home])
    monkeypatch.setenv('XDG_CACHE_HOME', '')
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
    monkeypatch.setattr(compiled, '_folder', None)
    use_compilation_cache()
    assert compiled._folder is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert 'compiled networks are not kept' in lines[0]


def test_a_file_that_takes_long_to_open_is_told_of(run, instant, monkeypatch, tmp_path):
    """Once, while it is read; one that opens at once is not."""
    monkeypatch.setattr(files, '_PATIENCE', 0.2)
    opened = files._open
    monkeypatch.setattr(files, '_open', lambda *arguments, **named: (time.sleep(0.6), opened(*arguments, **named))[1])
    assert run('upscale', picture(tmp_path / 'a.png'))[2] == (
        f'{tmp_path}/a.png: being read; large and packed files take a while\n'
    )
    monkeypatch.setattr(files, '_open', opened)
    monkeypatch.setattr(files, '_PATIENCE', 60.0)
    assert run('upscale', tmp_path / 'a.png', '--overwrite')[2] == ''
