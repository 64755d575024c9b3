"""`astro-gan demo` in a real browser."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from astro_gan import cli
from astro_gan.demo.work import FRAME, PICTURE

playwright = pytest.importorskip('playwright.sync_api')


def run(page):
    """Press Run, and wait for the result or the error."""
    page.get_by_role('button', name='Run', exact=True).click()
    finished(page)


def finished(page):
    page.locator('#status', has_text='Done.').or_(page.locator('#status [role=alert]')).first.wait_for()


def upload(page, path):
    """Choose a file, and wait until the page has looked at it."""
    page.locator('#file').get_by_role('button', name='Clear').click()
    page.locator('#status', has_text='Choose a file').wait_for()
    page.locator('#file input[type=file]').set_input_files(str(path))
    page.locator('#status', has_text='Choose a file').wait_for(state='detached')


def choose(page, task):
    page.locator('#task').get_by_text(task).click()
    page.locator('#hints').wait_for(state='hidden' if task == 'upscale' else 'visible')


def downloads(page, folder):
    """The files of the result, by name."""
    found = {}
    for link in page.locator('#results a').all():
        with page.expect_download() as waiting:
            link.click()
        waiting.value.save_as(folder / waiting.value.suggested_filename)
        found[waiting.value.suggested_filename] = (folder / waiting.value.suggested_filename).read_bytes()
    return found


def by_command(folder, *arguments):
    """What the command makes of the same: files by name."""
    assert cli.main([*map(str, arguments), '-o', str(folder)]) == 0
    return {path.name: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def gray(tmp_path_factory):
    """A gray PNG of 100 x 80 pixels, bright enough for any colour."""
    path = tmp_path_factory.mktemp('pictures') / 'nebula.png'
    y, x = np.mgrid[:80, :100]
    levels = 110 + 60 * np.sin(x / 9) * np.cos(y / 7) + np.random.default_rng(0).normal(size=(80, 100))
    Image.fromarray(levels.astype(np.uint8)).save(path)
    return path


def test_the_example_by_the_keyboard_alone(visit, tmp_path, capsys):
    """Tab to Run and Enter: a slider that moves by mouse and keys, files that are the command's to the last byte."""
    page = visit()
    for _ in range(40):
        page.keyboard.press('Tab')
        if page.evaluate('document.activeElement.id') == 'run':
            break
    else:
        pytest.fail('Run cannot be reached by Tab')
    page.keyboard.press('Enter')
    finished(page)
    assert 'wdsr_x4' in page.locator('#numbers').inner_text()
    assert '1024 x 1024 pixels' in page.locator('#numbers').inner_text()
    assert page.locator('#line textarea').input_value() == 'astro-gan upscale hubble_deep_field.jpg --check -o DIR'

    upper = page.locator('#slider img').nth(1)
    playwright.expect(upper).to_have_js_property('naturalWidth', 1024, timeout=60_000)
    box = page.locator('#slider .slider-wrap').bounding_box()
    middle = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(box['x'] + 0.8 * box['width'], middle[1], steps=4)
    page.mouse.up()
    cut = float(re.search(r'([\d.]+)%', upper.get_attribute('style'))[1])
    assert cut == pytest.approx(80, abs=4)
    line = page.locator('#slider [role=slider]')
    line.focus()
    for key, value in (('End', 100), ('PageDown', 90), ('ArrowLeft', 88), ('Home', 0), ('ArrowRight', 2)):
        page.keyboard.press(key)
        playwright.expect(line).to_have_attribute('aria-valuenow', str(value))
        cut = float(re.search(r'([\d.]+)%', upper.get_attribute('style'))[1])
        assert cut == pytest.approx(value, abs=1)

    expected = by_command(tmp_path / 'command', 'upscale', PICTURE, '--check')
    assert downloads(page, tmp_path) == expected
    assert set(expected) == {
        *('hubble_deep_field.jpg', 'hubble_deep_field.jpg.json'),
        *('detail.png', 'residual.png', 'sources.csv', 'summary.json'),
    }
    assert json.loads(expected['summary.json'])['line'] in page.locator('#status').inner_text()
    assert page.locator('#maps img').count() >= 2
    capsys.readouterr()


def test_hints_by_clicking(visit, gray, tmp_path, capsys):
    """A click is a hint at that pixel in the colour chosen; with the same hint the command gives the same bytes."""
    page = visit()
    upload(page, gray)
    choose(page, 'colorize')
    page.locator('#check input').uncheck()
    box = page.locator('#preview img').bounding_box()
    page.mouse.click(box['x'] + box['width'] * 0.305, box['y'] + box['height'] * 0.505)
    page.wait_for_function("document.querySelector('#hints textarea').value != ''")
    hint = page.locator('#hints textarea').input_value()
    x, y, colour = re.fullmatch(r'(\d+),(\d+)=(#[0-9a-f]{6})', hint).groups()
    assert colour == '#ff5533'
    assert abs(int(x) - 30) <= 1
    assert abs(int(y) - 40) <= 1
    run(page)
    made = downloads(page, tmp_path)
    assert made == by_command(tmp_path / 'command', 'colorize', gray, f'--hint={hint}', '--allow-color')
    red, green, blue = np.asarray(Image.open(tmp_path / 'nebula.png'))[int(y), int(x)].astype(int)
    assert red > green + 60 > blue + 40
    assert json.loads(made['nebula.png.json'])['settings']['guides']['hint'] == [hint]
    capsys.readouterr()


def test_frames(visit, tmp_path, capsys):
    """The simulated frame in another stretch: what was measured is told, and the FITS file is the command's."""
    page = visit()
    page.get_by_role('button', name='Example: simulated frame').click()
    page.locator('#status', has_text='192 x 192').wait_for()
    run(page)
    numbers = page.locator('#numbers').inner_text()
    assert 'frames_x2' in numbers
    assert re.search(r'Noise of a pixel\s+[45]\.\d+ ± ', numbers)  # 5 as it was made
    assert downloads(page, tmp_path) == by_command(tmp_path / 'command', 'upscale', FRAME, '--check')
    capsys.readouterr()


def test_two_people_at_once(visit, gray, tmp_path):
    """Each gets the own result, whoever came first."""
    other = tmp_path / 'other.png'
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)).save(other)
    pages = {'nebula.png': (visit(), gray, (400, 320)), 'other.png': (visit(), other, (360, 280))}
    for page, path, _ in pages.values():
        upload(page, path)
    for page, _, _ in pages.values():
        page.get_by_role('button', name='Run', exact=True).click()
    for name, (page, _, size) in pages.items():
        finished(page)
        made = downloads(page, tmp_path / name.partition('.')[0])
        assert {name, f'{name}.json'} <= set(made)
        with Image.open(tmp_path / name.partition('.')[0] / name) as picture:
            assert picture.size == size


def test_what_cannot_be_used_is_one_line(visit, server, tmp_path):
    """No picture, too many pixels, too many bytes, a hint that is none: one line, without a path of the server."""
    page = visit()
    alert = page.locator('#status [role=alert]')
    notes = tmp_path / 'notes<b>.txt'
    notes.write_text('no picture')
    upload(page, notes)
    run(page)
    assert re.fullmatch(r'notes.*\.txt: [^\n/]+', alert.inner_text())
    large = tmp_path / 'large.png'
    Image.new('L', (1200, 1000)).save(large)
    upload(page, large)
    page.locator('#status [role=alert]', has_text='large.png: 1200x1000 pixels').wait_for()
    assert not page.locator('#slider img').count()
    heavy = tmp_path / 'heavy.png'
    heavy.write_bytes(bytes(1_200_000))
    page.locator('#file').get_by_role('button', name='Clear').click()
    page.locator('#file input[type=file]').set_input_files(str(heavy))
    page.get_by_text('maximum').or_(page.get_by_text('exceeds')).first.wait_for()

    page.get_by_role('button', name='Example: Hubble').click()
    page.locator('#status', has_text='256 x 256').wait_for()
    choose(page, 'colorize')
    page.locator('#hints textarea').fill('900,10=#ff0000')
    run(page)
    assert (
        alert.inner_text()
        == 'hubble_deep_field.jpg: --hint 900,10=#ff0000: outside the image, which has 256x256 pixels'
    )
    assert not list(next(server[1].glob('astro-gan-demo-*/requests')).iterdir())  # what requests needed is gone
