"""Data sets built of folders: what is in them, that they are whole, and that training reads them by name."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from astro_gan import cli
from astro_gan.data import astro_images, datasets, listing, sources
from astro_gan.files import pictures

ROOT = Path(__file__).parents[2]
# TFDS 4.9.10 asks protobuf 6, which Beam needs, for what it wants to be rid of.
pytestmark = pytest.mark.filterwarnings(r'ignore:label\(\) is deprecated:DeprecationWarning')
COLUMNS = ('file', 'split', 'id', 'group', 'sha256', 'width', 'height', 'credit', 'licence', 'page')


def quiet(line: str) -> None:
    del line


def curated(folder: Path, counts: dict[str, int], **changes: str) -> Path:
    """A folder as `astro-gan curate` writes it: half JPEG, half PNG, each picture with a group of its own."""
    rows = []
    for split, count in counts.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            path = folder / split / f'{k}.{"jpg" if k % 2 else "png"}'
            noise = np.random.default_rng([k, len(rows)]).integers(0, 256, (40 + k, 50, 3), np.uint8)
            Image.fromarray(noise).save(path)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            row = dict.fromkeys(COLUMNS, '') | {'file': f'{split}/{path.name}', 'split': split, 'sha256': sha256}
            row |= {'id': f'{split}{k}', 'group': f'g{len(rows)}', 'licence': 'CC BY 4.0', 'credit': 'ESA, “Hübble”'}
            rows.append(row | changes)
    with (folder / 'manifest.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def edited(manifest: Path, old: str, new: str) -> None:
    text = manifest.read_text(encoding='utf-8')
    assert old in text
    manifest.write_text(text.replace(old, new, 1), encoding='utf-8')


@pytest.fixture(scope='module')
def built(tmp_path_factory) -> tuple[Path, tfds.core.DatasetBuilder]:
    """The curated folder, and the data set `sky` of it."""
    folder = curated(tmp_path_factory.mktemp('curated'), {'train': 5, 'validation': 2, 'test': 1})
    return folder, astro_images.build(folder, name='sky', data_dir=folder / 'sets', log=quiet)


def test_examples_are_the_files_and_the_rows(built):
    """Pictures keep their bytes, and what the manifest says of each goes with it, under its split."""
    folder, builder = built
    with (folder / 'manifest.csv').open(newline='', encoding='utf-8') as file:
        rows = {(row['split'], row['id']): row for row in csv.DictReader(file)}
    found = 0
    for split in sources.SPLITS:
        for example in builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()}):
            row = rows[split, example['id'].decode()]
            assert hashlib.sha256(example['image']).hexdigest() == row['sha256'] == example['sha256'].decode()
            for column in ('group', 'credit', 'licence', 'page'):
                assert example[column].decode() == row[column]
            found += 1
    assert found == len(rows) == 8


def test_the_data_set_describes_itself(built):
    """Version, release notes, licences, citation and home page are in its files; the summary has what is asked for."""
    folder, builder = built
    info = builder.info
    assert info.full_name == 'sky/1.0.0'
    assert info.release_notes == {'1.0.0': 'First release.'}
    assert info.redistribution_info.license == 'CC BY 4.0: 8 pictures'
    assert '5 in train, 2 in validation, 1 in test' in info.description
    assert info.citation.startswith('@article')
    assert info.homepage.startswith('https://')
    text = astro_images.describe(astro_images.open_built('sky', folder / 'sets'))
    assert f'sky 1.0.0 in {folder}/sets/sky/1.0.0' in text
    assert [line.split()[:2] for line in text.splitlines()[1:4]] == [['train', '5'], ['validation', '2'], ['test', '1']]
    assert f'--config.dataset.name=sky --config.dataset.data_dir={folder}/sets' in text


def test_training_reads_it_by_name_without_this_module(built):
    """Another process opens it by its name alone, and gets the pixels of the folder."""
    folder, _ = built
    code = (
        'import sys; from astro_gan.data import sources\n'
        f'for split in sources.SPLITS:\n'
        f'    source = sources.open_source(split, name="sky", data_dir={str(folder / "sets")!r}, minimum_size=8)\n'
        '    print(split, *sorted(int(source.load(k).sum()) for k in range(len(source))))\n'
        'assert "astro_gan.data.astro_images" not in sys.modules\n'
    )
    done = subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.split()[0] in sources.SPLITS]
    for line in lines:
        split, *sums = line.split()
        assert sums == [str(k) for k in sorted(int(pictures.read_picture(p).sum()) for p in (folder / split).iterdir())]
    assert len(lines) == 3


def test_the_same_pictures_give_the_same_bytes(built, tmp_path):
    """Built again in another process, every file is the same."""
    folder, builder = built
    command = [sys.executable, '-m', 'astro_gan', 'dataset', 'build', str(folder), '--name', 'sky']
    subprocess.run([*command, '--data-dir', str(tmp_path)], check=True, cwd=ROOT, capture_output=True)
    assert contents(Path(builder.data_dir)) == contents(tmp_path / 'sky' / '1.0.0')


def test_a_manifest_by_its_path_under_any_name(tmp_path):
    """The files lie beside the manifest; missing columns are empty, and an id is then the file's name."""
    curated(tmp_path, {'train': 1, 'validation': 1})
    (tmp_path / 'manifest.csv').unlink()
    (tmp_path / 'mine.csv').write_text('file,split,license\ntrain/0.png,train,MIT\nvalidation/0.png,val,\n')
    root, listed = listing.list_pictures(tmp_path / 'mine.csv', quiet)
    assert root == tmp_path
    assert [(p.id, p.split, p.licence) for p in listed] == [
        ('train/0.png', 'train', 'MIT'),
        ('validation/0.png', 'validation', ''),
    ]


def test_building_again_moves_no_picture(tmp_path):
    """Six pictures fill every split by force; a set built anew of more of them leaves each where it was."""

    def add(start, stop):
        for k in range(start, stop):
            Image.fromarray(np.full((16, 16, 3), k, np.uint8)).save(tmp_path / 'in' / f'{k}.png')

    def splits(builder):
        return {row['id'].decode(): split for split in builder.info.splits for row in builder.as_data_source(split)}

    (tmp_path / 'in').mkdir()
    add(0, 6)
    options = {'name': 'sky', 'data_dir': tmp_path / 'sets', 'log': quiet}
    before = splits(astro_images.build(tmp_path / 'in', **options))
    add(6, 60)
    after = splits(astro_images.build(tmp_path / 'in', **options, overwrite=True))
    assert len(after) == 60
    assert before.items() <= after.items()
    assert splits(astro_images.build(tmp_path / 'in', **options | {'name': 'other'})) != after  # what inheriting is for


def test_plain_folders_are_split_as_training_splits_them(tmp_path):
    """The same picture is in the same split, whether a folder is trained on or built."""
    for k in range(12):
        Image.fromarray(np.full((16, 16, 3), k, np.uint8)).save(tmp_path / f'{k}.png')
    _, listed = listing.list_pictures(tmp_path, quiet)
    for split in sources.SPLITS:
        source = sources.open_source(split, folder=tmp_path, minimum_size=1, log=quiet)
        assert tuple(picture.file for picture in listed if picture.split == split) == source.ids


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        (',g0,', ',g5,', 'train/0.png in train and validation/0.png in validation have the same group g5'),
        ('g0,', 'g0,0', r'train/0\.png: its SHA-256 is .* manifest says 0.*: another file'),
        ('train/0.png', 'train/9.png', r'train/9\.png: no such file'),
        ('train/0.png', '../0.png', 'not a path within'),
        ('train/0.png,train', 'train/0.png,trian', "line 2: split 'trian'; valid are"),
    ],
)
def test_bad_manifests_build_nothing(tmp_path, old, new, message):
    """Objects in two splits, other files than meant, missing ones: one line, and no data set."""
    folder = curated(tmp_path / 'in', {'train': 5, 'validation': 1})
    edited(folder / 'manifest.csv', old, new)
    with pytest.raises(ValueError, match=message) as caught:
        astro_images.build(folder, data_dir=tmp_path / 'sets', log=quiet)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'sets' / 'astro_images').exists()
    with pytest.raises(ValueError, match="no data set 'astro_images' in"):
        astro_images.open_built('astro_images', tmp_path / 'sets')


def test_one_file_in_two_splits_is_refused(tmp_path):
    """The same bytes under two names would be trained on and tested on."""
    folder = curated(tmp_path, {'train': 1, 'validation': 1})
    (folder / 'validation' / '0.png').write_bytes((folder / 'train' / '0.png').read_bytes())
    sha256 = hashlib.sha256((folder / 'train' / '0.png').read_bytes()).hexdigest()
    other = (folder / 'manifest.csv').read_text(encoding='utf-8').splitlines()[2].split(',')[4]
    edited(folder / 'manifest.csv', other, sha256)
    with pytest.raises(ValueError, match='have the same sha256'):
        listing.list_pictures(folder, quiet)


@pytest.mark.parametrize('counts', [{'train': 2}, {'validation': 2}])
def test_training_and_validation_pictures_are_needed(tmp_path, counts):
    """A set that could not be trained on is not built."""
    with pytest.raises(ValueError, match=r'no picture in (train|validation), which training needs'):
        listing.list_pictures(curated(tmp_path, counts), quiet)


def test_groups_are_not_cut_up_for_a_test_split(tmp_path):
    """A built set without test pictures tests on validation, as its folder does; its training split stays whole."""
    folder = curated(tmp_path, {'train': 10, 'validation': 2})
    astro_images.build(folder, data_dir=tmp_path / 'sets', log=quiet)
    count = {
        split: len(datasets.open_dataset('astro_images', split, str(tmp_path / 'sets'), 8, quiet).ids)
        for split in sources.SPLITS
    }
    assert count == {'train': 10, 'validation': 2, 'test': 2}


@pytest.mark.parametrize('key', ['image', 'hr', 'photo'])
def test_pictures_of_other_data_sets(tmp_path, key):
    """Any TFDS data set with a feature `image` is read by name, and div2k, which calls it `hr`; others are refused."""
    shades = np.arange(10, dtype=np.uint8) * 20
    examples = [(k, {key: np.full((20, 30, 3), shade)}) for k, shade in enumerate(shades)]
    tfds.dataset_builders.store_as_tfds_dataset(
        'photos',
        '1.0.0',
        tfds.features.FeaturesDict({key: tfds.features.Image(shape=(None, None, 3))}),
        {'train': examples},
        data_dir=str(tmp_path),
        file_format='array_record',
    )
    if key == 'photo':
        with pytest.raises(ValueError, match='has no feature `image`'):
            sources.open_source('train', name='photos', data_dir=str(tmp_path), log=quiet)
        return
    opened = [
        sources.open_source(split, name='photos', data_dir=str(tmp_path), minimum_size=8, log=quiet)
        for split in sources.SPLITS
    ]
    assert [len(source) for source in opened] == [8, 1, 1]
    seen = [int(source.load(k)[0, 0, 0]) for source in opened for k in range(len(source))]
    assert sorted(seen) == shades.tolist()


def test_names(tmp_path):
    """A name that TensorFlow Datasets has, or that cannot be one, is refused before anything is read."""
    for name, message in {'mnist': 'data set of TensorFlow Datasets', 'My set': 'lower case', '../x': 'lower'}.items():
        with pytest.raises(ValueError, match=message):
            astro_images.build(tmp_path, name=name, data_dir=tmp_path)


def test_overwriting(tmp_path):
    """Only when asked; a building that fails leaves the old set, one that succeeds replaces it."""
    folder = curated(tmp_path / 'in', {'train': 2, 'validation': 1})
    sets = tmp_path / 'sets'
    astro_images.build(folder, data_dir=sets, log=quiet)
    before = contents(sets)
    with pytest.raises(ValueError, match='already: give another name, or overwrite it'):
        astro_images.build(folder, data_dir=sets, log=quiet)
    edited(folder / 'manifest.csv', 'g0,', 'g0,0')
    with pytest.raises(ValueError, match='another file'):
        astro_images.build(folder, data_dir=sets, overwrite=True, log=quiet)
    assert contents(sets) == before
    edited(folder / 'manifest.csv', 'g0,0', 'g0,')
    edited(folder / 'manifest.csv', 'CC BY 4.0', 'CC0')
    again = astro_images.build(folder, data_dir=sets, overwrite=True, log=quiet)
    assert again.info.redistribution_info.license == 'CC BY 4.0: 2 pictures; CC0: 1 pictures'
    assert sorted(path.name for path in sets.iterdir()) == ['.astro_images.lock', 'astro_images']


def test_a_killed_building_leaves_nothing_to_be_taken_for_a_set(tmp_path):
    """After SIGKILL in its midst there is no data set, and the next building is not in the way of the remains."""
    folder = curated(tmp_path / 'in', {'train': 30, 'validation': 1})
    code = (
        'import sys, time; from astro_gan.data import astro_images as a; read = a.read_example\n'
        'def slow(picture, root): print("read", file=sys.stderr); time.sleep(0.3); return read(picture, root)\n'
        f'a.read_example = slow; a.build({str(folder)!r}, data_dir={str(tmp_path / "sets")!r})'
    )
    with subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for _ in range(4):
            assert any('read' in line for line in run.stderr)
        run.send_signal(signal.SIGKILL)
    (remains,) = (tmp_path / 'sets').glob('.astro_images.*.tmp')
    with pytest.raises(ValueError, match="no data set 'astro_images' in"):
        astro_images.open_built('astro_images', tmp_path / 'sets')
    with pytest.raises(ValueError, match="unknown data set 'astro_images'"):
        sources.open_source('train', name='astro_images', data_dir=str(tmp_path / 'sets'), log=quiet)
    builder = astro_images.build(folder, data_dir=tmp_path / 'sets', log=quiet)
    assert builder.info.splits['train'].num_examples == 30
    assert not remains.exists()


def test_the_command(tmp_path, capsys):
    """Build, then info: the same words; a mistake is one line and status 1."""
    folder = curated(tmp_path / 'in', {'train': 2, 'validation': 1})
    where = ['--data-dir', str(tmp_path / 'sets'), '--name', 'sky']
    assert cli.main(['dataset', 'build', str(folder), *where]) == 0
    first = capsys.readouterr()
    assert '3/3' not in first.err  # one bar for each split
    assert '2/2' in first.err
    assert cli.main(['dataset', 'info', 'sky', *where[:2]]) == 0
    assert capsys.readouterr().out == first.out
    for arguments in (['build', str(folder), *where], ['info', 'nothing', *where[:2]], ['build', str(tmp_path / 'no')]):
        assert cli.main(['dataset', *arguments]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_beam_mistakes_are_one_line(tmp_path):
    """Options without a runner, an unknown runner, or no Beam at all: said before anything is read."""
    with pytest.raises(ValueError, match='options for Beam without a runner'):
        astro_images.build(tmp_path, data_dir=tmp_path, beam_options='a=b')
    there = importlib.util.find_spec('apache_beam') is not None
    message = "no runner 'NoSuchRunner'" if there else r"pip install 'astro_gan\[beam\]'"
    with pytest.raises(ValueError, match=message):
        astro_images.build(tmp_path, data_dir=tmp_path, beam_runner='NoSuchRunner')


@pytest.mark.filterwarnings('ignore')  # Beam and what it imports have their own
def test_beam_builds_the_same_files(built, tmp_path):
    """Beam's direct runner gives bit for bit what building without it gives, and the same line for a bad picture."""
    pytest.importorskip('apache_beam', reason="Apache Beam is not installed: pip install 'astro_gan[beam]'")
    folder, builder = built
    beam = {'beam_runner': 'DirectRunner', 'log': quiet}
    made = astro_images.build(folder, name='sky', data_dir=tmp_path, **beam)
    assert contents(Path(made.data_dir)) == contents(Path(builder.data_dir))
    bad = curated(tmp_path / 'in', {'train': 5, 'validation': 1})
    edited(bad / 'manifest.csv', 'g0,', 'g0,0')
    with pytest.raises(ValueError, match=r'train/0\.png: its SHA-256 is .*: another file$'):
        astro_images.build(bad, data_dir=tmp_path, **beam)
    assert not (tmp_path / 'astro_images').exists()


def test_the_real_pictures(real_data, tmp_path):
    """The shared press pictures' validation part: every checksum holds, every JPEG keeps its bytes."""
    rows = [line.split(',', 1) for line in (real_data / 'hubble' / 'manifest.csv').read_text().splitlines()]
    few = [row for row in rows if row[0] in ('split', 'val')] + [row for row in rows if row[0] == 'train'][:4]
    (tmp_path / 'few.csv').write_text('\n'.join(','.join(row) for row in few))
    for part in ('train', 'val'):
        (tmp_path / part).symlink_to(real_data / 'hubble' / part)
    builder = astro_images.build(tmp_path / 'few.csv', data_dir=tmp_path / 'sets', log=quiet)
    stored = builder.as_data_source('validation', decoders={'image': tfds.decode.SkipDecoding()})
    for example in stored:
        assert hashlib.sha256(example['image']).hexdigest() == example['sha256'].decode()
        assert example['licence'] == b'CC BY 4.0 (ESA/Hubble)'
        assert example['page'].startswith(b'https://esahubble.org/images/')
    assert len(stored) == sum(row[0] == 'val' for row in few) > 20
