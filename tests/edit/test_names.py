"""edit/names.py: what may be asked for, and one line that names key, value and what is allowed where it may not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import denoiselab.edit
from denoiselab.edit import FACTOR_NAMES, FACTOR_SETS, VIEW_NAMES, check_factors, check_sigma, check_view


def test_names_are_checked_without_torch() -> None:
    code = """
import sys
from denoiselab.edit import check_factors, check_view
check_view({"patches": {"n": 8, "seed": 1}}, 64, "views")
check_factors("three_bands", 3, "factors")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_exported_is_there() -> None:
    for name in denoiselab.edit.__all__:
        assert getattr(denoiselab.edit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'viewz'"):
        denoiselab.edit.viewz  # noqa: B018


@pytest.mark.parametrize("name", VIEW_NAMES)
@pytest.mark.parametrize("size", [28, 64, 256, 1024])
def test_every_view_runs_by_its_name_alone(name: str, size: int) -> None:
    assert check_view(name, size, "views")[0] == name


def test_parameters_are_given_by_value_or_by_name() -> None:
    assert check_view({"patches": 8}, 64, "views") == ("patches", {"n": 8, "seed": 0})
    assert check_view({"patches": {"seed": 3}}, 64, "views") == ("patches", {"n": 4, "seed": 3})
    assert check_view({"skew": -1}, 64, "views") == ("skew", {"shift": -1})


@pytest.mark.parametrize(
    ("spec", "size", "message"),
    [
        ("rotate90", 64, "v=rotate90: allowed is one of identity, .* (did you mean rotate_90?)"),
        (None, 64, "v=None: allowed is one of identity, "),
        (["identity"], 64, "v=[identity]: allowed is one of identity, "),
        ({"patches": 4, "jigsaw": 1}, 64, "v={patches: 4, jigsaw: 1}: allowed is a name or one {name: parameter}"),
        ({"negate": 1}, 64, "v={negate: 1}: allowed is negate without a parameter"),
        ({"patches": {"pieces": 3}}, 64, "v={patches: {pieces: 3}}: allowed is n or seed of patches"),
        ({"patches": 5}, 64, "v={patches: 5}: allowed is patches with n, a whole number .* divides the size 64"),
        ({"patches": 8}, 28, "divides the size 28"),
        ({"patches": 1}, 64, "2 or more"),
        ({"patches": True}, 64, "a whole number"),
        ({"patches": "4"}, 64, "a whole number"),
        ({"square_hinge": 64}, 64, "2 pixels or more"),
        ({"square_hinge": 3}, 64, "divides the size 64"),
        ({"pixels": -1}, 64, "allowed is pixels with seed, a whole number, 0 to 4294967295"),
        ({"jigsaw": 2**32}, 64, "allowed is jigsaw with seed, a whole number, 0 to 4294967295"),
        ("jigsaw", 27, "v=jigsaw: allowed is another view, the size 27 is odd"),
        ({"skew": 0}, 64, "-4 to 4 without 0"),
        ({"skew": float("nan")}, 64, "-4 to 4 without 0"),
        ({"inner_circle": 4}, 64, "1 to 3 quarter turns"),
        ({"inner_circle": {"radius": 0.6}}, 64, "more than 0 and at most 0.5"),
    ],
)
def test_a_wrong_view_is_answered_in_a_line(spec: Any, size: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        check_view(spec, size, "v")
    check_message(str(error.value), message, "v")


@pytest.mark.parametrize("name", FACTOR_SETS)
def test_every_factor_set_is_allowed_in_colour(name: str) -> None:
    assert len(check_factors(name, 3, "factors")) == len(FACTOR_SETS[name])


def test_every_factor_is_in_a_set() -> None:
    used = {next(iter(entry)) if isinstance(entry, dict) else entry for each in FACTOR_SETS.values() for entry in each}
    assert used == set(FACTOR_NAMES)


def test_a_list_may_be_any_that_sums_to_the_identity() -> None:
    check_factors([{"low": 2}, {"high": 2.0}], 1, "factors")
    check_factors([{"low": 4}, {"band": [2, 4]}, {"band": [0.5, 2]}, {"high": 0.5}], 1, "factors")
    check_factors([{"high": 2}, {"low": 3}, {"band": [2, 3]}], 1, "factors")


@pytest.mark.parametrize(
    ("specs", "channels", "message"),
    [
        ("low_hihg", 3, "f=low_hihg: allowed is a list, or one of low_high, .* (did you mean low_high?)"),
        ({"low": 2}, 3, "f={low: 2}: allowed is a list, or one of low_high, "),
        ([], 3, "f=[]: allowed is two or more factors"),
        ([{"low": 2}], 3, "f=[{low: 2}]: allowed is two or more factors"),
        ([{"low": 2}, {"hihg": 2}], 3, "f[1]={hihg: 2}: allowed is one of low, high, .* (did you mean high?)"),
        ([{"low": 0}, {"high": 0}], 3, "f[0]={low: 0}: allowed is low with a sigma in pixels at 64 px"),
        ([{"low": 33}, {"high": 33}], 3, "at most 32"),
        (["low", "high"], 3, "f[0]=low: allowed is low with a sigma"),
        ([{"low": [1, 2]}, {"high": 2}], 3, "f[0]={low: [1, 2]}: allowed is low with a sigma"),
        ([{"low": "2"}, {"high": "2"}], 3, "allowed is low with a sigma"),
        ([{"low": 2}, {"band": [2, 1]}, {"high": 1}], 3, "f[1]={band: [2, 1]}: allowed is band with two sigmas"),
        ([{"low": 2}, {"band": [2, 2]}, {"high": 2}], 3, "allowed is band with two sigmas"),
        ([{"low": 2}, {"band": 2}, {"high": 2}], 3, "allowed is band with two sigmas"),
        ([{"motion": 1}, {"motion_residual": 1}], 3, "more than 1 and at most 64"),
        ([{"grey": 1}, "colour"], 3, "f[0]={grey: 1}: allowed is grey without a parameter"),
        ("grey_colour", 1, "f=grey_colour: allowed is factors without grey and colour, .* one channel"),
        ([{"low": 2}, {"high": 3}], 3, "these sum to low(2) + identity - low(3)"),
        ([{"low": 2}, {"low": 2}], 3, "these sum to 2 low(2)"),
        ([{"high": 2}, {"motion_residual": 9}], 3, "these sum to 2 identity - low(2) - motion(9)"),
    ],
)
def test_wrong_factors_are_answered_in_a_line(specs: Any, channels: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        check_factors(specs, channels, "f")
    check_message(str(error.value), message, "f")


def test_a_wrong_sigma_is_answered_in_a_line() -> None:
    check_sigma(2, "edit.sigma")
    for sigma in (0, -1, 33, float("nan"), True, "2"):
        with pytest.raises(ValueError, match=f"^edit.sigma={sigma}: allowed is a sigma in pixels at 64 px, "):
            check_sigma(sigma, "edit.sigma")


def check_message(message: str, parts: str, key: str) -> None:
    assert message.startswith(key) and ": allowed is " in message and "\n" not in message
    for part in parts.split(" .* "):
        assert part in message
