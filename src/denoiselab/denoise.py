"""Denoise: a Denoiser maps (x_t, t, condition) to an Estimate of the clean image, the noise and their uncertainty.

Whatever changes an estimate (guidance, thresholding, a view) is a Denoiser around a Denoiser; the solvers and edits
see nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from denoiselab.noise import GaussianPath, check_prediction


@dataclass(frozen=True)
class Estimate:
    """What a denoiser believes of x_t = alpha_t x_0 + sigma_t eps. All tensors are (B, C, H, W) float32 or wider.

    Attributes:
        x_0: the clean image, E[x_0 | x_t].
        eps: the noise, with x_t = alpha_t x_0 + sigma_t eps.
        log_variance: of the reverse step, where the network has learned one (Nichol & Dhariwal 2021), else None.
    """

    x_0: Tensor
    eps: Tensor
    log_variance: Tensor | None = None


class Denoiser(ABC):
    """(x_t, t, condition) -> Estimate, on a Gaussian path.

    Calls take x_t (B, C, H, W), t of shape () or (B,) on the path's scale, and a condition whose first dimension is
    B, or None where the model takes none.
    """

    path: GaussianPath

    @abstractmethod
    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate: ...


class NetworkDenoiser(Denoiser):
    """A network that predicts eps, x_0 or velocity, as a Denoiser.

    The network runs in its own precision, and in the memory format and mode (train/eval) that it was left in. Around it
    all is float32, or wider where x_t is, so that coefficients are never rounded to half precision.

    Args:
        net: called as net(x_t, t / T) or, given a condition, net(x_t, t / T, condition); t / T is (B,) in [0, 1].
        path: the Gaussian path it was trained on.
        prediction: "eps", "x_0" or "velocity".
    """

    def __init__(self, net: nn.Module, path: GaussianPath, prediction: str) -> None:
        check_prediction(prediction)
        self.net, self.path, self.prediction = net, path, prediction

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))  # (B,)
        x_t = x_t.to(torch.promote_types(x_t.dtype, torch.float32))
        inputs = (x_t, self.path.normalise(t)) + (() if condition is None else (condition,))
        own = next((parameter.dtype for parameter in self.net.parameters()), x_t.dtype)
        value = self.net(*(tensor.to(own) for tensor in inputs)).to(x_t.dtype)  # (B, C, H, W)
        return Estimate(*self.path.estimate(self.prediction, value, x_t, t))


class Guide(Denoiser):
    """Classifier-free guidance (Ho & Salimans 2022): u = u_uncond + scale (u_cond - u_uncond).

    Both branches go through the wrapped denoiser in one batch of 2B. Scale 0 is the unconditional and scale 1 the
    conditional model, each evaluated alone, on B. x_0 and eps are both linear in u, so either may be mixed; a learned
    variance is taken from the conditional branch.

    Args:
        denoiser: what is guided.
        scale: the guidance scale gamma, any real number.
        unconditional: the condition of the unconditional branch for one image, (1, ...); for a class model the zero
            vector (1, K).
    """

    def __init__(self, denoiser: Denoiser, scale: float, unconditional: Tensor) -> None:
        self.denoiser, self.scale, self.unconditional = denoiser, scale, unconditional
        self.path = denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        if condition is None:
            raise ValueError("guidance needs a condition: this call, or this model, has none")
        if self.scale == 1:
            return self.denoiser(x_t, t, condition)
        self.unconditional = self.unconditional.to(condition)  # once, not at every step
        unconditional = self.unconditional.expand_as(condition)  # (B, ...)
        if self.scale == 0:
            return self.denoiser(x_t, t, unconditional)
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([unconditional, condition]))  # 2B
        return Estimate(
            x_0=_mix(both.x_0, self.scale),
            eps=_mix(both.eps, self.scale),
            log_variance=None if both.log_variance is None else both.log_variance.chunk(2)[1],
        )


def _mix(both: Tensor, scale: float) -> Tensor:
    """u_uncond + scale (u_cond - u_uncond), (B, C, H, W), of the two halves of a (2B, C, H, W)."""
    unconditional, conditional = both.chunk(2)
    return unconditional + scale * (conditional - unconditional)
