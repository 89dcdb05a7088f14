"""sample.py: every solver against closed forms on Gaussian data, and against the schedulers of diffusers.

The data of the closed forms are pixels x_0 ~ N(m, s^2), whose denoiser is exact on every path: with
v_t = alpha_t^2 s^2 + sigma_t^2, E[x_0 | x_t] = m + alpha_t s^2 / v_t (x_t - alpha_t m). It is affine in x_t, so a whole
trajectory is x_end = gain x_T + offset + sum_k c_k z_k, and running it once on 0, on 1 and on one unit of each step's
noise gives the exact mean and variance of what the solver samples: no statistics, and tolerances of rounding errors
wherever there is a formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from denoiselab.denoise import Denoiser, Estimate, Guide, NetworkDenoiser, Threshold
from denoiselab.nets import UNet
from denoiselab.noise import DDPM, Additive, Cosine, GaussianPath, ImageNoise, RectifiedFlow
from denoiselab.sample import SOLVERS, Solver, make_solver, sample

PATHS: dict[str, GaussianPath] = {
    "ddpm": DDPM(300, 1e-4, 0.02),
    "zero_snr": DDPM(300, 1e-4, 0.02, zero_terminal_snr=True),
    "cosine": Cosine(1000),
    "flow": RectifiedFlow(),
    "additive": Additive(),
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "beta": ("ddpm", {"variance": "beta"}),
    "posterior": ("ddpm", {"variance": "posterior"}),
    "ddim": ("ddim", {}),
    "ddim_half": ("ddim", {"eta": 0.5}),
    "ddim_one": ("ddim", {"eta": 1.0}),
    "euler": ("euler", {}),
    "heun": ("heun", {}),
    "dpmpp": ("dpmpp", {}),
}
LEARNED = make_solver("ddpm", variance="learned")
STOCHASTIC = ["beta", "posterior", "ddim_half", "ddim_one"]
DETERMINISTIC = ["ddim", "euler", "heun", "dpmpp"]
M = 0.7  # the mean of the data

every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
every_solver = pytest.mark.parametrize("kind", KINDS)


def solver_of(kind: str) -> Solver:
    name, options = KINDS[kind]
    return make_solver(name, **options)


class Gaussian(Denoiser):
    """The exact denoiser of x_0 ~ N(m, s^2), per pixel."""

    def __init__(self, path: GaussianPath, m: float, s: float) -> None:
        self.path, self.m, self.s = path, m, s

    def variance(self, t: Tensor) -> float:
        """v_t, the variance of x_t."""
        return float(self.path.alpha(t) ** 2 * self.s**2 + self.path.sigma(t) ** 2)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        alpha, sigma, v = float(self.path.alpha(t)), float(self.path.sigma(t)), self.variance(t)
        deviation = x_t - alpha * self.m
        return Estimate(self.m + alpha * self.s**2 / v * deviation, sigma / v * deviation)


def no_noise(like: Tensor) -> Tensor:
    raise AssertionError("a deterministic step asked for noise")


@dataclass
class Law:
    """The exact mean and variance at the end, from the path's own marginal at times[0]."""

    mean: float
    variance: float
    draws: int


def law(denoiser: Gaussian, times: Tensor, solver: Solver) -> Law:
    steps, path = len(times) - 1, denoiser.path
    x = torch.zeros(steps + 2, 1, 1, 1, dtype=torch.float64)
    x[1] = 1
    draws = 0

    def noise(like: Tensor) -> Tensor:
        nonlocal draws
        draws += 1
        unit = torch.zeros_like(like)
        unit[1 + draws] = 1
        return unit

    out = sample(denoiser, x, times, solver, noise).flatten()
    gain, per_noise = out[1] - out[0], out[2:] - out[0]
    mean = gain * path.alpha(times[0]) * denoiser.m + out[0]
    variance = gain**2 * denoiser.variance(times[0]) + (per_noise**2).sum()
    return Law(mean.item(), variance.item(), draws)


def coefficients(path: GaussianPath, kind: str, t: Tensor, s: Tensor, spread: float) -> tuple[float, float]:
    """(gain of x_t, added variance) of one step on the exact denoiser, written out by hand for each solver."""
    a_t, a_s, n_t, n_s = (float(v) for v in (path.alpha(t), path.alpha(s), path.sigma(t), path.sigma(s)))
    v_t, v_s = a_t**2 * spread**2 + n_t**2, a_s**2 * spread**2 + n_s**2
    beta = n_t**2 - (a_t / a_s) ** 2 * n_s**2
    if KINDS[kind][0] == "ddpm":  # the mean of the true reverse step: a linear regression of x_s on x_t
        added = 0.0 if n_s == 0 else beta if kind == "beta" else n_s**2 / n_t**2 * beta
        return a_t / a_s * v_s / v_t, added
    x_0, eps = a_t * spread**2 / v_t, n_t / v_t
    if kind.startswith("ddim"):
        added = KINDS[kind][1].get("eta", 0.0) ** 2 * n_s**2 / n_t**2 * beta
        return a_s * x_0 + math.sqrt(n_s**2 - added) * eps, added
    gain = a_s * x_0 + n_s * eps
    if kind == "heun" and n_s > 0:
        x_0, eps = (x_0 + a_s * spread**2 / v_s * gain) / 2, (eps + n_s / v_s * gain) / 2
        gain = 1 + (a_s - a_t) * x_0 + (n_s - n_t) * eps
    return gain, 0.0


def closed_form_variance(denoiser: Gaussian, times: Tensor, kind: str) -> float:
    variance = denoiser.variance(times[0])
    for t, s in pairwise(times):
        gain, added = coefficients(denoiser.path, kind, t, s, denoiser.s)
        variance = gain**2 * variance + added
    return variance


# --- the law of the samples


@every_path
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dpmpp"])  # whose step depends on the last
@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize("s", [0.3, 1.0])
def test_the_law_of_the_samples_is_the_closed_form(path: GaussianPath, kind: str, steps: int, s: float) -> None:
    """The exact mean, the variance of the hand-written recursion, and noise at every step but the last."""
    denoiser, times = Gaussian(path, M, s), path.times(steps)
    got = law(denoiser, times, solver_of(kind))
    assert got.mean == pytest.approx(M, abs=1e-12)
    assert got.variance == pytest.approx(closed_form_variance(denoiser, times, kind), rel=1e-9)
    assert got.draws == (steps - 1 if kind in STOCHASTIC else 0)


@every_path
@every_solver
@pytest.mark.parametrize("s", [0.3, 1.0])
def test_three_hundred_steps_reproduce_the_data(path: GaussianPath, kind: str, s: float) -> None:
    """Mean exactly, variance within 5 %: every solver but Heun is of first order, with 14 % at 75 steps at worst.

    The order, and not the size alone, is what makes the tolerance honest: a fourfold number of steps must take the
    error down by 3 (4 less the higher orders), or by 5.5 for Heun (16 on flow; on a discrete path less, because the
    Euler step at the end cannot shrink below beta_1).
    """
    denoiser = Gaussian(path, M, s)
    few, many = (law(denoiser, path.times(steps), solver_of(kind)) for steps in (75, 300))
    errors = [abs(got.variance / s**2 - 1) for got in (few, many)]
    assert many.mean == pytest.approx(M, abs=1e-12)
    assert errors[1] < (0.002 if kind == "heun" else 0.05)
    assert errors[0] / errors[1] > (5.5 if kind == "heun" else 3.0)


@every_path
def test_few_steps_err_to_the_known_side(path: GaussianPath) -> None:
    """For data narrower than the noise, beta adds too much and the posterior too little; Euler's chords fall short."""
    variances = {kind: law(Gaussian(path, M, 0.3), path.times(10), solver_of(kind)).variance for kind in KINDS}
    assert variances["beta"] > 0.09 * 1.05
    assert variances["posterior"] < variances["ddim_half"] < variances["euler"] < variances["heun"] < 0.09


@pytest.mark.parametrize("name", ["ddpm", "cosine"])
@pytest.mark.parametrize("steps", [1, 7, 300])
def test_beta_is_the_exact_variance_for_unit_data(name: str, steps: int) -> None:
    """Ho et al. 2020, section 3.2: sigma_t^2 = beta_t is optimal for x_0 ~ N(0, I), with any stride.

    All that is lost is the spread of x_0 given the last x_t, because the last step adds no noise: sigma_t^2.
    """
    path = PATHS[name]
    times = path.times(steps)
    got = law(Gaussian(path, M, 1.0), times, solver_of("beta"))
    assert got.variance == pytest.approx(1 - float(path.sigma(times[-2])) ** 2, rel=1e-9)


@every_path
@pytest.mark.parametrize("kind", ["posterior", "ddim_one"])
@pytest.mark.parametrize("steps", [2, 30])
def test_posterior_is_the_exact_variance_for_a_single_picture(path: GaussianPath, kind: str, steps: int) -> None:
    """Ho et al. 2020, section 3.2: and the posterior's for data in one point; x_s has the path's own law at every s."""
    times = path.times(steps)
    got, s = law(Gaussian(path, M, 0.0), times[:-1], solver_of(kind)), times[-2]
    assert got.mean == pytest.approx(float(path.alpha(s)) * M, abs=1e-12)
    assert got.variance == pytest.approx(float(path.sigma(s)) ** 2, rel=1e-9)


@every_path
@every_solver
def test_a_single_picture_is_found_in_any_number_of_steps(path: GaussianPath, kind: str) -> None:
    """If the denoiser always answers m, the end is m: no noise is left, and none is added at the last step."""
    for steps in (1, 3, 50):
        got = law(Gaussian(path, M, 0.0), path.times(steps), solver_of(kind))
        assert got.mean == pytest.approx(M, abs=1e-12)
        assert got.variance == pytest.approx(0, abs=1e-20)


@every_path
@pytest.mark.parametrize("kind", STOCHASTIC)
def test_samples_with_real_noise_have_the_computed_law(path: GaussianPath, kind: str) -> None:
    denoiser, times, n = Gaussian(path, M, 0.5), path.times(12), 4 * 50 * 50
    noise = ImageNoise(0, range(4), "sampling")
    start = noise(torch.empty(4, 1, 50, 50, dtype=torch.float64))
    t = times[0]
    x = path.alpha(t) * M + math.sqrt(denoiser.variance(t)) * start
    out = sample(denoiser, x, times, solver_of(kind), noise)
    expected = law(denoiser, times, solver_of(kind))
    assert out.mean().item() == pytest.approx(expected.mean, abs=5 * math.sqrt(expected.variance / n))
    assert out.var().item() == pytest.approx(expected.variance, rel=5 * math.sqrt(2 / n))


@every_path
def test_ddim_with_eta_one_is_ddpm_with_the_posterior_variance(path: GaussianPath) -> None:
    assert_same_trajectory(path, "ddim_one", "posterior")


@every_path
def test_euler_is_ddim_with_eta_zero(path: GaussianPath) -> None:
    assert_same_trajectory(path, "euler", "ddim")


def assert_same_trajectory(path: GaussianPath, one: str, other: str) -> None:
    x = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 1, 2, 2)
    outs = [
        sample(Gaussian(path, M, 0.4), x, path.times(9), solver_of(kind), ImageNoise(0, range(3), "sampling"))
        for kind in (one, other)
    ]
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-12)


# --- the order of the deterministic solvers


def flow_map(denoiser: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The exact solution of the probability-flow ODE from t to s: x - alpha m scales with the standard deviation."""
    path = denoiser.path
    scale = math.sqrt(denoiser.variance(s) / denoiser.variance(t))
    return path.alpha(s) * denoiser.m + scale * (x - path.alpha(t) * denoiser.m)


@pytest.mark.parametrize(("kind", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp", 2)])
@pytest.mark.parametrize("end", [0.0, 0.25])
@pytest.mark.parametrize("path", [PATHS["flow"], PATHS["additive"]], ids=["flow", "additive"])
def test_convergence_order(path: GaussianPath, kind: str, order: int, end: float) -> None:
    """Halving the stride divides the error against the exact flow by 2^order, the Euler step at the end included."""
    denoiser = Gaussian(path, M, 0.5)
    x = torch.tensor([-2.0, 0.1, 1.9], dtype=torch.float64).reshape(3, 1, 1, 1)
    errors = []
    for steps in (32, 64, 128):
        times = torch.linspace(1, end, steps + 1, dtype=torch.float64)
        exact = flow_map(denoiser, x, times[0], times[-1])
        errors.append((sample(denoiser, x, times, solver_of(kind), no_noise) - exact).abs().max().item())
    for coarse, fine in pairwise(errors):
        if kind == "dpmpp" and end == 0:  # lambda is not smooth there, and the last step is of first order
            assert math.log2(coarse / fine) > 1
        else:
            assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1 if kind != "dpmpp" else 0.3)


@pytest.mark.parametrize("name", ["ddpm", "cosine"])
def test_heun_beats_euler_on_discrete_paths(name: str) -> None:
    path, x = PATHS[name], torch.tensor([-2.0, 1.9], dtype=torch.float64).reshape(2, 1, 1, 1)
    denoiser, times = Gaussian(path, M, 0.5), path.times(50)
    exact = flow_map(denoiser, x, times[0], times[-1])
    error = {k: (sample(denoiser, x, times, solver_of(k), no_noise) - exact).abs().max() for k in ("euler", "heun")}
    assert error["heun"] < error["euler"] / 5


def test_euler_on_rectified_flow_is_a_step_along_the_velocity() -> None:
    path, t, s = PATHS["flow"], torch.tensor(0.75), torch.tensor(0.5)
    x_t, velocity = torch.full((2, 1, 3, 3), 0.3), torch.linspace(-1, 1, 18).reshape(2, 1, 3, 3)
    x_s = sample(Answer(path, "velocity", velocity), x_t, torch.stack([t, s]), solver_of("euler"), no_noise)
    torch.testing.assert_close(x_s, x_t - 0.25 * velocity, rtol=0, atol=1e-6)


def test_heun_evaluates_twice_a_step_and_once_at_the_last() -> None:
    calls: list[float] = []

    class Counting(Gaussian):
        def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
            calls.append(float(t))
            return super().__call__(x_t, t, condition)

    sample(
        Counting(PATHS["flow"], M, 0.5),
        torch.ones(1, 1, 1, 1),
        PATHS["flow"].times(2),
        solver_of("heun"),
        no_noise,
    )
    assert calls == [1.0, 0.5, 0.5]


# --- diffusers


class Answer(Denoiser):
    """A network that always gives the same answer."""

    def __init__(self, path: GaussianPath, prediction: str, value: Tensor) -> None:
        self.path, self.prediction, self.value = path, prediction, value

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        return Estimate(*self.path.estimate(self.prediction, self.value, x_t, t))


SCHEDULES = {
    "ddpm": {"num_train_timesteps": 300, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"},
    "cosine": {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"},
}
# diffusers' names for our prediction kinds
PREDICTED = {"epsilon": "eps", "sample": "x_0", "v_prediction": "velocity"}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shared_noise(seed: int) -> Callable[[Tensor], Tensor]:
    """The draws that diffusers takes from a generator with this seed."""
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def target(denoiser: Gaussian, prediction: str, x: Tensor, t: Tensor) -> Tensor:
    estimate = denoiser(x, t)
    return denoiser.path.target(prediction, estimate.x_0, estimate.eps, t)


def times_of(timesteps: Tensor) -> Tensor:
    """Our times of diffusers' timesteps: an index later, and the clean picture at the end."""
    return torch.cat([timesteps.long() + 1, torch.zeros(1, dtype=torch.int64)])


def strided(name: str) -> list[int]:
    """The write-ups' strided timesteps, 990, 960, ..., 30, 0, or the like on a shorter schedule."""
    return list(range(990, -1, -30)) if name == "cosine" else list(range(299, -1, -13))


@pytest.mark.parametrize("prediction", PREDICTED)
@pytest.mark.parametrize(("kind", "theirs"), [("beta", "fixed_large"), ("posterior", "fixed_small")])
@pytest.mark.parametrize("name", SCHEDULES)
def test_ddpm_is_diffusers_ddpm(name: str, kind: str, theirs: str, prediction: str) -> None:
    """Over a whole strided trajectory, each step's result compared, with the same noise."""
    scheduler = DDPMScheduler(**SCHEDULES[name], variance_type=theirs, clip_sample=False, prediction_type=prediction)
    scheduler.alphas_cumprod = PATHS[name].abar[1:]  # see below
    scheduler.set_timesteps(timesteps=strided(name))
    generator = torch.Generator().manual_seed(0)

    def step(answer: Tensor, index: Tensor, x: Tensor) -> Tensor:
        return scheduler.step(answer, int(index), x, generator=generator).prev_sample

    assert_trajectory_agrees(PATHS[name], kind, scheduler.timesteps, step, PREDICTED[prediction])


@pytest.mark.parametrize("prediction", PREDICTED)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_is_diffusers_ddim(name: str, spacing: str, eta: float, prediction: str) -> None:
    scheduler = DDIMScheduler(
        **SCHEDULES[name],
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        timestep_spacing=spacing,
        prediction_type=prediction,
    )
    scheduler.alphas_cumprod = PATHS[name].abar[1:]  # see below
    scheduler.set_timesteps(20)
    generator = torch.Generator().manual_seed(0)

    def step(answer: Tensor, index: Tensor, x: Tensor) -> Tensor:
        return scheduler.step(answer, int(index), x, eta=eta, generator=generator).prev_sample

    kind = {0.0: "ddim", 0.5: "ddim_half", 1.0: "ddim_one"}[eta]
    assert_trajectory_agrees(PATHS[name], kind, scheduler.timesteps, step, PREDICTED[prediction])
    if spacing == "trailing":
        assert torch.equal(times_of(scheduler.timesteps), PATHS[name].times(20))


@pytest.mark.parametrize("steps", [2, 5, 20])
@pytest.mark.parametrize("name", SCHEDULES)
def test_dpmpp_is_diffusers_dpm_solver_multistep(name: str, steps: int) -> None:
    scheduler = DPMSolverMultistepScheduler(
        **SCHEDULES[name],
        prediction_type="sample",
        lower_order_final=False,  # theirs is of first order where sigma is zero in any case
        final_sigmas_type="zero",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    abar = PATHS[name].abar[times_of(scheduler.timesteps)]
    scheduler.sigmas = ((1 - abar) / abar).sqrt()  # theirs are float32

    def step(answer: Tensor, index: Tensor, x: Tensor) -> Tensor:
        return scheduler.step(answer, index, x).prev_sample  # computed in float32

    assert_trajectory_agrees(PATHS[name], "dpmpp", scheduler.timesteps, step, "x_0", atol=1e-6)


def test_dpmpp_starts_afresh_where_a_run_does_not_follow_the_last() -> None:
    path, x = PATHS["flow"], normal(1, 2, 1, 3, 3)
    solver, denoiser = make_solver("dpmpp"), Gaussian(path, M, 0.5)
    first = sample(denoiser, x, path.times(6), solver, no_noise)
    assert torch.equal(sample(denoiser, x, path.times(6), solver, no_noise), first)


class Learned(Answer):
    """A network that answers eps and how much of log beta there is in the log variance."""

    def __init__(self, path: GaussianPath, eps: Tensor, weight: Tensor) -> None:
        super().__init__(path, "eps", eps)
        self.weight = weight

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        estimate = super().__call__(x_t, t)
        return Estimate(estimate.x_0, estimate.eps, self.weight)


@pytest.mark.parametrize("most", [None, 1.5, 1.0])
@pytest.mark.parametrize("index", [990, 690, 30, 0])
def test_one_step_with_learned_variance_and_thresholding_is_diffusers(index: int, most: float | None) -> None:
    """DeepFloyd's step, on its strided list; None: no thresholding."""
    scheduler = DDPMScheduler(
        **SCHEDULES["cosine"],
        variance_type="learned_range",
        clip_sample=False,
        thresholding=most is not None,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=most or 1.0,
    )
    scheduler.set_timesteps(timesteps=strided("cosine"))
    x, eps, v = (normal(seed, 2, 3, 8, 8).float() for seed in (2, 3, 4))
    generator = torch.Generator().manual_seed(0)
    expected = scheduler.step(torch.cat([eps, v], dim=1), index, x, generator=generator)
    denoiser: Denoiser = Learned(PATHS["cosine"], eps, (v + 1) / 2)
    if most is not None:
        denoiser = Threshold(denoiser, 0.95, most)
    times = torch.tensor([index + 1, max(index - 30 + 1, 0)])
    seen: list[Estimate] = []
    got = sample(
        denoiser,
        x,
        times,
        LEARNED,
        shared_noise(0),
        callback=lambda step, s, x, estimate: seen.append(estimate),
    )
    torch.testing.assert_close(got, expected.prev_sample, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[0].x_0, expected.pred_original_sample, rtol=1e-4, atol=1e-4)


def test_a_variance_that_was_not_learned_is_an_error() -> None:
    path = PATHS["ddpm"]
    with pytest.raises(ValueError, match=r"variance=learned: allowed are beta, posterior"):
        sample(Gaussian(path, M, 0.5), torch.zeros(1, 1, 1, 1), path.times(2), LEARNED, no_noise)


def assert_trajectory_agrees(
    path: GaussianPath,
    kind: str,
    timesteps: Tensor,
    step: Callable[[Tensor, Tensor, Tensor], Tensor],
    prediction: str,
    atol: float = 1e-9,
) -> None:
    """Both in float64: diffusers' own abar is float32 (test_noise.py compares it), which costs it 1e-4 in places.

    1 - abar cancels for t near 0, and abar is tiny at the end of the cosine schedule; here the formulas are compared.
    """
    denoiser, times, x = Gaussian(path, 0.2, 0.6), times_of(timesteps), normal(1, 2, 1, 3, 3)
    ours: list[Tensor] = []
    sample(denoiser, x, times, solver_of(kind), shared_noise(0), callback=lambda *args: ours.append(args[2]))
    for index, mine in zip(timesteps, ours, strict=True):
        x = step(target(denoiser, prediction, x, index + 1), index, x)
        torch.testing.assert_close(mine, x, rtol=0, atol=atol)


@pytest.mark.parametrize(("kind", "theirs"), [("beta", "fixed_large"), ("posterior", "fixed_small")])
@pytest.mark.parametrize("t", [1, 50, 150, 300])
def test_one_unit_step_of_ddpm_with_any_answer(kind: str, theirs: str, t: int) -> None:
    """With an answer that is no denoiser's, and diffusers' coefficients as they come: 300 -> 299, ..., 1 -> 0."""
    scheduler = DDPMScheduler(**SCHEDULES["ddpm"], variance_type=theirs, clip_sample=False)
    x, eps = normal(2, 2, 1, 3, 3), normal(3, 2, 1, 3, 3)
    expected = scheduler.step(eps, t - 1, x, generator=torch.Generator().manual_seed(0)).prev_sample
    denoiser = Answer(PATHS["ddpm"], "eps", eps)
    got = sample(denoiser, x, torch.tensor([t, t - 1]), solver_of(kind), shared_noise(0))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eta", ["ddim", "ddim_half"])
@pytest.mark.parametrize("index", [0, 10, 150, 290])
def test_one_step_of_ddim_with_any_answer(eta: str, index: int) -> None:
    scheduler = DDIMScheduler(**SCHEDULES["ddpm"], clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(30)
    x, eps = normal(2, 2, 1, 3, 3), normal(3, 2, 1, 3, 3)
    theirs = scheduler.step(
        eps, index, x, eta=KINDS[eta][1].get("eta", 0.0), generator=torch.Generator().manual_seed(0)
    )
    times = torch.tensor([index + 1, max(index - 10 + 1, 0)])
    got = sample(Answer(PATHS["ddpm"], "eps", eps), x, times, solver_of(eta), shared_noise(0))
    torch.testing.assert_close(got, theirs.prev_sample, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 17, 300])
def test_euler_is_diffusers_flow_matching_euler(steps: int) -> None:
    path, x = PATHS["flow"], normal(1, 2, 1, 3, 3).float()
    denoiser, times = Gaussian(path, 0.2, 0.6), path.times(steps)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=times[:-1].tolist())
    ours: list[Tensor] = []
    sample(denoiser, x, times, solver_of("euler"), no_noise, callback=lambda *args: ours.append(args[2]))
    for index, t, mine in zip(scheduler.timesteps, times[:-1], ours, strict=True):
        x = scheduler.step(target(denoiser, "velocity", x, t), index, x).prev_sample
        torch.testing.assert_close(mine, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [2, 17, 100])
def test_heun_is_diffusers_flow_matching_heun(steps: int) -> None:
    """Their times end at 1/1000 before 0; two calls of their step are one of ours, and one is the last."""
    path, x = PATHS["flow"], normal(1, 2, 1, 3, 3).float()
    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(steps)
    denoiser, times = Gaussian(path, 0.2, 0.6), scheduler.sigmas.unique().flip(0)
    assert times.shape == (steps + 1,) and times[0] == 1 and times[-1] == 0
    ours: list[Tensor] = []
    sample(denoiser, x, times, solver_of("heun"), no_noise, callback=lambda *args: ours.append(args[2]))
    theirs: list[Tensor] = []
    for index in scheduler.timesteps:
        x = scheduler.step(target(denoiser, "velocity", x, index / 1000), index, x).prev_sample
        if scheduler.state_in_first_order or len(theirs) == steps - 1:
            theirs.append(x)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5)


# --- what is held, and steps that rise


@every_path
def test_a_step_that_rises_adds_the_paths_noise(path: GaussianPath) -> None:
    """Down to s and up again to t, without a denoiser in between: the marginal at t is that of the forward process."""
    end, middle = path.times(4)[2], path.times(4)[1]
    x_s = normal(0, 50_000, 1, 1, 1) * path.sigma(end) + path.alpha(end) * M  # x_s of the single picture M
    kept: list[Tensor] = []

    def hold(x: Tensor, s: Tensor) -> Tensor:
        kept.append(x)
        return x_s if len(kept) == 1 else x

    noise = ImageNoise(0, range(len(x_s)), "sampling")
    sample(Gaussian(path, M, 0.0), x_s, torch.stack([middle, end, middle, end]), solver_of("euler"), noise, hold=hold)
    risen = kept[1]
    assert risen.mean().item() == pytest.approx((path.alpha(middle) * M).item(), abs=0.03)
    assert risen.std().item() == pytest.approx(path.sigma(middle).item(), rel=0.02)


def test_what_is_held_is_put_back_after_every_step() -> None:
    path, photo = PATHS["ddpm"], torch.full((2, 1, 2, 2), 0.25, dtype=torch.float64)
    seen: list[tuple[int, float]] = []

    def hold(x: Tensor, s: Tensor) -> Tensor:
        seen.append((int(s), float(x[0, 0, 0, 0])))
        x = x.clone()
        x[:, :, 0] = photo[:, :, 0]
        return x

    calls: list[Tensor] = []
    out = sample(
        Gaussian(path, M, 0.5),
        normal(1, 2, 1, 2, 2),
        path.times(3),
        solver_of("ddim"),
        no_noise,
        hold=hold,
        callback=lambda step, s, x, estimate: calls.append(x),
    )
    assert [s for s, _ in seen] == path.times(3)[1:].tolist()
    assert all(torch.equal(x[:, :, 0], photo[:, :, 0]) for x in [*calls, out])


# --- images, callback, errors


@every_path
@every_solver
@settings(max_examples=5)
@given(indices=st.lists(st.integers(0, 1000), min_size=1, max_size=4, unique=True))
def test_an_image_depends_on_its_index_alone(path: GaussianPath, kind: str, indices: list[int]) -> None:
    """Bit for bit, in any batch and any order, given a denoiser that treats its rows alike."""

    def run(chosen: list[int]) -> Tensor:
        noise = ImageNoise(3, chosen, "sampling")
        start = noise(torch.empty(len(chosen), 1, 2, 2))
        return sample(Gaussian(path, M, 0.5), start, path.times(4), solver_of(kind), noise)

    together = run(indices)
    assert torch.equal(run(indices[::-1]).flip(0), together)
    for row, index in enumerate(indices):
        assert torch.equal(run([index])[0], together[row])


@pytest.mark.parametrize("kind", ["beta", "heun"])
def test_an_image_of_the_guided_unet_depends_on_its_index_alone(kind: str) -> None:
    torch.manual_seed(0)
    net = UNet(4, time="add", num_classes=10).eval()
    denoiser = Guide(NetworkDenoiser(net, PATHS["ddpm"], "eps"), 5.0, torch.zeros(1, 10))

    def run(chosen: list[int]) -> Tensor:
        noise = ImageNoise(3, chosen, "sampling")
        start = noise(torch.empty(len(chosen), 1, 28, 28))
        return sample(denoiser, start, torch.tensor([100, 60, 1, 0]), solver_of(kind), noise, torch.eye(10)[chosen])

    together = run([0, 4, 9])
    torch.testing.assert_close(run([9, 4]), together[[2, 1]], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(run([4]), together[[1]], rtol=1e-5, atol=1e-5)
    assert not together.requires_grad
    assert not net.training


def test_the_condition_reaches_the_denoiser_at_every_evaluation() -> None:
    seen: list[Tensor | None] = []

    class Conditional(Gaussian):
        def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
            seen.append(condition)
            return super().__call__(x_t, t)

    condition, path = torch.eye(2), PATHS["flow"]
    x = torch.zeros(2, 1, 1, 1)
    for given_condition in (condition, None):
        seen.clear()
        sample(Conditional(path, M, 1.0), x, path.times(3), solver_of("heun"), no_noise, given_condition)
        assert len(seen) == 5 and all(value is given_condition for value in seen)


@every_path
@every_solver
def test_the_callback_sees_every_step(path: GaussianPath, kind: str) -> None:
    """(number from 1, time reached, x there, the estimate at the step's start)."""
    times, calls = path.times(4), []
    start = normal(1, 2, 1, 2, 2)
    noise = ImageNoise(0, [0, 1], "sampling")
    out = sample(Gaussian(path, M, 0.5), start, times, solver_of(kind), noise, callback=lambda *a: calls.append(a))
    assert [call[0] for call in calls] == [1, 2, 3, 4]
    assert torch.equal(torch.stack([call[1] for call in calls]), times[1:])
    assert torch.equal(calls[-1][2], out)
    for t, x_t, (_, _, _, estimate) in zip(times[:-1], [start] + [call[2] for call in calls[:-1]], calls, strict=True):
        expected = Gaussian(path, M, 0.5)(x_t, t)
        assert torch.equal(estimate.x_0, expected.x_0) and torch.equal(estimate.eps, expected.eps)


@every_solver
def test_sampling_leaves_its_input_alone_and_keeps_type(kind: str) -> None:
    start = normal(1, 2, 1, 2, 2).float().requires_grad_()
    before, path = start.detach().clone(), PATHS["flow"]
    out = sample(Gaussian(path, M, 0.5), start, path.times(3), solver_of(kind), ImageNoise(0, [0, 1], "sampling"))
    assert torch.equal(start.detach(), before)
    assert out.dtype == torch.float32 and not out.requires_grad


def test_sampling_may_stop_and_start_anywhere() -> None:
    """SDEdit's use: two runs that meet are one run."""
    path, x = PATHS["ddpm"], normal(1, 2, 1, 2, 2)
    denoiser, times = Gaussian(path, M, 0.5), path.times(10)
    once = sample(denoiser, x, times, solver_of("beta"), ImageNoise(0, [0, 1], "sampling"))
    noise = ImageNoise(0, [0, 1], "sampling")
    half = sample(denoiser, x, times[:5], solver_of("beta"), noise)
    assert torch.equal(sample(denoiser, half, times[4:], solver_of("beta"), noise), once)


@pytest.mark.parametrize(
    "times",
    [[], [5], [5, 5], [5, 6], [10, 5, 7, 0], [0, 10], [[10, 5], [5, 0]]],
    ids=lambda times: str(times),
)
def test_times_that_do_not_decrease_are_an_error_before_any_call(times: list) -> None:
    calls: list[int] = []

    class Never(Gaussian):
        def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
            calls.append(1)
            return super().__call__(x_t, t)

    with pytest.raises(ValueError, match=r"times=.*strictly decreasing"):
        sample(
            Never(PATHS["ddpm"], M, 1.0),
            torch.zeros(1, 1, 1, 1),
            torch.tensor(times, dtype=torch.int64),
            solver_of("euler"),
            no_noise,
        )
    assert calls == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dddpm", {}, "solver='dddpm': allowed are ddpm, ddim, euler, heun"),
        ("", {}, "allowed are ddpm"),
        ("ddim", {"variance": "beta"}, "variance='beta': ddim takes eta"),
        ("ddpm", {"eta": 0.5}, "eta=0.5: ddpm takes variance"),
        ("euler", {"eta": 0.5}, "eta=0.5: euler takes no options"),
        ("heun", {"churn": 1}, "churn=1: heun takes no options"),
        ("ddim", {"noise": 1}, "noise=1: ddim takes eta"),
    ],
)
def test_an_unknown_solver_or_option_is_an_error_that_lists_what_is_allowed(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_solver(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ddpm", {"variance": "learnt"}, "variance='learnt': allowed are beta, posterior, learned"),
        ("ddim", {"eta": -0.1}, "eta=-0.1: allowed is 0 to 1"),
        ("ddim", {"eta": 1.5}, "eta=1.5: allowed is 0 to 1"),
        ("ddim", {"eta": float("nan")}, "eta=nan: allowed is 0 to 1"),
    ],
)
def test_an_option_out_of_range_is_an_error_before_the_network_runs(
    name: str, options: dict[str, Any], message: str
) -> None:
    class Never(nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            raise AssertionError("the network ran")

    path = PATHS["ddpm"]
    with pytest.raises(ValueError, match=message):
        sample(
            NetworkDenoiser(Never(), path, "eps"),
            torch.zeros(1, 1, 1, 1),
            path.times(2),
            make_solver(name, **options),
            no_noise,
        )


def test_every_solver_can_be_made_by_name_without_options() -> None:
    for name in SOLVERS:
        out = sample(
            Gaussian(PATHS["flow"], M, 0.0),
            torch.ones(1, 1, 1, 1),
            PATHS["flow"].times(3),
            make_solver(name),
            ImageNoise(0, [0], "sampling"),
        )
        assert out.item() == pytest.approx(M, abs=1e-6)


def test_ddpms_default_is_the_courses_variance() -> None:
    path = PATHS["ddpm"]
    denoiser, times = Gaussian(path, M, 0.3), path.times(10)
    assert law(denoiser, times, make_solver("ddpm")) == law(denoiser, times, solver_of("beta"))


@every_solver
@pytest.mark.parametrize("prediction", ["x_0", "velocity"])
@pytest.mark.parametrize("steps", [1, 7, 300])
def test_a_network_starts_where_no_signal_is_left(kind: str, prediction: str, steps: int) -> None:
    """alpha_T = 0: every coefficient is finite, and a network that knows the picture gets to it."""
    path, picture = PATHS["zero_snr"], torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    class Knows(nn.Module):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            if prediction == "x_0":
                return picture
            times = (t * path.T).round().long()
            _, eps = path.estimate("x_0", picture, x_t, times)
            return path.velocity(picture, eps, times)

    seen: list[Tensor] = []
    noise = ImageNoise(0, range(2), "sampling")
    x = sample(
        NetworkDenoiser(Knows(), path, prediction),
        noise(picture),
        path.times(steps),
        solver_of(kind),
        noise,
        callback=lambda step, t, x, estimate: seen.extend([x, estimate.x_0, estimate.eps]),
    )
    assert len(seen) == 3 * steps and all(bool(value.isfinite().all()) for value in seen)
    torch.testing.assert_close(x, picture, rtol=0, atol=1e-3)
