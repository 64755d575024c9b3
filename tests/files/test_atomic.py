"""Files and folders appear whole, and what killed processes left is removed."""

import os
import subprocess
import sys

import pytest

from astro_gan.errors import UserError
from astro_gan.files import atomic, hashes, locks, manifest


def names(folder):
    return sorted(os.listdir(folder))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    """A failure on the way leaves the old bytes and no temporary file."""
    target = tmp_path / 'a.json'
    atomic.write(target, 'old')
    with pytest.raises(ZeroDivisionError), atomic.replacing(target) as temporary:
        temporary.write_text(f'half{1 // 0}')
    assert (target.read_text(), names(tmp_path)) == ('old', ['a.json'])
    atomic.write(target, b'new')
    assert (target.read_text(), names(tmp_path)) == ('new', ['a.json'])


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    """The earlier folder is there until the new one is, and gone afterwards; so too without an exchange in one step."""
    target = tmp_path / 'out'
    for content, exchange in (('1', True), ('2', True), ('3', False)):
        with pytest.MonkeyPatch.context() as patch:
            if not exchange:
                patch.setattr(atomic, '_exchange', lambda one, other: False)
            with atomic.replacing_folder(target) as temporary:
                (temporary / content).touch()
        assert (names(target), names(tmp_path)) == ([content], ['out'])
    with pytest.raises(ZeroDivisionError), atomic.replacing_folder(target):
        _ = 1 // 0
    assert (names(target), names(tmp_path)) == (['3'], ['out'])


@pytest.mark.parametrize('name', ['x' * 255, 'ü' * 127, 'a.png'])
def test_temporary_names_fit(tmp_path, name):
    """Whatever the name is, also where its bytes are cut within a character."""
    with atomic.replacing(tmp_path / name, '.png') as temporary:
        assert len(os.fsencode(temporary.name)) <= 255
        assert temporary.name.endswith('.tmp.png')
    assert names(tmp_path) == [name]


def test_what_a_killed_process_left_is_removed(tmp_path):
    """Only that: not the files of living processes, of other machines, nor a user's own."""
    program = (
        'import os, pathlib, sys; from astro_gan.files import atomic\n'
        'folder = pathlib.Path(sys.argv[1])\n'
        'with atomic.replacing(folder / "dead.png", ".png"), atomic.replacing_folder(folder / "dead") as made:\n'
        '    (made / "a").touch(); os._exit(9)\n'
    )
    subprocess.run([sys.executable, '-c', program, tmp_path], check=False)
    assert len(names(tmp_path)) == 2
    for mine in ('.user.tmp', '.m.old', f'.x.00000000-{2**22 + 1}-01234567.tmp'):
        (tmp_path / mine).touch()
    with atomic.replacing(tmp_path / 'living') as living:
        assert atomic.remove_stale(tmp_path) == 2
        assert sorted([living.name, '.user.tmp', '.m.old', mine]) == names(tmp_path)
    assert atomic.remove_stale(tmp_path / 'missing') == 0


def test_a_link_is_not_followed(tmp_path, monkeypatch):
    """A link in the place of a temporary file is an error, and its target stays as it is."""
    (tmp_path / 'victim').write_text('precious')
    (tmp_path / 'link').symlink_to(tmp_path / 'victim')
    monkeypatch.setattr(atomic, 'temporary_path', lambda target, suffix='': tmp_path / 'link')
    with pytest.raises(FileExistsError):
        atomic.write(tmp_path / 'a', 'x')
    assert (tmp_path / 'victim').read_text() == 'precious'


def test_the_hash_of_a_file(tmp_path):
    """FIPS 180-4's example; and one line for what is no file."""
    (tmp_path / 'abc').write_bytes(b'abc')
    expected = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    assert hashes.sha256_of(tmp_path / 'abc') == expected
    with pytest.raises(ValueError, match='not a regular file'):
        hashes.sha256_of(tmp_path)


def test_a_lock_is_held_by_one(tmp_path):
    """The second is told so; after the first has left it gets the lock."""
    program = (
        'import pathlib, sys; from astro_gan.files import locks\n'
        'with locks.only_one(pathlib.Path(sys.argv[1]), "busy"): print("held")\n'
    )
    run = [sys.executable, '-c', program, str(tmp_path / 'lock')]
    with locks.only_one(tmp_path / 'lock', 'busy'):
        assert 'UserError: busy' in subprocess.run(run, capture_output=True, text=True, check=False).stderr
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == 'held\n'


def test_tables_come_back_as_they_were(tmp_path):
    """Quotes, commas, line breaks and non-ASCII; the number is that of a row's last line."""
    rows = [{'file': 'a,"b"\nc.png', 'split': 'train'}, {'file': 'ü.png', 'split': ''}]
    manifest.write_table(tmp_path / 'm.csv', ['file', 'split'], rows)
    columns, read = manifest.read_table(tmp_path / 'm.csv', ['file'])
    assert (columns, read) == (['file', 'split'], [(3, rows[0]), (4, rows[1])])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (b'file\na,b\n', r'm\.csv: line 2: not 1 fields'),
        (b'name\na\n', r'm\.csv: no column file; wanted: file'),
        (b'file\n\xff\n', r'm\.csv: not UTF-8 text'),
        (b'file\n"a', r'm\.csv: not a CSV table'),
        (b'', r'm\.csv: the file is empty'),
    ],
)
def test_bad_tables_are_one_line(tmp_path, text, message):
    """The file, the line, and what is wrong."""
    (tmp_path / 'm.csv').write_bytes(text)
    with pytest.raises(ValueError, match=message):
        manifest.read_table(tmp_path / 'm.csv', ['file'])


@pytest.mark.parametrize('name', ['', '/a', '../a', 'a/../../b', 'a\\b', 'a\0'])
def test_a_manifest_stays_in_its_folder(name):
    """Whatever it names."""
    with pytest.raises(UserError, match=r'line 2: .* is not a path within the folder'):
        manifest.inside(name, 'line 2')
