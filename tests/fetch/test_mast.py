"""`astro-gan fetch mast`: astroquery's query and our downloads against a local portal."""

import csv

import pytest

from astro_gan import cli
from astro_gan.fetch import texts, transport
from tests.fetch.archive_server import DEC, OBSERVATION, PRODUCT, RA, ArchiveServer, frame


@pytest.fixture
def server(monkeypatch):
    """A fresh archive."""
    monkeypatch.setattr(transport, 'BACKOFF_SECONDS', 0.001)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    opened = ArchiveServer()
    yield opened
    opened.close()


@pytest.fixture
def mast(server, tmp_path):
    """Run `astro-gan fetch mast` against the server, into tmp_path/out."""

    def run(*arguments: str, first: tuple[str, ...] = ()) -> int:
        where = ['--ra', str(RA), '--dec', str(DEC), '--url', server.url, '-o', str(tmp_path / 'out')]
        return cli.main([*first, 'fetch', 'mast', *where, '--timeout', '2', *arguments])

    return run


def test_drizzled_frames_by_position(mast, server, tmp_path):
    """The query has position, mission, level and rights; the frame comes whole, with what the archive says of it."""
    server.products += [
        PRODUCT | {'productFilename': 'jcdm14010_flc.fits', 'productSubGroupDescription': 'FLC'},
        PRODUCT | {'productFilename': 'jcdm14010_drc.jpg'},
        PRODUCT | {'productFilename': 'mine_drc.fits', 'dataRights': 'EXCLUSIVE_ACCESS'},
        PRODUCT | {'productFilename': 'single_drc.fits', 'calib_level': 2},
        PRODUCT | {'productFilename': 'other_drc.fits', 'obsID': 1},
    ]
    assert mast('--filters', 'f814w', '--mission', 'HST', '--radius', '0.05') == 0
    observations, products = server.asked_portal
    assert observations['service'] == 'Mast.Caom.Filtered.Position'
    assert [float(part) for part in observations['params']['position'].split(',')] == pytest.approx([RA, DEC, 0.05])
    filters = {entry['paramName']: entry['values'] for entry in observations['params']['filters']}
    assert filters['obs_collection'] == ['HST']
    assert filters['filters'] == ['F814W']
    assert (filters['dataRights'], filters['calib_level']) == (['PUBLIC'], ['3', '4'])
    assert (products['service'], products['params']) == ('Mast.Caom.Products', {'obsid': '26604471'})
    with (tmp_path / 'out' / 'manifest.csv').open(newline='') as file:
        (row,) = csv.DictReader(file)
    assert (tmp_path / 'out' / row['file']).read_bytes() == frame()
    assert (row['file'], row['status']) == ('jcdm14010_drc.fits', 'ok')
    assert (row['instrument'], row['filters'], row['title']) == ('HST ACS/WFC', 'F814W', 'NGC5457')
    assert (float(row['ra']), float(row['dec'])) == pytest.approx((RA, DEC), abs=1e-6)
    assert (row['width'], row['height']) == ('50', '60')
    assert 'Hubble Space Telescope' in row['credit']
    assert mast('--filters', 'f814w') == 0  # nothing is asked for twice
    assert len(server.asked('/api/v0.1/Download/file')) == 1


def test_broken_frame_goes_on(mast, server, tmp_path):
    """Frames are large: the rest is asked for with If-Range."""
    server.faults['/api/v0.1/Download/file'] = ['truncate']
    assert mast() == 0
    assert [bool(headers.get('If-Range')) for headers in server.asked('/api/v0.1/Download/file')] == [False, True]
    assert (tmp_path / 'out' / 'jcdm14010_drc.fits').read_bytes() == frame()


@pytest.mark.parametrize(
    ('arguments', 'observation', 'message'),
    [
        (('--mission', 'SDSS'), {}, "'SDSS' is not one of HST, JWST"),
        (('--instrument', 'NIRCAM'), {}, 'nothing that matches'),
        (('--object', 'M101'), {}, 'say where: either'),
        ((), {'obsid': 10**400}, 'nothing that matches'),
        ((), {'obsid': None}, 'nothing that matches'),
    ],
)
def test_mistakes_and_odd_rows_give_one_line(mast, server, capsys, arguments, observation, message):
    """Neither a mistake nor a row without sense ends in a traceback."""
    server.observations = [OBSERVATION | observation]
    assert mast(*arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


@pytest.mark.parametrize('body', [b'<html>down</html>', b'{"status": "ERROR", "msg": "no\x1b[2J"}', b'[1]', b'{}'])
def test_answers_that_are_no_table(mast, server, capsys, body):
    """One line names the archive and holds no terminal codes."""
    server.portal_answer = body
    assert mast() == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f'error: {server.url}')
    assert line.isprintable()


def test_debug_says_what_was_asked_and_answered(mast, server, capsys):
    """A first user's report has addresses, status, type, size and first line, and no key."""
    assert mast('--dry-run', '--resolver-url', f'{server.url}/sesame/', first=('--debug',)) == 0
    said = capsys.readouterr().err
    assert f'asked: POST {server.url}/api/v0/invoke' in said
    assert 'answered: HTTP 200 OK, application/json, ' in said
    assert 'received: ' in said
    assert '{"status": "COMPLETE"' in said
    assert texts.without_secrets('http://me:pw@a.example/x?token=abc&q=1') == 'http://a.example/x?token=%2A%2A%2A&q=1'
