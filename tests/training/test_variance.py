"""The bound that trains the variance, against torch's own divergence of Gaussians."""

from __future__ import annotations

import torch
from torch.distributions import Normal, kl_divergence

from denoiselab.noise import Cosine, expand
from denoiselab.training.variance import variance_bound

PATH = Cosine(1000)


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """eps, an estimate of it, and v in [-1, 1], float64."""
    generator = torch.Generator().manual_seed(0)
    eps, other, v = torch.randn(3, count, 3, 4, 4, generator=generator, dtype=torch.float64)
    return eps, eps + 0.1 * other, v.tanh()


def test_it_is_the_divergence_of_the_true_reverse_step_from_the_learned_one() -> None:
    t = torch.tensor([2, 10, 500, 999, 1000])
    eps, estimate, v = pictures(len(t))
    x_0 = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(1, 3, 4, 4).expand_as(eps)
    x_t = PATH.add_noise(x_0, t, eps)

    def mean(of_x_0: torch.Tensor) -> torch.Tensor:
        """Ho et al. 2020, equation 7, in abar."""
        abar, before = PATH.abar[t], PATH.abar[t - 1]
        beta = 1 - abar / before
        first, second = before.sqrt() * beta / (1 - abar), (1 - beta).sqrt() * (1 - before) / (1 - abar)
        return expand(first, x_0) * of_x_0 + expand(second, x_0) * x_t

    beta = 1 - PATH.abar[t] / PATH.abar[t - 1]
    btilde = (1 - PATH.abar[t - 1]) / (1 - PATH.abar[t]) * beta
    weight = (v + 1) / 2
    learned = (weight * expand(beta.log(), v) + (1 - weight) * expand(btilde.log(), v)).exp()
    believed = PATH.estimate("eps", estimate, x_t, t)[0]
    true = Normal(mean(x_0), expand(btilde, v).sqrt().expand_as(v))
    expected = kl_divergence(true, Normal(mean(believed), learned.sqrt())).flatten(1).mean(1)
    torch.testing.assert_close(variance_bound(PATH, eps, estimate, v, t), expected, rtol=1e-6, atol=1e-9)


def test_the_first_step_is_finite() -> None:
    """btilde_1 = 0 has no logarithm."""
    eps, estimate, v = pictures(1)
    bound = variance_bound(PATH, eps, estimate, v, torch.tensor([1]))
    assert bound.isfinite().all() and 0 < bound < 10


def test_it_trains_the_variance_alone() -> None:
    eps, estimate, v = pictures(4)
    estimate.requires_grad_()
    v.requires_grad_()
    variance_bound(PATH, eps, estimate, v, torch.tensor([1, 3, 400, 1000])).sum().backward()
    assert estimate.grad is None
    assert v.grad is not None and v.grad.isfinite().all() and v.grad.abs().sum() > 0


def test_without_an_error_of_the_mean_the_smaller_variance_is_right() -> None:
    eps, _, v = pictures(1)
    t = torch.tensor([300])
    assert variance_bound(PATH, eps, eps, -torch.ones_like(v), t).abs() < 1e-12
    assert variance_bound(PATH, eps, eps, torch.ones_like(v), t) > 1e-8
