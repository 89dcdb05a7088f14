"""fidelity.py against closed forms and against brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from denoiselab.evaluation.fidelity import FrechetDistance, Neighbourhoods, kth_distances, nearest


def normal(n: int, features: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scores(real: Tensor, generated: Tensor) -> dict[str, float]:
    near = Neighbourhoods(real, generated)
    means = {"precision": float(near.precision().mean()), "density": float(near.density().mean())}
    return means | {"recall": near.recall()[0], "coverage": near.coverage()[0]}


def test_a_shift_and_a_scale_have_the_distance_of_their_gaussians() -> None:
    """|mu - nu|^2 + sum (s - t)^2 for Gaussians with the same axes; here from the very same points."""
    x = normal(500)
    shift = torch.tensor([1.0, 0.0, -2.0, 0.5], dtype=torch.float64)
    assert FrechetDistance(x)(x + shift) == pytest.approx(float(shift.square().sum()), abs=1e-8)
    trace = float(x.T.cov().trace())
    mean = float(x.mean(0).square().sum())
    assert FrechetDistance(x)(3 * x) == pytest.approx(4 * trace + 4 * mean, rel=1e-6)
    assert FrechetDistance(x)(x) == pytest.approx(0, abs=1e-8)


def test_order_does_not_matter() -> None:
    x, y = normal(300), normal(200, seed=1) + 0.3
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    assert FrechetDistance(x)(y) == pytest.approx(FrechetDistance(x)(y[order]), abs=1e-9)
    assert scores(x, y) == pytest.approx(scores(x, y[order]), abs=1e-9)


def test_one_distance_measures_set_after_set() -> None:
    x, sets = normal(300), [normal(200, seed=seed) + seed for seed in range(3)]
    distance = FrechetDistance(x)
    assert [distance(each) for each in sets] == [FrechetDistance(x)(each) for each in sets]


def test_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two images, generated has 1"):
        FrechetDistance(normal(10))(normal(1))
    with pytest.raises(ValueError, match="at least two images, real has 1"):
        FrechetDistance(normal(1))
    with pytest.raises(ValueError, match="k=10: allowed is 1 to 9"):
        kth_distances(normal(10), 10)


def test_scores_are_those_of_a_plain_loop() -> None:
    real, generated, k = normal(60), normal(40, seed=1) * 0.8 + 0.2, 3
    within = torch.cdist(real.float(), generated.float())  # (N, M)
    real_radii = torch.cdist(real.float(), real.float()).sort(1).values[:, k]
    generated_radii = torch.cdist(generated.float(), generated.float()).sort(1).values[:, k]
    near = Neighbourhoods(real, generated, k)
    for j in range(40):
        balls = sum(bool(within[i, j] <= real_radii[i]) for i in range(60))
        assert float(near.density()[j]) == pytest.approx(balls / k)
        assert float(near.precision()[j]) == (balls > 0)
    for (share, without), met in (
        (near.coverage(), within <= real_radii[:, None]),
        (near.recall(), within <= generated_radii),
    ):
        assert share == pytest.approx(sum(any(row) for row in met.tolist()) / 60)
        others = [[j for j in range(40) if j != i] for i in range(40)]
        assert without.tolist() == pytest.approx([sum(any(row) for row in met[:, own].tolist()) / 60 for own in others])
        assert min(without) < share


def test_the_scores_tell_a_lost_mode_from_a_strange_one() -> None:
    """Two clusters: samples of one only lose coverage and keep precision; samples elsewhere lose precision."""
    both = torch.cat([normal(200), normal(200, seed=1) + 20])
    one = scores(both, normal(200, seed=2))
    assert one["coverage"] < 0.52 and one["precision"] > 0.9 and one["recall"] < 0.52
    strange = scores(both, torch.cat([normal(200, seed=2), normal(200, seed=3) - 20]))
    assert 0.4 < strange["precision"] < 0.52
    same = scores(both, torch.cat([normal(200, seed=2), normal(200, seed=3) + 20]))
    assert 0.8 < same["density"] < 1.2 and same["coverage"] > 0.9


def test_nearest_distances_are_root_mean_squared_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    others = torch.rand(50, 1, 28, 28, generator=generator)
    images = torch.cat([others[[7]], others[[3]] + 0.1])
    distances, numbers = nearest(images, others)
    torch.testing.assert_close(distances, torch.tensor([0.0, 0.1]), atol=2e-3, rtol=0)
    assert numbers.tolist() == [7, 3]
