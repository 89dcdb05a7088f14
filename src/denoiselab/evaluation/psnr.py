"""Peak signal-to-noise ratio."""

from torch import Tensor


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels of each image, 10 log10(1 / mean (x - y)^2).

    x, y: (B, C, H, W) float in [0, 1] -> (B,). Equal images have an infinite ratio.
    """
    if x.shape != y.shape or x.ndim != 4:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"psnr compares two batches (B, C, H, W) of one shape, got {shapes}")
    return -10 * (x.double() - y.double()).square().mean((1, 2, 3)).log10()  # (B,)
