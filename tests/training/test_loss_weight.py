"""loss_weight.py: the weights against their formulas, and what they do to the loss."""

from __future__ import annotations

import pytest
import torch
from test_modules import ADAM, Affine, pictures, recording, step
from torch import Tensor
from training_runs import SEED

from denoiselab.noise import DDPM, PREDICTIONS, Cosine, GaussianPath, RectifiedFlow, key
from denoiselab.training import ClassModule
from denoiselab.training.loss_weight import loss_weight

PATHS = {"flow": RectifiedFlow(), "ddpm": DDPM(300, 1e-4, 0.02), "cosine": Cosine(100)}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def inside(path: GaussianPath) -> Tensor:
    """Times where no coefficient is 0."""
    return torch.arange(1, int(path.T) + 1) if path.discrete else torch.linspace(0.01, 0.99, 50)


def weight(kind: str, path: GaussianPath, prediction: str, t: Tensor) -> Tensor:
    value = loss_weight(kind, path, prediction, t)
    assert value is not None and value.dtype == torch.float32 and value.shape == t.shape
    return value.double()


def errors(path: GaussianPath, t: Tensor) -> dict[str, Tensor]:
    """The squared error (B,) of each prediction that follows from the same wrong x_0."""
    generator = torch.Generator().manual_seed(0)
    x_0, eps, wrong = (torch.randn(len(t), 1, 4, 4, dtype=torch.float64, generator=generator) for _ in range(3))
    estimate = path.estimate("x_0", wrong, path.add_noise(x_0, t, eps), t)
    return {
        prediction: (path.target(prediction, *estimate, t) - path.target(prediction, x_0, eps, t))
        .square()
        .flatten(1)
        .mean(1)
        for prediction in PREDICTIONS
    }


@every_path
def test_the_velocity_weight_makes_the_x_0_loss_the_velocitys(path: GaussianPath) -> None:
    t = inside(path)
    t = t[path.sigma(t) >= 0.05]
    error = errors(path, t)
    torch.testing.assert_close(weight("velocity", path, "x_0", t) * error["x_0"], error["velocity"], rtol=1e-6, atol=0)


def test_the_velocity_weight_is_one_over_t_squared_and_bounded() -> None:
    t = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.5, 1.0])
    expected = torch.tensor([400, 400, 400, 100, 4, 1.0]).double()
    torch.testing.assert_close(weight("velocity", RectifiedFlow(), "x_0", t), expected)


@every_path
def test_min_snr_is_the_same_loss_for_every_prediction(path: GaussianPath) -> None:
    t = inside(path)
    losses = {
        prediction: weight("min_snr", path, prediction, t) * error for prediction, error in errors(path, t).items()
    }
    snr = (path.alpha(t) / path.sigma(t)) ** 2
    torch.testing.assert_close(weight("min_snr", path, "x_0", t), snr.clamp(max=5), rtol=1e-6, atol=0)
    for prediction in ("eps", "velocity"):
        torch.testing.assert_close(losses[prediction], losses["x_0"], rtol=1e-5, atol=0)
    if path.discrete:  # the paper's forms
        torch.testing.assert_close(weight("min_snr", path, "eps", t), snr.clamp(max=5) / snr, rtol=1e-6, atol=0)
        torch.testing.assert_close(
            weight("min_snr", path, "velocity", t), snr.clamp(max=5) / (snr + 1), rtol=1e-6, atol=0
        )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_is_finite_at_both_ends(prediction: str) -> None:
    value = weight("min_snr", RectifiedFlow(), prediction, torch.tensor([0.0, 1.0]))
    assert value.tolist() == {"eps": [0, 1], "x_0": [5, 0], "velocity": [0, 0]}[prediction]


def test_a_step_is_weighted_sample_by_sample() -> None:
    x_0, labels = pictures()
    module = ClassModule(Affine(), RectifiedFlow(), "x_0", ADAM, SEED, 0.0, loss_weight="velocity")
    loss = step(module, 3, (x_0, labels))
    x_t, t, _ = module.net.inputs
    error = (0.7 * x_t + t.reshape(-1, 1, 1, 1) - x_0).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, (error / t.clamp(min=0.05) ** 2).mean())


def test_without_a_weight_the_loss_is_what_it_always_was_bit_for_bit() -> None:
    module, (x_0, labels) = recording(), pictures()
    loss = step(module, 3, (x_0, labels))
    generator = torch.Generator().manual_seed(key(SEED, 3, "training"))
    t = torch.rand(len(x_0), generator=generator)
    eps = torch.randn(x_0.shape, generator=generator)
    assert torch.equal(module.draws[1], t) and torch.equal(module.draws[2], eps)
    assert torch.equal((torch.rand(len(x_0), generator=generator) >= 0.3).float(), module.draws[3].sum(1))
    x_t = (1 - t.double()).float().reshape(-1, 1, 1, 1) * x_0 + t.reshape(-1, 1, 1, 1) * eps
    value = 0.7 * x_t + t.reshape(-1, 1, 1, 1)
    assert torch.equal(loss, torch.nn.functional.mse_loss(value, -x_0 + eps))


def test_bad_settings_are_named() -> None:
    def module(prediction: str, kind: str) -> ClassModule:
        return ClassModule(Affine(), RectifiedFlow(), prediction, ADAM, SEED, 0.1, loss_weight=kind)

    with pytest.raises(ValueError, match=r"^model\.loss_weight='snr': allowed are none, velocity, min_snr$"):
        module("x_0", "snr")
    with pytest.raises(ValueError, match=r"^model\.loss_weight='velocity': allowed are none, min_snr with prediction="):
        module("velocity", "velocity")
