"""The splits of the press pictures: no sky on two sides, and a folder of them made from files under any names."""

import csv
import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from astro_gan.data.folders import open_folder
from astro_gan.errors import UserError
from experiments import splits


def test_no_sky_is_on_two_sides():
    """222, 22 and 22 pictures, each once; the pictures of a group are all in one split."""
    rows = splits.rows()
    assert Counter(row['split'] for row in rows) == {'train': 222, 'validation': 22, 'test': 22}
    assert len({row['id'] for row in rows}) == len({row['sha256'] for row in rows}) == len(rows)
    sides = {}
    for row in rows:
        sides.setdefault(row['group'], set()).add(row['split'])
    assert all(len(side) == 1 for side in sides.values())
    # heic0601e shows a part of heic0601a, and was on the other side of it once.
    of = {row['id']: row for row in rows}
    assert of['heic0601e']['group'] == of['heic0601a']['group']


def test_the_real_pictures_are_those(real_data):
    """Ids and hashes are those of the files that the weights were trained and measured on."""
    with (real_data / 'hubble' / 'manifest.csv').open(newline='') as file:
        real = {row['id']: row for row in csv.DictReader(file)}
    rows = splits.rows()
    assert {row['id']: row['sha256'] for row in rows} == {name: row['sha256'] for name, row in real.items()}
    for row in rows[::20]:
        data = (real_data / 'hubble' / real[row['id']]['file']).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row['sha256']
    # No picture of the test split was in the former training split, on which the shipped weights were trained.
    assert all(real[row['id']]['split'] == 'val' for row in rows if row['split'] == 'test')


def test_a_folder_by_the_splits(tmp_path, monkeypatch):
    """Pictures are found by their bytes, whatever their names, and training reads the folder as it is told."""
    table, names = [], {}
    for number, split in enumerate(['train', 'train', 'validation', 'test', 'test']):
        path = tmp_path / 'pictures' / 'deep' / f'IMG_{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), 40 * number, np.uint8)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        table.append({'id': f'heic{number}', 'split': split, 'group': f'heic{number}', 'sha256': digest})
        names[f'heic{number}'] = path
    (tmp_path / 'pictures' / 'notes.png').write_bytes(b'')
    names['heic1'].unlink()
    monkeypatch.setattr(splits, 'rows', lambda: [dict(row) for row in table])
    told = splits.lay_out(tmp_path / 'pictures', tmp_path / 'made')
    assert told == (f'{tmp_path}/made: 1 train, 1 validation, 2 test; 1 are not below {tmp_path}/pictures: heic1')
    found = open_folder(tmp_path / 'made', 'test', 64, lambda line: None)
    assert found.ids == ('test/heic3.png', 'test/heic4.png')
    assert found.encoded(0) == names['heic3'].read_bytes()
    with (tmp_path / 'made' / 'manifest.csv').open() as file:
        assert next(csv.DictReader(file))['page'] == 'https://esahubble.org/images/heic0/'
    with pytest.raises(UserError, match='is there already'):
        splits.lay_out(tmp_path / 'pictures', tmp_path / 'made')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='none of the 5 pictures'):
        splits.lay_out(tmp_path / 'empty', tmp_path / 'other')
