"""`astro-gan fetch`: the real client against a local server that speaks the archives' formats and faults."""

import csv
import gzip
import hashlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astro_gan import cli
from astro_gan.fetch import archive, downloads, transport
from astro_gan.files.manifest import write_table
from tests.fetch.archive_server import DATASETS, DEC, RA, ArchiveServer, noise, picture, votable

COLUMNS = [
    'file',
    'source',
    'id',
    'title',
    'ra',
    'dec',
    'instrument',
    'filters',
    'page',
    'url',
    'credit',
    'licence',
] + ['sha256', 'bytes', 'width', 'height', 'fetched', 'status', 'reason']


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Short pauses, and no proxy between the client and the local server."""
    monkeypatch.setattr(transport, 'BACKOFF_SECONDS', 0.001)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setenv('no_proxy', '127.0.0.1')


@pytest.fixture
def server():
    """A fresh archive."""
    archive_server = ArchiveServer()
    yield archive_server
    archive_server.close()


@pytest.fixture
def session(impatient):
    """The client's session."""
    with transport.make_session() as opened:
        yield opened


@pytest.fixture
def hla(server, tmp_path):
    """Run `astro-gan fetch hla` against the server, into tmp_path/out."""

    def run(*arguments: str, where: tuple[str, ...] = ('--ra', str(RA), '--dec', str(DEC))) -> int:
        urls = ['--sia-url', f'{server.url}/cgi-bin/hlaSIAP.cgi', '--cutout-url', f'{server.url}/cgi-bin/fitscut.cgi']
        urls += ['--resolver-url', f'{server.url}/sesame/']
        arguments = (*where, *urls, '-o', str(tmp_path / 'out'), '--size', '64', '--timeout', '2', *arguments)
        return cli.main(['fetch', 'hla', *arguments])

    return run


@pytest.fixture
def press(server, tmp_path):
    """Run `astro-gan fetch press` against the server, into tmp_path/out."""

    def run(*arguments: str) -> int:
        options = ['--url', f'{server.url}/images/d2d/', '-o', str(tmp_path / 'out'), '--timeout', '2', *arguments]
        return cli.main(['fetch', 'press', *options])

    return run


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / 'manifest.csv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def left_overs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if '.part' in path.name)


def test_colour_cutout_has_red_of_the_longest_wavelength(hla, server, tmp_path):
    """Filters may be named in any order; each channel has its data set, and the visit that lacks one is out."""
    assert hla('--instrument', 'ACS', '--filters', 'F435W,F814W,F555W') == 0
    (row,) = manifest(tmp_path / 'out')
    pixels = np.asarray(Image.open(tmp_path / 'out' / row['file']))
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels[40, 40].astype(int) - [200, 120, 40]).max() <= 4
    assert list(row) == COLUMNS
    assert row['filters'] == 'F814W,F555W,F435W'
    assert (float(row['ra']), float(row['dec'])) == pytest.approx((RA, DEC))
    assert (row['source'], row['instrument'], row['status'], row['reason']) == ('hla', 'ACS/WFC', 'ok', '')
    assert (row['width'], row['height']) == ('64', '64')
    body = (tmp_path / 'out' / row['file']).read_bytes()
    assert (row['sha256'], row['bytes']) == (hashlib.sha256(body).hexdigest(), str(len(body)))
    assert 'Hubble Legacy Archive' in row['credit']
    assert row['licence']
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00', row['fetched'])


def test_query_of_the_list_service(hla, server):
    """What SIA 1.0 and the archive's page ask for: position, full width in degrees, format, filters."""
    assert hla('--radius', '0.1', '--instrument', 'acs', '--filters', 'f435w,F555W,F814W', '--dry-run') == 0
    ((_, query, headers),) = server.requests
    assert [float(value) for value in query['pos'][0].split(',')] == pytest.approx([RA, DEC])
    assert [float(value) for value in query['size'][0].split(',')] == pytest.approx(
        [0.2] * len(query['size'][0].split(','))
    )
    assert query['format'] == ['image/fits']
    assert query['inst'] == ['ACS']
    assert query['spectral_elt'] == ['F435W,F555W,F814W']
    assert headers['User-Agent'].startswith('astro_gan/')


def test_without_filters_the_broad_ones_are_taken(hla, tmp_path):
    """The long narrow-band exposure and the detection sum are no colours."""
    assert hla() == 0
    assert [row['filters'] for row in manifest(tmp_path / 'out')] == ['F814W,F555W,F435W']


def test_fits_gives_a_file_for_each_filter_on_one_grid(hla, server, tmp_path):
    """FITS cutouts of a field share centre and size, so that they lie on each other."""
    assert hla('--format', 'fits', '--filters', 'F435W,F814W') == 0
    rows = manifest(tmp_path / 'out')
    assert len(rows) == 4  # two visits
    for row in rows:
        with fits.open(tmp_path / 'out' / row['file']) as units:
            level = next(value[3] for name, value in DATASETS.items() if name in row['url'])
            assert units[0].shape == (int(row['height']), int(row['width'])) == (64, 64)
            assert (units[0].data == level).all()
            assert (units[0].header['CRVAL1'], units[0].header['CRVAL2']) == (float(row['ra']), float(row['dec']))


def test_one_filter_gives_a_gray_picture(hla, tmp_path):
    """A single filter is asked for as red alone."""
    assert hla('--filters', 'F814W') == 0
    rows = manifest(tmp_path / 'out')
    assert len(rows) == 2
    assert all('green' not in row['url'] for row in rows)


def test_scale_asks_for_a_larger_piece_of_sky(hla, server):
    """At 0.1 arcsec per pixel 64 pixels are 128 of the archive's 0.05."""
    assert hla('--scale', '0.1') == 0
    (query,) = [query for path, query, _ in server.requests if 'fitscut' in path]
    assert (query['size'], query['output_size']) == (['128'], ['64'])


def test_on_target_centres_on_the_position_and_needs_it_covered(hla, server, tmp_path):
    """A galaxy stays in the middle; the visit 3 arcmin north of it does not show it."""
    position = ('--ra', str(RA + 0.01), '--dec', str(DEC - 0.01))
    assert hla('--on-target', '--filters', 'F814W', where=position) == 0
    (row,) = manifest(tmp_path / 'out')
    assert (float(row['ra']), float(row['dec'])) == pytest.approx((RA + 0.01, DEC - 0.01), abs=1e-6)
    (query,) = [query for path, query, _ in server.requests if 'fitscut' in path]
    assert float(query['ra'][0]) == pytest.approx(RA + 0.01, abs=1e-6)


def test_object_is_resolved(hla, server, capsys):
    """A name leads to the position that Sesame gives."""
    assert hla('--dry-run', where=('--object', 'M101')) == 0
    assert 'would fetch 1 files' in capsys.readouterr().out
    (query,) = [query for path, query, _ in server.requests if 'SIAP' in path]
    assert [float(value) for value in query['pos'][0].split(',')] == pytest.approx([RA, DEC])


@pytest.mark.parametrize(
    'text',
    [
        '# my galaxies\n210.80227 54.34895  # M101\n\nM101\n14:03:12.545 +54:20:56.22\n',
        'name,note\nM101,"nice, large"\nM101,again\nM101,\n',
        '\ufeffDec,RA\n54.34895,210.80227\n54.34895,210.80227\n+54.34895,210.80227\n',
        '210.80227,54.34895\n14h03m12.545s,+54d20m56.22s\n210.80227\t54.34895',
    ],
)
def test_positions_file(hla, server, tmp_path, text):
    """Plain text and CSV, degrees, sexagesimal and names, with comments; one field found three times is one file."""
    (tmp_path / 'positions.txt').write_text(text, encoding='utf-8')
    assert hla(where=('--positions', str(tmp_path / 'positions.txt'))) == 0
    listed = [query['pos'][0].split(',') for path, query, _ in server.requests if 'SIAP' in path]
    assert np.array(listed, float) == pytest.approx(np.array([[RA, DEC]] * 3), abs=1e-5)
    assert len(manifest(tmp_path / 'out')) == 1


def test_bad_line_of_a_positions_file_does_not_stop_the_others(hla, tmp_path, capsys):
    """What could not be searched is named with its line, and shows in the exit status."""
    (tmp_path / 'positions.txt').write_text('nowhere\n400 10\n210.80227 54.34895\n')
    assert hla(where=('--positions', str(tmp_path / 'positions.txt'))) == 1
    said = capsys.readouterr().err
    assert "line 1: the name resolver does not know 'nowhere'" in said
    assert 'line 2: 400 10: wanted ra from 0 to 360' in said
    assert len(manifest(tmp_path / 'out')) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--filters', 'F814W,F435W'), 'one filter \\(gray\\) or three \\(colour\\), not 2'),
        (('--filters', 'red'), "'RED' is not a filter of Hubble"),
        (('--instrument', 'JWST'), "'JWST' is not one of ACS"),
        (('--radius', '9'), '--radius 9: wanted'),
        (('--size', '1'), '--size 1: wanted'),
        (('--jobs', '99'), '--jobs 99: wanted 1 to 8'),
        (('--max', '0'), '--max 0: wanted'),
        (('--object', 'M101'), 'say where: either'),
        (('--sia-url', 'file:///etc/passwd'), 'wanted an address with http'),
        (('--dec', '95'), 'wanted ra from 0 to 360 and dec from -90 to 90'),
        (('--ra', 'nan'), 'wanted ra from 0 to 360 and dec from -90 to 90'),
        (('--ra', '10', '--dec', '10'), 'nothing that matches'),
    ],
)
def test_bad_settings_give_one_line(hla, tmp_path, capsys, arguments, message):
    """A mistake is named before anything is written."""
    assert hla(*arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        (votable('', 'ERROR', 'POS is malformed'), 'refuses the query: POS is malformed'),
        (b'<html><body>Down for <b>maintenance</b></body></html>', "a web page .*: 'Down for maintenance'"),
        (b'\x00\x01nonsense', 'not a VOTable'),
        (votable('<TR><TD>x').replace(b'Dataset', b'Other'), 'not a VOTable|no column dataset'),
        (votable('<TR>' + '<TD>1</TD>' * 14 + '</TR>').replace(b'Dataset', b'Other'), 'no column dataset'),
        (votable(''), 'nothing that matches'),
    ],
)
def test_odd_answers_of_the_list_service(hla, server, capsys, answer, message):
    """Whatever the service says in place of a list is told in one line."""
    server.sia_answer = answer
    assert hla() == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line)


def test_overflow_is_said(hla, server, capsys):
    """A list that the archive cut short is not taken for all there is."""
    server.sia_answer = votable('', 'OVERFLOW')
    assert hla() == 1
    assert 'lists the first 0 images only' in capsys.readouterr().err


@pytest.mark.parametrize('fault', [404, 'hang'])
def test_list_service_that_fails(hla, server, tmp_path, capsys, fault):
    """No list: one line and no folder."""
    server.faults['/cgi-bin/hlaSIAP.cgi'] = [fault] * 9
    assert hla('--timeout', '0.1') == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f'error: {server.url}')
    assert {404: '404', 'hang': 'no answer in time'}[fault] in line
    assert not (tmp_path / 'out').exists()


def test_refused_connection_is_named(tmp_path, capsys):
    """A server that is not there is told from one that is slow, in words that a user can act on."""
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{unused.getsockname()[1]}/images/d2d/'
        assert cli.main(['fetch', 'press', '--url', url, '-o', str(tmp_path / 'out')]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f'error: {url}: ')
    assert 'refused' in said
    assert 'object at' not in said
    assert len(said) < len(url) + 100


def test_wavelengths_and_fields():
    """Infrared filters count in hundredths of a micrometre, and two pointings of a visit are two fields."""

    def image(name: str, detector: str, ra: float = 10.0, exposure: float = 1.0) -> archive.Observation:
        return archive.Observation(f'hst_1_01_x_{name.lower()}', name, detector, ra, 0.0, 0.05, 4000, exposure, '')

    assert image('F160W', 'WFC3/IR').wavelength == 1600
    assert image('F110W', 'NICMOS/NIC2').wavelength == 1100
    assert image('F1042M', 'WFPC2').wavelength == 1042
    assert image('F850LP', 'ACS/WFC').wavelength == 850
    east = image('F435W', 'ACS/WFC', ra=10.1)
    seam = [image('F814W', 'ACS/WFC', ra=359.9999), image('F435W', 'ACS/WFC', ra=0.0001)]
    assert [len(field.images) for field in archive.group_fields([image('F814W', 'ACS/WFC'), east])] == [1, 1]
    assert [len(field.images) for field in archive.group_fields(seam)] == [2]
    deep = image('F814W', 'ACS/WFC', exposure=9.0)
    (field,) = archive.group_fields([image('F814W', 'ACS/WFC'), deep])
    assert field.images['F814W'] is deep


def test_press_images_with_credit_and_licence(press, server, tmp_path):
    """All pages are read, and the manifest keeps what the licence asks for."""
    for name in ('heic0602a', 'heic0506a', 'potw1234a'):
        server.add_press(name, noise(len(name)))
    assert press('--query', 'Spiral dust') == 0
    rows = {row['id']: row for row in manifest(tmp_path / 'out')}
    assert set(rows) == {'heic0602a', 'heic0506a', 'potw1234a'}
    row = rows['heic0602a']
    assert row['file'] == 'heic0602a_large.jpg'
    assert row['title'] == 'A galaxy called heic0602a'
    assert row['credit'] == 'NASA, ESA & A. Astronomer'
    assert row['licence'] == 'CC BY 4.0'
    assert row['page'] == 'https://esahubble.org/images/heic0602a/'
    assert (row['ra'], row['dec']) == (f'{RA:.6f}', f'{DEC:.6f}')
    assert (row['instrument'], row['filters']) == ('Hubble Space Telescope, ACS, WFPC2', 'B, V, I')
    assert (row['width'], row['height']) == ('300', '300')


def test_press_selection(press, server, tmp_path):
    """Words that do not occur, artwork, and entries without the wanted size or damaged are left out."""
    server.page_size = 100
    server.add_press('chart', noise(1))['Assets'][0].pop('ObservationData')
    server.add_press('planet', noise(2), Title='Jupiter', Description='A planet', Subject={})
    server.add_press('large_less', noise(3))['Assets'][0]['Resources'].pop()
    server.feed += [None, 7, {'ID': 'x'}, {'Assets': []}]
    server.add_press('first', noise(4))
    server.add_press(
        'second', noise(5), Rights='All rights reserved', Credit="b'ESO/A. N. Other'", Subject={'Name': []}
    )
    assert press('--query', 'GALAXY') == 0
    rows = {row['id']: row for row in manifest(tmp_path / 'out')}
    assert set(rows) == {'first', 'second'}
    assert (rows['second']['licence'], rows['second']['credit']) == ('All rights reserved', 'ESO/A. N. Other')
    assert press('--every-kind', '--max', '1') == 0
    assert 'chart' in {row['id'] for row in manifest(tmp_path / 'out')}


def test_press_positions_that_cannot_be_trusted_are_empty(press, server, tmp_path):
    """Galactic coordinates, nulls and numbers out of range are not equatorial degrees."""
    odd = [
        {'CoordinateFrame': 'GAL'},
        {'Equinox': 'B1950'},
        {'ReferenceValue': [None, None]},
        {'ReferenceValue': [10, 95]},
    ]
    for number, spatial in enumerate(odd):
        observation = server.add_press(f'image{number}', picture((9, 9, 9), 64))['Assets'][0]['ObservationData']
        observation['Spatial'] = observation['Spatial'] | spatial
    assert press() == 0
    assert {(row['ra'], row['dec']) for row in manifest(tmp_path / 'out')} == {('', '')}


def test_remote_ids_cannot_leave_the_folder(press, server, tmp_path):
    """A hostile id becomes a plain file name, and two that look alike stay two files."""
    for name in ('../../evil', '..\\evil', '.evil', 'a/b', 'a_b', '\x1b[31mred', 'é' * 300):
        server.add_press(name, picture((9, 9, 9), 64))
    assert press() == 0
    files = [row['file'] for row in manifest(tmp_path / 'out')]
    assert len(set(files)) == 7
    assert all(re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9._+-]*', file) for file in files)
    assert all((tmp_path / 'out' / file).is_file() for file in files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out']


@pytest.mark.parametrize(
    ('body', 'message'),
    [
        (b'{"Count": 0}', 'not a feed of images'),
        (b'[' * 100_000, 'not a feed of images'),
        (b'<html>gone</html>', "a web page in place of a feed: 'gone'"),
    ],
)
def test_answers_that_are_no_feed(server, tmp_path, capsys, body, message):
    """One line says what came instead."""
    server.files['/other/'] = body
    assert cli.main(['fetch', 'press', '--url', f'{server.url}/other/', '-o', str(tmp_path / 'out')]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_feed_does_not_lead_elsewhere_or_in_circles(press, server, capsys):
    """The next page is of the same site and new."""
    server.add_press('a', noise(1))
    server.next_link = 'http://other.example/images/d2d/'
    assert press() == 1
    assert 'goes on at another site, other.example' in capsys.readouterr().err
    server.next_link = '/images/d2d/'
    assert press() == 1
    assert 'round in a circle' in capsys.readouterr().err


def test_dry_run_writes_nothing(press, server, tmp_path, capsys):
    """It lists and counts, asks for no image, and makes no folder."""
    body = noise(1)
    server.add_press('heic0602a', body)
    assert press('--dry-run') == 0
    said = capsys.readouterr().out
    assert 'heic0602a_large.jpg  A galaxy called heic0602a' in said
    assert f'would fetch 1 files into {tmp_path / "out"}, {len(body) / 1e6:.1f} MB' in said
    assert {path for path, _, _ in server.requests} == {'/images/d2d/'}
    assert not (tmp_path / 'out').exists()


def test_same_run_again_downloads_nothing(press, server, tmp_path, capsys):
    """Finished files are checked and kept, and the manifest keeps its bytes; a changed one is fetched again."""
    server.add_press('one', noise(1))
    server.add_press('two', noise(2))
    assert press() == 0
    before = (tmp_path / 'out' / 'manifest.csv').read_bytes()
    assert press() == 0
    assert '0 fetched, 2 already there' in capsys.readouterr().out
    assert (tmp_path / 'out' / 'manifest.csv').read_bytes() == before
    assert [len(server.asked(f'/archives/images/large/{number}.jpg')) for number in (0, 1)] == [1, 1]
    (tmp_path / 'out' / 'one_large.jpg').write_bytes(noise(9))
    (tmp_path / 'out' / 'two_large.jpg').unlink()
    assert press() == 0
    assert (tmp_path / 'out' / 'one_large.jpg').read_bytes() == noise(1)
    assert (tmp_path / 'out' / 'two_large.jpg').read_bytes() == noise(2)


def test_broken_connection_continues_where_it_broke(press, server, tmp_path):
    """The rest is asked for by Range with If-Range, and the whole is what the server has."""
    body = noise(1)
    server.add_press('one', body)
    server.faults['/archives/images/large/0.jpg'] = ['truncate']
    assert press() == 0
    first, second = server.asked('/archives/images/large/0.jpg')
    assert 'Range' not in first
    start = int(second['Range'].removeprefix('bytes=').removesuffix('-'))
    assert len(body) // 2 - 8192 <= start <= len(body) // 2
    assert second['If-Range']
    assert (tmp_path / 'out' / 'one_large.jpg').read_bytes() == body
    assert left_overs(tmp_path / 'out') == []


@pytest.mark.parametrize('lacking', ['ranges', 'etags'])
def test_server_without_ranges_or_validators_starts_again(press, server, tmp_path, lacking):
    """Nothing is glued together that may not belong together."""
    setattr(server, lacking, False)
    server.add_press('one', noise(1))
    server.faults['/archives/images/large/0.jpg'] = ['truncate']
    assert press() == 0
    assert (tmp_path / 'out' / 'one_large.jpg').read_bytes() == noise(1)
    assert ('Range' in server.asked('/archives/images/large/0.jpg')[1]) == (lacking == 'ranges')


def test_file_that_changed_meanwhile_is_not_mixed(press, server, tmp_path):
    """The half of an old version is given up when the server has a new one."""
    server.add_press('one', noise(1))
    server.faults['/archives/images/large/0.jpg'] = ['truncate'] * 2 * transport.TRIES
    assert press() == 1
    assert left_overs(tmp_path / 'out') == ['.one_large.jpg.part', '.one_large.jpg.part.json']
    server.faults.clear()
    server.files['/archives/images/large/0.jpg'] = noise(2)
    assert press() == 0
    assert (tmp_path / 'out' / 'one_large.jpg').read_bytes() == noise(2)


def test_part_that_is_already_whole_is_not_a_dead_end(press, server, tmp_path):
    """A kill between the last byte and the new name: the server answers 416, and the file comes again."""
    server.add_press('one', noise(1))
    assert press() == 0
    out = tmp_path / 'out'
    (out / 'one_large.jpg').rename(out / '.one_large.jpg.part')
    url = f'{server.url}/archives/images/large/0.jpg'
    with transport.make_session() as session:
        tag = session.get(url).headers['ETag']
    (out / '.one_large.jpg.part.json').write_text(json.dumps({'url': url, 'validator': tag}))
    (out / 'manifest.csv').unlink()
    assert press() == 0
    assert (out / 'one_large.jpg').read_bytes() == noise(1)
    assert left_overs(out) == []


@pytest.mark.parametrize(
    ('faults', 'status', 'reason'),
    [
        ([503, 503], 'ok', ''),
        ([503] * 9, 'failed', 'HTTP 503 Service Unavailable'),
        ([404], 'failed', 'HTTP 404 Not Found'),
        (['html'], 'failed', "a web page in place of an image: 'Error fitscut failed No such image'"),
        (['truncate'] * 9, 'failed', 'broken off 5 times'),
        (['hang'] * 9, 'failed', 'no answer in time'),
    ],
)
def test_faults_of_the_cutout_service(hla, server, tmp_path, capsys, faults, status, reason):
    """What passes is retried; what does not is a failed row with its reason, exit status 1, and no file."""
    server.faults['/cgi-bin/fitscut.cgi'] = faults
    assert hla('--timeout', '0.2' if 'hang' in faults else '5') == (status != 'ok')
    (row,) = manifest(tmp_path / 'out')
    assert row['status'] == status
    assert reason in row['reason']
    assert (tmp_path / 'out' / row['file']).exists() == (status == 'ok')
    assert not row['sha256'] or status == 'ok'
    server.faults.clear()
    assert hla() == 0  # the next run tries again
    assert [row['status'] for row in manifest(tmp_path / 'out')] == ['ok']


def fits_bytes() -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(np.zeros((64, 64), np.float32)).writeto(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ('name', 'body', 'reason'),
    [
        ('a.jpg', b'hello', 'not a JPEG'),
        ('a.jpg', b'', 'empty'),
        ('a.jpg', noise(1)[:-500], 'damaged'),
        ('a.jpg', b'  <!DOCTYPE html><body>Sorry</body>', "a web page in place of an image: 'Sorry'"),
        ('a.fits', fits_bytes()[:-2880], 'the end of the FITS file is missing'),
        ('a.fits', fits_bytes()[:80], 'FITS'),
        ('a.fits', noise(1), 'not a FITS file'),
        ('a.fits', b'SIMPLE  =' + b'\xff' * 5000, 'FITS'),
        ('a.jpg', b'\xff' * 2_000_000, '2 MB, more than the limit of 1 MB'),
    ],
)
def test_content_is_checked(server, session, tmp_path, name, body, reason):
    """Only whole images of a bearable size get a name, whatever the server calls them."""
    server.files['/file'] = body
    item = downloads.Item(name, f'{server.url}/file', 'test', 'a')
    counts = downloads.fetch(
        [item], tmp_path, session=session, limits=transport.Limits(file_bytes=1_000_000), log=lambda line: None
    )
    assert counts == {'fetched': 0, 'kept': 0, 'failed': 1}
    assert reason in manifest(tmp_path)[0]['reason']
    assert str(tmp_path) not in manifest(tmp_path)[0]['reason']
    assert not (tmp_path / name).exists()
    assert left_overs(tmp_path) == []


@pytest.mark.parametrize(
    ('body', 'reason'), [(b'\xff' * 2_000_000, 'more than the limit of 1 MB'), (noise(1)[:50_000], 'damaged')]
)
def test_content_is_checked_where_no_length_is_announced(server, session, tmp_path, body, reason):
    """Some programs say only by the end of the connection that all is sent, which a broken one looks like too."""
    server.lengths = False
    server.files['/file'] = body
    item = downloads.Item('a.jpg', f'{server.url}/file', 'test', 'a')
    downloads.fetch(
        [item], tmp_path, session=session, limits=transport.Limits(file_bytes=1_000_000), log=lambda line: None
    )
    assert reason in manifest(tmp_path)[0]['reason']
    assert sorted(path.name for path in tmp_path.iterdir()) in (['manifest.csv'], ['.fetch.lock', 'manifest.csv'])


def test_real_images_come_through(server, session, tmp_path, real_data):
    """Press images and a Hubble frame, with the headers that the archives write, are taken byte for byte."""
    with (real_data / 'hubble' / 'manifest.csv').open(newline='') as file:
        known = list(csv.DictReader(file))[:3]
    items = []
    for row in known:
        server.files[f'/{row["id"]}'] = (real_data / 'hubble' / row['file']).read_bytes()
        items.append(downloads.Item(f'{row["id"]}.jpg', f'{server.url}/{row["id"]}', 'test', row['id']))
    frame = gzip.decompress((real_data / 'fits' / 'u12517j.fits.gz').read_bytes())
    server.files['/frame'] = frame
    items.append(downloads.Item('frame.fits', f'{server.url}/frame', 'test', 'frame'))
    assert downloads.fetch(items, tmp_path, session=session) == {'fetched': 4, 'kept': 0, 'failed': 0}
    rows = {row['id']: row for row in manifest(tmp_path)}
    assert [rows[row['id']]['sha256'] for row in known] == [row['sha256'] for row in known]
    assert [rows[row['id']]['width'] for row in known] == [row['width'] for row in known]
    assert (rows['frame']['height'], rows['frame']['width']) == ('1022', '1025')
    assert rows['frame']['sha256'] == hashlib.sha256(frame).hexdigest()


def test_announced_size_over_the_limit_is_not_even_asked_for(press, server, tmp_path):
    """The feed says that an image is too large: no request for it."""
    server.add_press('huge', noise(1))['Assets'][0]['Resources'][1]['FileSize'] = 2_000_000_000
    assert press() == 1
    assert 'announced as 2000 MB' in manifest(tmp_path / 'out')[0]['reason']
    assert server.asked('/archives/images/large/0.jpg') == []


def test_manifest_of_others_is_left_alone(press, server, tmp_path, capsys):
    """A folder with another kind of manifest is refused, untouched; columns that others add are kept."""
    server.add_press('one', noise(1))
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'manifest.csv').write_text('file,split\na.jpg,train\n')
    assert press() == 1
    assert 'not a manifest of astro-gan fetch' in capsys.readouterr().err
    assert (tmp_path / 'out' / 'manifest.csv').read_text() == 'file,split\na.jpg,train\n'
    row = dict.fromkeys(COLUMNS, '') | {'file': 'b.jpg', 'status': 'ok', 'note': 'mine, "quoted"'}
    write_table(tmp_path / 'out' / 'manifest.csv', [*COLUMNS, 'note'], [row])
    assert press() == 0
    assert [row['note'] for row in manifest(tmp_path / 'out')] == ['mine, "quoted"', '']


def test_two_runs_do_not_write_into_one_folder(server, session, tmp_path):
    """The second is told so, and the first goes on."""
    import filelock

    item = downloads.Item('a.jpg', f'{server.url}/file', 'test', 'a')
    with (
        filelock.FileLock(tmp_path / '.fetch.lock', is_singleton=False),
        pytest.raises(ValueError, match='another fetch is writing there'),
    ):
        downloads.fetch([item], tmp_path, session=session)


def test_full_disk_ends_the_run(server, session, tmp_path, monkeypatch):
    """A folder that cannot be written is an error of the run, not of each of a thousand images."""
    server.files['/file'] = noise(1)
    items = [downloads.Item(f'{number}.jpg', f'{server.url}/file', 'test', 'a') for number in range(20)]

    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'open', full)
    with pytest.raises(OSError, match='No space left'):
        downloads.fetch(items, tmp_path, session=session)
    assert len(server.requests) <= 4


def test_interruption_lists_what_was_finished_meanwhile(server, session, tmp_path):
    """At Ctrl-C no file is left without its row, so the next run does not fetch it again."""
    server.files['/file'] = noise(1)
    items = [downloads.Item('missing.jpg', f'{server.url}/gone', 'test', 'a')]
    items += [downloads.Item(f'{number}.jpg', f'{server.url}/file', 'test', 'a') for number in range(3)]

    def interrupted(line: str) -> None:
        time.sleep(0.5)  # the others finish
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloads.fetch(items, tmp_path, session=session, log=interrupted)
    assert {row['file'] for row in manifest(tmp_path) if row['status'] == 'ok'} == {'0.jpg', '1.jpg', '2.jpg'}
    counts = downloads.fetch(items[1:], tmp_path, session=session)
    assert counts == {'fetched': 0, 'kept': 3, 'failed': 0}


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_killed_run_continues(server, press, tmp_path, how):
    """After kill -9 or Ctrl-C the finished file is kept, and the other goes on from where it was."""
    server.add_press('done', noise(1))
    body = noise(2, 600)
    server.add_press('half', body)
    server.faults['/archives/images/large/1.jpg'] = ['drip']
    command = [sys.executable, '-m', 'astro_gan', 'fetch', 'press', '--url', f'{server.url}/images/d2d/']
    process = subprocess.Popen([*command, '-o', str(tmp_path / 'out')], stderr=subprocess.PIPE, text=True)
    part = tmp_path / 'out' / '.half_large.jpg.part'
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size and (tmp_path / 'out' / 'manifest.csv').exists()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate(timeout=10)
    assert process.returncode == (130 if how == signal.SIGINT else -9)
    assert 'Traceback' not in said
    received = part.stat().st_size
    assert 0 < received < len(body)
    assert press() == 0
    assert server.asked('/archives/images/large/1.jpg')[1]['Range'] == f'bytes={received}-'
    assert len(server.asked('/archives/images/large/0.jpg')) == 1
    assert (tmp_path / 'out' / 'half_large.jpg').read_bytes() == body
    assert left_overs(tmp_path / 'out') == []


def test_help_does_not_import_the_heavy_libraries():
    """`--help` answers at once."""
    heavy = ['numpy', 'astropy', 'requests', 'pyvo', 'tqdm']
    code = f'import sys; from astro_gan.commands import fetch; print([name for name in {heavy} if name in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'
