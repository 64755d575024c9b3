"""docs/tour.ipynb: it runs from beginning to end, in a kernel of its own."""

import os
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / 'docs' / 'tour.ipynb'
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('ipykernel')


def test_the_tour_runs(tmp_path, monkeypatch):
    """Loading, enlarging, what was added, and a training at smoke size: shapes and numbers that are told."""
    client = pytest.importorskip('nbclient')
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(NOTEBOOK.parents[1]), os.environ.get('PYTHONPATH', '')]))
    monkeypatch.setenv('PYTHONWARNINGS', 'ignore')  # of the kernel's own
    notebook = nbformat.read(NOTEBOOK, 4)
    client.NotebookClient(notebook, timeout=600, kernel_name='python3').execute(cwd=str(NOTEBOOK.parent))
    said = '\n'.join(
        output.get('text') or output.get('data', {}).get('text/plain', '')
        for cell in notebook.cells
        if cell.cell_type == 'code'
        for output in cell.outputs
    )
    assert '(512, 512, 3)' in said
    assert re.search(r'\d+ of \d+ sources (has|have) no counterpart in the input at 3 sigma', said)
    dark = re.search(r'where it is dark: mean (-?[\d.]+), deviation ([\d.]+) times the noise', said)
    assert abs(float(dark[1])) < 0.3
    assert 0.7 < float(dark[2]) < 1.3
    assert re.search(r'^supervised,6,', said, re.MULTILINE)


def test_the_tour_is_kept_without_results():
    """Outputs are not stored: they would change with every run."""
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        assert not cell.get('outputs')
        assert cell.get('execution_count') is None
