"""Manifests: what is written comes back, and no spreadsheet runs it."""

import csv

import pytest

from astro_gan.files.manifest import read_table, write_table

VALUES = [
    '=1+1',
    '+cmd',
    '-x',
    '@SUM(A1)',
    "'=1",
    "''@",
    "'plain",
    "it's",
    "' =1",
    '-54.3',
    '+1e-5',
    '-',
    '5',
    '',
    '=\'a"b,c',
]


@pytest.mark.parametrize('value', VALUES)
def test_cells_come_back_and_are_no_formulas(tmp_path, value):
    """A cell that begins like a formula is written as text; numbers stay numbers; each value is read as it was."""
    write_table(tmp_path / 't.csv', ['a', 'b'], [{'a': value, 'b': 'x'}])
    with (tmp_path / 't.csv').open(newline='') as file:
        cell = list(csv.reader(file))[1][0]
    assert cell[:1] not in '=+-@' or not cell or cell in ('-54.3', '+1e-5')
    assert read_table(tmp_path / 't.csv')[1] == [(2, {'a': value, 'b': 'x'})]
    write_table(tmp_path / 'u.csv', ['a', 'b'], [read_table(tmp_path / 't.csv')[1][0][1]])
    assert (tmp_path / 'u.csv').read_bytes() == (tmp_path / 't.csv').read_bytes()


def test_numbers_are_written_as_they_are(tmp_path):
    """Negative numbers of a table stay readable for every program."""
    write_table(tmp_path / 't.csv', ['dec', 'none'], [{'dec': -54.25, 'none': None}])
    assert (tmp_path / 't.csv').read_text() == 'dec,none\n-54.25,\n'
