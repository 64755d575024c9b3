"""Guides around the network: hints met exactly, known pixels kept, nothing beyond edges; and guessed palettes."""

import numpy as np
import pytest

from astro_gan.guides import lightness_to_gray
from astro_gan.inference import guesses
from astro_gan.inference.guides import Guides, exactly, origins, planes, shares


def window(array):
    return lambda top, left, height, width: array[top : top + height, left : left + width]


def test_hints_are_met_together_and_stop_at_edges():
    """Neighbouring hints of different colours are all met; across an edge in lightness little changes."""
    gray = np.where(np.arange(80) < 40, 0.2, 0.8)[None, :, None] * np.ones((60, 1, 1))
    ab = np.zeros((60, 80, 2), np.float32)
    hints = np.array([[38, 30, 20, 5], [39, 30, -20, 5], [10, 10, 0, 30], [70, 50, 5, 5]], np.float32)
    read = exactly(Guides(size=(60, 80), hints=hints), window(ab), window(gray))
    made = read(0, 0, 60, 80)
    for x, y, a, b in hints:
        np.testing.assert_allclose(made[int(y), int(x)], [a, b], atol=1e-3)
    assert np.abs(made[:, 40:][:30]).max() < 0.2  # the hints beside the edge are up to 20
    assert np.abs(made[55, 5]).max() < 0.1  # far from all
    np.testing.assert_allclose(read(20, 30, 25, 20), made[20:45, 30:50], atol=1e-5)  # windows agree


def test_known_pixels_are_kept():
    """What was measured comes out as it was, the rest as predicted."""
    known = np.full((50, 50, 2), np.nan, np.float32)
    known[:, :20] = (12, -7)
    made = exactly(Guides(size=(50, 50), known=known), window(np.ones((50, 50, 2))), window(np.zeros((50, 50, 1))))
    np.testing.assert_array_equal(made(0, 0, 50, 50)[:, :20], known[:, :20])
    np.testing.assert_array_equal(made(0, 0, 50, 50)[:, 20:], 1)


def test_shares_say_what_was_given_and_guessed():
    """Shares of the pixels: given, along a palette, guessed freely; they sum to 1."""
    known = np.full((10, 20, 2), np.nan, np.float32)
    known[:, :5] = 0
    assert shares(origins(Guides(size=(10, 20)))) == {'given': 0, 'guided': 0, 'guessed': 1}
    assert shares(origins(Guides(size=(10, 20), known=known))) == {'given': 0.25, 'guided': 0, 'guessed': 0.75}
    palette, hints = np.zeros((1, 3)), np.array([[19, 9, 1, 1], [0, 0, 1, 1]])
    told = shares(origins(Guides(size=(10, 20), known=known, palette=palette, hints=hints)))
    assert told == {'given': 0.255, 'guided': 0.745, 'guessed': 0}


def test_planes_at_the_working_scale():
    """Hints land on the reduced copy's pixel, dark to light colours at the image's own levels."""
    light = np.repeat([10.0, 50.0, 90.0], 30).reshape(9, 10)
    colours = np.array([[0, 20], [10, 0], [-20, 0]], np.float32)
    hints = np.array([[39, 35, 30, 30]], np.float32)
    told = planes(Guides(size=(36, 40), colours=colours, hints=hints), light, guess=None)
    assert told[8, 9, 2] == 1
    assert told[..., 2].sum() == 1
    np.testing.assert_allclose(told[8, 9, :2] * 110, [30, 30], atol=1e-3)
    np.testing.assert_allclose(told[0, 0, :2] * 110, [0, 20], atol=2.0)


@pytest.fixture
def book(monkeypatch):
    """A book of 12 pictures in two kinds: dark ones with stripes are red, bright ones with spots blue or green."""
    rng = np.random.default_rng(0)
    labs = []
    for number in range(12):
        light = 20 + 10 * np.sin(np.arange(80) / 2) * np.ones((60, 1)) if number < 6 else rng.uniform(40, 90, (60, 80))
        ab = [(40, 10)] * 6 + [(0, -30)] * 4 + [(-30, 10)] * 2
        light = light + rng.normal(0, 1, light.shape)
        labs.append(np.stack([light, *(np.full(light.shape, value) for value in ab[number])], -1).astype(np.float32))
    made = guesses.make_book(labs)
    monkeypatch.setattr(guesses, '_book', lambda: made)
    guesses._errors.cache_clear()
    yield labs
    guesses._errors.cache_clear()


def test_guesses_are_those_of_similar_pictures_and_differ(book):
    """The first guess is the colour of most similar pictures, the second another one."""
    np.testing.assert_allclose(guesses.guess(book[2][..., 0])[:, 1:], [[40, 10]] * 16, atol=1e-3)
    bright = np.random.default_rng(5).uniform(40, 90, (60, 80))
    first, second = (guesses.guess(bright, variant)[0, 1:].tolist() for variant in (0, 1))
    assert sorted([first, second]) == [[-30, 10], [0, -30]]


def test_the_shipped_guesses_are_finite_palettes():
    """Four guesses for a picture, all different, in the range of L*a*b*."""
    light = np.random.default_rng(0).uniform(0, 60, (64, 96))
    made = np.stack([guesses.guess(light, variant) for variant in range(4)])
    assert np.isfinite(made).all()
    assert np.abs(made[..., 1:]).max() < 110
    assert len({one.tobytes() for one in made}) == 4


def test_hints_leave_the_other_side_of_an_edge_alone():
    """Of two hints at an edge, changing one changes its own surface and, at the other, less than Delta E 2."""
    light = np.where(np.arange(80) < 40, 25.0, 70.0) * np.ones((60, 1))
    gray = (lightness_to_gray(light))[..., None]
    made = []
    for colour in ((30, 20), (-20, -30)):
        hints = np.array([[43, 30, *colour], [36, 30, 5, -10]], np.float32)
        guides = Guides(size=(60, 80), hints=hints)
        ab = 110 * planes(guides, light, guess=None)[..., :2]
        made.append(exactly(guides, window(ab), window(gray))(0, 0, 60, 80))
    difference = np.linalg.norm(made[0] - made[1], axis=-1)
    np.testing.assert_allclose(difference[30, 43], np.hypot(50, 50), atol=1e-3)
    assert difference[25:36, 30:37].max() < 2
    assert difference[:, 45:].mean() > 30
