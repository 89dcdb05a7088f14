"""denoise.py: the conversions of NetworkDenoiser against a network that knows the truth, and the limits of Guide."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from denoiselab.denoise import Denoiser, Estimate, Guide, NetworkDenoiser, Split, Threshold
from denoiselab.nets import UNet, folded
from denoiselab.noise import DDPM, PREDICTIONS, Additive, Cosine, GaussianPath, RectifiedFlow

PATHS: dict[str, GaussianPath] = {
    "ddpm": DDPM(300, 1e-4, 0.02),
    "cosine": Cosine(1000),
    "flow": RectifiedFlow(),
    "additive": Additive(),
}
every_path = pytest.mark.parametrize("name", PATHS)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def middle_times(path: GaussianPath) -> Tensor:
    """(3,), where every prediction determines both x_0 and eps."""
    return torch.tensor([0.1, 0.5, 0.9]) * path.T if not path.discrete else torch.tensor([9, 100, 250])


class Truth(nn.Module):
    """Answers with a fixed tensor, in a chosen type, and remembers what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[Tensor, ...]] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        self.asked.append(inputs)
        return self.answer


# --- NetworkDenoiser


@every_path
@every_prediction
def test_a_network_that_knows_the_truth_gives_the_truth(name: str, prediction: str) -> None:
    path = PATHS[name]
    x_0, eps, t = normal(0, 3, 2, 4, 4), normal(1, 3, 2, 4, 4), middle_times(path)
    x_t = path.add_noise(x_0, t, eps)
    net = Truth(path.target(prediction, x_0, eps, t))
    estimate = NetworkDenoiser(net, path, prediction)(x_t, t)
    torch.testing.assert_close(estimate.x_0, x_0, rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate.eps, eps, rtol=0, atol=1e-5)
    assert estimate.log_variance_weight is None


@every_path
@every_prediction
@given(seed=st.integers(0, 2**32))
def test_any_answer_gives_an_estimate_consistent_with_x_t(name: str, prediction: str, seed: int) -> None:
    """alpha_t x_0 + sigma_t eps = x_t even where the network is wrong; each image has its own time."""
    path = PATHS[name]
    t, x_t = middle_times(path), normal(seed, 3, 1, 4, 4)
    estimate = NetworkDenoiser(Truth(normal(seed + 1, 3, 1, 4, 4)), path, prediction)(x_t, t)
    torch.testing.assert_close(path.add_noise(estimate.x_0, t, estimate.eps), x_t, rtol=0, atol=1e-4)


@every_path
@pytest.mark.parametrize("condition", [None, torch.eye(3)])
def test_the_network_is_called_once_with_the_fraction_of_T(name: str, condition: Tensor | None) -> None:
    path, x_t = PATHS[name], normal(0, 3, 1, 4, 4)
    t = middle_times(path)
    for time in (t, t[0]):  # one per image, and one for all
        net = Truth(x_t)
        NetworkDenoiser(net, path, "eps")(x_t, time, condition)
        ((got_x, got_t, *rest),) = net.asked
        assert got_x is x_t
        assert got_t.dtype == torch.float32 and torch.equal(got_t, (time / path.T).float().expand(3))
        assert (rest == []) if condition is None else (rest[0] is condition)


@every_path
@every_prediction
def test_a_time_per_image_is_the_batch_of_single_calls(name: str, prediction: str) -> None:
    path, x_t, value = PATHS[name], normal(0, 3, 1, 4, 4), normal(1, 3, 1, 4, 4)
    t = middle_times(path)
    together = NetworkDenoiser(Truth(value), path, prediction)(x_t, t)
    for i in range(3):
        alone = NetworkDenoiser(Truth(value[i : i + 1]), path, prediction)(x_t[i : i + 1], t[i])
        assert torch.equal(together.x_0[i : i + 1], alone.x_0)
        assert torch.equal(together.eps[i : i + 1], alone.eps)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("t", [500, 990, 1000])
def test_a_half_precision_answer_meets_full_precision_coefficients(half: torch.dtype, t: int) -> None:
    """At t = 1000, abar_t = 2.4e-9 is zero in half precision; here it must not be."""
    path, x_t, value = PATHS["cosine"], normal(0, 2, 1, 4, 4), normal(1, 2, 1, 4, 4).to(half)
    time = torch.tensor(t)
    estimate = NetworkDenoiser(Truth(value), path, "eps")(x_t, time)
    alpha, sigma = path.alpha(time), path.sigma(time)
    assert estimate.x_0.dtype == estimate.eps.dtype == torch.float32
    x_0 = (x_t.double() - sigma * value.double()) / alpha
    torch.testing.assert_close(estimate.x_0.double(), x_0, rtol=1e-5, atol=1e-6 / alpha.item())
    assert torch.equal(estimate.eps, value.float())


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_coefficients_stay_fp32_or_better_for_a_half_precision_image(half: torch.dtype) -> None:
    path, x_t, value = PATHS["cosine"], normal(0, 2, 1, 4, 4).to(half), normal(1, 2, 1, 4, 4).to(half)
    t = torch.tensor(500)
    estimate = NetworkDenoiser(Truth(value), path, "eps")(x_t, t)
    x_0 = (x_t.double() - path.sigma(t) * value.double()) / path.alpha(t)
    torch.testing.assert_close(estimate.x_0.double(), x_0, rtol=0, atol=1e-5)


def test_a_network_in_half_precision_runs_in_its_own_precision() -> None:
    torch.manual_seed(0)
    net, x_t, t = UNet(4, time="add").eval(), normal(0, 2, 1, 28, 28), torch.tensor([10, 200])
    full = NetworkDenoiser(net, PATHS["ddpm"], "eps")(x_t, t)
    half = NetworkDenoiser(net.bfloat16(), PATHS["ddpm"], "eps")(x_t, t)
    assert half.eps.dtype == half.x_0.dtype == torch.float32
    torch.testing.assert_close(half.eps, full.eps, rtol=0.05, atol=0.05)


def test_times_and_classes_are_not_rounded_for_convolutions_in_half_precision() -> None:
    net = folded(UNet(4, time="add", num_classes=3).eval(), torch.bfloat16)
    seen: dict[str, torch.Tensor] = {}
    for name in ("time1", "time2", "class1", "class2"):
        getattr(net, name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    t, c = torch.tensor([0.9985, 0.9995]), torch.tensor([[0.9985, 0, 0], [0.9995, 0, 0]])  # 1 and 1 in bf16
    estimate = NetworkDenoiser(net, PATHS["flow"], "velocity")(normal(0, 2, 1, 28, 28), t, c)
    assert estimate.x_0.dtype == torch.float32
    for name, value in {"time": t[:, None], "class": c}.items():
        assert torch.equal(seen[f"{name}1"], value) and torch.equal(seen[f"{name}2"], value)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_keeps_its_mode(training: bool) -> None:
    net = UNet(2, time="add").train(training)
    NetworkDenoiser(net, PATHS["ddpm"], "eps")(normal(0, 2, 1, 28, 28), torch.tensor(5))
    assert net.training == training


def test_an_unknown_prediction_is_an_error_before_any_call() -> None:
    with pytest.raises(ValueError, match=r"prediction='noise'.*eps, x_0, velocity"):
        NetworkDenoiser(Truth(torch.zeros(1)), PATHS["ddpm"], "noise")


def test_an_estimate_is_immutable() -> None:
    estimate = Estimate(torch.zeros(1), torch.zeros(1))
    with pytest.raises(AttributeError):
        estimate.x_0 = torch.ones(1)  # type: ignore[misc]


# --- Guide


class Recording(Denoiser):
    """A denoiser whose answers depend on x_t, t and the condition row by row, and which counts its calls."""

    def __init__(self, learned_variance: bool = False) -> None:
        self.path, self.learned_variance = PATHS["ddpm"], learned_variance
        self.calls: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        self.calls.append((x_t, t, condition))
        assert condition is not None
        code = condition.flatten(1) @ torch.arange(1.0, 1 + condition[0].numel())
        code = code.reshape(-1, 1, 1, 1)
        time = torch.as_tensor(t).expand(len(x_t)).reshape(-1, 1, 1, 1) / 300
        log_variance = code - time + 0 * x_t if self.learned_variance else None
        return Estimate((x_t * code + time).sin(), (x_t - code * time).cos(), log_variance)


K = 4
X, T = normal(5, 3, 2, 4, 4), torch.tensor([7, 100, 250])
CLASSES = torch.eye(K)[:3]
ZERO = torch.zeros(1, K)


def guide(scale: float, learned_variance: bool = False) -> tuple[Guide, Recording]:
    inner = Recording(learned_variance)
    return Guide(inner, scale, ZERO), inner


def test_guidance_lives_on_the_path_of_what_it_guides() -> None:
    guided, inner = guide(5.0)
    assert guided.path is inner.path


@pytest.mark.parametrize("learned_variance", [False, True])
@pytest.mark.parametrize(("scale", "condition"), [(0.0, torch.zeros(3, K)), (1.0, CLASSES), (0, torch.zeros(3, K))])
def test_scales_zero_and_one_are_one_branch_bit_for_bit(
    scale: float, condition: Tensor, learned_variance: bool
) -> None:
    guided, inner = guide(scale, learned_variance)
    got, alone = guided(X, T, CLASSES), Recording(learned_variance)(X, T, condition)
    assert torch.equal(got.x_0, alone.x_0) and torch.equal(got.eps, alone.eps)
    if learned_variance:
        assert torch.equal(got.log_variance_weight, alone.log_variance_weight)
    ((x_t, _, asked),) = inner.calls  # one call, on B and not on 2B
    assert len(x_t) == 3
    assert torch.equal(asked, condition)


@pytest.mark.parametrize("t", [T, T[1]])
def test_other_scales_are_one_call_on_both_branches(t: Tensor) -> None:
    guided, inner = guide(5.0)
    guided(X, t, CLASSES)
    ((x_t, time, condition),) = inner.calls
    assert torch.equal(x_t, torch.cat([X, X]))
    assert torch.equal(time, t.expand(3).repeat(2))
    assert torch.equal(condition, torch.cat([torch.zeros(3, K), CLASSES]))


@given(scale=st.floats(-10, 20))
def test_guidance_is_linear_in_its_scale(scale: float) -> None:
    """u_uncond + scale (u_cond - u_uncond), with a time of its own for each image."""
    got = guide(scale)[0](X, T, CLASSES)
    without, given_class = Recording()(X, T, torch.zeros(3, K)), Recording()(X, T, CLASSES)
    for name in ("x_0", "eps"):
        u, c = getattr(without, name), getattr(given_class, name)
        torch.testing.assert_close(getattr(got, name), (1 - scale) * u + scale * c, rtol=1e-5, atol=1e-5)


@every_prediction
@pytest.mark.parametrize("name", ["ddpm", "flow"])
def test_mixing_estimates_is_mixing_predictions(name: str, prediction: str) -> None:
    """Ho & Salimans mix the network's answers; Guide mixes x_0 and eps, which is the same."""
    path, t = PATHS[name], middle_times(PATHS[name])
    answers = normal(6, 6, 2, 4, 4)
    got = Guide(NetworkDenoiser(Truth(answers), path, prediction), 7.0, ZERO)(X, t, CLASSES)
    u, c = answers.chunk(2)
    x_0, eps = path.estimate(prediction, u + 7.0 * (c - u), X, t)
    torch.testing.assert_close((got.x_0, got.eps), (x_0, eps), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scale", [0.5, 7.0, -1.0])
def test_the_learned_variance_is_the_conditional_branchs(scale: float) -> None:
    got = guide(scale, learned_variance=True)[0](X, T, CLASSES)
    assert torch.equal(got.log_variance_weight, Recording(True)(X, T, CLASSES).log_variance_weight)
    assert guide(scale)[0](X, T, CLASSES).log_variance_weight is None


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.0])
def test_guidance_without_a_condition_is_an_error(scale: float) -> None:
    guided, inner = guide(scale)
    with pytest.raises(ValueError, match="guidance needs a condition"):
        guided(X, T)
    assert inner.calls == []


def test_prompt_embeddings_are_conditions_too() -> None:
    """(B, L, D) conditions, with an unconditional embedding (1, L, D) of a wider type."""
    prompts, empty = normal(8, 3, 5, 6), normal(9, 1, 5, 6).double()
    inner = Recording()
    Guide(inner, 7.0, empty)(X, T, prompts)
    ((_, _, condition),) = inner.calls
    assert condition.dtype == prompts.dtype
    assert torch.equal(condition, torch.cat([empty.float().expand(3, 5, 6), prompts]))


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_guidance_of_the_class_unet_is_two_calls_of_it(scale: float) -> None:
    torch.manual_seed(0)
    net, x_t = UNet(4, time="add", num_classes=K), normal(3, 3, 1, 28, 28)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # one pass in training mode sets the statistics: an untrained net ignores its class
    with torch.no_grad():
        net(x_t, T / 300, CLASSES)
        denoiser = NetworkDenoiser(net.eval(), PATHS["ddpm"], "eps")
        got = Guide(denoiser, scale, ZERO)(x_t, T, CLASSES)
        u, c = net(x_t, T / 300, torch.zeros(3, K)), net(x_t, T / 300, CLASSES)
    torch.testing.assert_close(got.eps, u + scale * (c - u), rtol=0, atol=1e-5)
    assert not torch.allclose(u, c, atol=1e-3)


# --- the guidance interval and rescaling

# Of PATHS["ddpm"], T = 300: t / T of X's times is 0.023, 1/3, 5/6.


def both_alone() -> tuple[Estimate, Estimate]:
    """The conditional estimate of X, and the guided one as it was without options."""
    return Recording(True)(X, T, CLASSES), guide(5.0, learned_variance=True)[0](X, T, CLASSES)


def same(got: Estimate, expected: Estimate, rows: slice | list[int] = slice(None)) -> None:
    for name in ("x_0", "eps", "log_variance_weight"):
        assert torch.equal(getattr(got, name)[rows], getattr(expected, name)[rows]), name


@pytest.mark.parametrize("t", [torch.tensor(90), torch.tensor([90, 90, 90])])
@pytest.mark.parametrize(("interval", "rows"), [((0.0, 0.2), 3), ((0.4, 1.0), 3), ((0.3, 0.4), 6), ([0, 0.3], 6)])
def test_outside_of_its_interval_guidance_is_the_conditional_branch_alone(
    t: Tensor, interval: tuple[float, float], rows: int
) -> None:
    inner = Recording(True)
    got = Guide(inner, 5.0, ZERO, interval=interval)(X, t, CLASSES)
    assert [len(x_t) for x_t, _, _ in inner.calls] == [rows]
    same(got, Recording(True)(X, t, CLASSES) if rows == 3 else guide(5.0, True)[0](X, t, CLASSES))


@given(seed=st.integers(0, 2**32), low=st.floats(0, 0.9), width=st.floats(0.01, 1), rescale=st.sampled_from([0, 0.7]))
def test_each_row_of_a_batch_is_guided_by_its_own_time(seed: int, low: float, width: float, rescale: float) -> None:
    interval = (low, min(low + width, 1))
    t = torch.randint(1, 301, (3,), generator=torch.Generator().manual_seed(seed))
    guided = Guide(Recording(True), 5.0, ZERO, interval=interval, rescale=rescale)
    got = guided(X, t, CLASSES)
    for row in range(3):
        one = slice(row, row + 1)
        alone = guided(X[one], t[row], CLASSES[one])
        for name in ("x_0", "eps", "log_variance_weight"):
            torch.testing.assert_close(getattr(got, name)[one], getattr(alone, name), rtol=1e-5, atol=1e-5)


def test_rows_on_both_sides_of_the_interval_are_the_conditional_or_the_guided_bit_for_bit() -> None:
    inner = Recording(True)
    got = Guide(inner, 5.0, ZERO, interval=(0.2, 0.5))(X, T, CLASSES)
    conditional, guided = both_alone()
    same(got, conditional, [0, 2])
    same(got, guided, [1])
    assert len(inner.calls) == 1


@pytest.mark.parametrize("name", ["ddpm", "flow"])
@pytest.mark.parametrize("end", [0.1, 0.2, 0.3, 0.7, 0.9])
def test_the_ends_of_the_interval_are_in_it(name: str, end: float) -> None:
    path = PATHS[name]
    steps = path.times(10)
    t = steps[(steps / path.T - end).abs().argmin()]
    for interval in ((end, 1.0), (0.0, end)):
        inner = Recording()
        inner.path = path
        Guide(inner, 5.0, ZERO, interval=interval)(X, t, CLASSES)
        assert len(inner.calls[0][0]) == 6


def test_the_defaults_change_nothing() -> None:
    _, guided = both_alone()
    same(Guide(Recording(True), 5.0, ZERO, interval=(0.0, 1.0), rescale=0.0)(X, T, CLASSES), guided)
    same(Guide(Recording(True), 5.0, ZERO, interval=(0.01, 1.0))(X, T, CLASSES), guided)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_one_branch_has_nothing_to_rescale_or_to_leave_out(scale: float) -> None:
    inner = Recording(True)
    got = Guide(inner, scale, ZERO, interval=(0.9, 1.0), rescale=1.0)(X, T, CLASSES)
    same(got, guide(scale, learned_variance=True)[0](X, T, CLASSES))
    assert [len(x_t) for x_t, _, _ in inner.calls] == [3]


@given(rescale=st.floats(0.01, 1))
def test_a_rescaled_picture_has_that_much_of_the_conditional_ones_contrast(rescale: float) -> None:
    conditional, guided = both_alone()
    got = Guide(Recording(True), 5.0, ZERO, rescale=rescale)(X, T, CLASSES)

    def std(x: Tensor) -> Tensor:
        return x.flatten(1).double().std(1)

    expected = (1 - rescale) * std(guided.x_0) + rescale * std(conditional.x_0)
    torch.testing.assert_close(std(got.x_0), expected, rtol=1e-5, atol=0)
    mean = guided.x_0.flatten(1).mean(1)
    torch.testing.assert_close(got.x_0.flatten(1).mean(1), mean, rtol=0, atol=1e-5)
    # Lin et al.'s equations 15 and 16 of the deviations from the mean
    own = guided.x_0 - mean[:, None, None, None]
    ratio = (std(conditional.x_0) / std(guided.x_0)).float()[:, None, None, None]
    paper = rescale * (own * ratio) + (1 - rescale) * own
    torch.testing.assert_close(got.x_0 - mean[:, None, None, None], paper, rtol=1e-5, atol=1e-5)
    assert torch.equal(got.log_variance_weight, guided.log_variance_weight)


@every_path
@every_prediction
@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.2, 0.8)])
def test_a_rescaled_estimate_is_consistent_with_x_t(name: str, prediction: str, interval: tuple[float, float]) -> None:
    path, t = PATHS[name], middle_times(PATHS[name])
    net = Truth(normal(6, 6, 2, 4, 4))
    guided = Guide(NetworkDenoiser(net, path, prediction), 7.0, ZERO, interval=interval, rescale=0.7)
    got = guided(X, t, CLASSES)
    back = path.add_noise(got.x_0, t, got.eps)
    scale = 1 + float(got.x_0.abs().max() + got.eps.abs().max())
    torch.testing.assert_close(back, X, rtol=0, atol=1e-6 * scale)


def test_rescaling_is_the_same_picture_in_either_range_of_pixels() -> None:
    """x -> 2 x - 1 takes [0, 1] to [-1, 1], and x -> 1 - x is a negated view."""
    for factor, offset in ((2.0, -1.0), (-1.0, 1.0)):

        class Moved(Recording):
            def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
                estimate = super().__call__(x_t, t, condition)
                return Estimate(factor * estimate.x_0 + offset, estimate.eps)  # noqa: B023

        plain, moved = (Guide(kind(), 5.0, ZERO, rescale=1.0)(X, T, CLASSES).x_0 for kind in (Recording, Moved))
        torch.testing.assert_close(moved, factor * plain + offset, rtol=0, atol=1e-4)


def test_a_picture_of_one_grey_stays_it() -> None:
    """What an untrained network may answer."""
    path, t = PATHS["flow"], torch.tensor(0.5)
    got = Guide(NetworkDenoiser(Truth(torch.full((6, 2, 4, 4), 0.25)), path, "x_0"), 7.0, ZERO, rescale=1.0)(
        X, t, CLASSES
    )
    assert torch.equal(got.x_0, torch.full((3, 2, 4, 4), 0.25))
    torch.testing.assert_close(path.add_noise(got.x_0, t, got.eps), X)


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.1), (0.5,), (0.0, float("nan"))])
def test_an_interval_out_of_range_is_an_error(interval: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"guidance_interval=\[.*\]: allowed is \[low, high\] with 0 <= low < high"):
        Guide(Recording(), 5.0, ZERO, interval=interval)


@pytest.mark.parametrize("rescale", [-0.1, 1.1, float("nan")])
def test_a_rescale_out_of_range_is_an_error(rescale: float) -> None:
    with pytest.raises(ValueError, match=rf"guidance_rescale={rescale}: allowed is 0 to 1"):
        Guide(Recording(), 5.0, ZERO, rescale=rescale)


# --- thresholding and splitting


class Fixed(Denoiser):
    """Always the same estimate, row by row, and a record of its calls."""

    path = RectifiedFlow()

    def __init__(self, most: int | None = None) -> None:
        self.most, self.calls = most, []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        self.calls.append(len(x_t))
        if self.most is not None and len(x_t) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        extra = t.reshape(-1, 1, 1, 1) + (0 if condition is None else condition[:, :1, None, None])
        return Estimate(3 * x_t + extra, -x_t, 0.5 * x_t)


def test_dynamic_thresholding_is_image_by_image() -> None:
    """Against the paper's pseudo-code, with one image within [-1, 1], which stays as it is."""
    x = torch.cat([normal(0, 2, 3, 8, 8), 0.05 * normal(1, 1, 3, 8, 8)])
    got = Threshold(Fixed(), 0.95, 1.5)(x, torch.tensor(0.0))
    for n in range(3):
        x_0 = 3 * x[n]
        s = min(max(float(torch.quantile(x_0.abs(), 0.95)), 1.0), 1.5)
        torch.testing.assert_close(got.x_0[n], x_0.clamp(-s, s) / s)
    assert got.x_0.abs().max() <= 1
    assert torch.equal(got.x_0[2], 3 * x[2])
    assert torch.equal(got.eps, -x) and torch.equal(got.log_variance_weight, 0.5 * x)


@pytest.mark.parametrize(("ratio", "most"), [(0.0, 1.5), (1.0, 1.5), (0.95, 0.9)])
def test_thresholds_that_make_no_sense_are_an_error(ratio: float, most: float) -> None:
    with pytest.raises(ValueError, match="allowed are a ratio between 0 and 1 and most >= 1"):
        Threshold(Fixed(), ratio, most)


@pytest.mark.parametrize("condition", [None, torch.eye(5)])
@pytest.mark.parametrize("max_batch", [None, 1, 2, 5, 9])
def test_a_split_call_is_the_whole_call(max_batch: int | None, condition: Tensor | None) -> None:
    inner, x, t = Fixed(), normal(0, 5, 1, 4, 4), torch.linspace(0, 1, 5)
    got = Split(inner, max_batch)(x, t, condition)
    expected = Fixed()(x, t, condition)
    assert torch.equal(got.x_0, expected.x_0) and torch.equal(got.eps, expected.eps)
    assert torch.equal(got.log_variance_weight, expected.log_variance_weight)
    assert max(inner.calls) == min(max_batch or 5, 5)


@pytest.mark.parametrize("max_batch", [None, 1, 2, 3, 4, 7, 10])
def test_split_branches_are_the_whole_call(max_batch: int | None) -> None:
    """V-major as `branches` is, and never more rows a call than allowed."""
    inner, x, t, conditions = Fixed(), normal(0, 5, 1, 4, 4), torch.linspace(0, 1, 5), normal(1, 10, 7)
    got = Split(inner, max_batch).branches(x, t, conditions)
    expected = Fixed()(torch.cat([x, x]), torch.cat([t, t]), conditions)
    assert torch.equal(got.x_0, expected.x_0) and torch.equal(got.eps, expected.eps)
    assert torch.equal(got.log_variance_weight, expected.log_variance_weight)
    assert max(inner.calls) <= (max_batch or 10) and sum(inner.calls) == 10


def test_branches_out_of_memory_go_on_with_fewer_rows() -> None:
    inner, x, conditions = Fixed(most=1), normal(0, 4, 1, 4, 4), normal(1, 8, 7)
    split = Split(inner)
    with pytest.warns(UserWarning, match="max_batch=1"):
        got = split.branches(x, torch.tensor(0.5), conditions)
    expected = Fixed()(torch.cat([x, x]), torch.full((8,), 0.5), conditions)
    assert torch.equal(got.x_0, expected.x_0)
    assert inner.calls == [8, 4, 2] + [1] * 8


class Counting(nn.Module):
    """A class model's network that tells how many images and conditions it was given."""

    def __init__(self, shares_branches: bool) -> None:
        super().__init__()
        self.shares_branches = shares_branches
        self.given: list[tuple[int, int]] = []

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.given.append((len(x), len(c)))
        x = torch.cat([x] * (len(c) // len(x)))
        return x * c[:, :1, None, None] + t[:, None, None, None]


def test_guidance_shares_what_the_network_can_share() -> None:
    x, t, c, zero = normal(0, 3, 1, 4, 4), torch.tensor(0.4), normal(1, 3, 7), torch.zeros(1, 7)
    found = []
    for shares, sizes in ((True, (3, 6)), (False, (6, 6))):
        net = Counting(shares)
        found.append(Guide(Split(NetworkDenoiser(net, RectifiedFlow(), "velocity")), 3.0, zero)(x, t, c))
        assert net.given == [sizes]
    torch.testing.assert_close(found[0].x_0, found[1].x_0)
    torch.testing.assert_close(found[0].eps, found[1].eps)


def test_running_out_of_memory_halves_the_batch_says_so_and_stays() -> None:
    inner, x = Fixed(most=2), normal(0, 8, 1, 4, 4)
    split = Split(inner)
    with pytest.warns(UserWarning, match="max_batch="):
        got = split(x, torch.tensor(0.5))
    assert torch.equal(got.x_0, Fixed()(x, torch.full((8,), 0.5)).x_0)
    assert split.max_batch == 2 and inner.calls == [8, 4, 2, 2, 2, 2]
    split(x, torch.tensor(0.5))
    assert inner.calls[6:] == [2, 2, 2, 2]


def test_one_image_too_many_is_the_memorys_error() -> None:
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(UserWarning, match="max_batch=1"):
        Split(Fixed(most=0))(normal(0, 2, 1, 4, 4), torch.tensor(0.5))


def test_a_batch_of_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="max_batch=0: allowed is a positive number"):
        Split(Fixed(), 0)


@pytest.mark.parametrize("most", [None, 2])
def test_one_time_for_all_has_numbers_for_coefficients(most: int | None) -> None:
    """Tensors of one for each image would be kernels for a GPU to launch, at every step."""
    seen = []

    class Path(RectifiedFlow):
        def alpha(self, t: Tensor) -> Tensor:
            seen.append(t.ndim)
            return super().alpha(t)

    network = NetworkDenoiser(UNet(4, "add", 10).eval(), Path(), "velocity")
    guide = Guide(Split(network, most), 3.0, torch.zeros(1, 10), interval=(0.1, 0.9))
    x_t, classes = normal(0, 3, 1, 28, 28), torch.eye(10)[:3]
    with torch.no_grad():
        one, each = guide(x_t, torch.tensor(0.5), classes), guide(x_t, torch.full((3,), 0.5), classes)
    assert set(seen[: len(seen) // 2]) == {0} and set(seen[len(seen) // 2 :]) == {1}
    torch.testing.assert_close(one.x_0, each.x_0)
    torch.testing.assert_close(one.eps, each.eps)
