"""Coloured digits in words: the captions they are trained with, and what a prompt asks for. Imports no torch."""

from __future__ import annotations

import re

# RGB in bytes, far apart. One channel of each is 255, so that the largest channel of a coloured digit is the grey one.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 32, 32),
    "green": (32, 255, 64),
    "blue": (48, 96, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = (
    "a photo of a {colour} {digit}",
    "a {colour} {digit}",
    "a handwritten {colour} {digit}",
    "a drawing of a {colour} {digit}",
    "the digit {digit} in {colour}",
    "the number {digit} in {colour}",
    "a {colour} digit {digit}",
    "{digit} in {colour}",
)


def captions(digit: int, colour: str) -> list[str]:
    """Every template with this digit, 0 to 9, and this colour of `COLOURS`."""
    return [template.format(digit=DIGITS[digit], colour=colour) for template in TEMPLATES]


def digit_and_colour(prompt: str) -> tuple[int | None, str | None]:
    """What a prompt asks for by its words: a digit ("seven" or "7") and a colour; None for either of which it names
    none or several.
    """
    words = re.findall(r"[a-z]+|\d+", prompt.lower())
    digits = {DIGITS.index(word) for word in words if word in DIGITS}
    digits |= {int(word) for word in words if len(word) == 1 and word.isdigit()}
    colours = {word for word in words if word in COLOURS}
    return digits.pop() if len(digits) == 1 else None, colours.pop() if len(colours) == 1 else None
