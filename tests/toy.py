"""A backbone that knows a picture for each prompt, and nothing else: its estimates, and so every edit, are exact."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from denoiselab.denoise import Backbone, Denoiser, Estimate
from denoiselab.noise import GaussianPath, expand

SIZE = 16
WORDS = ["", "a", "b", "c"]


def picture(word: str, channels: int = 1) -> Tensor:
    """A fixed picture (C, SIZE, SIZE) in [0.1, 0.9] for each word, smooth, of no symmetry."""
    y, x = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    n = WORDS.index(word) + 1
    rows = [0.5 + 0.4 * torch.sin(n * (3 * x + 1.7 * y**2) + c) for c in range(channels)]
    return torch.stack(rows)


class Known(Denoiser):
    """E[x_0 | x_t] where the data are a single picture, the condition's; counts its calls."""

    def __init__(self, path: GaussianPath, low: float, channels: int) -> None:
        self.path = path
        self.calls: list[int] = []
        pictures = torch.stack([picture(word, channels) for word in WORDS])
        self.pictures = pictures * (1 - low) + low  # (W, C, H, W)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        assert condition is not None and len(condition) == len(x_t)
        self.calls.append(len(x_t))
        x_0 = torch.einsum("bw,wchv->bchv", condition, self.pictures)
        t = torch.as_tensor(t)
        eps = (x_t - expand(self.path.alpha(t), x_t) * x_0) / expand(self.path.sigma(t), x_t)
        return Estimate(x_0, eps, torch.full_like(x_0, 0.5))


class Toy(Backbone):
    """`Known` as a backbone; conditions are one-hot over WORDS."""

    name, guidance_scale, device = "toy", 1.0, torch.device("cpu")

    def __init__(self, path: GaussianPath, low: float = 0.0, channels: int = 1, solver: str = "ddim") -> None:
        self.denoiser = Known(path, low, channels)
        self.low, self.shape, self.solver = low, (channels, SIZE, SIZE), {"name": solver}

    def condition(self, prompts: Sequence[str]) -> Tensor:
        return torch.eye(len(WORDS))[[WORDS.index(prompt) for prompt in prompts]]


def draw_zeros(net: torch.nn.Module) -> None:
    """Gives random values to the weights that are all zero: a TextUNet answers 0 as it begins, whatever it is given."""
    for weight in net.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
