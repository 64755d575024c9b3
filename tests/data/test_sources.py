"""Finding, checking and splitting pictures."""

import concurrent.futures
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from astro_gan.data import datasets, folders, hubble_deep_field, sources
from astro_gan.data.sources import SPLITS
from astro_gan.fetch import downloads
from astro_gan.files.manifest import write_table

SHARED = Path(__file__).resolve().parents[2].parent / 'shared' / 'data'


def picture(path: Path, size: int = 100, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size, size + 4, 3), np.uint8)
    Image.fromarray(noise).save(path)


def opened(split: str, folder: Path, **options) -> tuple[sources.Source, str]:
    """A source, and all that was logged."""
    lines: list[str] = []
    return sources.open_source(split, folder=folder, log=lines.append, **options), '\n'.join(lines)


def test_manifest_decides(tmp_path):
    """The manifest's split counts, whatever folders files are in; 'val' and 'validation' are the same."""
    rows = ['file,split', 'a/1.png,train', 'a/2.png,val', 'train/3.png,validation', 'a/4.png,', '']
    for name in ('a/1', 'a/2', 'train/3', 'a/4', 'train/5'):
        picture(tmp_path / f'{name}.png')
    (tmp_path / 'manifest.csv').write_text('\ufeff' + '\r\n'.join(rows), encoding='utf-8')
    train, log = opened('train', tmp_path)
    assert train.ids == ('a/1.png',)
    assert train.sizes == ((100, 104),)
    assert 'manifest' in log
    assert train.load(0).shape == (100, 104, 3)
    assert len(train) == 1
    assert opened('validation', tmp_path)[0].ids == ('a/2.png', 'train/3.png')
    test, log = opened('test', tmp_path)
    assert test.ids == ('a/2.png', 'train/3.png')
    assert 'validation used as test' in log


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (['../a.png,train'], 'not a path within'),
        (['/etc/a.png,train'], 'not a path within'),
        (['b/../../a.png,train'], 'not a path within'),
        (['a.png,train', 'a.png,val'], 'two splits'),
        (['a.png,trian'], "split 'trian'; valid are train, val"),
        ([], 'lists no file'),
    ],
)
def test_bad_manifests_are_refused(tmp_path, rows, message):
    """No file outside the folder is read, no picture is in two splits, no typing error passes unseen."""
    picture(tmp_path / 'a.png')
    (tmp_path / 'manifest.csv').write_text('\n'.join(['file,split', *rows]))
    with pytest.raises(ValueError, match=message) as caught:
        opened('train', tmp_path)
    assert '\n' not in str(caught.value)


def test_manifest_without_the_columns(tmp_path):
    """The message says which columns are wanted."""
    (tmp_path / 'manifest.csv').write_text('name,subset\na.png,train\n')
    with pytest.raises(ValueError, match='no column file'):
        opened('train', tmp_path)


def test_a_folder_that_fetch_wrote(tmp_path):
    """Its manifest has no column `split`: files are shared out by name, groups as one, what failed is left out."""
    rows = [dict.fromkeys(downloads.COLUMNS, '') | {'file': f'{k}.png', 'id': f'id {k}'} for k in range(40)]
    for row in rows:
        picture(tmp_path / row['file'])
        row['status'] = 'ok'
    rows.append(rows[0] | {'file': 'absent.png', 'status': 'failed', 'reason': 'timed out'})
    write_table(tmp_path / 'manifest.csv', downloads.COLUMNS, rows)
    parts = {split: opened(split, tmp_path) for split in SPLITS}
    ids = {split: set(source.ids) for split, (source, _) in parts.items()}
    assert set().union(*ids.values()) == {f'{k}.png' for k in range(40)}
    by_hash = folders.automatic_splits(tuple(set().union(*ids.values())))
    assert {split: set(names) for split, names in by_hash.items()} == ids
    assert 'of the files in manifest.csv by a hash' in parts['train'][1]
    columns = (*downloads.COLUMNS, 'group')  # as a user may add
    write_table(tmp_path / 'manifest.csv', columns, [row | {'group': f'g{n // 2}'} for n, row in enumerate(rows)])
    of = {name: split for split in SPLITS for name in opened(split, tmp_path)[0].ids}
    assert all(of[f'{k}.png'] == of[f'{k + 1}.png'] for k in range(0, 40, 2))


def test_earlier_splits_stay():
    """Of few files one is moved to a split that would be empty; it stays there when files are added."""
    names = tuple(f'{k}.jpg' for k in range(6))
    members = folders.automatic_splits(names)
    earlier = {name: split for split, files in members.items() for name in files}
    more = folders.automatic_splits(tuple(f'{k}.jpg' for k in range(100)), earlier)
    assert all(name in more[split] for name, split in earlier.items())
    assert sum(map(len, more.values())) == 100
    alone = folders.automatic_splits(tuple(f'{k}.jpg' for k in range(100)))
    assert any(name not in alone[split] for name, split in earlier.items())  # what inheriting is for


@pytest.mark.parametrize('validation', ['val', 'validation'])
def test_sub_folders(tmp_path, validation):
    """Sub-folders are searched recursively, in sorted order."""
    for name in ('train/b/2', 'train/a', f'{validation}/c', 'test/d', 'elsewhere/e'):
        picture(tmp_path / f'{name}.png')
    assert opened('train', tmp_path)[0].ids == ('train/a.png', 'train/b/2.png')
    assert opened('validation', tmp_path)[0].ids == (f'{validation}/c.png',)
    assert opened('test', tmp_path)[0].ids == ('test/d.png',)


def test_no_validation_split_is_an_error(tmp_path):
    """Training pictures never stand in for validation; the message says what to add."""
    picture(tmp_path / 'train' / 'a.png')
    for split in ('validation', 'test'):
        with pytest.raises(ValueError, match=f'no {split} split .*train .1.*: add a folder'):
            opened(split, tmp_path)


@pytest.mark.parametrize('count', [1, 2, 3, 4, 9, 60])
def test_automatic_split(count):
    """Disjoint, complete, and from three files on no split is empty."""
    names = tuple(f'{k}.jpg' for k in range(count))
    members = folders.automatic_splits(names)
    assert sorted(itertools.chain(*members.values())) == sorted(names)
    filled = 3 if count >= 3 else count
    assert sum(bool(files) for files in members.values()) == filled
    assert members['train']


def test_automatic_split_is_stable():
    """Adding pictures moves none of the old ones, so a test picture is never trained on later."""
    before = folders.automatic_splits(tuple(f'{k}.jpg' for k in range(60)))
    after = folders.automatic_splits(tuple(f'{k}.jpg' for k in range(600)))
    for split, files in before.items():
        assert set(files) <= set(after[split])
    assert 450 < len(after['train']) < 510
    assert min(map(len, after.values())) > 40


def test_automatic_split_of_a_folder(tmp_path):
    """A plain folder works, and the log says how it was split."""
    for k in range(5):
        picture(tmp_path / f'{k}.png')
    (tmp_path / 'notes.txt').write_text('x')
    found = [opened(split, tmp_path) for split in sources.SPLITS]
    assert sorted(itertools.chain(*(source.ids for source, _ in found))) == [f'{k}.png' for k in range(5)]
    assert all('80:10:10' in log and 'notes' not in log for _, log in found)


def test_unusable_files_are_named_counted_and_skipped(tmp_path):
    """One bad file does not stop a run, and does not go unseen either."""
    picture(tmp_path / 'train' / 'good.png')
    picture(tmp_path / 'train' / 'small.png', 50)
    (tmp_path / 'train' / 'caption.csv').write_text('x')
    (tmp_path / 'train' / '._good.png').write_text('x')
    for k in range(12):
        (tmp_path / 'train' / f'text{k:02}.jpg').write_text('x')
    (tmp_path / 'train' / 'gone.jpg').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'train' / 'up').symlink_to(tmp_path)
    source, log = opened('train', tmp_path)
    assert source.ids == ('train/good.png',)
    assert '14 of 15 files are left out' in log
    assert 'and 4 more' in log
    assert 'gone.jpg' in log
    assert 'caption' not in log
    assert '._good' not in log
    with pytest.raises(ValueError, match=r'no usable picture for train .*at least 200x200'):
        opened('train', tmp_path, minimum_size=200)


def test_folders_that_are_none(tmp_path):
    """A mistyped folder and an empty one have their own messages; so has a mistyped split."""
    with pytest.raises(ValueError, match='does not exist'):
        opened('train', tmp_path / 'nowhere')
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='is not a folder'):
        opened('train', tmp_path / 'file')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no usable picture for train'):
        opened('train', tmp_path / 'empty')
    with pytest.raises(ValueError, match="unknown split 'dev'; valid are train"):
        opened('dev', tmp_path)


def test_folders_need_no_tensorflow(tmp_path):
    """Opening a folder imports neither TensorFlow nor its data sets, which take seconds."""
    picture(tmp_path / 'train' / 'a.png')
    code = (
        'import sys; from astro_gan.data import sources; '
        f'sources.open_source("train", folder={str(tmp_path)!r}).load(0); '
        'assert not any(name.startswith("tensorflow") for name in sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=Path(__file__).parents[2])


@pytest.fixture(scope='module')
def embedded(tmp_path_factory) -> str:
    """The embedded data set, prepared by two threads at once."""
    data_dir = str(tmp_path_factory.mktemp('tfds'))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(sources.open_source, 'train', data_dir=data_dir) for _ in range(2)]
        assert [len(future.result()) for future in both] == [1, 1]
    return data_dir


def test_embedded_data_set_is_the_photograph(embedded):
    """Splits are pixel for pixel areas of the photograph, 16 pixels apart; four 192-pixel tiles are held out twice."""
    photograph = hubble_deep_field.photograph()
    assert photograph.shape == (872, 1000, 3)
    ends = []
    for split in sources.SPLITS:
        source = sources.open_source(split, data_dir=embedded, log=lambda line: None)
        x0, y0, x1, y1 = hubble_deep_field.REGIONS[split]
        np.testing.assert_array_equal(source.load(0), photograph[y0:y1, x0:x1])
        assert source.sizes == ((872, x1 - x0),)
        assert (x1 - x0) >= 192
        ends += [x0, x1]
    assert ends[2] - ends[1] == ends[4] - ends[3] == 16
    assert ends == sorted(ends)


def test_preparing_is_quiet(tmp_path, capfd):
    """One line of ours, none of TensorFlow Datasets'."""
    sources.open_source('train', data_dir=str(tmp_path))
    out, error = capfd.readouterr()
    assert len(out.splitlines()) == 2
    assert 'preparing' in out
    assert 'examples' not in error


def test_photograph_is_checked(monkeypatch, tmp_path):
    """Another file in its place is not taken for the photograph; a missing one is said to be missing."""
    monkeypatch.setattr(hubble_deep_field, 'SHA256', hashlib.sha256(b'').hexdigest())
    with pytest.raises(ValueError, match='SHA-256 differs'):
        hubble_deep_field.photograph_path()
    monkeypatch.setattr(hubble_deep_field.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='pip install scikit-image'):
        hubble_deep_field.photograph_path()


def test_unknown_data_set(tmp_path):
    """A mistyped name is met with the nearest ones."""
    with pytest.raises(ValueError, match='did you mean hubble_deep_field') as caught:
        sources.open_source('train', name='hubble_deepfield', data_dir=str(tmp_path))
    assert '\n' not in str(caught.value)


def test_a_place_that_cannot_be_written(tmp_path):
    """One line that names the place, not a traceback from deep inside TensorFlow Datasets."""
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match=r"'hubble_deep_field' cannot be prepared in .*Not a directory") as caught:
        sources.open_source('train', data_dir=str(tmp_path / 'file'))
    assert '\n' not in str(caught.value)


def test_the_embedded_data_set_without_a_home(tmp_path, monkeypatch):
    """Where the usual place cannot be written it is prepared in a temporary folder, and a line says so."""
    (tmp_path / 'file').write_text('')
    monkeypatch.setattr(tfds.core.constants, 'DATA_DIR', str(tmp_path / 'file'))
    lines: list[str] = []
    source = sources.open_source('train', log=lines.append)
    np.testing.assert_array_equal(source.load(0), hubble_deep_field.photograph()[:, :584])
    assert sum('cannot be written; it goes to a temporary folder' in line for line in lines) == 1


def test_missing_splits_are_carved_from_train():
    """Whatever is missing is carved so that the three never overlap."""
    carve = datasets.split_expression
    for there, expected in {
        ('train',): ('train[:80%]', 'train[80%:90%]', 'train[90%:]'),
        ('train', 'test'): ('train[:90%]', 'train[90%:]', 'test'),
        ('train', 'validation'): ('train[:90%]', 'validation', 'train[90%:]'),
        ('train', 'val', 'test'): ('train', 'val', 'test'),
    }.items():
        assert tuple(carve(split, there, 'x') for split in sources.SPLITS) == expected
    with pytest.raises(ValueError, match='no split `train`'):
        carve('train', ('test',), 'x')


@pytest.mark.skipif(not SHARED.is_dir(), reason='the shared Hubble pictures are not there')
def test_real_folder():
    """The shared press pictures open, by their manifest, with none left out."""
    train, log = opened('train', SHARED / 'hubble')
    validation, _ = opened('validation', SHARED / 'hubble')
    assert len(train) > 200
    assert 'left out' not in log
    assert not set(train.ids) & set(validation.ids)
    assert train.load(0).shape == (*train.sizes[0], 3)
