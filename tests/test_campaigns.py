"""The campaigns at a small count: what their full runs showed stays so. Each is a command with a seed."""

import signal
import sys
import threading
import time
import types

import pytest

from astro_gan import cli, interrupts
from tests.campaigns import crashes, damage, fuzz, kills, machines, report


def test_fuzz(capsys):
    """200 damaged inputs of all kinds: a result, or one line in words about the file; nothing else, nothing left."""
    assert fuzz.main(['--count', '200', '--seed', '7']) == 0, capsys.readouterr().out


def test_crashes(capsys):
    """Some crash points of some writers are healed by the next run of the same command."""
    kinds = ('PNG', 'float TIFF', 'variants and their sheet', 'simulate', 'manifest')
    flags = [flag for kind in kinds for flag in ('--kind', kind)]
    assert crashes.main(['--count', '15', '--seed', '1', *flags]) == 0, capsys.readouterr().out


def test_machines(capsys):
    """Little memory, no home, a long TMPDIR, signals: some of them."""
    assert machines.main(['--count', '4', '--seed', '5']) == 0, capsys.readouterr().out


def test_damage(capsys):
    """Some of each kind of damage: what is restored is what was saved, or a line says what is wrong."""
    assert damage.main(['--count', '8', '--seed', '3']) == 0, capsys.readouterr().out


def test_kills_of_training(capsys):
    """A tiny training that was killed at a random moment ends with an undisturbed one's bits, rows and files."""
    assert kills.main(['--count', '0', '--training', '1', '--seed', '1']) == 0, capsys.readouterr().out


def test_a_report_counts_and_fails(capsys):
    """One wrong case is counted, named, and decides the exit status."""
    cases = [report.case('a', 'x', seconds=1.0, mib=5.0), report.case('a', 'y', 'lost'), report.case('b', 'z')]
    assert report.conclude(cases) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[:4] == ['a', '2', '1', '1']
    assert 'slowest: a, x' in out
    assert 'wrong: a, y: lost' in out
    assert report.conclude(cases[::2]) == 0


@pytest.mark.parametrize('where', ['_xla_gc_callback', 'an import'])
def test_a_signal_where_it_would_be_lost_comes_again(where):
    """In a call of the garbage collector an exception is swallowed, in an import it breaks a library: it is raised
    soon after."""
    reached = []

    def _xla_gc_callback():
        signal.raise_signal(signal.SIGTERM)
        reached.append(True)

    def import_something():
        source = 'import signal\nsignal.raise_signal(signal.SIGTERM)\nreached.append(True)'
        code = compile(source, '<frozen importlib._bootstrap>', 'exec')
        exec(code, {'reached': reached, '__name__': 'x'})

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupts.ended_by_signals():  # noqa: PT012
        (_xla_gc_callback if where.startswith('_') else import_something)()
        assert reached == [True]
        time.sleep(60)
        raise AssertionError('the signal was lost')
    assert signal.getsignal(signal.SIGTERM) is before


def test_no_signals_in_other_threads():
    """A thread that is not the main one cannot set handlers, and does not try."""
    failed = []

    def work():
        try:
            with interrupts.ended_by_signals():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []


def test_what_is_printed_does_nothing_to_a_terminal(capsys):
    """Control characters of file names, headers and servers are escaped; other letters and line breaks stay."""
    from astro_gan import commands

    assert commands.say('a\x1b[2Jb\x07 \u202e Nebel ü\nsecond')
    assert capsys.readouterr().out == 'a\\x1b[2Jb\\x07 \\u202e Nebel ü\nsecond\n'


def test_little_memory_is_said_before_anything_loads(monkeypatch, capsys):
    """Below half a GiB of addresses no library loads: the limit is named, and what is needed."""
    resource = types.SimpleNamespace(RLIMIT_AS=9, RLIM_INFINITY=-1, getrlimit=lambda which: (2**28, -1))
    monkeypatch.setitem(sys.modules, 'resource', resource)
    assert cli.main(['upscale', 'x.png', '-o', 'y']) == 1
    assert capsys.readouterr().err == (
        'error: out of memory: 0.2 GiB are allowed (ulimit -v), and 3 are needed to begin with\n'
    )
