"""words.py: captions say one digit and one colour, and are understood; the colours are far apart."""

from __future__ import annotations

import itertools
import math

import pytest

from denoiselab.data.words import COLOURS, DIGITS, TEMPLATES, captions, digit_and_colour


def test_captions_name_their_digit_and_colour_and_no_other() -> None:
    said = [caption for digit in range(10) for colour in COLOURS for caption in captions(digit, colour)]
    assert len(set(said)) == len(said) == 10 * 5 * len(TEMPLATES)
    for digit, colour in itertools.product(range(10), COLOURS):
        assert {digit_and_colour(caption) for caption in captions(digit, colour)} == {(digit, colour)}
    assert "a photo of a red seven" in captions(7, "red")
    assert "the digit seven in red" in captions(7, "red")


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a photo of a red 7", (7, "red")),
        ("A Yellow EIGHT!", (8, "yellow")),
        ("7, seven, red seven", (7, "red")),
        ("an eight", (8, None)),
        ("something blue", (None, "blue")),
        ("a red and a blue two", (2, None)),
        ("a green two or three", (None, "green")),
        ("a red 17", (None, "red")),
        ("redder sevens", (None, None)),
        ("", (None, None)),
    ],
)
def test_what_a_prompt_asks_for(prompt: str, asked: tuple[int | None, str | None]) -> None:
    assert digit_and_colour(prompt) == asked


def test_colours_are_as_light_as_the_grey_digit_and_far_apart() -> None:
    assert len(COLOURS) == 5 and len(DIGITS) == 10
    for colour in COLOURS.values():
        assert max(colour) == 255 and min(colour) >= 0
    for one, other in itertools.combinations(COLOURS.values(), 2):
        assert math.dist(one, other) > 200
