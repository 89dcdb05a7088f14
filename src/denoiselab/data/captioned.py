"""Pictures with captions, for models of words: digits in colours, and a person's own pictures."""

from __future__ import annotations

import sys
from abc import ABC
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from denoiselab.data.loader import check_batches, to_unit
from denoiselab.data.module import MNIST, ImageDataModule
from denoiselab.data.pictures import read_picture
from denoiselab.data.rows import BAD_ROWS, Picture, Rows, read_rows
from denoiselab.data.words import COLOURS, DIGITS, captions
from denoiselab.noise import key


class Captioned(ImageDataModule, ABC):
    """Pictures whose labels are numbers of captions.

    Attributes:
        captions: of each label the captions that say what its pictures show, one or more; there after setup().
        names: of each label the name of its picture, which decides whether it is held out; empty where pictures have
            none.
    """

    captions: list[list[str]]
    names: Sequence[str] = ()


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


class CaptionedFolder(Captioned):
    """A person's own pictures, each with the captions that a file has for it; see `rows`.

    They are read as `pictures.read_picture` does: turned as their EXIF data say, flattened on white, cropped to the
    central square, resized. The label of a picture is its place in the captions file. Which are held out as the test
    split depends on their names alone, so that more pictures change little of it.

    Args:
        folder: where the pictures are.
        captions: the captions file, in the folder or elsewhere.
        resolution: side of the pictures that the model sees, a multiple of 8 and at least 16.
        val_size: how many are held out, 1 or more and fewer than all.
        bad_rows: "refuse" them, or "skip" them with a warning.
        others: as ImageDataModule's.

    Raises DataError for a captions file that cannot be used and, with "refuse", for rows that cannot; of pictures that
    cannot be decoded only setup() knows. Raises ValueError for other values.
    """

    def __init__(
        self,
        folder: str | Path,
        batch_size: int,
        seed: int,
        val_size: int,
        captions: str | Path = "metadata.jsonl",
        resolution: int = 32,
        bad_rows: str = "refuse",
        steps_per_epoch: int | None = None,
    ) -> None:
        if resolution < 16 or resolution % 8:
            raise ValueError(f"data.resolution={resolution}: allowed is a multiple of 8, at least 16")
        if bad_rows not in BAD_ROWS:
            raise ValueError(f"data.bad_rows={bad_rows}: allowed are {', '.join(BAD_ROWS)}")
        self.folder, self.bad_rows = Path(folder), bad_rows
        self.rows = read_rows(folder, captions)
        self.image_shape = (3, resolution, resolution)
        self._split(val_size)
        super().__init__(batch_size, seed, val_size, steps_per_epoch)

    def _split(self, val_size: int) -> list[int]:
        """Sets the sizes, and returns the places of the pictures that are held out, in order."""
        self.rows.accept(self.bad_rows)
        count = len(self.rows.pictures)
        if not 1 <= val_size < count:
            raise ValueError(f"data.val_size={val_size}: allowed is 1 to {count - 1}, of {count} pictures")
        self.train_size, self.test_size, self.num_classes = count - val_size, val_size, count
        names = [picture.name for picture in self.rows.pictures]
        return sorted(sorted(range(count), key=lambda i: key(names[i], "held out"))[:val_size])

    def load(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        images, self.rows = self._decoded(self.rows)
        held_out = self._split(self.val_size)
        check_batches(self.train_size, self.batch_size, 1, self.steps_per_epoch)
        if self.rows.bad and (self.trainer is None or self.trainer.is_global_zero):
            print(f"warning: {self.rows.file}: skipped are {self.rows.told()}", file=sys.stderr)
        self.captions = [picture.captions for picture in self.rows.pictures]
        self.names = [picture.name for picture in self.rows.pictures]
        labels = torch.arange(len(images))
        test = torch.zeros(len(images), dtype=torch.bool)
        test[held_out] = True
        return images[~test], labels[~test], images[test], labels[test]

    def _decoded(self, rows: Rows) -> tuple[Tensor, Rows]:
        """The pictures uint8 (N, 3, S, S), and the rows without those that cannot be decoded, which are bad."""
        images = torch.empty(len(rows.pictures), *self.image_shape, dtype=torch.uint8)
        good: list[Picture] = []
        bad = dict(rows.bad)
        for picture in tqdm(rows.pictures, desc="pictures", unit="picture", leave=False, disable=not self._shows_bar()):
            try:
                x = read_picture(self.folder / picture.name, self.image_shape, "file_name")  # (3, S, S)
            except ValueError as error:
                bad |= dict.fromkeys(picture.lines, f"has {error}")
            else:
                images[len(good)] = (255 * x).round().byte()
                good.append(picture)
        return images[: len(good)], replace(rows, pictures=good, bad=bad)

    def _shows_bar(self) -> bool:
        trainer = self.trainer
        shown = trainer is not None and trainer.is_global_zero and trainer.progress_bar_callback is not None
        return shown and sys.stderr.isatty()
