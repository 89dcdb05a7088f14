"""How much each sample's squared error counts."""

from __future__ import annotations

from torch import Tensor

from denoiselab.noise import GaussianPath

LOSS_WEIGHTS = ("none", "velocity", "min_snr")
LEAST_SIGMA = 0.05  # of the velocity weight
GAMMA = 5.0  # of min_snr, the paper's choice


def check_loss_weight(kind: str, prediction: str) -> None:
    """Raises ValueError for an unknown kind, and for "velocity" unless x_0 is predicted."""
    if kind not in LOSS_WEIGHTS:
        raise ValueError(f"model.loss_weight={kind!r}: allowed are {', '.join(LOSS_WEIGHTS)}")
    if kind == "velocity" and prediction != "x_0":
        raise ValueError(f"model.loss_weight={kind!r}: allowed are none, min_snr with prediction={prediction}")


def loss_weight(kind: str, path: GaussianPath, prediction: str, t: Tensor) -> Tensor | None:
    """Weights (B,) of the squared errors at times t (B,), float32 on t's device; None for "none".

    At a given x_t the error of eps is alpha/sigma times that of x_0, and the velocity's D/sigma times, where
    D = alpha_t b_t - sigma_t a_t is 1 on rectified flow and on variance-preserving paths.

    "velocity", of x_0 predictions: (D/sigma)^2, which makes the x_0 loss that of the velocity: 1/t^2 on rectified flow.
    sigma is taken for 0.05 where it is less, so the weight is at most 400 there.

    "min_snr" (Hang et al. 2023, section 3.4, gamma = 5): min(SNR, gamma) on the error of x_0, SNR = (alpha/sigma)^2,
    and so min(1, gamma/SNR) on that of eps and min(alpha^2, gamma sigma^2) / D^2 on that of the velocity, which is the
    paper's min(SNR, gamma) / (SNR + 1) on variance-preserving paths. Where the SNR is 0, x_0 and velocity predictions
    have weight 0.
    """
    check_loss_weight(kind, prediction)
    if kind == "none":
        return None
    alpha, sigma = path.alpha(t), path.sigma(t)  # (B,) float64
    a, b = path.velocity_weights(t)
    determinant = alpha * b - sigma * a
    if kind == "velocity":
        weight = (determinant / sigma.clamp(min=LEAST_SIGMA)) ** 2
    elif prediction == "x_0":
        weight = ((alpha / sigma) ** 2).clamp(max=GAMMA)
    elif prediction == "eps":
        weight = (GAMMA * (sigma / alpha) ** 2).clamp(max=1)
    else:
        weight = (alpha**2).minimum(GAMMA * sigma**2) / determinant**2
    return weight.float()
