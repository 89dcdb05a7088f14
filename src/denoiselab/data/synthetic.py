"""Ten classes of grey pictures, drawn and not fetched: bars in five directions, squares in five places."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from denoiselab.noise import key

SIDE = 28
CLASSES = 10


def draw(size: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Pictures uint8 (size, 1, 28, 28) and labels int64 (size,), 0 to 9 in turn.

    Each picture is shifted by up to 1.5 pixels and is up to a fifth larger or smaller. The same purpose ("train",
    "test") always draws the same pictures, and different ones draw others.
    """
    generator = torch.Generator().manual_seed(key(purpose, "synthetic"))
    jitter = 2 * torch.rand(3, size, 1, 1, generator=generator) - 1
    labels = torch.arange(size) % CLASSES
    kind = labels.reshape(-1, 1, 1)

    # A bar lies along its angle, in fifths of a half turn; a square in that direction, in fifths of a turn.
    half = CLASSES // 2
    is_bar = kind < half
    angle = torch.where(is_bar, kind * math.pi / half, (kind - half) * 2 * math.pi / half)  # (size, 1, 1)
    across = torch.arange(SIDE) - (SIDE - 1) / 2
    distance = torch.where(is_bar, 0.0, 8.0)
    x = across.reshape(1, 1, SIDE) - distance * angle.cos() - 1.5 * jitter[0]  # (size, 1, 28)
    y = across.reshape(1, SIDE, 1) - distance * angle.sin() - 1.5 * jitter[1]  # (size, 28, 1)

    along = (x * angle.cos() + y * angle.sin()) / torch.where(is_bar, 10.0, 4.0)
    aside = (y * angle.cos() - x * angle.sin()) / torch.where(is_bar, 2.0, 4.0)
    radius = (along**4 + aside**4) ** 0.25 / (1 + 0.2 * jitter[2])  # 1 on the outline, (size, 28, 28)
    return (255 * torch.sigmoid(12 * (1 - radius))).round().byte().unsqueeze(1), labels
