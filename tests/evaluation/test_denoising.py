"""denoising.py against closed forms and against the data's own statistics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from denoiselab.data import synthetic
from denoiselab.evaluation import Denoised, denoising_quality, psnr
from denoiselab.evaluation.denoising import (
    best_setting,
    gaussian_blur,
    mean_and_spectrum,
    non_local_means,
    wiener,
)
from denoiselab.noise import ImageNoise

SEED = 4
SIGMAS = [0.0, 0.3, 0.8]
METHODS = ["network", "none", "gaussian_blur", "wiener", "non_local_means"]


def gaussian(n: int, seed: int, size: int = 16) -> Tensor:
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def pictures(split: str, n: int = 64) -> Tensor:
    return synthetic.draw(n, split)[0]


@pytest.fixture(scope="module")
def measured() -> dict[str, list[Denoised]]:
    return denoising_quality(half, pictures("test"), SIGMAS, pictures("train"), SEED, batch_size=25)


def half(z: Tensor, sigma: float) -> Tensor:
    return z / 2


def test_there_is_an_entry_for_every_method_and_sigma(measured: dict[str, list[Denoised]]) -> None:
    assert list(measured) == METHODS
    for entries in measured.values():
        assert [entry.sigma for entry in entries] == SIGMAS
        assert {entry.n for entry in entries} == {64}


def test_the_numbers_are_those_of_the_keyed_noise(measured: dict[str, list[Denoised]]) -> None:
    x = pictures("test").float() / 255
    eps = torch.cat([ImageNoise(SEED, [index], "denoising")(x[:1]) for index in range(64)])  # one by one
    for entry in measured["network"]:
        estimate = (x + entry.sigma * eps) / 2
        errors = (estimate - x).square().mean((1, 2, 3))
        assert entry.mse["value"] == pytest.approx(float(errors.mean()), rel=1e-5)
        assert entry.psnr["value"] == pytest.approx(float(psnr(estimate, x).mean()), rel=1e-5)
        assert entry.mse["high"] - entry.mse["low"] == pytest.approx(2 * 1.96 * float(errors.std()) / 8, rel=0.2)


def test_nothing_done_leaves_the_noise(measured: dict[str, list[Denoised]]) -> None:
    for entry in measured["none"][1:]:
        error = math.sqrt(2 / (64 * 28 * 28)) * entry.sigma**2  # a mean of squares of normal numbers
        assert entry.mse["value"] == pytest.approx(entry.sigma**2, abs=4 * error)
        assert entry.mse["low"] < entry.mse["value"] < entry.mse["high"]
        assert entry.psnr["value"] == pytest.approx(-20 * math.log10(entry.sigma), abs=0.05)


def test_without_noise_the_classical_methods_return_the_picture(measured: dict[str, list[Denoised]]) -> None:
    for name in METHODS[1:]:
        assert (measured[name][0].mse["value"], measured[name][0].psnr["value"]) == (0, math.inf)
    assert measured["gaussian_blur"][0].setting == {"width": 0}
    assert measured["network"][0].psnr["value"] < 20


def test_a_perfect_denoiser_has_no_error() -> None:
    x = pictures("test").float() / 255
    given = iter([x[:50], x[:50], x[50:], x[50:]])
    found = denoising_quality(lambda z, sigma: next(given), x, [0.2, 0.5], pictures("train"), SEED, batch_size=50)
    assert [(entry.mse["value"], entry.psnr["value"]) for entry in found["network"]] == [(0, math.inf)] * 2


def test_batches_and_the_order_of_sigmas_change_nothing(measured: dict[str, list[Denoised]]) -> None:
    again = denoising_quality(half, pictures("test"), SIGMAS[::-1], pictures("train"), SEED, batch_size=7)
    for name in METHODS:
        for entry, other in zip(measured[name], reversed(again[name]), strict=True):
            assert entry.setting == other.setting and entry.n == other.n
            assert entry.mse["value"] == pytest.approx(other.mse["value"], rel=1e-5)
    other_seed = denoising_quality(half, pictures("test"), [0.8], pictures("train"), SEED + 1)
    assert other_seed["none"][0].mse["value"] != pytest.approx(measured["none"][2].mse["value"], rel=1e-5)


def test_the_wiener_filter_is_at_least_as_good_as_the_best_blur(measured: dict[str, list[Denoised]]) -> None:
    for blur, filtered, none in list(
        zip(*(measured[name] for name in ("gaussian_blur", "wiener", "none")), strict=True)
    )[1:]:
        assert filtered.mse["value"] < blur.mse["value"] < none.mse["value"]


def test_settings_are_chosen_on_training_images_alone(measured: dict[str, list[Denoised]]) -> None:
    """Flat test pictures would like the widest blur; the width stays."""
    flat = torch.full((64, 1, 28, 28), 0.5)
    found = denoising_quality(half, flat, SIGMAS, pictures("train"), SEED)
    for name in ("gaussian_blur", "non_local_means"):
        assert [entry.setting for entry in found[name]] == [entry.setting for entry in measured[name]]
    eps = ImageNoise(SEED, range(64), "denoising")(flat)
    width = measured["gaussian_blur"][2].setting["width"]
    assert best_setting(gaussian_blur, [width, 3.0], flat + 0.8 * eps, flat) == 3.0


def test_the_spectrum_of_white_noise_is_its_variance() -> None:
    images = 0.5 + 0.2 * gaussian(4000, 0)
    mean, spectrum = mean_and_spectrum(images, batch_size=999)
    assert mean.shape == (1, 1, 16, 16) and spectrum.shape == (1, 1, 16, 9)
    assert float((mean - 0.5).abs().max()) < 5 * 0.2 / math.sqrt(4000)
    assert float((spectrum - 0.04).abs().max()) < 5 * 0.04 * math.sqrt(2 / 4000)
    as_bytes = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    of_bytes, of_floats = mean_and_spectrum(as_bytes), mean_and_spectrum(as_bytes.float() / 255)
    for a, b in zip(of_bytes, of_floats, strict=True):
        assert torch.equal(a, b)


def test_the_wiener_filter_shrinks_white_pictures_towards_the_mean() -> None:
    """S = v everywhere: the posterior mean m + g (z - m) with g = v / (v + sigma^2), whose error is g sigma^2."""
    v, sigma, m = 0.04, 0.3, torch.linspace(0, 1, 256, dtype=torch.float64).reshape(1, 1, 16, 16)
    x = m.float() + math.sqrt(v) * gaussian(2000, 1)
    z = x + sigma * gaussian(2000, 2)
    estimate = wiener(z, sigma, m, torch.full((1, 1, 16, 9), v, dtype=torch.float64))
    shrink = v / (v + sigma**2)
    torch.testing.assert_close(estimate, (m + shrink * (z - m)).float(), rtol=0, atol=1e-5)
    assert float((estimate - x).square().mean()) == pytest.approx(shrink * sigma**2, rel=0.02)
    assert torch.equal(wiener(z, 0.0, m, torch.zeros(1, 1, 16, 9)), z)


def test_the_blur_is_the_gaussians() -> None:
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    r = torch.arange(-10, 11).double()
    row = torch.exp(-(r**2) / (2 * 1.5**2)) * (r.abs() <= 6)
    row = row / row.sum()
    torch.testing.assert_close(gaussian_blur(point, 1.5)[0, 0], torch.outer(row, row).float())
    assert torch.equal(gaussian_blur(point, 0.0), point)
    flat = torch.full((1, 1, 9, 9), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, 2.0), flat)


def test_non_local_means_keeps_what_repeats() -> None:
    x = torch.zeros(2, 1, 28, 28)
    x[..., 14:] = 1
    z = x + 0.3 * gaussian(2, 3, 28)
    estimate = non_local_means(z, 0.2, 0.3)
    assert estimate.shape == z.shape and estimate.dtype == z.dtype
    assert float((estimate - x).square().mean()) < 0.3 * 0.09
    assert torch.equal(non_local_means(z, 0.0, 0.0), z)
