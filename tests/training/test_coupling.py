"""coupling.py: the pairing of least cost within each class, and nothing else."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from test_modules import ADAM, Affine, Recording, pictures, step
from training_runs import SEED

from denoiselab.noise import DDPM, RectifiedFlow
from denoiselab.training.coupling import couple


def test_the_pairing_is_the_cheapest_of_all_within_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, eps = (torch.randn(9, 1, 3, 3, generator=generator) for _ in range(2))
    labels = torch.tensor([4, 0, 4, 1, 4, 0, 4, 0, 4])
    coupled = couple(x_0, eps, labels)
    for label in (0, 1, 4):
        rows = (labels == label).nonzero()[:, 0]
        costs = {
            order: float((x_0[rows] - eps[rows[list(order)]]).square().sum())
            for order in permutations(range(len(rows)))
        }
        best = min(costs, key=lambda order: costs[order])
        assert torch.equal(coupled[rows], eps[rows[list(best)]])


def test_training_couples_and_validation_does_not() -> None:
    x_0, labels = pictures()[0], torch.zeros(8, dtype=torch.int64)
    plain, coupled = (
        Recording(Affine(), RectifiedFlow(), "velocity", ADAM, SEED, 0.3, coupling=kind)
        for kind in ("independent", "class")
    )
    for module in (plain, coupled):
        step(module, 2, (x_0, labels))
    assert torch.equal(coupled.draws[2], couple(x_0, plain.draws[2], labels))
    assert not torch.equal(coupled.draws[2], plain.draws[2])
    for place in (0, 1, 3):
        assert torch.equal(coupled.draws[place], plain.draws[place])
    for module in (plain, coupled):
        module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
        module.validation_step((x_0, labels, torch.arange(8)), 0)
    assert torch.equal(coupled.draws[2], plain.draws[2])


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"^model\.coupling='batch': allowed are independent, class$"):
        Recording(Affine(), RectifiedFlow(), "velocity", ADAM, SEED, 0.3, coupling="batch")
    with pytest.raises(ValueError, match=r"^model\.coupling='class': allowed is independent on this path"):
        Recording(Affine(), DDPM(300, 1e-4, 0.02), "velocity", ADAM, SEED, 0.3, coupling="class")
