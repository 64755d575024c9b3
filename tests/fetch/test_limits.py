"""What servers can do to `astro-gan fetch`: each fault ends in a result or one line, and soon."""

import contextlib
import csv
import json
import re
import time

import pytest
import requests

from astro_gan import cli
from astro_gan.errors import UserError
from astro_gan.fetch import archive, downloads, lists, press, transport
from astro_gan.files.manifest import read_table
from tests.campaigns import servers
from tests.campaigns.hostile import one_by_one, pieces, send
from tests.fetch.archive_server import ArchiveServer, noise, votable

IMAGE = '/archives/images/large/0.jpg'
QUICK = transport.Limits(timeout=2, answer_seconds=0.4, list_seconds=1, file_seconds=0.4, longest_pause=0.5)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Short pauses, and no proxy between the client and the local server."""
    monkeypatch.setattr(transport, 'BACKOFF_SECONDS', 0.001)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setenv('no_proxy', '127.0.0.1')


@pytest.fixture
def server():
    """An archive that shows the faults of `answers`: by path, what answers in place of it."""
    with contextlib.closing(ArchiveServer()) as opened:
        opened.answers = {}

        def sabotage(handler, path, body, kind):
            if path not in opened.answers:
                return False
            handler.close_connection = True
            with contextlib.suppress(OSError):
                opened.answers[path](handler, body)
            return True

        opened.sabotage = sabotage
        yield opened


@pytest.fixture
def other():
    """Another host."""
    with contextlib.closing(ArchiveServer()) as opened:
        yield opened


@pytest.fixture
def session(impatient):
    with transport.make_session() as opened:
        yield opened


def fetched(server, session, folder, limits=QUICK) -> dict[str, str]:
    """The manifest's row of one file of the server."""
    server.files.setdefault(IMAGE, noise(1))
    item = downloads.Item('a.jpg', server.url + IMAGE, 'test', 'a')
    began = time.monotonic()
    downloads.fetch([item], folder, session=session, limits=limits, log=lambda line: None)
    assert time.monotonic() - began < 10
    with (folder / 'manifest.csv').open(newline='') as file:
        return next(csv.DictReader(file))


def drip(handler, body):
    send(handler, b'', 'image/jpeg', Content_Length=len(body), ETag='"1"')
    pieces(handler, one_by_one(body), 0.02)


def drip_headers(handler, body):
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nX: ')
    pieces(handler, one_by_one(b'a'), 0.02)


@pytest.mark.parametrize('slow', [drip, drip_headers])
def test_bytes_that_drip_have_a_deadline(server, session, tmp_path, slow):
    """A byte now and then keeps neither a file nor a list going; what has come of a file stays for the next run."""
    server.answers = {IMAGE: slow, '/images/d2d/': slow}
    row = fetched(server, session, tmp_path)
    assert row['status'] == 'failed'
    assert row['reason'] == 'not whole after 0.4 s (--file-time); the next run goes on where it can'
    assert (tmp_path / '.a.jpg.part').exists() == (slow is drip)
    with pytest.raises(UserError, match=r'not whole after 0\.4 s|no answer in time'):
        press.list_images(session, url=f'{server.url}/images/d2d/', limits=QUICK)
    server.answers = {}
    assert fetched(server, session, tmp_path)['status'] == 'ok'
    assert (tmp_path / 'a.jpg').read_bytes() == noise(1)


def test_an_end_that_is_a_deadline_is_no_end(server, session, tmp_path):
    """Without an announced length a cut connection looks like the end of the file: it is not taken for it."""

    def half(handler, body):
        send(handler, body, 'image/jpeg', Content_Length=None)
        handler.archive.ending.wait(5)

    server.answers = {IMAGE: half}
    assert fetched(server, session, tmp_path)['reason'].startswith('not whole after 0.4 s')


@pytest.mark.parametrize(
    ('pause', 'reason'),
    [
        ('31536000', 'HTTP 429: the server asks to wait 3.15e+07 s, longer than 0.5 (--wait); try again later'),
        ('9' * 5000, 'HTTP 429: the server asks to wait 1e+18 s, longer than 0.5 (--wait); try again later'),
        ('Fri, 31 Dec 2100 23:59:59 GMT', 'longer than 0.5 (--wait); try again later'),
        ('-5', 'HTTP 429 Busy'),
        ('Mon, 01 Jan 2001 00:00:00 GMT', 'HTTP 429 Busy'),
        ('soon', 'HTTP 429 Busy'),
    ],
)
def test_a_pause_is_kept_or_the_server_is_left_alone(server, session, tmp_path, pause, reason):
    """A year is not waited for, nor shortened; a past date and nonsense count as none."""
    server.answers = {IMAGE: lambda handler, body: send(handler, b'', status='429 Busy', Retry_After=pause)}
    limits = transport.Limits(longest_pause=0.5)
    assert fetched(server, session, tmp_path, limits)['reason'].endswith(reason)
    assert len(server.requests) == (1 if '--wait' in reason else transport.TRIES)


def test_a_short_pause_is_waited_for(server, session, tmp_path):
    """A second that the server asks for passes before the next try."""
    times = []

    def busy(handler, body):
        times.append(time.monotonic())
        if len(times) == 2:
            server.answers = {}
        send(handler, body, 'image/jpeg', *(['503 Busy'] if len(times) == 1 else []), Retry_After=1)

    server.answers = {IMAGE: busy}
    limits = transport.Limits(longest_pause=2, file_seconds=5)
    assert fetched(server, session, tmp_path, limits)['status'] == 'ok'
    assert times[1] - times[0] >= 1


def test_redirects_stay_on_the_host_unless_allowed(server, other, session, tmp_path):
    """Another host is named and not asked; a setting allows it; files, circles and nonsense are refused."""
    other.files['/there.jpg'] = noise(2)
    host = other.url.removeprefix('http://')
    target = f'{other.url}/there.jpg'
    server.answers = {IMAGE: lambda handler, body: send(handler, b'', status='302 Found', Location=target)}
    assert fetched(server, session, tmp_path)['reason'] == (
        f'a redirect to another host, {host}; --allow-host {host} takes it'
    )
    assert other.requests == []
    limits = transport.Limits(hosts=frozenset({host}))
    assert fetched(server, session, tmp_path, limits)['status'] == 'ok'
    assert (tmp_path / 'a.jpg').read_bytes() == noise(2)
    (tmp_path / 'a.jpg').unlink()
    for target, reason in (
        ('file:///etc/passwd', "'file:///etc/passwd' is not an address with http:// or https://"),
        ('http://[', "a redirect to 'http://[', which is no address"),
        (IMAGE, 'more than 5 redirects'),
    ):
        assert fetched(server, session, tmp_path, limits)['reason'] == reason, target


def test_bodies_of_redirects_and_refusals_are_not_read(server, session, tmp_path):
    """What comes with a 302 or a 503 can be endless: it is left."""

    def endless(status):
        def answer(handler, body):
            send(handler, b'', status=status, Content_Length=None, Location='/elsewhere')
            pieces(handler, iter(lambda: bytes(60_000), b''), 0)

        return answer

    server.answers = {IMAGE: endless('302 Found'), '/elsewhere': endless('503 Busy')}
    assert fetched(server, session, tmp_path, transport.Limits())['reason'] == 'HTTP 503 Busy'


def test_files_on_other_hosts_are_named_and_left_out(server, other, tmp_path, capsys):
    """A feed whose images are elsewhere says where; --allow-host takes them."""
    server.add_press('near', noise(1))
    server.add_press('far', noise(2))['Assets'][0]['Resources'][1]['URL'] = f'{other.url}/far.jpg'
    other.files['/far.jpg'] = noise(2)
    host = other.url.removeprefix('http://')
    command = ['fetch', 'press', '--url', f'{server.url}/images/d2d/', '-o', str(tmp_path / 'out')]
    assert cli.main(command) == 0
    assert f'1 images are on another host, {host}, and left out; --allow-host {host} takes them' in (
        capsys.readouterr().err
    )
    assert other.requests == []
    assert cli.main([*command, '--allow-host', host]) == 0
    assert (tmp_path / 'out' / 'far_large.jpg').read_bytes() == noise(2)
    assert cli.main([*command, '--allow-host', 'http://x/']) == 1
    assert '--allow-host http://x/: wanted a name' in capsys.readouterr().err


def test_mirrors_of_press_sites_are_theirs():
    """The sites' own file servers need no setting."""
    assert 'cdn.esahubble.org' in press.MIRRORS[transport.host_of(press.FEED_URL)]
    assert 'cdn.esawebb.org' in press.MIRRORS[transport.host_of('https://esawebb.org/images/d2d/')]


def test_pages_and_rows_have_an_end(server, session, monkeypatch):
    """Of a feed without an end the first pages are taken, with a word; so are the first rows of a long one."""
    monkeypatch.setattr(ArchiveServer, 'feed', [], raising=False)
    server.add_press('a', noise(1))
    server.page_size = 1
    count = iter(range(2, 1000))

    def pages(handler, body):
        entry = server.feed[0] | {'ID': f'a{next(count)}'}
        feed = {'Collections': [entry], 'Next': f'/images/d2d/?page={next(count)}'}
        send(handler, json.dumps(feed).encode(), 'application/json')

    server.answers = {'/images/d2d/': pages}
    said = []
    limits = transport.Limits(pages=7)
    assert len(press.list_images(session, url=f'{server.url}/images/d2d/', limits=limits, log=said.append)) == 7
    assert said == [f'{server.url}/images/d2d/: reading the feed ends after 7 pages (--pages)']
    limits = transport.Limits(rows=3)
    assert len(press.list_images(session, url=f'{server.url}/images/d2d/', limits=limits, log=said.append)) == 3
    assert said[1] == f'{server.url}/images/d2d/: reading the feed ends after 3 entries (--rows)'


@pytest.mark.parametrize(
    ('answer', 'message'),
    [
        (votable('<TR/>' * 21), r'more than 20 rows \(--rows\); ask for a smaller radius'),
        (votable('').replace(b'<TABLE>', b'<TABLE nrows="21">'), 'more than 20 rows'),
        (votable('').replace(b'<TABLEDATA>', b'<BINARY><STREAM href="http://x/"/></BINARY><TABLEDATA>'), 'in a STREAM'),
        (votable('').replace(b'<TABLEDATA>', b'<v:STREAM/><TABLEDATA>').replace(b'<VOT', b'<!-- --><VOT'), 'STREAM'),
        (votable('').replace(b'arraysize="*"', b'arraysize="99999x99999"', 1), 'too many values a row'),
        (votable('').replace(b'<VOTABLE', b'<!DOCTYPE a [<!ENTITY b "c">]><VOTABLE'), 'declares a document type'),
        (votable('<TR>' + '<TD/>' * 1001 + '</TR>'), r'more than 1000 cells \(--rows\); ask for a smaller radius'),
        (votable('<a>' * 40), 'too many elements'),
        (votable('').replace(b'<TABLE>', b'<TABLE>' + b'<FIELD name="a" datatype="int"/>' * 2000), 'too many elements'),
        (votable('').replace(b'UTF-8', b'no-such'), 'not a VOTable'),
        (b'\x1f\x8b', 'not a VOTable'),
    ],
)
def test_votables_are_looked_at_first(answer, message):
    """What would keep a reader busy, or make it ask elsewhere, is refused before one sees it."""
    with pytest.raises(UserError, match=message):
        lists.check_votable(answer, 20)
    lists.check_votable(votable(('<TR>' + '<TD>1</TD>' * 50 + '</TR>') * 20), 20)


def test_a_stream_is_not_followed(server, other, tmp_path, capsys):
    """The list names a file on another host: one line, and that host is not asked."""
    data = f'<BINARY><STREAM href="{other.url}/x"/></BINARY>'.encode()
    server.sia_answer = re.sub(b'<TABLEDATA>.*</TABLEDATA>', data, votable(''))
    flags = ['--sia-url', f'{server.url}/cgi-bin/hlaSIAP.cgi', '--ra', '1', '--dec', '2', '-o', str(tmp_path / 'out')]
    assert cli.main(['fetch', 'hla', *flags]) == 1
    assert 'in a STREAM, which is not followed' in capsys.readouterr().err
    assert other.requests == []


@pytest.mark.parametrize('claim', [b'NAXIS   = 99999999999999999999', b'NAXIS   =                  999'])
def test_fits_claims_are_refused(server, session, tmp_path, claim):
    """A cutout of 10^20 axes is a reason and not a loop."""
    card = b'SIMPLE  =                    T'.ljust(80) + b'BITPIX  =                    8'.ljust(80)
    server.files['/file'] = (card + claim.ljust(80) + b'END').ljust(2880)
    item = downloads.Item('a.fits', f'{server.url}/file', 'test', 'a')
    downloads.fetch([item], tmp_path, session=session, log=lambda line: None)
    ((_, row),) = read_table(tmp_path / 'manifest.csv')[1]
    assert re.match(r'damaged FITS file: NAXIS1? = ', row['reason'])


@pytest.mark.parametrize('number', ['1' + '0' * 400, '1e999', '-1e300', 'NaN', '99'])
def test_huge_numbers_of_a_feed_are_none(server, session, number):
    """Positions and sizes that cannot be are left empty, or the entry is; the others stay."""
    server.add_press('odd', noise(1))
    server.add_press('good', noise(1))['ID'] = 'good'

    def feed(handler, body):
        text = json.dumps({'Collections': server.feed})
        text = re.sub(r'("ReferenceValue": \[)[^]]*', rf'\g<1>{number}, {number}', text, count=1)
        send(handler, re.sub(r'("FileSize": )\d+', rf'\g<1>{number}', text, count=2).encode(), 'application/json')

    server.answers = {'/images/d2d/': feed}
    items = {item.id: item for item in press.list_images(session, url=f'{server.url}/images/d2d/', log=lambda _: None)}
    assert (items['good'].ra, items['good'].dec) == pytest.approx((210.80227, 54.34895))
    assert items['odd'].ra is None
    assert items['odd'].size == (99 if number == '99' else None)


def test_sizes_of_a_list_that_cannot_be_are_none():
    """A pixel scale of 1e300 or a width below one is not calculated with."""
    cells = [
        'x',
        'hst_1_01_acs_wfc_f814w',
        'M',
        'T',
        '10.0',
        '20.0',
        '2',
        '0 0',
        '1e300 1e300',
        'f',
        'ACS',
        'F814W',
        '9',
        '2',
    ]
    answer = votable('<TR>' + ''.join(f'<TD>{cell}</TD>' for cell in cells) + '</TR>')
    (image,) = archive._observations(answer, 'url', 100, print)
    assert (image.scale, image.width) == (None, None)


def test_a_column_that_is_described_wrongly_spoils_no_other():
    """A UCD that no standard has is passed over; the same column's numbers are found by a right one, in any case."""
    cells = [
        'http://x',
        'a_f814w',
        'M',
        'T',
        '10.0',
        '20.0',
        '2',
        '500 500',
        '-1e-5 1e-5',
        'f',
        'ACS',
        'F814W',
        '9',
        '2',
    ]
    answer = votable('<TR>' + ''.join(f'<TD>{cell}</TD>' for cell in cells) + '</TR>')
    answer = answer.replace(b'ucd="VOX:Image_Naxes"', b'ucd="VOX:, x"').replace(b'POS_EQ_RA', b'meta;pos_eq_ra')
    (image,) = archive._observations(answer, 'url', 100, print)
    assert (image.ra, image.dec, image.width) == (10.0, 20.0, 500)
    assert image.scale == pytest.approx(0.036)


def test_what_servers_say_is_no_formula_and_no_code(server, tmp_path, capsys):
    """A title that a spreadsheet would run and a terminal obey is shown and written harmlessly, and read back."""
    title = '=HYPERLINK("http://x")'
    server.add_press('one', noise(1), Title=title, Credit='\x1b[31m@SUM(1)', Rights='-1')
    command = ['fetch', 'press', '--url', f'{server.url}/images/d2d/', '-o', str(tmp_path / 'out')]
    assert cli.main([*command, '--dry-run']) == 0
    assert capsys.readouterr().out.replace('\n', '').isprintable()
    assert cli.main(command) == 0
    with (tmp_path / 'out' / 'manifest.csv').open(newline='') as file:
        (row,) = csv.DictReader(file)
    assert (row['title'], row['credit'][0], row['licence']) == (f"'{title}", '[', '-1')
    assert read_table(tmp_path / 'out' / 'manifest.csv')[1][0][1]['title'] == title
    assert downloads.read_manifest(tmp_path / 'out' / 'manifest.csv')[0]['one_large.jpg']['title'] == title


def test_an_answer_has_a_largest_size(server, session):
    """Bytes after unpacking count: 100 MB of zeros that came as 100 kB are not kept."""
    import gzip

    packed = gzip.compress(bytes(20_000_000))
    server.answers = {'/x': lambda handler, body: send(handler, packed, Content_Encoding='gzip')}
    limits = transport.Limits(answer_bytes=1_000_000)
    with pytest.raises(UserError, match=r'the answer is larger than 1 MB \(--answer-limit\)'):
        transport.get_bytes(session, f'{server.url}/x', limits)


def test_https_is_not_left(monkeypatch):
    """A redirect from https to http is refused, on the same host too."""
    answer = requests.Response()
    answer.status_code, answer.headers['Location'] = 302, 'http://example.org/b'
    answer.raw = contextlib.nullcontext()
    monkeypatch.setattr(answer, 'close', lambda: None)
    with transport.make_session() as session:
        monkeypatch.setattr(session, 'request', lambda *_, **__: answer)
        with pytest.raises(UserError, match='a redirect from https to http'):
            transport.get_bytes(session, 'https://example.org/a', transport.Limits())


def test_hosts_are_compared_by_name_and_port():
    """The usual port may be written or not; a name before an @ is no host."""
    assert transport.host_of('https://A.org:443/x') == transport.host_of('https://a.org/') == 'a.org'
    assert transport.host_of('http://a.org:8080/') == 'a.org:8080'
    assert transport.host_of('http://a.org@b.org/') == 'b.org'
    for address in ('ftp://a.org/', 'http://[', 'http:///x', 'http://a:99999/', 'x', ''):
        with pytest.raises(UserError, match='is not an address with'):
            transport.host_of(address)


def test_campaign_of_faults(capsys):
    """A few hostile servers of the campaign: all end well, and it says so."""
    assert servers.main(['--count', '8', '--seed', '4']) == 0
    assert re.search(r'all +8 +8 +0 ', capsys.readouterr().out)
