"""Sample: solvers that turn an Estimate into the next x, and the one loop that runs them from noise to picture.

A solver is a function `solver(denoise, x_t, t, s, noise)` that takes x_t (B, C, H, W) at time t to the time s < t:
`denoise(x, t) -> Estimate` is the denoiser with its condition bound, `noise(like) -> Tensor` draws the noise of the
step, image by image. It returns x_s and the Estimate at (x_t, t). Solvers know the path only through alpha and sigma,
so each runs on every path.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from denoiselab.denoise import Denoiser, Estimate
from denoiselab.noise import GaussianPath, expand

Noise = Callable[[Tensor], Tensor]
# Called after every step with (number of the step from 1, time reached, x there, the Estimate that led there).
Callback = Callable[[int, Tensor, Tensor, Estimate], None]
# x (B, C, H, W) at a time s -> x there with what an edit keeps put back.
Hold = Callable[[Tensor, Tensor], Tensor]


class BoundDenoiser(Protocol):
    """A Denoiser whose condition is fixed: what a solver sees."""

    path: GaussianPath

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate: ...


Solver = Callable[[BoundDenoiser, Tensor, Tensor, Tensor, Noise], tuple[Tensor, Estimate]]


class _Bound:
    def __init__(self, denoiser: Denoiser, condition: Tensor | None) -> None:
        self.denoiser, self.condition, self.path = denoiser, condition, denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        return self.denoiser(x_t, t, self.condition)


def ddpm(
    denoise: BoundDenoiser, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, variance: str = "beta"
) -> tuple[Tensor, Estimate]:
    """Ancestral sampling: x_s ~ q(x_s | x_t, x_0) with the estimated x_0 (Ho et al. 2020, equations 6, 7 and 11).

    Args:
        variance: "beta": the variance beta of the forward step from s to t, the course's choice; "posterior": that of
            q(x_s | x_t, x_0), smaller, btilde; "learned": between the two, pixel by pixel, as the network says (Nichol
            & Dhariwal 2021, equation 15). No noise is added at the last step (s = 0) in any case.

    Raises:
        ValueError: "learned" of a network that has learned none.
    """
    check_variance(variance)
    estimate = denoise(x_t, t)
    path = denoise.path
    alpha_ts, beta = path.transition(t, s)
    sigma_s2, sigma_t2 = path.sigma(s) ** 2, path.sigma(t) ** 2
    mean = (
        expand(path.alpha(s) * beta / sigma_t2, x_t) * estimate.x_0 + expand(alpha_ts * sigma_s2 / sigma_t2, x_t) * x_t
    )
    if sigma_s2 == 0:
        return mean, estimate
    btilde = sigma_s2 / sigma_t2 * beta
    if variance == "learned":
        weight = estimate.log_variance_weight
        if weight is None:
            raise ValueError("solver.variance=learned: allowed are beta, posterior; this model has learned no variance")
        log_variance = weight * expand(beta.log(), x_t) + (1 - weight) * expand(btilde.clamp(min=1e-20).log(), x_t)
        return mean + (0.5 * log_variance).exp() * noise(x_t), estimate
    return mean + expand((beta if variance == "beta" else btilde).sqrt(), x_t) * noise(x_t), estimate


def ddim(
    denoise: BoundDenoiser, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise, eta: float = 0.0
) -> tuple[Tensor, Estimate]:
    """Song et al. 2021 (DDIM), equation 12: x_s = alpha_s x_0 + sqrt(sigma_s^2 - std^2) eps + std z.

    Args:
        eta: std as a fraction of the posterior's: 0 is deterministic, 1 is `ddpm` with the posterior variance.
    """
    check_eta(eta)
    estimate = denoise(x_t, t)
    path = denoise.path
    _, beta = path.transition(t, s)
    variance = eta**2 * path.sigma(s) ** 2 / path.sigma(t) ** 2 * beta
    direction = (path.sigma(s) ** 2 - variance).clamp(min=0).sqrt()
    x_s = expand(path.alpha(s), x_t) * estimate.x_0 + expand(direction, x_t) * estimate.eps
    if variance > 0:
        x_s = x_s + expand(variance.sqrt(), x_t) * noise(x_t)
    return x_s, estimate


def euler(denoise: BoundDenoiser, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise) -> tuple[Tensor, Estimate]:
    """One Euler step of the probability-flow ODE: x_s = x_t + (alpha_s - alpha_t) x_0 + (sigma_s - sigma_t) eps.

    On rectified flow this is x_t + (s - t) velocity. On every path it is `ddim` with eta = 0,
    where the Estimate is consistent: x_t = alpha_t x_0 + sigma_t eps.
    """
    estimate = denoise(x_t, t)
    return x_t + _move(denoise.path, t, s, estimate.x_0, estimate.eps), estimate


def heun(denoise: BoundDenoiser, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise) -> tuple[Tensor, Estimate]:
    """Heun's second-order step: Euler with the mean of the estimates at both ends (Karras et al. 2022, algorithm 1).

    The last step, to sigma_s = 0, stays Euler's, as in the paper: two evaluations a step, one at the last.
    """
    x_s, first = euler(denoise, x_t, t, s, noise)
    if denoise.path.sigma(s) == 0:
        return x_s, first
    second = denoise(x_s, s)
    x_0, eps = (first.x_0 + second.x_0) / 2, (first.eps + second.eps) / 2
    return x_t + _move(denoise.path, t, s, x_0, eps), first


class DPMSolverPP:
    """DPM-Solver++ (2M) of Lu et al. 2022b, algorithm 2: second order at one evaluation a step.

    The step is `ddim`'s with x_0 extrapolated from the estimates of this step and the last, in lambda = log(alpha /
    sigma). The first step, and the last, to sigma_s = 0, where lambda is infinite, are of first order (as diffusers'
    lower_order_final). It remembers its last step, so every run needs one of its own, and times that only fall.
    """

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor, Tensor] | None = None  # (t, s, x_0) of the last step

    def __call__(
        self, denoise: BoundDenoiser, x_t: Tensor, t: Tensor, s: Tensor, noise: Noise
    ) -> tuple[Tensor, Estimate]:
        estimate = denoise(x_t, t)
        path, x_0 = denoise.path, estimate.x_0
        last, self._last = self._last, (t, s, x_0)
        if last is not None and last[1] == t and path.sigma(s) > 0 and path.alpha(last[0]) > 0:
            of_last, here, there = (_log_snr(path, time) for time in (last[0], t, s))
            x_0 = x_0 + expand((there - here) / (here - of_last) / 2, x_t) * (x_0 - last[2])
        ratio = path.sigma(s) / path.sigma(t)
        return expand(ratio, x_t) * x_t + expand(path.alpha(s) - path.alpha(t) * ratio, x_t) * x_0, estimate


def _log_snr(path: GaussianPath, t: Tensor) -> Tensor:
    return path.alpha(t).log() - path.sigma(t).log()


def _move(path: GaussianPath, t: Tensor, s: Tensor, x_0: Tensor, eps: Tensor) -> Tensor:
    d_alpha, d_sigma = path.alpha(s) - path.alpha(t), path.sigma(s) - path.sigma(t)
    return expand(d_alpha, x_0) * x_0 + expand(d_sigma, x_0) * eps


VARIANCES = ("beta", "posterior", "learned")


def check_variance(variance: str) -> None:
    """Raises ValueError unless `ddpm` knows the variance."""
    if variance not in VARIANCES:
        raise ValueError(f"variance={variance!r}: allowed are {', '.join(VARIANCES)}")


def check_eta(eta: float) -> None:
    """Raises ValueError unless eta is in [0, 1]."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta={eta}: allowed is 0 to 1")


OPTION_CHECKS: dict[str, Callable[[Any], None]] = {"variance": check_variance, "eta": check_eta}
SOLVERS: dict[str, Callable[..., Any]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "dpmpp": DPMSolverPP,
}


def evaluations(solver: str, steps: int) -> int:
    """How many times the named solver calls the denoiser in so many steps to the clean picture."""
    return 2 * steps - 1 if solver == "heun" else steps


def make_solver(name: str, **options: float | str) -> Solver:
    """The named solver with its options bound, e.g. make_solver("ddim", eta=0.5).

    Raises ValueError for an unknown solver or option, or a value out of range.
    """
    if name not in SOLVERS:
        raise ValueError(f"solver={name!r}: allowed are {', '.join(SOLVERS)}")
    solver = SOLVERS[name]
    stateful = isinstance(solver, type)
    allowed = list(inspect.signature(solver).parameters)[0 if stateful else 5 :]
    for option in options:
        if option not in allowed:
            raise ValueError(f"{option}={options[option]!r}: {name} takes {', '.join(allowed) or 'no options'}")
        OPTION_CHECKS[option](options[option])
    return solver(**options) if stateful else partial(solver, **options)


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    solver: Solver,
    noise: Noise,
    condition: Tensor | None = None,
    callback: Callback | None = None,
    hold: Hold | None = None,
) -> Tensor:
    """Runs a solver from x (B, C, H, W) at times[0] to times[-1], and returns x there, (B, C, H, W).

    Args:
        times: (steps + 1,), strictly decreasing, on the path's scale; path.times(steps) goes all the way. With `hold`
            they may rise in between: such a step adds the path's noise (RePaint, Lugmayr et al. 2022, algorithm 1).
        noise: draws the noise of stochastic steps; ImageNoise keeps every image independent of its batch.
        condition: (B, ...) as the denoiser wants it, or None.
        callback: called after every step of the solver.
        hold: what is kept through the edit, put back after every step.

    Raises:
        ValueError: times that do not decrease strictly, leave the path, or are no integers on a discrete one.
    """
    path = denoiser.path
    moves = times.ndim == 1 and len(times) > 1 and bool((times[1:] != times[:-1]).all())
    falls = moves and (hold is not None or bool((times[1:] < times[:-1]).all()))
    if not falls or times.max() > path.T or times.min() < 0 or (path.discrete and times.is_floating_point()):
        kind = "integers" if path.discrete else "numbers"
        raise ValueError(f"times={times.tolist()}: allowed are strictly decreasing {kind} from at most {path.T:g} to 0")
    denoise = _Bound(denoiser, condition)
    for step, (t, s) in enumerate(pairwise(times), start=1):
        if s > t:
            alpha, beta = path.transition(s, t)
            x = expand(alpha, x) * x + expand(beta.sqrt(), x) * noise(x)
        else:
            x, estimate = solver(denoise, x, t, s, noise)
        if hold is not None:
            x = hold(x, s)
        if s < t and callback is not None:
            callback(step, s, x, estimate)
    return x
