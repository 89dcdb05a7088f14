"""edit/combine.py: several estimates are one, exactly and in one call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toy import SIZE, Known

from denoiselab.denoise import Beside, Denoiser, Estimate, Guide
from denoiselab.edit import Alternate, Combine, make_factors, make_view
from denoiselab.noise import Cosine, GaussianPath, RectifiedFlow

PATHS = {"cosine": (Cosine(1000), torch.tensor(400)), "flow": (RectifiedFlow(), torch.tensor(0.4))}
VIEWS = ["identity", "rotate_180", "rotate_90", "flip_vertical", "negate", "skew", {"jigsaw": 3}, {"patches": 4}]
every_path = pytest.mark.parametrize(("path", "t"), PATHS.values(), ids=PATHS)


class Random(Denoiser):
    """A denoiser that depends on all it is given, row by row: eps and the weight are functions of x_t, t, condition."""

    def __init__(self, path: GaussianPath) -> None:
        self.path, self.calls = path, []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        self.calls.append(len(x_t))
        code = 0 if condition is None else condition.flatten(1).sum(1).reshape(-1, 1, 1, 1)
        eps = (1.3 * x_t + code + t.reshape(-1, 1, 1, 1) / self.path.T).sin()
        return Estimate(*self.path.estimate("eps", eps, x_t, t), eps.sigmoid())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@every_path
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_it_is_the_sum_over_separate_calls(path: GaussianPath, t: Tensor, low: float) -> None:
    """eps = mean of A^-1 eps(A x); x_0 consistent with it; the variance turned back, not negated; one call of B V."""
    views = [make_view(spec, SIZE) for spec in VIEWS]
    x, condition, grey = noise(3, 3, SIZE, SIZE), noise(3, len(views), 5, seed=1), (1 + low) / 2
    inner = Random(path)
    weight = 1 / len(views)
    got = Combine(inner, views, [lambda e: weight * e] * len(views), grey)(x, t, condition)
    assert inner.calls == [3 * len(views)]
    shift = float(path.alpha(t)) * grey
    parts = [Random(path)(v(x - shift) + shift, t.expand(3), condition[:, n]) for n, v in enumerate(views)]
    eps = sum(weight * v.inverse(part.eps) for v, part in zip(views, parts, strict=True))
    torch.testing.assert_close(got.eps, eps)
    torch.testing.assert_close(got.x_0, path.estimate("eps", eps, x, t)[0], rtol=1e-4, atol=1e-4)
    weights = [v.inverse_variance(part.log_variance_weight) for v, part in zip(views, parts, strict=True)]
    torch.testing.assert_close(got.log_variance_weight, torch.stack(weights).mean(0))
    assert got.log_variance_weight.min() > 0


@every_path
def test_factors_act_on_the_estimates_of_one_picture(path: GaussianPath, t: Tensor) -> None:
    factors, identity = make_factors("three_bands", SIZE, 3), make_view("identity", SIZE)
    x, condition = noise(2, 3, SIZE, SIZE), noise(2, 3, 5, seed=1)
    got = Combine(Random(path), [identity] * 3, factors, 0.0)(x, t, condition)
    parts = [Random(path)(x, t.expand(2), condition[:, n]) for n in range(3)]
    torch.testing.assert_close(got.eps, sum(f(p.eps) for f, p in zip(factors, parts, strict=True)))
    torch.testing.assert_close(got.x_0, path.estimate("eps", got.eps, x, t)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_guidance_inside_is_one_call_too(scale: float) -> None:
    path, t = PATHS["cosine"]
    inner, views = Random(path), [make_view(name, SIZE) for name in ("identity", "negate")]
    x, condition = noise(2, 3, SIZE, SIZE), noise(2, 2, 5, seed=1)
    guide = Guide(inner, scale, torch.zeros(1, 5))
    Combine(guide, views, [lambda e: e / 2] * 2, 0.0)(x, t, condition)
    assert inner.calls == [2 * 2 * (1 if scale == 1 else 2)]


def test_a_known_negative_is_found_where_black_is_zero() -> None:
    """A model whose only picture is p sees, through a negation, that the picture is 1 - p."""
    path, t = PATHS["flow"]
    known = Known(path, low=0.0, channels=1)
    estimate = Combine(known, [make_view("negate", SIZE)], [lambda e: e], 0.5)(
        noise(1, 1, SIZE, SIZE), t, torch.eye(4)[None, 1:2]
    )
    torch.testing.assert_close(estimate.x_0[0], 1 - known.pictures[1])


def test_alternating_shows_a_view_a_step() -> None:
    path = RectifiedFlow()
    views, times = [make_view(name, SIZE) for name in ("identity", "rotate_180", "negate")], path.times(7)
    x, condition = noise(2, 1, SIZE, SIZE), noise(2, 3, 5, seed=1)
    turns = Alternate(Random(path), views, 0.5, times)
    for step, t in enumerate(times[:-1]):
        single = Combine(Random(path), [views[step % 3]], [lambda e: e], 0.5)
        torch.testing.assert_close(turns(x, t).x_0, single(x, t).x_0)
        at = condition[:, step % 3 : step % 3 + 1]
        assert torch.equal(turns(x, t.expand(2), condition).eps, single(x, t, at).eps)


def test_the_context_of_a_second_stage_is_beside_x_and_turns_with_it() -> None:
    path, t = PATHS["cosine"]
    seen: list[Tensor] = []

    class Stage(Random):
        def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
            seen.append(x_t)
            return super().__call__(x_t[:, :3], t, condition)

    view = make_view("rotate_90", SIZE)
    x, context = noise(2, 3, SIZE, SIZE), noise(2, 3, SIZE, SIZE, seed=1)
    estimate = Beside(Combine(Stage(path), [view], [lambda e: e], 0.0), context)(x, t)
    assert estimate.eps.shape == x.shape
    torch.testing.assert_close(seen[0], torch.cat([view(x), view(context)], dim=1))


def test_views_factors_and_conditions_are_equally_many() -> None:
    path, t = PATHS["flow"]
    view = make_view("identity", SIZE)
    with pytest.raises(ValueError, match="1 views and 2 factors: allowed are equally many"):
        Combine(Random(path), [view], [lambda e: e] * 2, 0.0)
    with pytest.raises(ValueError, match="3 conditions an image: allowed are 2"):
        Combine(Random(path), [view] * 2, [lambda e: e / 2] * 2, 0.0)(noise(1, 1, SIZE, SIZE), t, noise(1, 3, 5))
