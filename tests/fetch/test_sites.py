"""Press images: which site is asked, where its files may be, and what is searched."""

import pytest

from astro_gan import cli
from astro_gan.fetch import press, transport
from tests.fetch.archive_server import ArchiveServer, noise


@pytest.mark.parametrize(
    ('flags', 'url'),
    [([], 'https://esahubble.org/images/d2d/'), (['--site', 'webb'], 'https://esawebb.org/images/d2d/')],
)
def test_sites(monkeypatch, tmp_path, flags, url):
    """Each site has its own feed."""
    asked = []

    def get_bytes(session, address, limits, **_):
        asked.append(address)
        return b'{"Collections": []}'

    monkeypatch.setattr(transport, 'get_bytes', get_bytes)
    assert cli.main(['fetch', 'press', *flags, '-o', str(tmp_path / 'out')]) == 1  # nothing matches
    assert asked == [url]


def test_mirrors_of_a_site_are_its_own():
    """Files of ESA/Hubble may be on its content servers and where a setting allows, nowhere else."""
    limits = transport.Limits(hosts=frozenset(['my.example']))
    hosts = press.hosts_of(press.FEED_URL, limits)
    assert {'esahubble.org', 'cdn.esahubble.org', 'cdn.spacetelescope.org', 'my.example'} <= hosts
    assert 'cdn.esawebb.org' not in hosts
    assert 'cdn.esawebb.org' in press.hosts_of(press.FEEDS['webb'], limits)


def test_credits_are_searched(monkeypatch, tmp_path, capsys):
    """Pictures of the Hubble Heritage team are found by their credit."""
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    server = ArchiveServer()
    server.add_press('opo0328a', noise(1, 64), Credit='NASA and The Hubble Heritage Team (STScI/AURA)')
    server.add_press('heic0602a', noise(2, 64))
    flags = [
        '--url',
        f'{server.url}/images/d2d/',
        '--query',
        'hubble heritage',
        '--dry-run',
        '-o',
        str(tmp_path / 'out'),
    ]
    assert cli.main(['fetch', 'press', *flags]) == 0
    server.close()
    said = capsys.readouterr().out
    assert 'opo0328a_large.jpg' in said
    assert 'heic0602a' not in said
