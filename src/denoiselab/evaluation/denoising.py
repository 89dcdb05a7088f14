"""How well a picture x is recovered from z = x + sigma eps: a denoiser beside classical filters, on the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from denoiselab.evaluation.digits import as_floats
from denoiselab.evaluation.intervals import mean_interval
from denoiselab.evaluation.psnr import psnr
from denoiselab.noise import ImageNoise

Denoise = Callable[[Tensor, float], Tensor]  # z (B, 1, H, W), sigma -> the estimate of x (B, 1, H, W), both on the CPU

WIDTHS = [width / 10 for width in range(31)]  # of the blur, in pixels
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0)  # h / sigma of non-local means
TRAIN_IMAGES = 200  # by which width and h are chosen


@dataclass(frozen=True)
class Denoised:
    """What a method makes of z at one sigma: errors of n images, and the setting chosen for this sigma.

    `mse` and `psnr` are means over images with their intervals, as `intervals.mean_interval` gives them.
    """

    sigma: float
    n: int
    mse: dict[str, float]
    psnr: dict[str, float]
    setting: dict[str, float] = field(default_factory=dict)


def denoising_quality(
    denoise: Denoise,
    images: Tensor,
    sigmas: Sequence[float],
    train_images: Tensor,
    seed: int,
    *,
    batch_size: int = 500,
) -> dict[str, list[Denoised]]:
    """Mean squared error and PSNR of methods of denoising, {method: an entry for each sigma}.

    images, train_images: (N, 1, H, W), uint8 or float in [0, 1]; two test images or more. eps is keyed by (seed, image
    number, "denoising"): the same for every method and sigma, whatever the batches. The methods:

    - "network": `denoise`.
    - "none": z itself.
    - "gaussian_blur": of the width that is best at this sigma on training images.
    - "wiener": the best linear shift-invariant filter about the mean training image (`wiener`).
    - "non_local_means": of the h that is best at this sigma on training images.

    Width and h have the least mean squared error on the first training images, at most 200 and no more than are tested,
    with noise of their own ("fitting"). Estimates are scored as they are, not clipped to [0, 1]. The PSNR is
    the mean of the images' PSNRs, not the PSNR of the mean squared error. At sigma = 0 all but the network return the
    picture itself: their error is 0 and their PSNR infinite.
    """
    few = min(TRAIN_IMAGES, len(images), len(train_images))
    x = as_floats(train_images[:few])
    eps = ImageNoise(seed, range(few), "fitting")(x)
    widths, strengths = {}, {}
    for sigma in sigmas:
        z = x + sigma * eps
        widths[sigma] = best_setting(gaussian_blur, WIDTHS, z, x)
        h = [strength * sigma for strength in STRENGTHS]
        strengths[sigma] = best_setting(partial(non_local_means, sigma=sigma), h, z, x)
    mean, spectrum = mean_and_spectrum(train_images)

    methods: dict[str, Denoise] = {
        "network": denoise,
        "none": lambda z, sigma: z,
        "gaussian_blur": lambda z, sigma: gaussian_blur(z, widths[sigma]),
        "wiener": lambda z, sigma: wiener(z, sigma, mean, spectrum),
        "non_local_means": lambda z, sigma: non_local_means(z, strengths[sigma], sigma),
    }
    settings = {
        ("gaussian_blur", sigma): {"width": width} for sigma, width in widths.items()
    } | {("non_local_means", sigma): {"h": h} for sigma, h in strengths.items()}  # fmt: skip
    errors: dict[tuple[str, float], list[Tensor]] = {(name, sigma): [] for name in methods for sigma in sigmas}
    ratios: dict[tuple[str, float], list[Tensor]] = {(name, sigma): [] for name in methods for sigma in sigmas}
    for start in range(0, len(images), batch_size):
        x = as_floats(images[start : start + batch_size])
        eps = ImageNoise(seed, range(start, start + len(x)), "denoising")(x)
        for name, method in methods.items():
            for sigma in sigmas:
                estimate = method(x + sigma * eps, sigma)
                errors[name, sigma].append((estimate.double() - x.double()).square().mean((1, 2, 3)))
                ratios[name, sigma].append(psnr(estimate, x))
    return {
        name: [
            Denoised(
                sigma,
                len(images),
                mean_interval(torch.cat(errors[name, sigma]), seed),
                mean_interval(torch.cat(ratios[name, sigma]), seed),
                settings.get((name, sigma), {}),
            )
            for sigma in sigmas
        ]
        for name in methods
    }


def best_setting(method: Callable[[Tensor, float], Tensor], settings: Iterable[float], z: Tensor, x: Tensor) -> float:
    """Which setting of method(z, setting) has the least mean squared error to x; the first of equals."""
    return min(settings, key=lambda setting: float((method(z, setting) - x).square().mean()))


def gaussian_blur(z: Tensor, width: float) -> Tensor:
    """z (B, C, H, W) blurred with a Gaussian of standard deviation `width` pixels; mirrored at its edges."""
    from skimage.filters import gaussian

    return torch.from_numpy(gaussian(z.numpy(), (0, 0, width, width), mode="mirror", preserve_range=True))


def mean_and_spectrum(images: Tensor, batch_size: int = 1000) -> tuple[Tensor, Tensor]:
    """The mean image m (1, C, H, W), and the mean power S (1, C, H, W // 2 + 1) of images - m at each frequency.

    images: (N, C, H, W), uint8 or float in [0, 1]. Float64; S is normalised so that white noise of variance v has
    S = v.
    """
    batches = images.split(batch_size)
    mean = sum(as_floats(x).double().sum(0, keepdim=True) for x in batches) / len(images)
    power = sum(torch.fft.rfft2(as_floats(x) - mean).abs().square().sum(0, keepdim=True) for x in batches)
    return torch.as_tensor(mean), torch.as_tensor(power) / (len(images) * mean[0, 0].numel())  # type: ignore[index]


def wiener(z: Tensor, sigma: float, mean: Tensor, spectrum: Tensor) -> Tensor:
    """mean + H (z - mean), H = S / (S + sigma^2) at each frequency: z (B, C, H, W) -> (B, C, H, W).

    Of all filters that are linear and shift-invariant (around the edges, as a torus) it has the least expected squared
    error (Wiener 1949). mean and spectrum S: of `mean_and_spectrum`.
    """
    if sigma == 0:
        return z  # also at frequencies that the training images lack, where H would be 0 / 0
    gain = spectrum / (spectrum + sigma**2)
    return (mean + torch.fft.irfft2(gain * torch.fft.rfft2(z - mean), s=z.shape[-2:])).to(z.dtype)


def non_local_means(z: Tensor, h: float, sigma: float) -> Tensor:
    """Buades et al. 2005, with Darbon et al. 2008's fast patch distances, by scikit-image: z (B, 1, H, W), the same.

    Patches of 5 x 5 within 6 pixels to each side; h is the distance at which a patch's weight has fallen to 1 / e.
    """
    from skimage.restoration import denoise_nl_means

    if sigma == 0:
        return z
    options = {"patch_size": 5, "patch_distance": 6, "h": h, "sigma": sigma, "fast_mode": True}
    return torch.from_numpy(np.stack([denoise_nl_means(image, **options) for image in z[:, 0].numpy()]))[:, None]
