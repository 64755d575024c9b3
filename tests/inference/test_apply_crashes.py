"""Kills: at every step of every writer, a later run with --resume ends with the files of an undisturbed one."""

import functools
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astro_gan import cli
from astro_gan.files import atomic
from tests.campaigns import crashes


def kill_at(number, after, arguments):
    """Run the command line until just before, or after, its `number`-th step on a file; whether it came that far."""
    try:
        with crashes.killed_at(number, after):
            cli.main(arguments)
    except crashes.Killed:
        return True
    return False


@pytest.fixture
def instant(monkeypatch):
    """A network that is loaded and done at once."""
    from astro_gan.inference import choose, outputs

    def render(networks, source, **options):
        pixels = source.read(0, 0, source.height, source.width)
        yield pixels.repeat(2, axis=0).repeat(2, axis=1)

    monkeypatch.setattr(outputs, 'render', render)
    monkeypatch.setattr(choose, 'load_model', functools.cache(choose.load_model))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def picture(path, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 66), np.uint8)
    if path.suffix == '.fits':
        fits.PrimaryHDU(pixels.astype(np.float32)).writeto(path, overwrite=True)
    elif path.suffix == '.tif':
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(('name', 'earlier'), [('a.png', False), ('a.png', True), ('a.tif', False), ('a.fits', True)])
def test_every_crash_is_healed(run, models, instant, monkeypatch, tmp_path, name, earlier):
    """Killed before or after any step, of a first run or of an --overwrite, the next --resume gives the same bytes and
    leaves nothing else in the folder."""
    monkeypatch.setattr(atomic, '_alive', lambda pid: False)  # the killed process is this one
    path, out = tmp_path / name, tmp_path / 'out'
    picture(path)
    run('upscale', path, out=tmp_path / 'whole')
    expected = contents(tmp_path / 'whole')
    picture(path, seed=1)
    run('upscale', path, out=tmp_path / 'before')
    picture(path)
    command = ['upscale', str(path), '-o', str(out), '--model', models['upscale'], '--overwrite']
    for number in range(1, 100):
        ended = True
        for after in (False, True):
            if earlier:
                out.mkdir(exist_ok=True)
                for file, data in contents(tmp_path / 'before').items():
                    (out / file).write_bytes(data)
            if kill_at(number, after, command):
                ended = False
                status, _, err = run('upscale', path, '--resume')
                if status:  # the kill came before anything was replaced: what is there is of another input
                    assert earlier
                    assert 'it was made otherwise' in err
                    status, _, err = run('upscale', path, '--resume', '--overwrite')
                assert status == 0, (number, after, err)
                assert contents(out) == expected, (number, after)
            for file in out.iterdir():
                file.unlink()
        if ended:
            break
    assert number > 6


@pytest.mark.parametrize('damage', ['missing', 'emptied', 'cut', 'flipped'])
@pytest.mark.parametrize('which', ['a.png', 'a.png.json'])
def test_either_file_of_a_result_is_made_whole(run, tmp_path, which, damage):
    """A result that lost, or has damaged, its picture or its description is the undisturbed one after --resume."""
    picture(tmp_path / 'a.png')
    assert run('upscale', tmp_path / 'a.png')[0] == 0
    expected = contents(tmp_path / 'out')
    path = tmp_path / 'out' / which
    data = path.read_bytes()
    if damage == 'missing':
        path.unlink()
    elif damage == 'flipped':
        path.write_bytes(
            data.replace(b'"sha256": "', b'"sha256": "0', 2) if which.endswith('json') else data[:-1] + b'\1'
        )
    else:
        path.write_bytes(data[: {'emptied': 0, 'cut': len(data) // 2}[damage]])
    status, out, err = run('upscale', tmp_path / 'a.png', '--resume')
    if (which, damage) == ('a.png.json', 'flipped'):  # it says another input now: not for --resume to replace
        assert (status, 'it was made otherwise' in err) == (1, True)
        status, out, err = run('upscale', tmp_path / 'a.png', '--overwrite')
    assert (status, '1 made' in out) == (0, True), err
    assert contents(tmp_path / 'out') == expected
    assert '1 already finished' in run('upscale', tmp_path / 'a.png', '--resume')[1]


def test_resume_replaces_nobody_elses_files(run, one_line, tmp_path):
    """A picture without a description that is not what this run makes, and a JSON file of the user's, stay."""
    picture(tmp_path / 'a.png')
    (tmp_path / 'out').mkdir()
    mine = tmp_path / 'out' / 'a.png'
    picture(mine, seed=5)
    before = mine.read_bytes()
    one_line('upscale', tmp_path / 'a.png', '--resume', words=['a.png', 'without a description', '--overwrite'])
    assert contents(tmp_path / 'out') == {'a.png': before}
    mine.unlink()
    (tmp_path / 'out' / 'a.png.json').write_text('my notes')
    one_line('upscale', tmp_path / 'a.png', '--resume', words=['a.png.json', 'exists already'])
    assert contents(tmp_path / 'out') == {'a.png.json': b'my notes'}


def test_left_overs_of_killed_runs_go(run, tmp_path):
    """Temporary files and locks of processes that are gone are removed by a later run, and a line says so."""
    picture(tmp_path / 'a.png')
    program = (
        'import os, pathlib, sys; from astro_gan.files import atomic, locks\n'
        'target = pathlib.Path(sys.argv[1])\n'
        'with locks.claimed(target), atomic.replacing(target, ".png"), atomic.scratch(target, ".tif"): os._exit(9)\n'
    )
    (tmp_path / 'out').mkdir()
    subprocess.run([sys.executable, '-c', program, tmp_path / 'out' / 'b.png'], check=False)
    assert len(list((tmp_path / 'out').iterdir())) == 3
    status, _, err = run('upscale', tmp_path / 'a.png')
    assert status == 0
    assert 'removed 2 unfinished files of a run that was killed' in err
    assert sorted(contents(tmp_path / 'out')) == ['a.png', 'a.png.json']


def test_two_runs_share_a_folder(run, models, instant, tmp_path, monkeypatch):
    """Of two runs into one folder at once each file is made by one; the other passes over it, and neither fails."""
    from astro_gan.inference import outputs

    (tmp_path / 'in').mkdir()
    for index in range(4):
        picture(tmp_path / 'in' / f'{index}.png', seed=index)
    other = {}
    render = outputs.render

    def meanwhile(networks, source, **options):
        """Another run comes by in the middle of the first picture, and does all the others."""
        if not other:
            other['began'] = True
            other['run'] = run('upscale', tmp_path / 'in')
        yield from render(networks, source, **options)

    monkeypatch.setattr(outputs, 'render', meanwhile)
    status, out, err = run('upscale', tmp_path / 'in')
    assert (status, err) == (0, '')
    assert out.splitlines()[-1] == '1 made, 3 left to another run'
    assert other['run'][0] == 0
    assert other['run'][1].splitlines()[-1] == '3 made, 1 left to another run'
    assert sorted(contents(tmp_path / 'out')) == sorted(f'{i}.png{end}' for i in range(4) for end in ('', '.json'))


def test_sigterm_leaves_nothing_half_written(models, tmp_path):
    """A process that is told to end, where SIGINT is ignored too, is gone soon and leaves whole results only."""
    picture(tmp_path / 'a.png')
    program = (
        'import signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
        'from astro_gan import cli\nfrom astro_gan.inference import outputs\n'
        'def render(*arguments, **options):\n'
        '    open(sys.argv.pop(), "w").close()\n'
        '    while True: time.sleep(0.05)\n'
        '    yield\n'
        'outputs.render = render\nsys.exit(cli.main(sys.argv[1:-1]))\n'
    )
    arguments = ['upscale', tmp_path / 'a.png', '-o', tmp_path / 'out', '--model', models['upscale']]
    process = subprocess.Popen([sys.executable, '-c', program, *map(str, arguments), tmp_path / 'began'])
    while not (tmp_path / 'began').exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    assert list(Path(tmp_path / 'out').iterdir()) == []
