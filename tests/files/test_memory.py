"""What memory is left, and the line before a run that would not find enough."""

import os
import resource

import pytest

from astro_gan.errors import UserError
from astro_gan.files import memory


def test_the_least_that_anyone_leaves(monkeypatch):
    """The machine's, or a limit on addresses less those in use; the refusal says how much and whose limit."""
    size, whose = memory.left()
    assert 0 < size < os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    assert whose in ('the machine', 'the container', 'ulimit -v')
    used = memory._table('/proc/self/status')['VmSize']
    monkeypatch.setattr(resource, 'getrlimit', lambda which: (used + (300 << 20), resource.RLIM_INFINITY))
    size, whose = memory.left()
    assert size == pytest.approx(300 << 20, abs=50 << 20)
    assert whose == 'ulimit -v'
    memory.require(200 << 20, 'less')
    with pytest.raises(
        UserError, match=r'about 2\.0 GiB of memory are needed, and 0\.\d are left \(ulimit -v\); less$'
    ):
        memory.require(2 << 30, 'less')
