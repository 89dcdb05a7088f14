"""times.py: the logit-normal's statistics on every path; what uses it, and what does not."""

from __future__ import annotations

import math

import pytest
import torch
from test_modules import ADAM, Affine, Recording, pictures, step
from training_runs import SEED

from denoiselab.noise import DDPM, GaussianPath, RectifiedFlow, key
from denoiselab.training import TimeModule, Times

N = 40_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def below(u: float, location: float, scale: float) -> float:
    """P(t/T <= u) of the logit-normal."""
    return 0.5 * (1 + math.erf((math.log(u / (1 - u)) - location) / scale / math.sqrt(2)))


@pytest.mark.parametrize(("location", "scale"), [(0.0, 1.0), (0.8, 0.5), (-0.5, 1.5)])
@pytest.mark.parametrize("path", [RectifiedFlow(), DDPM(50, 1e-4, 0.02)], ids=["continuous", "discrete"])
def test_logit_normal_has_its_distribution(path: GaussianPath, location: float, scale: float) -> None:
    t = Times("logit_normal", location, scale)(path, N, generator())
    assert t.dtype == (torch.int64 if path.discrete else torch.float32) and t.shape == (N,)
    for u in (0.1, 0.3, 0.5, 0.7, 0.9):  # whole steps of the discrete path, where rounding up keeps t/T <= u
        p = below(u, location, scale)
        assert abs(float((t <= u * path.T + 1e-9).double().mean()) - p) < 4 * math.sqrt(p * (1 - p) / N) + 1e-6
    noisy = float((t.double() / path.T).mean())
    assert noisy > 0.6 if location > 0.5 else noisy < 0.55  # time is noise's: a positive location is noisy


@pytest.mark.parametrize("location", [-80.0, 80.0])
def test_the_ends_are_never_reached(location: float) -> None:
    t = Times("logit_normal", location)(RectifiedFlow(), 100, generator())
    assert bool(((t > 0) & (t < 1)).all())
    steps = Times("logit_normal", location)(DDPM(50, 1e-4, 0.02), 100, generator())
    assert set(steps.tolist()) == {1 if location < 0 else 50}


@pytest.mark.parametrize("path", [RectifiedFlow(), DDPM(50, 1e-4, 0.02)], ids=["continuous", "discrete"])
def test_uniform_is_the_paths_own_draw(path: GaussianPath) -> None:
    ours, theirs = generator(5), generator(5)
    assert torch.equal(Times("uniform", 3.0, 7.0)(path, 64, ours), path.random_times(64, theirs))
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_training_draws_times_first_and_then_noise() -> None:
    times, (x_0, labels) = Times("logit_normal", 0.5), pictures()
    module = Recording(Affine(), RectifiedFlow(), "velocity", ADAM, SEED, 0.3, times=times)
    step(module, 4, (x_0, labels))
    clock = generator(key(SEED, 4, "training"))
    assert torch.equal(module.draws[1], times(module.path, len(x_0), clock))
    assert torch.equal(module.draws[2], torch.randn(x_0.shape, generator=clock))


def test_validation_is_uniform_whatever_training_is() -> None:
    x_0, labels = pictures()
    batch, found = (x_0, labels, torch.arange(len(x_0))), []
    for options in ({}, {"times": Times("logit_normal", 2.0)}):
        module = TimeModule(Affine(), RectifiedFlow(), "x_0", ADAM, SEED, **options)
        module.log = lambda name, value, **_: found.append(value)  # type: ignore[method-assign, assignment]
        module.validation_step(batch, 0)
    assert len(found) == 2 and torch.equal(*found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("logit-normal",), r"law='logit-normal': allowed are uniform, logit_normal"),
        (("logit_normal", math.nan), r"location=nan: allowed is a finite number"),
        (("logit_normal", 0.0, 0.0), r"scale=0\.0: allowed is a positive number"),
    ],
)
def test_bad_settings_are_named(settings: tuple[str, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^model\.times\.{message}$"):
        Times(*settings)
