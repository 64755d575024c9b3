"""The curation of a folder from end to end: what comes out, what never does, and what hostile input does."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from astro_gan import cli
from astro_gan.curation import curate, duplicates, groups, sources
from astro_gan.curation.limits import Limits
from astro_gan.curation.work import Picture, Settings
from astro_gan.fetch import downloads
from astro_gan.files import atomic
from astro_gan.files.manifest import write_table
from tests.curation import faults

SETTINGS = Settings(tile=64, limits=Limits(minimum_size=128))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, str]:
    """Checksums of all files by name."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope='module')
def folder(tmp_path_factory, hubble) -> Path:
    """Pieces of a real picture, some at fault, and a manifest."""
    root = tmp_path_factory.mktemp('pictures')
    (root / 'deep er').mkdir()
    pieces = {
        'a.png': hubble[:256, :256],
        'deep er/b.png': hubble[300:556, 300:556],
        'c.png': hubble[600:856, 700:956],
        'd.png': hubble[600:856, :256],
        'again.png': np.asarray(Image.fromarray(hubble[:256, :256]).resize((200, 200), Image.Resampling.LANCZOS)),
        'gray.png': faults.gray(hubble[:256, 600:856], np.random.default_rng(0)),
        'tiny.png': hubble[:100, :100],
    }
    for name, pixels in pieces.items():
        Image.fromarray(pixels).save(root / name)
    (root / 'cut.jpg').write_bytes(b'\xff\xd8\xff\xe0 and no more')
    (root / 'none.png').write_bytes(b'')
    (root / 'manifest.csv').write_text(
        'file,id,ra,dec,credit,licence,page\n'
        'a.png,first,189.2,62.2,"<b>ESA, Hubble</b>",CC BY 4.0,https://example.org/a\n'
        'c.png,third,10.68,41.27,x,y,z\n'
        'deep er/b.png,second,10.69,41.26,x,y,z\n'
    )
    return root


@pytest.fixture(scope='module')
def done(folder, tmp_path_factory) -> tuple[Path, dict]:
    """The curated folder and its summary."""
    out = tmp_path_factory.mktemp('out') / 'set'
    return out, curate.curate(folder, out, SETTINGS)


def test_every_file_is_accounted_for(folder, done):
    """A picture is in the manifest or among the refused, with its reason, and never silently gone."""
    out, summary = done
    manifest, refused = table(out / 'manifest.csv'), table(out / 'refused.csv')
    whole = {row['source']: row['reason'] for row in refused if not row['reason'].startswith('tile:')}
    assert whole == {
        'again.png': 'duplicate',
        'cut.jpg': 'unreadable',
        'gray.png': 'not colour',
        'none.png': 'unreadable',
        'tiny.png': 'too small',
    }
    assert {row['source'] for row in manifest} == {'a.png', 'deep er/b.png', 'c.png', 'd.png'}
    assert summary['pictures'] == 9
    assert summary['kept'] == 4
    assert sum(summary['written'].values()) == len(manifest)


def test_the_manifest_tells_the_truth(folder, done):
    """Checksum, size and box of every tile are those of the file, and the pixels are the source's."""
    out, _ = done
    for row in table(out / 'manifest.csv'):
        path = out / row['file']
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row['sha256']
        x0, y0, x1, y1 = (int(row[key]) for key in ('x0', 'y0', 'x1', 'y1'))
        source = np.asarray(Image.open(folder / row['source']))
        np.testing.assert_array_equal(np.asarray(Image.open(path)), source[y0:y1, x0:x1])
        assert (int(row['width']), int(row['height'])) == (64, 64)
        assert row['file'].split('/')[0] == row['split']
    first = next(row for row in table(out / 'manifest.csv') if row['source'] == 'a.png')
    assert (first['credit'], first['licence'], first['id']) == ('<b>ESA, Hubble</b>', 'CC BY 4.0', 'first')


def test_neighbours_on_the_sky_share_a_split(done):
    """Two pictures 0.01 degrees apart are one group, and a group is on one side."""
    out, summary = done
    rows = table(out / 'manifest.csv')
    assert summary['groups'] == 3
    split_of: dict[str, set[str]] = {}
    for row in rows:
        split_of.setdefault(row['group'], set()).add(row['split'])
    assert all(len(splits) == 1 for splits in split_of.values())
    assert {row['group'] for row in rows if row['source'] in ('c.png', 'deep er/b.png')} == {'c.png'}


def test_the_data_folder_reader_takes_it(done):
    """What is written can be trained on as it is."""
    from astro_gan.data import folders

    out, summary = done
    for split, count in summary['written'].items():
        assert len(folders.open_folder(out, split, 64, lambda line: None).ids) == count


def test_same_input_same_bytes(folder, done, tmp_path):
    """A second run, with two processes, gives the same files."""
    curate.curate(folder, tmp_path / 'again', SETTINGS, jobs=2)
    assert contents(tmp_path / 'again') == contents(done[0])


def test_settings_are_on_record(done):
    """Every threshold that was used can be read in curate.json."""
    recorded = json.loads((done[0] / 'curate.json').read_text())
    assert recorded['settings']['limits'] == dataclasses.asdict(SETTINGS.limits)


def test_the_contact_sheet_escapes_and_links(folder, tmp_path, hubble):
    """A file name cannot put anything into the page, and every picture on it is there."""
    root = tmp_path / 'in'
    root.mkdir()
    Image.fromarray(hubble[:256, :256]).save(root / '<img src=x onerror=1>&"#%.png')
    curate.curate(root, tmp_path / 'out', SETTINGS)
    page = (tmp_path / 'out' / 'contact_sheet.html').read_text()
    assert '<img src=x' not in page
    assert '&lt;img src=x onerror=1&gt;&amp;' in page
    linked = re.findall(r'src="([^"]+)"', page)
    assert linked
    assert all((tmp_path / 'out' / one).is_file() for one in linked)
    assert all(re.fullmatch(r'[\w./-]+', row['file']) for row in table(tmp_path / 'out' / 'manifest.csv'))


def test_overrides_win(folder, tmp_path):
    """A hand-edited list keeps, refuses and crops, and the manifest says that it did."""
    path = tmp_path / 'by_hand.txt'
    path.write_text(
        '# looked through\nkeep gray.png\nrefuse a.png a satellite trail\ncrop "deep er/b.png" 0 0 130 140\n'
    )
    curate.curate(folder, tmp_path / 'out', SETTINGS, overrides=path)
    rows = table(tmp_path / 'out' / 'manifest.csv')
    assert {row['decision'] for row in rows if row['source'] == 'gray.png'} == {'kept by hand'}
    cropped = [row for row in rows if row['source'] == 'deep er/b.png']
    assert {row['decision'] for row in cropped} == {'cropped by hand'}
    assert max(int(row['x1']) for row in cropped) <= 130
    refused = {row['source']: row for row in table(tmp_path / 'out' / 'refused.csv')}
    assert (refused['a.png']['reason'], refused['a.png']['measured']) == ('by hand', 'a satellite trail')
    assert 'again.png' in {row['source'] for row in rows}  # its better twin is gone


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('drop a.png', r"line 1: 'drop a.png'; valid are keep PATH \| refuse PATH"),
        ('keep', r"line 1: 'keep'; valid are"),
        ('\nkeep nowhere.png', "line 2: no picture 'nowhere.png' in the folder"),
        ('crop a.png 1 2 3', 'line 1: a crop needs four whole numbers'),
        ('crop a.png 9 0 9 5', 'line 1: an empty crop'),
        ('keep a.png\nrefuse a.png', "line 2: 'a.png' is both kept and refused"),
        ('keep "a.png', 'line 1: No closing quotation'),
    ],
)
def test_overrides_that_cannot_be_meant(tmp_path, text, message):
    """A slip in the list is told with its line, not ignored."""
    path = tmp_path / 'o.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        sources.read_overrides(path, ['a.png'])


def test_overrides_as_csv(tmp_path):
    """The same list from a spreadsheet, where a path may hold blanks and a reason commas."""
    path = tmp_path / 'o.csv'
    path.write_text('keep,my picture.png,,,,\nrefuse,b.png,"cosmic rays, many"\ncrop,b c.png,1,2,3,4\n')
    got = sources.read_overrides(path, ['my picture.png', 'b.png', 'b c.png'])
    assert got['my picture.png'].keep
    assert got['b.png'].refuse == 'cosmic rays, many'
    assert got['b c.png'].crop == (1, 2, 3, 4)


def test_nothing_is_left_of_a_failed_run(folder, tmp_path, monkeypatch):
    """An interruption while tiles are written leaves neither a half data set nor temporary folders."""

    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(curate.contact_sheet, 'write', interrupt)
    with pytest.raises(KeyboardInterrupt):
        curate.curate(folder, tmp_path / 'out', SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_replaced_only_on_demand(done, folder, tmp_path):
    """An earlier output needs --overwrite, and anything else is never replaced."""
    other = tmp_path / 'mine'
    other.mkdir()
    (other / 'thesis.txt').write_text('all of it')
    with pytest.raises(ValueError, match='is not empty, and no earlier output'):
        curate.curate(folder, other, SETTINGS, overwrite=True)
    with pytest.raises(ValueError, match='--overwrite replaces it'):
        curate.curate(folder, done[0], SETTINGS)
    for bad in (folder, folder / 'below', folder.parent):
        with pytest.raises(ValueError, match='neither in the folder of pictures nor around it'):
            curate.curate(folder, bad, SETTINGS)
    assert (other / 'thesis.txt').read_text() == 'all of it'


def test_overwrite_replaces_all_of_it(tmp_path, hubble):
    """After --overwrite no tile of the earlier run is left."""
    (tmp_path / 'in').mkdir()
    Image.fromarray(hubble[:256, :256]).save(tmp_path / 'in' / 'a.png')
    curate.curate(tmp_path / 'in', tmp_path / 'out', SETTINGS)
    whole = dataclasses.replace(SETTINGS, tile=0, format='jpg')
    curate.curate(tmp_path / 'in', tmp_path / 'out', whole, overwrite=True)
    assert [row['file'] for row in table(tmp_path / 'out' / 'manifest.csv')] == ['train/a.jpg']
    assert [path.name for path in (tmp_path / 'out' / 'train').iterdir()] == ['a.jpg']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out']


def test_an_interrupted_replacement_keeps_the_earlier_output(tmp_path, monkeypatch, hubble):
    """Ctrl-C between the two renames of --overwrite leaves the earlier data set where it was."""
    (tmp_path / 'in').mkdir()
    Image.fromarray(hubble[:256, :256]).save(tmp_path / 'in' / 'a.png')
    curate.curate(tmp_path / 'in', tmp_path / 'out', SETTINGS)
    before = contents(tmp_path / 'out')
    rename, made = os.rename, []

    def interrupted(source, target):
        if Path(target) == tmp_path / 'out' and not made:
            made.append(source)
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(atomic, '_exchange', lambda one, other: False)  # as on systems without it
    monkeypatch.setattr(atomic.os, 'rename', interrupted)
    with pytest.raises(KeyboardInterrupt):
        curate.curate(tmp_path / 'in', tmp_path / 'out', SETTINGS, overwrite=True)
    assert contents(tmp_path / 'out') == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out']


def hostile(root: Path, good: np.ndarray) -> dict[str, str]:
    """Files of every bad or odd kind: name to what the record has to say of it, '' where it is a good picture."""
    image = Image.fromarray(good)
    image.save(root / 'really_png.jpg', format='PNG')
    image.save(root / 'animated.gif', save_all=True, append_images=[image.rotate(90)])
    image.convert('CMYK').save(root / 'cmyk.tif')
    image.convert('RGBA').save(root / 'alpha.png')
    image.quantize(64).save(root / 'palette.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(root / 'turned.png', exif=exif)
    Image.fromarray(good[..., 0].astype(np.uint16) * 257).save(root / 'deep_gray.png')
    header = b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR' + (60000).to_bytes(4, 'big') * 2 + b'\x08\x02\x00\x00\x00'
    (root / 'bomb.png').write_bytes(header + b'\x73\xd6\x50\x2f' + b'\0' * 64)
    (root / 'cut.png').write_bytes((root / 'alpha.png').read_bytes()[:9000])
    (root / 'empty.jpg').write_bytes(b'')
    (root / 'dangling.jpg').symlink_to(root / 'gone.jpg')
    (root / 'around').symlink_to(root)
    os.mkfifo(root / 'pipe.jpg')
    return {
        'bomb.png': 'megapixels|damaged',
        'cut.png': 'damaged',
        'empty.jpg': 'empty',
        'dangling.jpg': 'link that leads to no file',
        'pipe.jpg': 'not a regular file',
        'deep_gray.png': '^colour ',
        **dict.fromkeys(('really_png.jpg', 'animated.gif', 'cmyk.tif', 'alpha.png', 'palette.png', 'turned.png'), ''),
    }


def test_hostile_files_become_rows(tmp_path, hubble):
    """Bombs, stumps, pipes and dead links are named with a reason; odd but good pictures are read."""
    root = tmp_path / 'in'
    root.mkdir()
    expected = hostile(root, hubble[300:500, 300:500])
    settings = dataclasses.replace(SETTINGS, tile=0)
    curate.curate(root, tmp_path / 'out', settings)
    kept = {row['source'] for row in table(tmp_path / 'out' / 'manifest.csv')}
    refused = {row['source']: row for row in table(tmp_path / 'out' / 'refused.csv')}
    assert kept | set(refused) == set(expected)
    for name, words in expected.items():
        if words:
            assert re.search(words, refused[name]['measured']), (name, refused[name])
        elif name in refused:
            assert refused[name]['reason'] == 'duplicate', (name, refused[name])
    assert len(kept) == 1  # all the good ones show the same, the turned one too


def test_a_folder_with_nothing_usable_is_an_error(tmp_path, capsys):
    """The command says what it refused, exits with 1, and writes nothing."""
    (tmp_path / 'in').mkdir()
    Image.new('RGB', (300, 300)).save(tmp_path / 'in' / 'black.png')
    assert cli.main(['curate', str(tmp_path / 'in'), '-o', str(tmp_path / 'out')]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r'error: .*in: none of 1 pictures can be used: 1 ', error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--tile', '7'], 'tile is 7: must be 32 to 8192'),
        (['--test-fraction', '0.6', '--validation-fraction', '0.5'], 'together less than 1'),
        (['--maximum-noise', 'nan'], 'maximum_noise is nan'),
        (['--jobs', '0'], '--jobs is 0'),
        (['--overrides', '/no/such/file'], '/no/such/file: no such file'),
    ],
)
def test_settings_that_make_no_sense(folder, tmp_path, capsys, options, message):
    """One line that names the setting, and status 1."""
    assert cli.main(['curate', str(folder), '-o', str(tmp_path / 'out'), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_the_command_prints_a_summary(folder, tmp_path, capsys):
    """Counts per reason, and where to look."""
    options = ['--tile', '64', '--minimum-size', '128', '--seed', '1']
    assert cli.main(['curate', str(folder), '-o', str(tmp_path / 'out'), *options]) == 0
    printed = capsys.readouterr().out
    assert re.search(r'4 of 9 pictures kept', printed)
    assert re.search(r'2 refused: unreadable', printed)
    assert 'contact_sheet.html' in printed


def test_help_imports_nothing_heavy():
    """`astro-gan --help` answers at once: the thresholds' table needs the standard library only."""
    import subprocess

    code = (
        'import sys; from astro_gan import cli; cli.make_parser().format_help();'
        "print(sorted(set(sys.modules) & {'numpy', 'scipy', 'skimage', 'PIL', 'jax', 'tensorflow'}))"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '[]'


def test_splits_are_stable_and_of_the_asked_size():
    """A new picture moves no old one, the shares are those asked for, and few groups still fill every split."""
    names = [f'picture {n}' for n in range(4000)]
    before = groups.splits(names, 0.1, 0.2, 0)
    after = groups.splits(names + ['one more'], 0.1, 0.2, 0)
    assert all(after[name] == split for name, split in before.items())
    counts = {split: list(before.values()).count(split) for split in ('train', 'validation', 'test')}
    # Three standard deviations of a binomial.
    assert abs(counts['test'] - 400) < 60
    assert abs(counts['validation'] - 800) < 80
    assert groups.splits(names, 0.1, 0.2, 1) != before
    assert sorted(groups.splits(names[:3], 0.1, 0.1, 0).values()) == ['test', 'train', 'validation']
    assert set(groups.splits(names[:3], 0, 0, 0).values()) == {'train'}
    assert groups.splits([], 0.1, 0.1, 0) == {}


def test_coordinates_group_across_zero_hours():
    """Right ascension wraps, and near the pole a degree of it is short: distances are on the sphere."""
    rows = {
        'a': {'ra': '359.99', 'dec': '0'},
        'b': {'ra': '0.02', 'dec': '0'},
        'c': {'ra': '10', 'dec': '89.99'},
        'd': {'ra': '200', 'dec': '89.99'},
        'e': {'ra': '10', 'dec': '0'},
        'f': {'ra': 'unknown', 'dec': ''},
    }
    got = groups.by_sky(list(rows), [], rows, 0.05)
    assert got == {'a': 'a', 'b': 'a', 'c': 'c', 'd': 'c', 'e': 'e', 'f': 'f'}


def test_an_added_picture_moves_no_other(tmp_path):
    """200 pictures in groups, then one that comes first in each and names it anew: all keep their splits."""
    names = [f'{k:03}.png' for k in range(200)]
    rows = {name: {'group': f'g{k // 2}'} for k, name in enumerate(names)}
    first = groups.by_sky(names, [], rows, 0.0)
    before = groups.splits(set(first.values()), 0.1, 0.1, 0)
    earlier = {name: before[first[name]] for name in names}
    more = {f'+{k}.png': {'group': f'g{k}'} for k in range(100)}
    names = sorted([*names, *more])
    second = groups.by_sky(names, [], rows | more, 0.0)
    assert set(second.values()) == set(more)  # every group has another name now
    inherited = {second[name]: split for name, split in earlier.items()}
    after = groups.splits(set(second.values()), 0.1, 0.1, 0, inherited)
    assert [after[second[name]] for name in earlier] == list(earlier.values())
    anew = groups.splits(set(second.values()), 0.1, 0.1, 0)
    assert sum(anew[second[name]] != split for name, split in earlier.items()) > 20  # what inheriting is for


def test_splits_fill_up_beside_inherited_ones():
    """A split that is empty gets one of the new groups; old groups stay where they are."""
    old = {'a': 'train', 'b': 'train', 'c': 'train'}
    assert sorted(groups.splits(['d', 'e', *old], 0.1, 0.1, 0, old).values()) == ['test', *['train'] * 3, 'validation']
    assert groups.splits([*old], 0.1, 0.1, 0, old) == old
    assert groups.splits(['d', *old], 0.0, 0.0, 0, old) == old | {'d': 'train'}


def test_overwrite_keeps_the_splits(tmp_path, folder, hubble):
    """A new picture that comes first in its group moves none; a split that the folder's manifest gives counts too."""
    root, out = tmp_path / 'in', tmp_path / 'out'
    shutil.copytree(folder, root)
    settings = dataclasses.replace(SETTINGS, test_fraction=0.3, validation_fraction=0.3)
    curate.curate(root, out, settings)
    before = {row['source']: row['split'] for row in table(out / 'manifest.csv')}
    assert before.keys() == {'a.png', 'c.png', 'd.png', 'deep er/b.png'}
    assert len(set(before.values())) == 3
    pieces = {'00.png': hubble[300:556, :256], '01.png': hubble[:256, 300:556], '02.png': hubble[300:556, 600:856]}
    for name, pixels in pieces.items():
        Image.fromarray(pixels).save(root / name)
    (root / 'manifest.csv').write_text('file,group,split\na.png,g,\n00.png,g,\n01.png,,val\n02.png,,test\n')
    curate.curate(root, out, settings, overwrite=True)
    rows = table(out / 'manifest.csv')
    after = {row['source']: row['split'] for row in rows}
    assert {row['group'] for row in rows if row['source'] == 'a.png'} == {'00.png'}
    assert after == before | {'00.png': before['a.png'], '01.png': 'validation', '02.png': 'test'}


def test_a_folder_that_fetch_wrote(tmp_path, hubble):
    """Curated without editing: title, place and licence come along, a file that failed is no picture."""
    (tmp_path / 'in').mkdir()
    Image.fromarray(hubble[:256, :256]).save(tmp_path / 'in' / 'a.png')
    row = dict.fromkeys(downloads.COLUMNS, '') | {'file': 'a.png', 'id': 'x1', 'licence': 'CC BY 4.0', 'status': 'ok'}
    rows = [row, row | {'file': 'b.png', 'status': 'failed', 'reason': 'timed out'}]
    write_table(tmp_path / 'in' / 'manifest.csv', downloads.COLUMNS, rows)
    summary = curate.curate(tmp_path / 'in', tmp_path / 'out', SETTINGS)
    assert (summary['pictures'], summary['kept']) == (1, 1)
    assert {(row['id'], row['licence']) for row in table(tmp_path / 'out' / 'manifest.csv')} == {('x1', 'CC BY 4.0')}


def test_a_picture_between_two_splits_is_refused(tmp_path):
    """It would bring the same sky into two splits, or move a picture: it is refused, and says why."""
    matches = [duplicates.Match(0, 1, 9, 0.5, 0.9), duplicates.Match(1, 2, 9, 0.5, 0.9)]
    kept = [Picture('a.png'), Picture('bridge.png'), Picture('c.png')]
    group_of = curate._group(kept, matches, {}, {'a.png': 'train', 'c.png': 'test'}, 0.0)
    assert group_of['a.png'] != group_of['c.png']
    assert [one.refusal and one.refusal.measured for one in kept] == [None, 'shows what is in test and train', None]
    # Where no new picture is at fault the one that was trained on stays.
    kept = [Picture('a.png'), Picture('c.png')]
    curate._group(kept, [duplicates.Match(0, 1, 9, 0.5, 0.9)], {}, {'a.png': 'test', 'c.png': 'train'}, 0.0)
    assert [one.refusal and one.refusal.measured for one in kept] == ['shows what is in train', None]
