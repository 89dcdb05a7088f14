"""The learned variance's part of the loss (Nichol & Dhariwal 2021, improved DDPM, section 3.1)."""

from __future__ import annotations

from torch import Tensor

from denoiselab.noise import VariancePreserving, expand


def variance_bound(path: VariancePreserving, eps: Tensor, mean_eps: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """KL(q(x_t-1 | x_t, x_0) || p(x_t-1 | x_t)) of one step, nats a pixel, (B,): a term of equation 4's bound.

    The mean of p is that of `mean_eps`, which gets no gradient, so that the bound trains the variance alone (equation
    16); its log variance is equation 15's, v' log beta + (1 - v') log btilde with v' = (v + 1) / 2. At t = 1 btilde is
    0, whose logarithm is none: both variances take that of t = 2 there (as the paper's code does, which has a discrete
    likelihood in place of the divergence at this step; no noise is added at it).

    Args:
        path: with its own steps, t - 1 to t.
        eps: the noise (B, C, H, W) in x_t.
        mean_eps: the network's estimate of it.
        v: (B, C, H, W), the network's, in about [-1, 1].
        t: (B,), 1 to T.
    """
    log_beta, log_btilde, coefficient = (expand(each, eps) for each in _step(path, t))
    weight = (v + 1) / 2
    log_p = weight * log_beta + (1 - weight) * log_btilde
    distance = coefficient * (mean_eps.detach() - eps)  # of the means
    kl = 0.5 * (log_p - log_btilde - 1 + (log_btilde - log_p).exp() + distance.square() * (-log_p).exp())
    return kl.flatten(1).mean(1)


def _step(path: VariancePreserving, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(log beta, log btilde, beta / (alpha_t|t-1 sigma_t)), float64, each (B,)."""
    alpha, beta = path.transition(t, t - 1)
    floored = t.clamp(min=2)
    btilde = path.sigma(floored - 1) ** 2 / path.sigma(floored) ** 2 * path.transition(floored, floored - 1)[1]
    return beta.log(), btilde.log(), beta / (alpha * path.sigma(t))
