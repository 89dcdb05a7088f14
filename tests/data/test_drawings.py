"""drawings.py: the same pictures each time and at every size, no two alike; digits as MNIST has them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import ImageChops

from denoiselab.data.drawings import DRAWINGS, STROKES, curve, draw

PAINTED = ["tower", "landscape"]
SKETCHES = ["house", "boat", "tree", "face"]


def pixels(name: str, size: int) -> np.ndarray:
    """(size, size, 3) in [0, 1]."""
    return np.asarray(draw(name, size), dtype=float) / 255


def test_names() -> None:
    assert list(DRAWINGS) == [*PAINTED, *SKETCHES, *STROKES]
    assert list(STROKES) == ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.mark.parametrize("name", DRAWINGS)
def test_it_draws_the_same_picture_each_time(name: str) -> None:
    first, second = draw(name, 28), draw(name, 28)
    assert first.mode == "RGB" and first.size == (28, 28)
    assert ImageChops.difference(first, second).getbbox() is None


@pytest.mark.parametrize("size", [28, 64])
def test_no_two_pictures_are_alike(size: int) -> None:
    drawn = [pixels(name, size) for name in DRAWINGS]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert np.abs(one - other).mean() > 0.03


@pytest.mark.parametrize("name", [*PAINTED, *SKETCHES, "five"])
def test_it_is_the_same_picture_at_every_size(name: str) -> None:
    small, large = draw(name, 32), draw(name, 160).reduce(5)
    assert np.abs(np.asarray(small, dtype=float) - np.asarray(large, dtype=float)).mean() < 3


def test_paintings_cover_the_page_and_sketches_leave_it_white() -> None:
    for name in PAINTED:
        assert (pixels(name, 64).min(axis=2) > 0.99).mean() < 0.01
    for name in SKETCHES:
        white = (pixels(name, 64).min(axis=2) > 0.99).mean()
        assert 0.2 < white < 0.8
        assert pixels(name, 64)[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 0.99  # the corners


@pytest.mark.parametrize("name", STROKES)
def test_digits_are_written_as_in_mnist(name: str) -> None:
    rgb = pixels(name, 28)
    grey = rgb[..., 0]
    assert (rgb == grey[..., None]).all()
    assert grey.max() > 0.98
    assert 0.05 < grey.mean() < 0.2  # 0.13 on average in MNIST
    assert (grey == 0).mean() > 0.6
    assert grey[[0, -1]].max() == grey[:, [0, -1]].max() == 0
    rows, columns = np.nonzero(grey > 0.1)
    assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
    centre = (np.arange(28) * grey.sum(axis=1)).sum(), (np.arange(28) * grey.sum(axis=0)).sum()
    assert np.allclose(np.array(centre) / grey.sum(), 13.5, atol=0.6)


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"^drawing=towr: allowed are tower, .*, nine \(did you mean tower\?\)$"):
        draw("towr", 28)


def test_a_curve_goes_through_its_points_in_even_steps() -> None:
    points = [(0.0, 0.0), (1.0, 0.5), (0.5, 2.0)]
    path = curve(points, step=0.1)
    for x, y in points:
        assert min(np.hypot(x - px, y - py) for px, py in path) < 0.05
    steps = [np.hypot(*np.subtract(b, a)) for a, b in pairwise(path[:-1])]
    assert min(steps) > 0.09 and max(steps) < 0.15
    assert curve([(0.0, 0.0), (1.0, 0.0)], step=2.0) == [(0.0, 0.0), (1.0, 0.0)]
