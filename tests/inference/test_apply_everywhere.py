"""The commands as programs: what they import, how they are distributed."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def test_commands_import_no_tensorflow(models, gray_picture, tmp_path):
    """A fresh process that enhances a picture never imports TensorFlow, Orbax or optax; --help not even NumPy."""
    check = (
        'import sys; from astro_gan.cli import main; status = main(sys.argv[1:]); '
        'heavy = {"tensorflow", "orbax", "optax", "clu"} & set(sys.modules); sys.exit(f"{heavy}" if heavy else status)'
    )
    command = ['enhance', str(gray_picture), '-o', str(tmp_path / 'out'), '--model', models['enhance']]
    done = subprocess.run([sys.executable, '-c', check, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    check = (
        'import sys\nfrom astro_gan.cli import main\ntry: main(["upscale", "--help"])\nexcept SystemExit: pass\n'
        'sys.exit("numpy" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', check], capture_output=True, timeout=60).returncode == 0


def test_beam_gives_the_same_files(run, models, gray_picture, tmp_path):
    """The direct runner makes the same bytes as the command alone; a bad file is named and counted."""
    pytest.importorskip('apache_beam', reason='Apache Beam comes with the extra `beam`')
    (gray_picture.parent / 'bad.png').write_text('no picture')
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(gray_picture.with_name('black.png'))
    results = [
        run('enhance', gray_picture.parent, *flags, out=tmp_path / out)
        for out, flags in (('plain', ()), ('beam', ('--beam_runner', 'DirectRunner')))
    ]
    for status, out, err in results:
        assert status == 1
        assert '2 made' in out
        assert '1 failed' in out
        assert 'bad.png: neither a JPEG' in err
    names = sorted(path.name for path in (tmp_path / 'plain').iterdir())
    assert sorted(path.name for path in (tmp_path / 'beam').iterdir()) == names
    for name in names:
        assert (tmp_path / 'beam' / name).read_bytes() == (tmp_path / 'plain' / name).read_bytes()


def test_missing_beam_is_one_line(one_line, gray_picture, monkeypatch):
    """Without Apache Beam the line says how to get it."""
    monkeypatch.setitem(sys.modules, 'apache_beam', None)
    monkeypatch.delitem(sys.modules, 'astro_gan.inference.beam', raising=False)
    words = ['needs Apache Beam', "pip install 'astro_gan[beam]'"]
    one_line('upscale', gray_picture, '--beam_runner', 'DirectRunner', words=words)
