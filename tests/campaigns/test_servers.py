"""A small campaign of faults of servers."""

import pytest

from tests.campaigns import hostile, servers


@pytest.mark.parametrize('seed', range(9001, 9009))
def test_faults_of_servers_end_in_a_result_or_in_a_line(seed):
    """Whatever a server does, the run ends in time, asks nobody else, and leaves whole files only."""
    assert servers.trial(seed)[1] == ''


@pytest.mark.parametrize('kind', ['STREAM of another host', 'entities', 'a million rows claimed', 'cells of any size'])
def test_lists_are_looked_at_first(kind):
    """What would keep a VOTable reader busy, or send it elsewhere, is refused before it sees it."""
    import random

    from astro_gan.errors import UserError
    from astro_gan.fetch.lists import check_votable
    from tests.fetch.archive_server import ArchiveServer

    sent = []

    class Recorder:
        class wfile:
            write = staticmethod(sent.append)
            flush = staticmethod(lambda: None)

        def __getattr__(self, name):
            return lambda *_: None

    server = ArchiveServer()
    hostile.list_faults(server, server, random.Random(0))[kind](Recorder())
    server.close()
    with pytest.raises(UserError, match=r'STREAM|document type|rows|too many values'):
        check_votable(b''.join(sent), 1000)
