"""Whose a workdir is, and what a resume notices."""

import dataclasses
import json
import os
import signal
import subprocess

import pytest

from astro_gan import workdir
from astro_gan.errors import UserError
from astro_gan.files import atomic
from astro_gan.interrupts import Terminated, ended_by_signals, held, stop_signals


@dataclasses.dataclass
class Pictures:
    ids: tuple = ('a.png', 'b.png')
    sizes: tuple = ((100, 120), (90, 90))


def begin(folder):
    (folder / 'checkpoints' / 'supervised' / '3').mkdir(parents=True)


def test_a_second_training_is_told_so(tmp_path):
    """One at a time; when the first has ended the workdir is free again."""
    folder = tmp_path / 'runs' / 'x'
    with (
        workdir.locked(folder),
        pytest.raises(UserError, match=r'x: another training is running there; choose another --workdir'),
        workdir.locked(folder),
    ):
        pass
    with workdir.locked(folder):
        pass


def test_an_error_within_is_not_the_workdirs(tmp_path):
    """Only a workdir that cannot be made or locked is 'cannot be written'."""
    with pytest.raises(OSError, match='elsewhere'), workdir.locked(tmp_path):
        raise OSError(28, 'No space left', str(tmp_path / 'elsewhere'))
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot be written'), workdir.locked(tmp_path / 'file' / 'run'):
        pass


def test_json_is_json(tmp_path):
    """NaN and infinity are no JSON; nothing is written, the earlier file stands."""
    workdir.write_json(tmp_path / 'a.json', {'x': 1.5})
    for value in (float('nan'), float('inf')):
        with pytest.raises(ValueError, match='JSON'):
            workdir.write_json(tmp_path / 'a.json', {'x': value})
    assert json.loads((tmp_path / 'a.json').read_text()) == {'x': 1.5}


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'ids': ('a.png', 'c.png')}, 'other pictures in train than before (2, then 2)'),  # as many, another one
        ({'ids': ('a.png',), 'sizes': ((100, 120),)}, 'other pictures in train than before (1, then 2)'),
        ({'sizes': ((100, 120), (90, 91))}, 'other pictures in train than before (2, then 2)'),
    ],
)
def test_a_resume_notices_other_pictures(tmp_path, change, words):
    """By names and sizes; it says what that means. Before the first checkpoint nothing has been trained on them."""
    now = workdir.environment({'train': Pictures(), 'validation': Pictures()})
    other = workdir.environment({'train': Pictures(**change), 'validation': Pictures()})
    assert workdir.note_environment(tmp_path, now) == []
    assert workdir.note_environment(tmp_path, other) == []
    begin(tmp_path)
    assert workdir.note_environment(tmp_path, other) == []
    lines = workdir.note_environment(tmp_path, now)
    assert len(lines) == 2
    assert lines[0].startswith('other pictures in train')
    assert 'not end with the bits of one that was never stopped' in lines[1]
    assert workdir.note_environment(tmp_path, other)[0].startswith(words)
    assert workdir.note_environment(tmp_path, other) == []


def test_a_resume_notices_validation_devices_and_versions(tmp_path):
    """Scores that cannot be compared; another number of devices, another version of a library."""
    now = workdir.environment({'train': Pictures(), 'validation': Pictures()})
    assert now['devices']['count'] == 2
    assert {'jax', 'jaxlib', 'numpy', 'python'} <= now['versions'].keys()
    begin(tmp_path)
    before = json.loads(json.dumps(now))
    before['devices']['count'] = 4
    before['versions']['jax'] = '0.0.1'
    before['pictures']['validation'] = {'count': 7, 'sha256': '0' * 64}
    workdir.write_json(tmp_path / 'environment.json', before)
    lines = workdir.note_environment(tmp_path, now)
    assert 'pictures in validation than before (2, then 7): scores from here on cannot be compared' in lines[0]
    assert 'devices.count 2, then 4' in lines[1]
    assert f'versions.jax {now["versions"]["jax"]}, then 0.0.1' in lines[1]
    assert len(lines) == 3


@pytest.mark.parametrize('text', ['', '{', '[]', '{"devices": {}, "versions": {}}', '{"devices": 1}'])
def test_a_damaged_record_of_the_environment_is_one_line(tmp_path, text):
    """Emptied, cut, or with a table missing: the line names the file."""
    now = workdir.environment({'train': Pictures()})
    begin(tmp_path)
    (tmp_path / 'environment.json').write_text(text)
    with pytest.raises(UserError, match=r'environment\.json: damaged \(.*\); remove it if the run is yours'):
        workdir.note_environment(tmp_path, now)


def test_what_a_killed_training_left_is_removed(tmp_path):
    """Temporary files of a process that is gone, when the next one takes the workdir; nobody else's."""
    process = subprocess.Popen(['true'])
    process.wait()
    (tmp_path / 'samples').mkdir()
    gone, ours = atomic.temporary_path(tmp_path / 'samples' / 'a.png'), atomic.temporary_path(tmp_path / 'test.csv')
    gone = gone.with_name(gone.name.replace(f'-{os.getpid()}-', f'-{process.pid}-'))
    for path in (gone, ours):
        path.write_text('')
    with workdir.locked(tmp_path):
        assert not gone.exists()
        assert ours.exists()


def test_ctrl_c_that_was_ignored_stays_ignored():
    """`nohup` and background jobs: SIGINT is let be, SIGTERM is heeded; both are as before at the end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop == []
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop == [signal.SIGTERM]
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_is_not_waited_for():
    """The first Ctrl-C is noted, the second one interrupts."""
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_sigterm_and_ctrl_c_together_still_save():
    """Each for the first time is noted; only a second Ctrl-C interrupts, and SIGTERM outside of training ends."""
    with ended_by_signals():
        with stop_signals() as stop:
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), signum)
            assert stop == [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)


def test_ctrl_c_waits_for_what_must_not_be_cut():
    """In a save both are held: at its end the first is noted and the second interrupts; what was ignored stays so."""
    with stop_signals() as stop, pytest.raises(KeyboardInterrupt), held():  # noqa: PT012
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop == []
    assert stop == [signal.SIGINT]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
