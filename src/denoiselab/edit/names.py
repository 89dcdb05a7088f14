"""The views and factors there are, by name, and the parameters each takes. Imports no torch.

A spec is what YAML gives: a name, or a dictionary of one entry, {name: value} for the first parameter or
{name: {parameter: value, ...}} for any of them: `views: [identity, {jigsaw: 7}, {patches: {n: 8, seed: 1}}]`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from denoiselab.nearest import nearest

MOST_SIGMA = 32  # pixels at 64 px: beyond half the picture's side a blur is its mean
MOST_LENGTH = 64


@dataclass(frozen=True)
class Parameter:
    """A number that a view takes: its name and default, which ones fit a size (px), and the words for them."""

    name: str
    default: float
    fits: Callable[[Any, int], bool]
    allowed: str


def _whole(value: Any) -> bool:
    return type(value) is int  # and so not True


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_SEED = Parameter("seed", 0, lambda seed, size: _whole(seed) and 0 <= seed < 2**32, "a whole number, 0 to 4294967295")

VIEWS: dict[str, tuple[Parameter, ...]] = {
    "identity": (),
    "flip_horizontal": (),
    "flip_vertical": (),
    "rotate_90": (),
    "rotate_180": (),
    "rotate_270": (),
    "negate": (),
    "skew": (
        Parameter(
            "shift",
            1.0,
            lambda shift, size: _number(shift) and 0 < abs(shift) <= 4,
            "a fraction of the side, -4 to 4 without 0",
        ),
    ),
    "patches": (
        Parameter(
            "n",
            4,
            lambda n, size: _whole(n) and n >= 2 and size % n == 0,
            "a whole number of patches a side, 2 or more, that divides the size {size}",
        ),
        _SEED,
    ),
    "pixels": (_SEED,),
    "jigsaw": (_SEED,),
    "inner_circle": (
        Parameter("turns", 2, lambda turns, size: _whole(turns) and 1 <= turns <= 3, "1 to 3 quarter turns"),
        Parameter(
            "radius",
            0.375,
            lambda radius, size: _number(radius) and 0 < radius <= 0.5,
            "a fraction of the side, more than 0 and at most 0.5",
        ),
    ),
    "square_hinge": (
        Parameter(
            "squares",
            4,
            lambda squares, size: _whole(squares) and 2 <= squares <= size // 2 and size % squares == 0,
            "a whole number of squares a side, 2 or more of 2 pixels or more, that divides the size {size}",
        ),
    ),
}
VIEW_NAMES = tuple(VIEWS)
REDUCTIONS = ("mean", "alternating")
# Solvers that need x_t = alpha_t x_0 + sigma_t eps of an estimate, which dynamic thresholding does not keep.
INCREMENTAL = ("euler", "heun")

# A linear map as a weighted sum of elementary ones, {(operator, parameter): weight}; sigma and length are in pixels
# of a picture of 64 px, and 0 stands where an operator has no parameter.
Terms = dict[tuple[str, float], int]
IDENTITY = ("identity", 0.0)

_ONE_SIGMA = f"a sigma in pixels at 64 px, more than 0 and at most {MOST_SIGMA}"
_ONE_LENGTH = f"a length in pixels at 64 px, more than 1 and at most {MOST_LENGTH}"
_TWO_SIGMAS = f"two sigmas in pixels at 64 px, more than 0, the second greater and at most {MOST_SIGMA}"
_FACTORS: dict[str, tuple[str | None, Callable[..., Terms]]] = {
    "low": (_ONE_SIGMA, lambda sigma: {("low", sigma): 1}),
    "high": (_ONE_SIGMA, lambda sigma: {IDENTITY: 1, ("low", sigma): -1}),
    "band": (_TWO_SIGMAS, lambda fine, coarse: {("low", fine): 1, ("low", coarse): -1}),
    "grey": (None, lambda: {("grey", 0.0): 1}),
    "colour": (None, lambda: {IDENTITY: 1, ("grey", 0.0): -1}),
    "motion": (_ONE_LENGTH, lambda length: {("motion", length): 1}),
    "motion_residual": (_ONE_LENGTH, lambda length: {IDENTITY: 1, ("motion", length): -1}),
}
FACTOR_NAMES = tuple(_FACTORS)

# The factors of Geng et al. 2024 ("Factorized Diffusion"), coarse before fine. Sigma 2 is the course's low pass.
FACTOR_SETS: dict[str, list[Any]] = {
    "low_high": [{"low": 2}, {"high": 2}],
    "three_bands": [{"low": 2}, {"band": [1, 2]}, {"high": 1}],
    "grey_colour": ["grey", "colour"],
    "motion_blur": [{"motion": 9}, {"motion_residual": 9}],
}


def check_view(spec: Any, size: int, key: str) -> tuple[str, dict[str, Any]]:
    """A view's name and all its parameters, defaults filled in.

    Args:
        spec: as in the module's docstring.
        size: the side of the pictures, in pixels.
        key: what a message calls the spec, e.g. "edit.views[1]".

    Raises:
        ValueError: in one line, for an unknown name or parameter, and for a value that does not fit the size.
    """
    name, value = _entry(spec, VIEW_NAMES, key)
    known = {parameter.name: parameter for parameter in VIEWS[name]}
    if value is None:
        given: dict[Any, Any] = {}
    elif not known:
        _refuse(key, spec, f"{name} without a parameter")
    else:
        given = value if isinstance(value, dict) else {VIEWS[name][0].name: value}
    for word in given:
        if word not in known:
            _refuse(key, spec, f"{' or '.join(known)} of {name}{nearest(str(word), known)}")
    values = {word: given.get(word, parameter.default) for word, parameter in known.items()}
    for word, parameter in known.items():
        if not parameter.fits(values[word], size):
            _refuse(key, spec, f"{name} with {word}, {parameter.allowed.format(size=size)}")
    if name == "jigsaw" and size % 2:  # a quarter turn would leave the pixel in the middle where it is
        _refuse(key, spec, f"another view, the size {size} is odd")
    return name, values


def check_factors(specs: Any, channels: int, key: str) -> list[Terms]:
    """The factors of a hybrid as sums of elementary operators.

    Since each factor is such a sum, whether they add up to the identity is read off the weights, at every size.

    Args:
        specs: a name of FACTOR_SETS, or a list of two or more entries {name: parameter}.
        channels: of the pictures.
        key: what a message calls the specs, e.g. "edit.factors".

    Raises:
        ValueError: in one line, for an unknown name, a value out of range, colour factors of a grey picture, fewer
            than two factors, and factors that do not sum to the identity.
    """
    if not isinstance(specs, list):
        name = str(specs)
        if name not in FACTOR_SETS:
            _refuse(key, specs, f"a list, or one of {', '.join(FACTOR_SETS)}{nearest(name, FACTOR_SETS)}")
        entries = FACTOR_SETS[name]
    else:
        entries = specs
    if len(entries) < 2:
        _refuse(key, specs, "two or more factors")
    factors = [_check_factor(entry, f"{key}[{i}]") for i, entry in enumerate(entries)]
    total: Counter[tuple[str, float]] = Counter()
    for factor in factors:
        if channels == 1 and ("grey", 0.0) in factor:
            _refuse(key, specs, "factors without grey and colour, this model's pictures have one channel")
        total.update(factor)
    if {term: weight for term, weight in total.items() if weight} != {IDENTITY: 1}:
        _refuse(key, specs, f"factors that sum to the identity, these sum to {_formula(total)}")
    return factors


def check_anagram(
    prompts: Sequence[str],
    views: Sequence[Any],
    size: int,
    reduction: str,
    weights: Sequence[float] | None,
    key: str = "edit",
) -> None:
    """Raises ValueError, in one line, unless the settings of an anagram fit each other and the size (px)."""
    for n, view in enumerate(views):
        check_view(view, size, f"{key}.views[{n}]")
    check_paired(prompts, len(views), "views", key)
    if reduction not in REDUCTIONS:
        _refuse(f"{key}.reduction", reduction, f"one of {', '.join(REDUCTIONS)}{nearest(reduction, REDUCTIONS)}")
    if weights is not None:
        if reduction != "mean":
            _refuse(f"{key}.weights", list(weights), f"null with {key}.reduction={reduction}")
        if len(weights) != len(views) or not all(_number(weight) and weight > 0 for weight in weights):
            _refuse(f"{key}.weights", list(weights), "null (equal) or a positive number for each view")


def check_hybrid(prompts: Sequence[str], factors: Any, channels: int, held: int, key: str = "edit") -> None:
    """Raises ValueError, in one line, unless the settings of a hybrid fit each other and the pictures' channels."""
    count = len(check_factors(factors, channels, f"{key}.factors"))
    check_paired(prompts, count, "factors", key)
    if not 0 <= held < count:
        _refuse(f"{key}.held", held, f"0 to {count - 1}, a factor")


def check_paired(prompts: Sequence[str], count: int, what: str, key: str) -> None:
    """Raises ValueError unless there is a prompt for each of `count` views or factors."""
    if count < 1 or len(prompts) != count:
        _refuse(f"{key}.prompts", list(prompts), f"{count}, as many as {key}.{what}")


def check_sigma(sigma: Any, key: str) -> None:
    """Raises ValueError, in one line, unless sigma is a blur's width in pixels of a 64 px picture, in (0, 32]."""
    if not (_number(sigma) and 0 < sigma <= MOST_SIGMA):
        _refuse(key, sigma, _ONE_SIGMA)


def _check_factor(spec: Any, key: str) -> Terms:
    name, value = _entry(spec, FACTOR_NAMES, key)
    allowed, terms = _FACTORS[name]
    if allowed is None:
        if value is not None:
            _refuse(key, spec, f"{name} without a parameter")
        return terms()
    values = value if isinstance(value, list) else [value]
    least, most = (1, MOST_LENGTH) if allowed is _ONE_LENGTH else (0, MOST_SIGMA)
    good = len(values) == 1 + (allowed is _TWO_SIGMAS) and all(_number(v) and least < v <= most for v in values)
    if not good or sorted(set(values)) != values:
        _refuse(key, spec, f"{name} with {allowed}")
    return terms(*map(float, values))


def _entry(spec: Any, names: Iterable[str], key: str) -> tuple[str, Any]:
    """(name, value or None) of a spec whose name is among `names`."""
    if isinstance(spec, dict) and len(spec) != 1:
        _refuse(key, spec, "a name or one {name: parameter}")
    name, value = next(iter(spec.items())) if isinstance(spec, dict) else (spec, None)
    if name not in tuple(names):
        _refuse(key, spec, f"one of {', '.join(names)}{nearest(str(name), names)}")
    return name, value


def _refuse(key: str, value: Any, allowed: str) -> NoReturn:
    raise ValueError(f"{key}={_show(value)}: allowed is {allowed}")


def _show(value: Any) -> str:
    """As a person would write it in YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{word}: {_show(each)}" for word, each in value.items()) + "}"
    return "[" + ", ".join(map(_show, value)) + "]" if isinstance(value, list) else str(value)


def _formula(total: Counter[tuple[str, float]]) -> str:
    """{("low", 2.0): 2, ("identity", 0.0): -1} as "2 low(2) - identity"."""
    text = ""
    for (name, value), weight in total.items():
        if weight:
            sign = " - " if weight < 0 else " + " if text else ""
            times = f"{abs(weight)} " if abs(weight) > 1 else ""
            text += f"{sign}{times}{name}{f'({value:g})' if value else ''}"
    return text.strip() or "nothing"
