"""What the judges of MNIST need to read digits in colours: the grey digit of a picture, and its colour."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.data.words import COLOURS


def grey(images: Tensor) -> Tensor:
    """The digits in pictures (B, 3, S, S) in [0, 1], S >= 28, as MNIST has them: (B, 1, 28, 28) in [0, 1].

    It undoes `ColouredMNIST.render`, exactly for S = 32. Larger pictures are reduced to 32 by the mean of their pixels.
    """
    assert images.shape[1] == 3 and images.shape[2] == images.shape[3] >= 28, images.shape
    x = images.amax(1, keepdim=True)  # (B, 1, S, S): one channel of each colour is 1
    if x.shape[-1] > 32:
        x = F.interpolate(x, (32, 32), mode="area")  # (B, 1, 32, 32)
    margin = (x.shape[-1] - 28) // 2
    return x[..., margin : margin + 28, margin : margin + 28]


def levelled(digits: Tensor) -> Tensor:
    """Digits (B, 1, H, W) with their median, the background, at 0 and their brightest pixel at 1.

    For reading them: a classifier that has seen black backgrounds alone takes a dark grey one for strokes. Real digits
    stay as they are, but for the few whose brightest pixel is not white.
    """
    pixels = digits.flatten(1)
    dark, bright = pixels.median(1).values, pixels.amax(1)
    dark, bright = (each.view(-1, 1, 1, 1) for each in (dark, bright))
    return ((digits - dark) / (bright - dark).clamp(min=1e-6)).clamp(0, 1)


def read_colours(images: Tensor) -> Tensor:
    """The colour of what is in each picture (B, 3, S, S) in [0, 1]: its number in `COLOURS`, int64 (B,).

    It is the nearest to the mean of the bright pixels (half the brightest or more), which is weighted by brightness
    and made as bright as the colours are. Of a black picture it means nothing.
    """
    weight = images.amax(1, keepdim=True)  # (B, 1, S, S)
    weight = weight * (weight >= weight.amax((2, 3), keepdim=True) / 2)
    colour = (weight * images).sum((2, 3))  # (B, 3)
    colour = colour / colour.amax(1, keepdim=True).clamp(min=1e-12)
    known = torch.tensor(list(COLOURS.values()), device=images.device) / 255  # (5, 3)
    return torch.cdist(colour, known.to(colour.dtype)).argmin(1)
