"""intervals.py: coverage of what it claims, and that it is a function of the seed."""

from __future__ import annotations

import pytest
import torch

from denoiselab.evaluation.fidelity import FrechetDistance
from denoiselab.evaluation.intervals import (
    around,
    bootstrap,
    drawn_values,
    draws_digest,
    interval,
    jackknife,
    mean_interval,
    share_interval,
)


def test_the_mean_s_interval_is_nearly_1_96_standard_errors() -> None:
    values = torch.rand(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = mean_interval(values, seed=0)
    half = 1.96 * float(values.std()) / 20
    assert found["value"] == float(values.mean())
    assert abs(found["high"] - found["value"] - half) < 0.2 * half
    assert abs(found["value"] - found["low"] - half) < 0.2 * half
    assert found == mean_interval(values, seed=0) != mean_interval(values, seed=1)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    held = 0
    for trial in range(100):
        found = mean_interval(torch.randn(60, generator=generator) + 1, seed=trial, repeats=200)
        held += found["low"] <= 1 <= found["high"]
    assert 86 <= held <= 99


def test_a_statistic_s_interval_has_the_spread_of_sets_drawn_anew() -> None:
    """Of the standard deviation of 300 normal numbers, whose own is 1 / sqrt(600)."""
    generator = torch.Generator().manual_seed(0)
    halves = []
    for trial in range(20):
        values = torch.randn(300, generator=generator)
        found = interval(lambda drawn, values=values: float(values[drawn].std()), len(values), seed=trial)  # type: ignore[misc]
        halves.append((found["high"] - found["low"]) / 2)
        assert found["low"] < found["value"] < found["high"]
    assert sum(halves) / 20 == pytest.approx(1.96 / 600**0.5, rel=0.15)


@pytest.mark.parametrize(("share", "n"), [(0.5, 50), (0.99, 100), (0.998, 1000)])
def test_the_interval_of_a_share_holds_it_near_its_ends_too(share: float, n: int) -> None:
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(300):
        found = share_interval(torch.rand(n, generator=generator) < share)
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        held += found["low"] <= share <= found["high"]
    assert held >= 0.89 * 300  # exactly .92 at .99 of 100, the bootstrap .61


def test_all_right_may_still_be_a_few_in_a_thousand_wrong() -> None:
    found = share_interval(torch.ones(1000, dtype=torch.bool))
    assert found["value"] == found["high"] == 1
    assert found["low"] == pytest.approx(1 / (1 + 1.96**2 / 1000), abs=1e-4)  # Wilson's at 1: n / (n + z^2)


def test_each_stratum_is_drawn_from_itself() -> None:
    strata = torch.arange(60) % 3 % 2
    for drawn in bootstrap(60, 0, strata, 20):
        assert strata[drawn].sort().values.tolist() == strata.sort().values.tolist()
    # What the strata differ in, they do not vary in.
    values = strata.double() * 100 + torch.rand(60, generator=torch.Generator().manual_seed(0))
    stratified, plain = mean_interval(values, 0, strata), mean_interval(values, 0)
    assert stratified["high"] - stratified["low"] < 1 < plain["high"] - plain["low"]
    assert stratified == mean_interval(values, 0, strata)


@pytest.mark.parametrize("size", [10, 20, 100, 500])
def test_strata_of_few_make_no_interval_narrow(size: int) -> None:
    """Of strata that do not differ."""
    generator, ratios = torch.Generator().manual_seed(0), []
    for trial in range(30):
        found = mean_interval(torch.randn(size, generator=generator), trial, torch.arange(size) % 10, repeats=100)
        ratios.append((found["high"] - found["low"]) / (2 * 1.96 / size**0.5))
    assert 0.85 < sum(ratios) / 30 < 1.1


def test_pairs_of_drawn_sets_differ_as_much_as_pairs_of_new_sets_do() -> None:
    """Distances of two sets that have most of their noise in common, as two solvers' samples do."""
    generator = torch.Generator().manual_seed(0)
    to_reference = FrechetDistance(torch.randn(2000, 8, generator=generator))
    differences, spreads = [], []
    for trial in range(60):
        common = torch.randn(200, 8, generator=generator)
        sets = [scale * common + 0.3 * torch.randn(200, 8, generator=generator) + 0.2 for scale in (1.2, 1.0)]
        differences.append(to_reference(sets[0]) - to_reference(sets[1]))
        if trial < 8:
            drawn = [drawn_values(lambda n, x=x: to_reference(x[n]), 200, 0, None, 40) for x in sets]  # type: ignore[misc]
            spreads.append(torch.tensor(drawn).diff(dim=0).std())
    assert float(sum(spreads)) / 8 == pytest.approx(float(torch.tensor(differences).std()), rel=0.2)


def test_sets_of_one_size_seed_and_strata_have_the_same_drawn() -> None:
    strata = torch.arange(100) % 10
    assert draws_digest(100, 0, strata, 25) == draws_digest(100, 0, strata.clone(), 25)
    others = [(101, 0, torch.arange(101) % 10, 25), (100, 1, strata, 25), (100, 0, strata.flip(0), 25)]
    others += [(100, 0, strata, 26), (100, 0, None, 25)]  # type: ignore[list-item]
    assert draws_digest(100, 0, strata, 25) not in {draws_digest(*other) for other in others}


def test_an_interval_stays_within_what_the_statistic_can_be() -> None:
    assert around(0.005, [0.0, 0.02, 0.01])["low"] == 0
    without = torch.tensor([0.9, 0.99, 0.99, 0.99])
    assert jackknife(0.99, without)["high"] == 1 and jackknife(0.01, 1 - without)["low"] == 0


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    without = (values.sum() - values) / 39
    found = jackknife(float(values.mean()), without)
    assert found["high"] - found["value"] == pytest.approx(1.96 * float(values.std()) / 40**0.5)
    # Within strata of one value each nothing varies.
    strata = torch.arange(40) % 2
    assert jackknife(0.5, (20 - strata.double()) / 39, strata)["high"] == pytest.approx(0.5)
