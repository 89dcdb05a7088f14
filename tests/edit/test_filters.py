"""edit/filters.py: factors are linear, sum to the identity and see the same of a picture at every size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from torch import Tensor

from denoiselab.edit.filters import check_sum, gaussian_blur, grey, make_factors, motion_blur
from denoiselab.edit.names import FACTOR_SETS

SETS: dict[str, Any] = {
    **{name: name for name in FACTOR_SETS},
    "custom": [{"low": 8}, {"band": [3, 8]}, {"band": [0.7, 3]}, {"high": 0.7}],
    "widest": [{"low": 32}, {"high": 32}],
    "longest": [{"motion": 64}, {"motion_residual": 64}],
    "narrowest": [{"low": 0.01}, {"high": 0.01}],
}
every_set = pytest.mark.parametrize(
    ("name", "channels"),
    [(name, channels) for name in SETS for channels in (1, 3) if not (name == "grey_colour" and channels == 1)],
)
every_size = pytest.mark.parametrize("size", [28, 64, 256])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@every_set
@every_size
def test_factors_sum_to_the_identity(name: str, channels: int, size: int) -> None:
    x = normal(1, channels, size, size, seed=1)
    parts = [factor(x) for factor in make_factors(SETS[name], size, channels)]
    assert all(part.shape == x.shape for part in parts)
    torch.testing.assert_close(torch.stack(parts).sum(0), x, atol=1e-5, rtol=0)


@every_set
@pytest.mark.parametrize("size", [28, 64])
def test_factors_are_linear(name: str, channels: int, size: int) -> None:
    x, y = normal(2, 2, channels, size, size).double()
    for factor in make_factors(SETS[name], size, channels):
        torch.testing.assert_close(factor(2 * x - 3 * y), 2 * factor(x) - 3 * factor(y))


@every_size
def test_low_pass_keeps_what_is_constant_and_high_pass_nothing_of_it(size: int) -> None:
    x = torch.full((1, 3, size, size), 0.7)
    for name in ("low_high", "three_bands", "motion_blur"):
        first, *rest = (factor(x) for factor in make_factors(name, size, 3))
        torch.testing.assert_close(first, x)
        for part in rest:
            torch.testing.assert_close(part, torch.zeros_like(x), atol=1e-6, rtol=0)


def test_the_blur_is_the_courses_at_64_pixels() -> None:
    """Kernel 33, sigma 2, as EXPERIMENTS.md A1.9 has it, taken in two passes."""
    x = normal(2, 3, 64, 64)
    torch.testing.assert_close(gaussian_blur(x, 2), TF.gaussian_blur(x, 33, 2.0), atol=2e-6, rtol=0)
    small = normal(1, 1, 28, 28)
    torch.testing.assert_close(gaussian_blur(small, 2), TF.gaussian_blur(small, 15, 0.875), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("blur", "width"), [(gaussian_blur, 2.0), (gaussian_blur, 6.0), (motion_blur, 9.0)])
def test_a_blur_sees_the_same_at_every_size(blur: Any, width: float) -> None:
    """A smooth picture, blurred at 256 px and shrunk, is what it is blurred at 64 px.

    But for the edges: a picture is mirrored at the centre of its last pixel, which is elsewhere at another size.
    """
    waves = torch.linspace(0, 3.14159 * 5, 257)[:-1] + 3.14159 * 5 / 512
    large = (waves.cos()[:, None] * (1.6 * waves).cos() + 0.5 * (0.4 * waves).cos())[None, None]
    small = F.avg_pool2d(large, 4)
    blurred = blur(small, width)
    difference = (F.avg_pool2d(blur(large, width), 4) - blurred)[..., 12:-12, 12:-12]
    assert difference.abs().max() < 0.02 and (blurred - small).abs().max() > 0.2


def test_grey_is_a_projection_and_colour_what_it_leaves() -> None:
    x = normal(2, 3, 28, 28)
    to_grey, to_colour = make_factors("grey_colour", 28, 3)
    torch.testing.assert_close(to_grey(to_grey(x)), to_grey(x))
    torch.testing.assert_close(to_grey(x), grey(x))
    torch.testing.assert_close(to_colour(to_grey(x)), torch.zeros_like(x), atol=1e-6, rtol=0)
    torch.testing.assert_close(to_colour(x).sum(1), torch.zeros(2, 28, 28), atol=1e-6, rtol=0)


def test_motion_blur_is_a_row_of_the_length() -> None:
    dot = torch.zeros(1, 1, 64, 64)
    dot[..., 32, 32] = 1
    expected = torch.zeros(64)
    expected[28:37] = 1 / 9
    torch.testing.assert_close(motion_blur(dot, 9)[0, 0, 32], expected)
    expected[27:38] = torch.tensor([0.5, *[1.0] * 9, 0.5]) / 10
    torch.testing.assert_close(motion_blur(dot, 10)[0, 0, 32], expected)
    assert motion_blur(dot, 9)[0, 0].sum(1).count_nonzero() == 1
    assert torch.equal(motion_blur(normal(1, 1, 28, 28), 2), normal(1, 1, 28, 28))  # less than a pixel there


def test_factors_that_do_not_sum_to_the_identity_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^edit.factors=\[{low: 2}, {high: 3}\]: allowed is factors that sum to the id"
    ):
        make_factors([{"low": 2}, {"high": 3}], 64, 3, "edit.factors")
    low, high = make_factors("low_high", 28, 1)
    check_sum([low, high], 28, 1)
    with pytest.raises(ValueError, match=r"^f: allowed is factors .* at size 28 these miss by \d\.\d+$"):
        check_sum([low, low], 28, 1, "f")
    with pytest.raises(ValueError, match=r"these miss by 0\.0004"):
        check_sum([lambda x: x, lambda x: 1e-4 * x], 28, 1)
    with pytest.raises(ValueError, match="these miss by nan"):
        check_sum([lambda x: x, lambda x: x * float("nan")], 28, 1)
