"""Noise: the Gaussian path x_t = alpha_t x_0 + sigma_t eps, and every conversion that follows from it.

A path is a pair of functions (alpha_t, sigma_t) of a time t with alpha_0 = 1, sigma_0 = 0 (or as near as the path
goes): t = 0 is clean, and t grows with the noise. Discrete paths count t = 0, 1, ..., T, where t = 0 is the clean
picture itself (abar_0 = 1) and t = 1 carries beta_1, as in Ho et al. 2020; the index of diffusers is t - 1. Continuous
paths live on [0, T] with T = 1.

Coefficients are float64 whatever the network's precision (alpha_T^2 of DeepFloyd's schedule is 2.4e-9, which is zero in
half precision) and are cast to the image's type only when they meet it.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

PREDICTIONS = ("eps", "x_0", "velocity")


def key(*parts: int | str) -> int:
    """A generator seed in [0, 2^63) for a tuple of integers and words, e.g. key(seed, image_index, "sampling").

    A hash and not a sum, so that (seed 1, image 0) and (seed 0, image 1) share nothing. torch's CPU generator takes the
    low 32 bits of it: of n images, two have the same noise with a chance of about n^2 / 2^33 (1 % for 10,000).
    """
    parts = tuple(part if isinstance(part, str) else int(part) for part in parts)  # numpy's integers print otherwise
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class ImageNoise:
    """Gaussian noise with a generator per image, keyed by (seed, image index, purpose).

    The noise of an image depends neither on the batch it is in nor on the device: it is always drawn on the CPU.
    (The idea of a generator per image is Karras et al. 2022's, EDM, generate.py.)

    Args:
        seed: the run's seed.
        indices: the image numbers, one per row of the batch.
        purpose: what the noise is for ("sampling", "validation", ...); different purposes are independent.
    """

    def __init__(self, seed: int, indices: Sequence[int], purpose: str) -> None:
        self.seed, self.indices, self.purpose = seed, indices, purpose

    @cached_property
    def generators(self) -> list[torch.Generator]:
        """One per image, made when they are needed: of a solver that draws nothing, never."""
        return [torch.Generator().manual_seed(key(self.seed, int(i), self.purpose)) for i in self.indices]

    def __call__(self, like: Tensor) -> Tensor:
        """The next standard normal noise, with the shape (B, C, H, W), type and device of `like`."""
        if len(like) != len(self.indices):
            raise ValueError(f"noise for {len(self.indices)} images was asked for a batch of {len(like)}")
        rows = [torch.randn(like.shape[1:], generator=generator) for generator in self.generators]
        noise = torch.stack(rows).to(like.dtype)
        # From pinned memory a copy to a GPU does not wait for what the GPU has still to do.
        return noise.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else noise.to(like.device)


def expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient of shape () or (B,) as () or (B, 1, 1, 1), in x's type, to multiply x (B, C, H, W) by.

    (B, 1, 1, 1) is on x's device. A single number stays where it is: a GPU takes it along from the CPU, where the
    coefficients of a solver's times are, and copying it there would wait for all that the GPU has still to do.
    """
    if coefficient.ndim == 0:
        return coefficient.to(x.dtype)
    return coefficient.to(device=x.device, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def per_image(t: Tensor | float, x: Tensor) -> Tensor:
    """Times () or (B,) as (B,) on the device of x (B, ...). One on the CPU gets there without waiting for a GPU."""
    t = torch.as_tensor(t)
    if t.ndim == 0 and t.device.type == "cpu":
        return torch.full((len(x),), t.item(), dtype=t.dtype, device=x.device)
    return t.to(x.device).expand(len(x))


class GaussianPath(ABC):
    """alpha_t and sigma_t of x_t = alpha_t x_0 + sigma_t eps.

    Attributes:
        T: the noisiest time; an integer on a discrete path.
        discrete: whether times are the integers 0..T, or real numbers in [0, T].
    """

    T: float
    discrete: bool

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha_t, float64, of times t of any shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma_t, float64, of times t of any shape."""

    @abstractmethod
    def velocity_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a_t, b_t) of velocity = a_t x_0 + b_t eps, float64: the path's direction of motion at t."""

    def add_noise(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The forward process x_t = alpha_t x_0 + sigma_t eps, (B, C, H, W), for t of shape () or (B,)."""
        return expand(self.alpha(t), x_0) * x_0 + expand(self.sigma(t), x_0) * eps

    def transition(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t|s, beta) of the forward step q(x_t | x_s) = N(alpha_t|s x_s, beta), s <= t, float64."""
        alpha = self.alpha(t) / self.alpha(s)
        return alpha, self.sigma(t) ** 2 - alpha**2 * self.sigma(s) ** 2

    def velocity(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """velocity = a_t x_0 + b_t eps, (B, C, H, W)."""
        a, b = self.velocity_weights(t)
        return expand(a, x_0) * x_0 + expand(b, x_0) * eps

    def target(self, prediction: str, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What a network with this kind of prediction is trained to answer, (B, C, H, W)."""
        check_prediction(prediction)
        return {"eps": eps, "x_0": x_0}[prediction] if prediction != "velocity" else self.velocity(x_0, eps, t)

    def estimate(self, prediction: str, value: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x_0, eps), each (B, C, H, W), from x_t and a network's answer of the given kind.

        Two equations, x_t = alpha x_0 + sigma eps and the prediction's own, in two unknowns. An eps prediction says
        nothing of x_0 where alpha_t = 0, an x_0 prediction nothing of eps where sigma_t = 0: the answer there is not
        finite. A velocity prediction determines both everywhere.
        """
        check_prediction(prediction)
        alpha, sigma = expand(self.alpha(t), x_t), expand(self.sigma(t), x_t)
        if prediction == "eps":
            return (x_t - sigma * value) / alpha, value
        if prediction == "x_0":
            return value, (x_t - alpha * value) / sigma
        a, b = (expand(weight, x_t) for weight in self.velocity_weights(t))
        determinant = alpha * b - sigma * a
        return (b * x_t - sigma * value) / determinant, (alpha * value - a * x_t) / determinant

    def random_times(self, batch: int, generator: torch.Generator) -> Tensor:
        """Training times (batch,), uniform on {1, ..., T} (int64) or on [0, T] (float32), on the generator's device."""
        device = generator.device
        if self.discrete:
            return torch.randint(1, int(self.T) + 1, (batch,), generator=generator, device=device)
        return torch.rand(batch, generator=generator, device=device) * self.T

    def times(self, steps: int) -> Tensor:
        """Times T = t_0 > t_1 > ... > t_steps = 0, (steps + 1,), evenly strided; int64 on a discrete path.

        Raises ValueError when steps is not in 1..T on a discrete path, or not positive.
        """
        most = int(self.T) if self.discrete else None
        if steps < 1 or (most is not None and steps > most):
            raise ValueError(f"steps={steps}: allowed are 1 to {most if most else 'any number'} on this path")
        return self.at_shares([1 - k / steps for k in range(steps + 1)])

    def at_shares(self, shares: Sequence[float]) -> Tensor:
        """The times of shares of T, each in [0, 1], in their order; rounded to int64 on a discrete path."""
        times = torch.tensor(shares, dtype=torch.float64) * self.T
        return times.round().long() if self.discrete else times.float()

    def at_index(self, index: int | Sequence[int]) -> Tensor:
        """The times of indices 0 (nearly clean) to 999 (noisiest) of a schedule with 1,000 steps, such as DeepFloyd's:
        t = T (index + 1) / 1000, in the indices' shape; rounded, to 1 at least, on a discrete path.
        """
        times = (torch.as_tensor(index, dtype=torch.float64) + 1) * (self.T / 1000)
        return times.round().clamp(min=1).long() if self.discrete else times.float()

    def normalise(self, t: Tensor) -> Tensor:
        """t / T in [0, 1], float32: what a network is told of the time."""
        return (t.double() / self.T).float()


def check_prediction(prediction: str) -> None:
    """Raises ValueError unless prediction is one of PREDICTIONS."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction={prediction!r}: allowed are {', '.join(PREDICTIONS)}")


class VariancePreserving(GaussianPath):
    """A discrete path with alpha_t^2 = abar_t = prod_{s <= t} (1 - beta_s), sigma_t^2 = 1 - abar_t.

    Ho et al. 2020 (DDPM), equation 4. The velocity is Salimans & Ho 2022's, alpha_t eps - sigma_t x_0: the derivative
    of x_t by the angle whose cosine is alpha_t.

    Args:
        betas: beta_1..beta_T, each in (0, 1); the last may be 1, which leaves no signal at T.
    """

    discrete = True

    def __init__(self, betas: Tensor) -> None:
        betas = betas.double()
        good = betas.ndim == 1 and bool((betas > 0).all() & (betas[:-1] < 1).all() & (betas[-1:] <= 1).all())
        if not good or len(betas) < 1 or betas[0] == 1:
            raise ValueError(f"betas of shape {tuple(betas.shape)}: allowed is a list of numbers between 0 and 1")
        self.T = len(betas)
        self.abar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
        self._on_device: dict[torch.device, Tensor] = {}

    def alpha(self, t: Tensor) -> Tensor:
        return self._abar(t).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self._abar(t)).sqrt()

    def _abar(self, t: Tensor) -> Tensor:
        if t.device not in self._on_device:  # times of solvers are on the CPU, those of networks where the images are
            self._on_device[t.device] = self.abar.to(t.device)
        return self._on_device[t.device][t]

    def velocity_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -self.sigma(t), self.alpha(t)


class DDPM(VariancePreserving):
    """Ho et al. 2020: beta_t linear from beta_start to beta_end in T steps.

    Args:
        zero_terminal_snr: shift and scale abar^(1/2) so that abar_T = 0, keeping abar_1 (Lin et al. 2023, algorithm 1):
            T is then pure noise, as sampling starts from. An eps prediction says nothing of x_0 there.
    """

    def __init__(self, T: int, beta_start: float, beta_end: float, zero_terminal_snr: bool = False) -> None:
        if T < 1:
            raise ValueError(f"T={T}: allowed is a positive number of steps")
        if not (0 < beta_start < 1 and 0 < beta_end < 1):
            raise ValueError(f"beta_start={beta_start}, beta_end={beta_end}: allowed are more than 0 and less than 1")
        betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
        if zero_terminal_snr:
            if T < 2:
                raise ValueError(f"T={T} with zero_terminal_snr: allowed is 2 or more steps")
            alpha = (1 - betas).cumprod(0).sqrt()
            alpha = (alpha - alpha[-1]) * (alpha[0] / (alpha[0] - alpha[-1]))
            betas = torch.cat([betas[:1], 1 - (alpha[1:] / alpha[:-1]) ** 2])
        super().__init__(betas)


class Cosine(VariancePreserving):
    """Nichol & Dhariwal 2021, equation 17: abar_t = f(t)/f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2), s = 0.008.

    Each beta is capped at 0.999 as in the paper. DeepFloyd IF's schedule is this one with T = 1000.
    """

    def __init__(self, T: int, max_beta: float = 0.999) -> None:
        if T < 1:
            raise ValueError(f"T={T}: allowed is a positive number of steps")
        if not 0 < max_beta < 1:
            raise ValueError(f"max_beta={max_beta}: allowed is more than 0 and less than 1")
        s = 0.008
        angles = (torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2
        f = angles.cos() ** 2
        super().__init__((1 - f[1:] / f[:-1]).clamp(max=max_beta))


class RectifiedFlow(GaussianPath):
    """Liu et al. 2022, Lipman et al. 2022: alpha_t = 1 - t, sigma_t = t; velocity dx_t/dt = eps - x_0.

    The papers and the course run time the other way: their t is 1 - t here, and their velocity is minus ours.
    """

    T = 1.0
    discrete = False

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t.double()

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def velocity_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        one = torch.ones_like(t, dtype=torch.float64)
        return -one, one


class Additive(GaussianPath):
    """The single-step denoiser's path: alpha_t = 1, sigma_t = t, z = x + sigma eps; velocity dx_t/dt = eps."""

    T = 1.0
    discrete = False

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t, dtype=torch.float64)

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def velocity_weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        one = torch.ones_like(t, dtype=torch.float64)
        return torch.zeros_like(one), one
