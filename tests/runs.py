"""main.py run as a user runs it, for the tests of whole runs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
