"""intervals.py: coverage of what it claims, and that it is a function of the seed."""

from __future__ import annotations

import pytest
import torch

from denoiselab.evaluation.intervals import interval, mean_interval


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
        found = interval(lambda drawn: float(drawn.std()), torch.randn(300, generator=generator), seed=trial)
        halves.append((found["high"] - found["low"]) / 2)
        assert found["low"] < found["value"] < found["high"]
    assert sum(halves) / 20 == pytest.approx(1.96 / 600**0.5, rel=0.15)
