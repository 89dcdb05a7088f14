"""noise.py: the paths against closed forms and diffusers, the conversions, the times, the generators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from denoiselab.noise import (
    DDPM,
    PREDICTIONS,
    Additive,
    Cosine,
    GaussianPath,
    ImageNoise,
    RectifiedFlow,
    VariancePreserving,
    check_prediction,
    expand,
    key,
    per_image,
)

PATHS: dict[str, GaussianPath] = {
    "ddpm": DDPM(300, 1e-4, 0.02),
    "zero_snr": DDPM(300, 1e-4, 0.02, zero_terminal_snr=True),
    "cosine": Cosine(1000),
    "flow": RectifiedFlow(),
    "additive": Additive(),
}
VP = ["ddpm", "zero_snr", "cosine"]
CONTINUOUS = ["flow", "additive"]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])

every_path = pytest.mark.parametrize("name", PATHS)


def all_times(path: GaussianPath) -> Tensor:
    """Every time of a discrete path, a fine grid of a continuous one, ends included."""
    return torch.arange(int(path.T) + 1) if path.discrete else torch.linspace(0, 1, 101, dtype=torch.float64)


@st.composite
def times_of(draw: st.DrawFn, path: GaussianPath) -> Tensor:
    """One admissible time, (): ends included; float64 on a continuous path."""
    if path.discrete:
        return torch.tensor(draw(st.integers(0, int(path.T))))
    return torch.tensor(draw(st.floats(0, path.T)), dtype=torch.float64)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- alpha and sigma


def test_ddpm_is_the_cumulative_product_of_its_betas() -> None:
    path, abar = PATHS["ddpm"], 1.0
    for t in range(301):
        if t > 0:
            abar *= 1 - (1e-4 + (0.02 - 1e-4) * (t - 1) / 299)
        assert path.alpha(torch.tensor(t)).item() == pytest.approx(math.sqrt(abar), rel=1e-12)
        assert path.sigma(torch.tensor(t)).item() == pytest.approx(math.sqrt(1 - abar), rel=1e-11, abs=1e-15)


def test_ddpm_has_the_abar_of_diffusers_one_index_earlier() -> None:
    theirs = DDPMScheduler(300, beta_start=1e-4, beta_end=0.02, beta_schedule="linear").alphas_cumprod.double()
    torch.testing.assert_close(PATHS["ddpm"].alpha(torch.arange(1, 301)) ** 2, theirs, rtol=1e-5, atol=0)


def test_zero_terminal_snr_is_algorithm_1_and_that_of_diffusers() -> None:
    path, plain, t = PATHS["zero_snr"], PATHS["ddpm"], torch.arange(1, 301)
    alpha, before = path.alpha(t), plain.alpha(t)
    assert alpha[-1] == 0 and path.sigma(t[-1]) == 1
    assert alpha[0].item() == pytest.approx(before[0].item(), rel=1e-15)
    torch.testing.assert_close(alpha, before[0] * (before - before[-1]) / (before[0] - before[-1]))
    theirs = DDPMScheduler(300, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", rescale_betas_zero_snr=True)
    torch.testing.assert_close(alpha**2, theirs.alphas_cumprod.double(), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="T=1 with zero_terminal_snr: allowed is 2 or more"):
        DDPM(1, 0.1, 0.2, zero_terminal_snr=True)


def test_cosine_has_the_betas_of_diffusers_squaredcos_cap_v2() -> None:
    abar = PATHS["cosine"].alpha(torch.arange(1001)) ** 2
    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").betas.double()
    torch.testing.assert_close(1 - abar[1:] / abar[:-1], theirs, rtol=1e-6, atol=0)  # theirs are float32
    assert theirs[-1].item() == pytest.approx(0.999)  # the cap binds at the last step


def test_cosine_is_equation_17_wherever_the_cap_does_not_bind() -> None:
    for t in range(1000):
        f = math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        assert PATHS["cosine"].alpha(torch.tensor(t)).item() ** 2 == pytest.approx(f, rel=1e-9)


def test_the_last_abar_of_deepfloyds_schedule_survives_in_float64() -> None:
    alpha = PATHS["cosine"].alpha(torch.tensor(1000))
    assert alpha.dtype == torch.float64
    assert alpha.item() ** 2 == pytest.approx(2.4e-9, rel=0.02)  # alphas_cumprod[999] of diffusers
    assert (alpha**2).half() == 0  # why it is not kept in the network's precision


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_paths_are_their_formulas(name: str) -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(PATHS[name].alpha(t), 1 - t if name == "flow" else torch.ones(11).double())
    torch.testing.assert_close(PATHS[name].sigma(t), t)


@every_path
def test_zero_is_clean_and_noise_grows_with_time(name: str) -> None:
    path = PATHS[name]
    t = all_times(path)
    alpha, sigma = path.alpha(t), path.sigma(t)
    assert alpha[0] == 1 and sigma[0] == 0
    assert t[-1] == path.T
    assert bool((alpha[1:] <= alpha[:-1]).all()) and bool((alpha >= 0).all())
    angle = torch.atan2(sigma, alpha)  # of the noise-to-signal ratio, finite where alpha = 0
    assert bool((angle[1:] > angle[:-1]).all())
    if name in VP:
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha), rtol=0, atol=1e-15)


@every_path
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_coefficients_are_float64_of_the_shape_of_t(name: str, dtype: torch.dtype) -> None:
    path = PATHS[name]
    t = torch.tensor([[0, 1], [1, 0], [1, 1]], dtype=torch.int64 if path.discrete else dtype)
    for coefficient in (path.alpha(t), path.sigma(t), *path.velocity_weights(t)):
        assert coefficient.dtype == torch.float64
        assert coefficient.shape == t.shape


@every_path
@pytest.mark.parametrize("device", DEVICES)
def test_everything_lands_on_the_device_of_the_image(name: str, device: str) -> None:
    path = PATHS[name]
    x = torch.ones(2, 1, 4, 4, device=device)
    for t in (torch.tensor([1, 1], device=device), torch.tensor(1)):  # the times may stay on the CPU
        x_t = path.add_noise(x, t, x)
        x_0, eps = path.estimate("velocity", path.velocity(x, x, t), x_t, t)
        assert {x_t.device.type, x_0.device.type, eps.device.type} == {device}


@pytest.mark.parametrize("T", [0, -3])
@pytest.mark.parametrize("make", [lambda T: DDPM(T, 1e-4, 0.02), Cosine])
def test_a_path_without_steps_is_an_error(make: Callable[[int], GaussianPath], T: int) -> None:
    with pytest.raises(ValueError, match=f"T={T}.*allowed"):
        make(T)


@pytest.mark.parametrize("betas", [[], [0.1, 0.0], [1.0], [-0.1], [0.5, 1.5], [float("nan")], [[0.1]]])
def test_betas_outside_their_range_are_an_error(betas: list) -> None:
    with pytest.raises(ValueError, match=r"betas.*allowed"):
        VariancePreserving(torch.tensor(betas))


def test_a_path_of_one_step_is_allowed() -> None:
    assert DDPM(1, 0.3, 0.9).alpha(torch.tensor([0, 1])).tolist() == pytest.approx([1, math.sqrt(0.7)])


# --- add_noise, velocity, target


@every_path
@given(data=st.data(), seed=st.integers(0, 2**32), level=st.floats(-3, 3))
def test_moments_of_add_noise(name: str, data: st.DataObject, seed: int, level: float) -> None:
    path = PATHS[name]
    t, n = data.draw(times_of(path)), 2000
    alpha, sigma = path.alpha(t).item(), path.sigma(t).item()
    x_t = path.add_noise(torch.full((n, 1, 1, 1), level, dtype=torch.float64), t, normal(seed, n, 1, 1, 1))
    # five standard errors, of the mean and of the variance
    assert x_t.mean().item() == pytest.approx(alpha * level, abs=5 * sigma / math.sqrt(n) + 1e-12)
    assert x_t.var().item() == pytest.approx(sigma**2, abs=5 * sigma**2 * math.sqrt(2 / n) + 1e-12)


@every_path
def test_a_time_per_image_is_the_batch_of_the_single_times(name: str) -> None:
    path = PATHS[name]
    t = torch.tensor([1, 150, 300]) if path.discrete else torch.tensor([0.1, 0.5, 1.0])
    x_0, eps = normal(0, 3, 2, 4, 4), normal(1, 3, 2, 4, 4)
    x_t, velocity = path.add_noise(x_0, t, eps), path.velocity(x_0, eps, t)
    for i in range(3):
        one = slice(i, i + 1)
        assert torch.equal(x_t[one], path.add_noise(x_0[one], t[i], eps[one]))
        assert torch.equal(velocity[one], path.velocity(x_0[one], eps[one], t[i]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_path
def test_conversions_keep_the_type_of_the_image(name: str, dtype: torch.dtype) -> None:
    x, t = normal(0, 2, 1, 4, 4, dtype=dtype), torch.tensor(1)
    assert PATHS[name].add_noise(x, t, x).dtype == dtype
    assert {value.dtype for value in PATHS[name].estimate("velocity", x, x, t)} == {dtype}


@pytest.mark.parametrize("time", [1, 2, 150, 300])
def test_add_noise_and_velocity_are_those_of_diffusers(time: int) -> None:
    theirs = DDPMScheduler(300, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    x_0, eps = normal(0, 3, 1, 4, 4, dtype=torch.float32), normal(1, 3, 1, 4, 4, dtype=torch.float32)
    index, t = torch.full((3,), time - 1), torch.full((3,), time)
    path = PATHS["ddpm"]
    torch.testing.assert_close(path.add_noise(x_0, t, eps), theirs.add_noise(x_0, eps, index), rtol=0, atol=1e-5)
    torch.testing.assert_close(path.velocity(x_0, eps, t), theirs.get_velocity(x_0, eps, index), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_velocity_is_the_time_derivative_of_the_path(name: str) -> None:
    path, t, h = PATHS[name], torch.tensor(0.4).double(), 1e-3
    x_0, eps = normal(0, 2, 1, 4, 4), normal(1, 2, 1, 4, 4)
    derivative = (path.add_noise(x_0, t + h, eps) - path.add_noise(x_0, t - h, eps)) / (2 * h)
    torch.testing.assert_close(path.velocity(x_0, eps, t), derivative, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", VP)
def test_velocity_is_the_derivative_by_the_angle(name: str) -> None:
    path, t, h = PATHS[name], torch.tensor(200), 1e-4
    angle = torch.atan2(path.sigma(t), path.alpha(t))
    x_0, eps = normal(0, 2, 1, 4, 4), normal(1, 2, 1, 4, 4)
    at = {sign: (angle + sign * h).cos() * x_0 + (angle + sign * h).sin() * eps for sign in (1, -1)}
    torch.testing.assert_close(path.velocity(x_0, eps, t), (at[1] - at[-1]) / (2 * h), rtol=0, atol=1e-7)


@every_path
def test_the_target_is_what_the_prediction_is_called(name: str) -> None:
    path, t = PATHS[name], torch.tensor([1, 0])
    x_0, eps = normal(0, 2, 1, 4, 4), normal(1, 2, 1, 4, 4)
    assert torch.equal(path.target("eps", x_0, eps, t), eps)
    assert torch.equal(path.target("x_0", x_0, eps, t), x_0)
    assert torch.equal(path.target("velocity", x_0, eps, t), path.velocity(x_0, eps, t))


@every_path
@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_estimate_inverts_the_target(name: str, prediction: str, data: st.DataObject, seed: int) -> None:
    """(x_0, eps) -> (x_t, prediction) -> (x_0, eps) wherever the prediction determines both."""
    path = PATHS[name]
    t = data.draw(times_of(path))
    alpha, sigma = path.alpha(t).item(), path.sigma(t).item()
    condition = {"eps": alpha, "x_0": sigma, "velocity": 1.0}[prediction]  # what the round trip divides by
    assume(condition > 1e-6)
    x_0, eps = normal(seed, 2, 1, 3, 3), normal(seed + 1, 2, 1, 3, 3)
    value, x_t = path.target(prediction, x_0, eps, t), path.add_noise(x_0, t, eps)
    got_x_0, got_eps = path.estimate(prediction, value, x_t, t)
    atol = 1e-14 / condition
    torch.testing.assert_close(got_x_0, x_0, rtol=1e-13, atol=10 * atol)
    torch.testing.assert_close(got_eps, eps, rtol=1e-13, atol=10 * atol)


@every_path
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_predictions_convert_into_each_other(name: str, data: st.DataObject, seed: int) -> None:
    """Any two arbitrary tensors (x_t, value): x_0 and eps reproduce x_t and the value, whichever it was."""
    path = PATHS[name]
    t = data.draw(times_of(path))
    assume(path.alpha(t) > 1e-3 and path.sigma(t) > 1e-3)
    x_t, value = normal(seed, 2, 1, 3, 3), normal(seed + 1, 2, 1, 3, 3)
    for prediction in PREDICTIONS:
        x_0, eps = path.estimate(prediction, value, x_t, t)
        torch.testing.assert_close(path.add_noise(x_0, t, eps), x_t, rtol=0, atol=1e-9)
        torch.testing.assert_close(path.target(prediction, x_0, eps, t), value, rtol=0, atol=1e-9)


@every_path
def test_velocity_determines_both_at_the_ends(name: str) -> None:
    path = PATHS[name]
    x_0, eps = normal(0, 2, 1, 3, 3), normal(1, 2, 1, 3, 3)
    for t in (torch.tensor(0), torch.tensor(int(path.T))):
        estimate = path.estimate("velocity", path.velocity(x_0, eps, t), path.add_noise(x_0, t, eps), t)
        torch.testing.assert_close(estimate, (x_0, eps), rtol=0, atol=1e-13)


def test_what_a_prediction_does_not_determine_is_not_finite() -> None:
    x = normal(0, 2, 1, 3, 3)
    x_0, _ = PATHS["flow"].estimate("eps", x + 1, x, torch.tensor(1.0))  # alpha = 0
    _, eps = PATHS["flow"].estimate("x_0", x + 1, x, torch.tensor(0.0))  # sigma = 0
    assert not x_0.isfinite().any() and not eps.isfinite().any()


@pytest.mark.parametrize("wrong", ["v", "epsilon", "", "X_0"])
def test_an_unknown_prediction_is_an_error_that_lists_the_known(wrong: str) -> None:
    x, t, path = torch.zeros(1, 1, 2, 2), torch.tensor(1), PATHS["ddpm"]
    for call in (
        lambda: check_prediction(wrong),
        lambda: path.target(wrong, x, x, t),
        lambda: path.estimate(wrong, x, x, t),
    ):
        with pytest.raises(ValueError, match=f"prediction='{wrong}'.*eps, x_0, velocity"):
            call()


def test_expand_broadcasts_over_everything_but_the_batch() -> None:
    x = torch.zeros(3, 2, 4, 5)
    one = expand(torch.tensor(2.0).double(), x)
    assert one.shape == () and one.dtype == x.dtype
    three = expand(torch.arange(3).double(), x)
    assert three.shape == (3, 1, 1, 1) and three.dtype == x.dtype
    assert three.flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize("t", [torch.tensor(7), torch.tensor([7, 7, 7])])
def test_times_are_one_for_each_image(t: Tensor) -> None:
    x = torch.zeros(3, 2, 4, 5)
    assert per_image(t, x).tolist() == [7, 7, 7] and per_image(t, x).dtype == t.dtype
    assert per_image(t, x.to("meta")).device.type == "meta"


def test_a_single_time_or_coefficient_is_not_copied_to_the_images() -> None:
    """A copy from the CPU waits for a GPU; "meta" stands for one here, from which nothing can be copied back."""
    x = torch.zeros(3, 2, 4, 5, device="meta")
    assert expand(torch.tensor(0.5).double(), x).device.type == "cpu"
    assert (expand(torch.tensor(0.5).double(), x) * x).shape == x.shape


# --- times


@every_path
def test_random_times_cover_the_range_evenly(name: str) -> None:
    path, n = PATHS[name], 30_000
    t = path.random_times(n, torch.Generator().manual_seed(0))
    assert t.shape == (n,)
    assert t.dtype == (torch.int64 if path.discrete else torch.float32)
    assert t.min() >= (1 if path.discrete else 0) and t.max() <= path.T
    shares = torch.histc(path.normalise(t), bins=10, min=1e-9, max=1) / n
    torch.testing.assert_close(shares, torch.full((10,), 0.1), rtol=0, atol=0.01)  # 5.8 standard errors


def test_random_times_hit_one_and_T_and_never_zero() -> None:
    t = DDPM(4, 0.1, 0.2).random_times(4000, torch.Generator().manual_seed(0))
    counts = torch.bincount(t, minlength=6)
    assert counts[0] == 0 and len(counts) == 6 and counts[5] == 0
    assert bool(((counts[1:5] - 1000).abs() < 5 * math.sqrt(4000 * 0.25 * 0.75)).all())
    assert DDPM(1, 0.1, 0.2).random_times(5, torch.Generator().manual_seed(0)).tolist() == [1] * 5


@every_path
def test_random_times_are_their_generators(name: str) -> None:
    draw = [PATHS[name].random_times(64, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])


def test_discrete_times_are_an_even_stride_for_every_number_of_steps() -> None:
    path = PATHS["ddpm"]
    for steps in range(1, 301):
        times = path.times(steps)
        assert times.dtype == torch.int64 and times.shape == (steps + 1,)
        assert times[0] == 300 and times[-1] == 0
        assert bool((times[1:] < times[:-1]).all())
        even = torch.linspace(300, 0, steps + 1, dtype=torch.float64)
        assert bool(((times - even).abs() <= 0.5 + 1e-9).all())
    assert torch.equal(path.times(300), torch.arange(300, -1, -1))


@given(T=st.integers(1, 2000), data=st.data())
def test_discrete_times_decrease_on_every_path_length(T: int, data: st.DataObject) -> None:
    times = VariancePreserving(torch.full((T,), 0.01)).times(data.draw(st.integers(1, T)))
    assert times[0] == T and times[-1] == 0 and bool((times[1:] < times[:-1]).all())


@pytest.mark.parametrize("name", CONTINUOUS)
@given(steps=st.integers(1, 2000))
def test_continuous_times_are_an_even_stride(name: str, steps: int) -> None:
    times = PATHS[name].times(steps)
    assert times.dtype == torch.float32 and times.shape == (steps + 1,)
    assert times[0] == 1 and times[-1] == 0
    assert bool((times[1:] < times[:-1]).all())
    torch.testing.assert_close(times[:-1] - times[1:], torch.full((steps,), 1 / steps), rtol=0, atol=1.2e-7)


@pytest.mark.parametrize(
    ("name", "steps", "allowed"),
    [
        ("ddpm", 0, "300"),
        ("ddpm", -1, "300"),
        ("ddpm", 301, "300"),
        ("cosine", 1001, "1000"),
        ("flow", 0, "any"),
    ],
)
def test_a_number_of_steps_out_of_range_is_an_error(name: str, steps: int, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"steps={steps}: allowed are 1 to {allowed}"):
        PATHS[name].times(steps)


@every_path
def test_normalised_time_is_the_fraction_of_T(name: str) -> None:
    path = PATHS[name]
    t = all_times(path)
    assert path.normalise(t).dtype == torch.float32
    torch.testing.assert_close(path.normalise(t), (t / path.T).float(), rtol=0, atol=1e-7)
    assert path.normalise(t)[0] == 0 and path.normalise(t)[-1] == 1


# --- generators

PINNED_KEY = 7364920301197796476  # key(0, 1, "sampling")


def test_keys_do_not_change_between_processes_or_releases() -> None:
    """The seeds of published pictures hang on this number."""
    assert key(0, 1, "sampling") == PINNED_KEY


parts = st.lists(st.integers(-(2**70), 2**70) | st.text(max_size=8), max_size=4).map(tuple)


@given(a=parts, b=parts)
def test_keys_are_generator_seeds_and_differ_when_their_parts_do(a: tuple, b: tuple) -> None:
    assert 0 <= key(*a) < 2**63
    torch.Generator().manual_seed(key(*a))
    assert (key(*a) == key(*b)) == (a == b)


def test_keys_of_look_alikes_differ() -> None:
    tuples = [
        (1, 0),
        (0, 1),
        (10,),
        (1, "0"),
        ("1", 0),
        ("1", "0"),
        ("10",),
        (),
        (0,),
        ("",),
        (-1,),
        (1, 0, ""),
    ]
    assert len({key(*parts) for parts in tuples}) == len(tuples)


def image_noise(indices: Sequence[int] | Tensor, seed: int = 0, purpose: str = "sampling", draws: int = 2) -> Tensor:
    """(draws, len(indices), 1, 4, 4)"""
    noise = ImageNoise(seed, indices, purpose)
    return torch.stack([noise(torch.empty(len(indices), 1, 4, 4)) for _ in range(draws)])


@given(indices=st.lists(st.integers(0, 10**6), min_size=1, max_size=5, unique=True), data=st.data())
def test_the_noise_of_an_image_depends_on_its_index_alone(indices: list[int], data: st.DataObject) -> None:
    together = image_noise(indices)
    order = data.draw(st.permutations(range(len(indices))))
    assert torch.equal(image_noise([indices[i] for i in order]), together[:, order])
    for row, index in enumerate(indices):
        assert torch.equal(image_noise([index])[:, 0], together[:, row])


def test_noise_differs_by_image_draw_seed_and_purpose() -> None:
    rows = [*image_noise([0, 1]).flatten(0, 1)]
    rows += [
        *image_noise([0, 1], seed=1).flatten(0, 1),
        *image_noise([0, 1], purpose="validation").flatten(0, 1),
    ]
    assert len({tuple(row.flatten().tolist()) for row in rows}) == 12


def test_indices_may_be_a_tensor_or_a_range() -> None:
    expected = image_noise([3, 4])
    assert torch.equal(image_noise(torch.tensor([3, 4])), expected)
    assert torch.equal(image_noise(range(3, 5)), expected)


def test_image_noise_is_standard_normal_and_uncorrelated() -> None:
    n = 10_000
    first, second = ImageNoise(0, [0, 1], "sampling")(torch.empty(2, 1, 100, 100)).flatten(1)
    again = ImageNoise(0, [0], "other")(torch.empty(1, 1, 100, 100)).flatten()
    for z in (first, second, again):
        assert abs(z.mean()) < 5 / math.sqrt(n)
        assert abs(z.var() - 1) < 5 * math.sqrt(2 / n)
    for other in (second, again):
        assert abs((first * other).mean()) < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_image_noise_takes_the_type_of_the_batch_and_its_numbers_from_float32(dtype: torch.dtype) -> None:
    got = ImageNoise(0, [7], "sampling")(torch.empty(1, 1, 4, 4, dtype=dtype))
    assert got.dtype == dtype
    assert torch.equal(got, image_noise([7], draws=1)[0].to(dtype))


@pytest.mark.parametrize("device", ["meta", *DEVICES])
def test_image_noise_lands_on_the_device_of_the_batch(device: str) -> None:
    got = ImageNoise(0, [7], "sampling")(torch.empty(1, 1, 4, 4, device=device))
    assert got.device.type == device and got.shape == (1, 1, 4, 4)
    if device != "meta":
        assert torch.equal(got.cpu(), image_noise([7], draws=1)[0])


def test_image_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    image_noise([0, 1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("batch", [1, 3])
def test_noise_for_another_number_of_images_is_an_error(batch: int) -> None:
    with pytest.raises(ValueError, match=f"2 images.*batch of {batch}"):
        ImageNoise(0, [0, 1], "sampling")(torch.empty(batch, 1, 4, 4))
