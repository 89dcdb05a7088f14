"""edit/views.py: every view moves pixels as its name says and keeps Gaussian noise what it is, at every size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from denoiselab.edit.names import VIEW_NAMES
from denoiselab.edit.views import View, jigsaw_pieces, make_view

SPECS: list[Any] = [
    *VIEW_NAMES,
    {"skew": -0.3},
    {"patches": {"n": 2, "seed": 5}},
    {"jigsaw": 7},
    {"inner_circle": {"turns": 1, "radius": 0.5}},
    {"square_hinge": 2},
]
every_view = pytest.mark.parametrize("spec", SPECS, ids=str)
every_size = pytest.mark.parametrize("size", [28, 64, 256])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@every_view
@every_size
def test_a_view_is_orthogonal(spec: Any, size: int) -> None:
    """Every pixel goes to one place, and inner products stay: |A x| = |x|, and A^T = A^-1."""
    v = make_view(spec, size)
    assert torch.equal(v.permutation.sort().values, torch.arange(size * size))
    x, y = normal(2, 1, 3, size, size).double()
    product = (x * y).sum()
    torch.testing.assert_close((v(x) * v(y)).sum(), product)
    torch.testing.assert_close((v(x) * y).sum(), (x * v.inverse(y)).sum())


@every_view
@every_size
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_the_round_trip_is_exact(spec: Any, size: int, channels: int) -> None:
    v, x = make_view(spec, size), normal(2, channels, size, size)
    for back in (
        v.inverse(v(x)),
        v(v.inverse(x)),
        v.inverse_variance(v.variance(x)),
        v.variance(v.inverse_variance(x)),
    ):
        assert torch.equal(back, x)


@pytest.mark.parametrize("spec", ["patches", "jigsaw", "inner_circle", "square_hinge", "skew", "pixels"])
def test_the_round_trip_is_exact_at_1024(spec: str) -> None:
    v, x = make_view(spec, 1024), normal(1, 1, 1024, 1024)
    assert torch.equal(v.inverse(v(x)), x) and not torch.equal(v(x), x)


@every_view
def test_noise_stays_noise(spec: Any) -> None:
    """The same values in other places: mean 0, variance 1, and neighbours as independent as before."""
    v, x = make_view(spec, 256), normal(1, 3, 256, 256)
    seen = v(x)
    assert torch.equal((v.sign * seen).flatten().sort().values, x.flatten().sort().values)
    for dim in (-1, -2):
        correlation = (seen * seen.roll(1, dim)).mean()
        assert abs(correlation) < 5 / x.numel() ** 0.5


@every_view
def test_channels_move_together(spec: Any) -> None:
    v, x = make_view(spec, 28), normal(2, 3, 28, 28)
    assert torch.equal(v(x)[:, 1:2], v(x[:, 1:2])) and torch.equal(v(x)[1:], v(x[1:]))


@every_view
def test_a_variance_is_moved_and_never_negated(spec: Any) -> None:
    """Var(A x) is `variance` of Var(x): shown with noise whose standard deviation differs from pixel to pixel."""
    v, x, std = make_view(spec, 64), normal(4, 3, 64, 64), normal(1, 3, 64, 64, seed=1).abs()
    torch.testing.assert_close(v(std * x).square(), v.variance(std.square()) * v(x).square())
    assert (v.variance(std.square()) >= 0).all() and (v.inverse_variance(std.square()) >= 0).all()


@every_view
def test_a_picture_is_shown_as_the_model_sees_it(spec: Any) -> None:
    """Between pictures in [0, 1] and the model's [-1, 1] it makes no difference where the view is taken."""
    v, picture = make_view(spec, 64), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(v.displayed(picture), (v(2 * picture - 1) + 1) / 2)


def test_the_names_say_what_happens() -> None:
    x = normal(2, 3, 64, 64)
    middle = slice(24, 40)
    expected = {
        "flip_horizontal": x.flip(-1),
        "flip_vertical": x.flip(-2),
        "rotate_90": torch.rot90(x, 1, (2, 3)),
        "rotate_180": torch.rot90(x, 2, (2, 3)),
        "rotate_270": torch.rot90(x, 3, (2, 3)),
        "negate": -x,
    }
    for name, seen in expected.items():
        assert torch.equal(make_view(name, 64)(x), seen)
    assert torch.equal(make_view("negate", 64).variance(x), x)
    circle = make_view("inner_circle", 64)(x)
    assert torch.equal(circle[..., middle, middle], x.rot90(2, (2, 3))[..., middle, middle])
    assert torch.equal(circle[..., :8], x[..., :8]) and torch.equal(circle[..., :8, :], x[..., :8, :])


def test_identity_costs_nothing() -> None:
    x = normal(1, 3, 64, 64)
    v = make_view("identity", 64)
    assert all(do(x) is x for do in (v, v.inverse, v.variance, v.inverse_variance, v.displayed))


def test_skew_rolls_columns_down_by_a_growing_amount() -> None:
    x = torch.zeros(1, 1, 64, 64)
    x[:, :, 32] = 1
    rows = make_view({"skew": 0.5}, 64)(x)[0, 0].argmax(0)
    assert (rows[0], rows[-1]) == (32 - 16, 32 + 16) and ((rows.diff() == 0) | (rows.diff() == 1)).all()


def test_patches_move_whole() -> None:
    x = normal(1, 1, 64, 64)
    patches = [block.flatten().tolist() for row in x[0, 0].chunk(4) for block in row.chunk(4, 1)]
    seen = [block.flatten().tolist() for row in make_view("patches", 64)(x)[0, 0].chunk(4) for block in row.chunk(4, 1)]
    assert sorted(seen) == sorted(patches) and seen != patches


def test_square_hinge_turns_each_square_about_its_centre() -> None:
    x = normal(1, 1, 28, 28)
    seen = make_view("square_hinge", 28)(x)
    for row in range(4):
        for column in range(4):
            here = (..., slice(row * 7, row * 7 + 7), slice(column * 7, column * 7 + 7))
            assert torch.equal(seen[here], x[here].rot90(1 if (row + column) % 2 == 0 else -1, (2, 3)))


@pytest.mark.parametrize("name", ["patches", "jigsaw"])
def test_a_seeded_view_is_the_same_at_every_size(name: str) -> None:
    """The first and the second stage of a cascade are to see the same picture."""
    small = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    large = make_view(name, 256)(small.repeat_interleave(4, 2).repeat_interleave(4, 3))
    difference = (large[..., 2::4, 2::4] - make_view(name, 64)(small)).abs()
    assert (difference > 0).float().mean() < 0.05  # the outlines of the knobs


@pytest.mark.parametrize("name", ["patches", "pixels", "jigsaw"])
def test_the_seed_decides(name: str) -> None:
    one, again, other = (make_view({name: {"seed": seed}}, 64).permutation for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("size", [16, 28, 30, 64, 250, 256, 1024])
def test_jigsaw_pieces_of_an_orbit_are_quarter_turns_of_each_other(size: int) -> None:
    orbits, places = jigsaw_pieces(size)
    for orbit in range(4):
        pieces = [(orbits == orbit) & (places == place) for place in range(4)]
        for place, piece in enumerate(pieces):
            assert piece.any() and torch.equal(piece.rot90(-1), pieces[(place + 1) % 4])


def test_jigsaw_pieces_are_whole_and_have_knobs() -> None:
    """Each piece is one connected region, mostly its square, and reaches into a neighbour's square or is reached."""
    orbits, places = jigsaw_pieces(64)
    rows, columns = torch.arange(64)[:, None] // 16, torch.arange(64) // 16
    for label in range(16):
        piece = orbits * 4 + places == label
        reached = torch.zeros_like(piece)
        start = piece.nonzero()[0]
        reached[start[0], start[1]] = True
        for _ in range(64):
            spread = reached.float()[None]
            spread = F.max_pool2d(spread, (3, 1), 1, (1, 0)) + F.max_pool2d(spread, (1, 3), 1, (0, 1))
            reached = (spread[0] > 0) & piece
        assert torch.equal(reached, piece)
        squares = torch.stack([(rows * 4 + columns == square) & piece for square in range(16)]).sum((1, 2))
        assert squares.max() > 100 and squares.max() != 256


@given(seed=st.integers(0, 2**32 - 1), half=st.integers(8, 60))
def test_jigsaw_is_a_permutation_for_every_seed_and_even_size(seed: int, half: int) -> None:
    v = make_view({"jigsaw": seed}, 2 * half)
    orbits, places = jigsaw_pieces(2 * half)
    labels = (orbits * 4 + places).flatten()
    # what is seen of a place comes from one piece of the same orbit
    for label in range(16):
        sources = labels[v.permutation[labels == label]].unique()
        assert len(sources) == 1 and sources[0] // 4 == label // 4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_jigsaw_is_a_permutation_at_1024(seed: int) -> None:
    v = make_view({"jigsaw": seed}, 1024)
    assert torch.equal(v.permutation.bincount(), torch.ones(1024 * 1024, dtype=torch.long))


def test_a_view_of_ones_own() -> None:
    v = View.from_function("half_turn", lambda x: TF.rotate(x.float(), 180), 28, sign=-1)
    x = normal(1, 1, 28, 28)
    assert torch.equal(v(x), -x.rot90(2, (2, 3))) and torch.equal(v.inverse(v(x)), x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: TF.gaussian_blur(x, 5),
        lambda x: TF.rotate(x, 45, TF.InterpolationMode.BILINEAR),
        lambda x: TF.rotate(x, 45),
        lambda x: TF.resize(TF.center_crop(x, 20), 28, TF.InterpolationMode.BILINEAR),
        lambda x: x[..., :20, :20],
        lambda x: x * 0.5,
        lambda x: x + 0.25,
        lambda x: 1 - x,
        lambda x: x.flip(1),  # colours are exchanged
        lambda x: torch.stack([x[:, 0], x[:, 1].flip(-1), x[:, 2]], 1),
        lambda x: torch.zeros_like(x),
        lambda x: x / 0,
    ],
)
def test_what_is_not_orthogonal_is_refused(function: Any) -> None:
    message = "edit.views[1]=mine: allowed is a permutation of the pixels, this view is not orthogonal at size 28"
    with pytest.raises(ValueError) as error:
        View.from_function("mine", function, 28, key="edit.views[1]")
    assert str(error.value) == message


def test_other_mistakes_in_python_are_answered_in_a_line() -> None:
    with pytest.raises(ValueError, match=r"^views=mine: allowed is sign 1 or -1, this view has 2$"):
        View.from_function("mine", lambda x: x, 28, sign=2)
    with pytest.raises(ValueError, match=r"^edit.views\[0\]={patches: 5}: allowed is "):
        make_view({"patches": 5}, 64, "edit.views[0]")
    with pytest.raises(ValueError, match=r"^x of shape \(1, 3, 28, 28\): this view takes \(B, C, 64, 64\)$"):
        make_view("rotate_90", 64)(normal(1, 3, 28, 28))


def test_names_are_titles() -> None:
    assert make_view("identity", 64).name == "identity"
    assert make_view({"patches": {"seed": 2}}, 64).name == "patches (n=4, seed=2)"
