"""Pictures with captions, for models of words: digits in colours, and a person's own pictures."""

from __future__ import annotations

from abc import ABC
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.data.loader import to_unit
from denoiselab.data.module import MNIST, ImageDataModule
from denoiselab.data.words import COLOURS, DIGITS, captions
from denoiselab.noise import key


class Captioned(ImageDataModule, ABC):
    """Pictures whose labels are numbers of captions.

    Attributes:
        captions: of each label the captions that say what its pictures show, one or more; there after setup().
    """

    captions: list[list[str]]


class ColouredMNIST(Captioned, MNIST):
    """MNIST in five colours on black. The label of a picture is 5 digit + colour, its number in `COLOURS`.

    The stored images are MNIST's own, grey. The colour of an image is fixed, whatever the run's seed; each digit has
    all colours equally often, to within one image.

    Args:
        resolution: 32: padded with black; 64: enlarged from there, bicubic.
        others: as MNIST's.

    Raises ValueError for another resolution.
    """

    num_classes = len(DIGITS) * len(COLOURS)

    def __init__(
        self,
        root: str | Path,
        batch_size: int,
        seed: int,
        val_size: int,
        resolution: int = 32,
        steps_per_epoch: int | None = None,
        download: bool = True,
    ) -> None:
        if resolution not in (32, 64):
            raise ValueError(f"data.resolution={resolution}: allowed is 32 or 64")
        super().__init__(root, batch_size, seed, val_size, steps_per_epoch, download)
        self.resolution, self.image_shape = resolution, (3, resolution, resolution)
        self.captions = [captions(digit, colour) for digit in range(len(DIGITS)) for colour in COLOURS]
        self._colours = torch.tensor(list(COLOURS.values())) / 255  # (5, 3)

    def load(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        train_images, train_digits, test_images, test_digits = super().load()
        train_labels, test_labels = coloured(train_digits, "train"), coloured(test_digits, "test")
        return train_images, train_labels, test_images, test_labels

    def render(self, images: Tensor, labels: Tensor) -> Tensor:
        """Grey digits uint8 (B, 1, 28, 28) in the colours of their labels (B,): (B, 3, S, S) in [0, 1]."""
        x = F.pad(to_unit(images), (2, 2, 2, 2))  # (B, 1, 32, 32)
        if self.resolution == 64:
            x = F.interpolate(x, scale_factor=2.0, mode="bicubic").clamp(0, 1)  # (B, 1, 64, 64)
        colours = self._colours.to(labels.device)[labels % len(COLOURS)]  # (B, 3)
        return x * colours[:, :, None, None]

    def mean_image(self) -> Tensor:
        """The mean of the rendered training images, float32 (1, 3, S, S) in [0, 1]."""
        batches = zip(self.train_images.split(1000), self.train_labels.split(1000), strict=True)
        total = sum(self.render(*batch).double().sum(0, keepdim=True) for batch in batches)
        return (total / self.train_size).float()  # type: ignore[operator, union-attr]


def coloured(digits: Tensor, split: str) -> Tensor:
    """Labels 5 digit + colour, int64 (N,), for digits (N,): every digit takes the colours in turn, in an order of the
    images that the name of the split keys."""
    generator = torch.Generator().manual_seed(key(split, "colours"))
    order = torch.randperm(len(digits), generator=generator)
    order = order[digits[order].argsort(stable=True)]  # digit by digit
    colour = torch.empty_like(digits)
    colour[order] = torch.arange(len(digits)) % len(COLOURS)
    return len(COLOURS) * digits + colour
