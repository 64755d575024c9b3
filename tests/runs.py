"""main.py run as a user runs it, for the tests of whole runs: as a process, or, which is cheaper, in this one."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]


def compiler_flags(*, devices):
    """XLA_FLAGS for tests: tiny networks run for a few steps, so compiling takes most of the time.

    Nothing is optimized, and loops come from the compiler's older emitters: they take a third of the newer ones' time.
    `import astro_gan` adds its own (astro_gan/xla_flags.py).
    """
    return (
        f'--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0 '
        '--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters'
    )


def start(*flags, devices=1, **options):
    environment = os.environ | {'XLA_FLAGS': compiler_flags(devices=devices)}
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


def main_here(*flags):
    """As `main`, in this process and on its two devices: the same flags, parser and code, without a start of Python.

    What main.py does not turn into an exit status is raised, where a process would print a traceback.
    """
    from absl import flags as absl_flags
    from absl import logging

    import main as script
    from experiments import command

    parsed, verbosity = absl_flags.FLAGS, logging.get_verbosity()
    parsed.unparse_flags()
    for name in [name for name in parsed if name.startswith('config.')]:  # defined by the parser, for each run anew
        delattr(parsed, name)
    argv, status, out, err = ['main.py', *map(str, flags)], 0, io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(ROOT),
        mock.patch.object(sys, 'argv', argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', r'the load_module\(\)', DeprecationWarning)  # ml_collections
                rest = command.parse_flags(argv)
            script.main(rest)
        except SystemExit as stop:  # a text is what the interpreter would print, with the status 1
            status = stop.code if isinstance(stop.code, int) else 1
            err.write('' if isinstance(stop.code, int) else f'{stop.code}\n')
        finally:
            logging.set_verbosity(verbosity)
    return status, out.getvalue(), err.getvalue()


def records(config, name):
    """The Task of a config, and its Stage of that name."""
    from experiments import run

    task = run.make_task(config)
    return task, run.TASKS[config.task].make_stage(config, task, name)


def assert_one_line(result, *words):
    """A non-zero exit, and one line that holds the words; no traceback."""
    status, out, err = result
    assert status != 0
    lines = [line for line in err.splitlines() if line.startswith('error:')]
    assert len(lines) == 1, err
    assert 'Traceback' not in err + out
    for word in words:
        assert word in lines[0]
