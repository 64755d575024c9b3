"""The report of an audit: all of it in one file, right at any width, escaped, and it asks nobody for anything."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from astro_gan.audit import report, views
from astro_gan.audit.align import pair_of
from astro_gan.audit.auditor import audit

WICKED = '<script>document.title="broken"</script><img src=x onerror=alert(1)>"\'.png'


@pytest.fixture(scope='module')
def section():
    """A report's section of an output with one invented star; its name tries to be a script."""
    rng = np.random.default_rng(0)
    data = rng.normal(60, 3, (150, 200)).astype(np.float32)
    output = np.array(Image.fromarray(data).resize((400, 300), Image.Resampling.BICUBIC))
    y, x = np.mgrid[:300, :400]
    output += 60 * np.exp(-((y - 150) ** 2 + (x - 250) ** 2) / 6).astype(np.float32)
    found = audit(pair_of(data, output, levels=256))
    return report.section(found, input=WICKED, output=WICKED, made={'model': WICKED, 'settings': {'a': WICKED}})


def test_all_in_one_file(section):
    """Nothing is fetched; what comes from files is escaped; scripts but the report's own are forbidden."""
    text = report.render([section])
    assert WICKED not in text
    assert '&lt;script&gt;' in text
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []
    assert text.count('<script') == 1
    assert "default-src 'none'" in text
    assert section['line'].startswith('1 of')
    assert len(section['crops']) == 1
    assert report.render([section]) == text
    assert 'id="output-2"' in report.render([section, section])


def test_the_histogram_counts_every_pixel():
    """Bars are as high as the logarithm of their share, pixels beyond the ends are told."""
    values = np.concatenate([np.zeros(999), [9.0, np.nan]]).astype(np.float32).reshape(7, 143)
    found = views.histogram(values)
    assert (found['pixels'], found['outside']) == (1000, 1)
    assert [bar['x'] for bar in found['bars']] == [300]
    assert found['bars'][0]['height'] == pytest.approx(200, abs=0.1)


def test_large_pictures_are_made_smaller(monkeypatch):
    """The pictures of a report have a bounded size, whatever the output's."""
    monkeypatch.setattr(views, 'PICTURE', 100)
    monkeypatch.setattr(views, 'MAP', 50)
    data = np.random.default_rng(0).normal(60, 3, (130, 170)).astype(np.float32)
    output = np.array(Image.fromarray(data).resize((510, 390), Image.Resampling.BICUBIC))
    found = views.views(audit(pair_of(data, output, levels=256)))
    assert found['size'] == (85, 65)
    assert found['shape'] == (390, 510)


@pytest.fixture(scope='module')
def browser():
    """Headless Chromium; the tests are skipped where there is none."""
    api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if path is None:
        pytest.skip('no Chromium on this machine')
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield opened
        opened.close()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [360, 1280])
def test_in_a_browser(section, browser, tmp_path, width, scheme):
    """No overflow at a phone's and a desk's width, the slider moves the cut by key, no errors, no requests."""
    path = tmp_path / 'report.html'
    report.write_report(path, [section, section])
    context = browser.new_context(viewport={'width': width, 'height': 800}, color_scheme=scheme)
    page = context.new_page()
    messages, requests = [], []
    page.on('console', lambda message: messages.append(message.text))
    page.on('pageerror', lambda error: messages.append(str(error)))
    page.on('dialog', lambda dialog: messages.append(dialog.message))
    page.on('request', lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.title() == 'What was added'
    assert page.evaluate('[...document.images].every(image => image.complete && image.naturalWidth > 0)')
    back = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (sum(map(int, re.findall(r'\d+', back))) > 380) == (scheme == 'light')

    over = page.locator('.over').first
    assert 'clip-path' in over.evaluate('e => [...getComputedStyle(e)].join()')
    cut = over.evaluate('e => getComputedStyle(e).clipPath')
    page.locator('.slider').first.focus()
    for _ in range(20):
        page.keyboard.press('ArrowRight')
    assert over.evaluate('e => getComputedStyle(e).clipPath') != cut
    assert '60%' in over.evaluate('e => getComputedStyle(e).clipPath')
    stage = page.locator('.stage').first
    before = stage.bounding_box()['width']
    page.locator('.zoom').first.focus()
    page.keyboard.press('End')
    assert stage.bounding_box()['width'] == pytest.approx(8 * before, rel=0.02)
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    page.locator('.marks').first.uncheck()
    assert stage.locator('svg').evaluate('e => getComputedStyle(e).display') == 'none'
    assert page.locator('h2').first.inner_text() == WICKED.rsplit('/', 1)[-1]
    assert [url for url in requests if not url.startswith(('data:', 'file:'))] == []
    assert messages == []
    context.close()
