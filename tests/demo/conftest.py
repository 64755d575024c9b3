"""The page as a user's browser sees it: one server for all tests, headless Chromium, every request written down."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

pytest.importorskip('gradio')
playwright = pytest.importorskip('playwright.sync_api')

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def server(tmp_path_factory):
    """Address and temporary folder of `astro-gan demo --max-megabytes 1 --max-megapixels 1`."""
    folder = tmp_path_factory.mktemp('demo')
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'TMPDIR': str(folder), 'PYTHONUNBUFFERED': '1'}
    line = [sys.executable, '-m', 'astro_gan', 'demo', '--port', '0', '--max-megabytes', '1', '--max-megapixels', '1']
    with open(folder / 'log', 'w') as log:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        first = process.stdout.readline()
        address = re.match(r'http://127\.0\.0\.1:\d+/', first)
        assert address, (folder / 'log').read_text()
        yield address[0], folder
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.stdout.close()
    assert process.returncode == 0, (folder / 'log').read_text()
    assert 'Traceback' not in (folder / 'log').read_text()
    assert [path.name for path in folder.iterdir()] == ['log']  # nothing is left


@pytest.fixture(scope='session')
def chromium():
    path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not path:
        pytest.skip('no chromium on this machine')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def visit(server, chromium):
    """`visit()`: the page in a session of its own. It asks nobody but its server, and nothing goes wrong in it."""
    asked, faults, contexts = [], [], []

    def open_page(**options):
        context = chromium.new_context(**{'viewport': {'width': 1280, 'height': 1100}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # of a machine with much else to do
        page.on('request', lambda request: asked.append(request.url))
        page.on('pageerror', lambda error: faults.append(str(error)))
        page.goto(server[0])
        page.locator('#preview img').wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    hosts = {urllib.parse.urlsplit(url).netloc for url in asked if not url.startswith(('data:', 'blob:'))}
    assert hosts == {urllib.parse.urlsplit(server[0]).netloc}
    assert not faults
