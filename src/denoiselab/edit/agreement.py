"""How well a model itself finds that a picture shows a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from denoiselab.denoise import Denoiser
from denoiselab.noise import ImageNoise

# Indices of the noise at which it is asked: where a picture is half hidden, its prompt helps most.
INDICES = (300, 450, 600, 750)


def agreement(
    denoiser: Denoiser, pixels: Tensor, condition: Tensor, unconditional: Tensor, noise: ImageNoise
) -> Tensor:
    """How much better the noise in a picture is estimated with its prompt than without, (B,), in mean squared error.

    The likelihood ratio of a diffusion classifier (Li et al. 2023, "Your Diffusion Model is Secretly a Zero-Shot
    Classifier", equation 5), of the prompt against none, by one draw of noise at each of a few times. Compare it
    between pictures of one prompt.

    Args:
        denoiser: without guidance.
        pixels: (B, C, H, W), as the denoiser has them.
        condition: (B, ...), of each picture's prompt.
        unconditional: (1, ...), of none.
        noise: draws for each picture.
    """
    gains = [
        _gain(denoiser, pixels, denoiser.path.at_index(index), condition, unconditional, noise(pixels))
        for index in INDICES
    ]
    return torch.stack(gains).mean(0)


def _gain(
    denoiser: Denoiser, pixels: Tensor, t: Tensor, condition: Tensor, unconditional: Tensor, eps: Tensor
) -> Tensor:
    x_t = denoiser.path.add_noise(pixels, t, eps)
    both = denoiser.branches(x_t, t, torch.cat([unconditional.expand_as(condition), condition]))  # (2B, C, H, W)
    without, given = (both.eps - eps.repeat(2, 1, 1, 1)).square().flatten(1).mean(1).chunk(2)
    return without - given


def best(made: Sequence[dict[str, Tensor]], scores: Tensor) -> dict[str, Tensor]:
    """Of candidates made[k][role], each (B, ...), the one of the highest score (K, B), image by image."""
    chosen = scores.argmax(0).tolist()
    return {role: torch.stack([made[k][role][n] for n, k in enumerate(chosen)]) for role in made[0]}
