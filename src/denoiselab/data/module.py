"""The data sets as Lightning sees them: fetched once a node, held in memory, served by the global step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from denoiselab.data import idx, synthetic
from denoiselab.data.collection import FASHION_MNIST_FILES, FILES, MNIST_FILES, Collection
from denoiselab.data.loader import IndexedLoader, StepLoader, check_batches, to_unit
from denoiselab.data.sources import fetch


class ImageDataModule(lightning.LightningDataModule, ABC):
    """Images with class labels, in memory. A subclass says its sizes and how to load.

    The trainer must be built with use_distributed_sampler=False: the loaders shard themselves.

    Args:
        batch_size: images in one rank's training batch, and at most that many in a validation batch.
        seed: keys the order of the training images, with the epoch.
        val_size: the first so many test images are the validation set.
        steps_per_epoch: shortens the epochs. It stands in for the trainer's limit_train_batches, which would
            end epochs where the clock does not.

    Attributes:
        train_size, test_size: numbers of images, known before any is loaded.
        num_classes: labels are 0..num_classes - 1.
        image_shape: (C, H, W) of what `render` makes.
        root: the data folder; None for data that have none.

    Raises ValueError when a number is out of its range.
    """

    train_size: int
    test_size: int
    num_classes: int = 10
    image_shape: tuple[int, int, int] = (1, 28, 28)
    root: Path | None = None

    def __init__(self, batch_size: int, seed: int, val_size: int, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        check_batches(self.train_size, batch_size, 1, steps_per_epoch)
        if not 1 <= val_size <= self.test_size:
            raise ValueError(f"data.val_size={val_size}: allowed is 1 to {self.test_size}, all test images")
        self.batch_size, self.seed, self.val_size = batch_size, seed, val_size
        self.steps_per_epoch = steps_per_epoch
        self._loaded: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    @abstractmethod
    def load(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Training images uint8 (N, ...), their labels int64 (N,), test images and labels, on the CPU."""

    def render(self, images: Tensor, labels: Tensor) -> Tensor:
        """What the loaders show of stored images uint8 (B, ...) and labels (B,): float32 (B, C, H, W) in [0, 1]."""
        return to_unit(images)

    def setup(self, stage: str | None = None) -> None:
        """Loads the data set into memory; Lightning calls it for each stage, and only the first call does."""
        if self._loaded is None:
            self._loaded = self.load()
            train_images, train_labels, test_images, test_labels = self._loaded
            assert len(train_images) == len(train_labels) == self.train_size
            assert len(test_images) == len(test_labels) == self.test_size
            for images, labels in ((train_images, train_labels), (test_images, test_labels)):
                assert self.render(images[:1], labels[:1]).shape == (1, *self.image_shape)

    @property
    def _data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        assert self._loaded is not None, "call prepare_data() and setup() first"
        return self._loaded

    @property
    def train_images(self) -> Tensor:
        """uint8 (train_size, ...), as `render` takes them."""
        return self._data[0]

    @property
    def train_labels(self) -> Tensor:
        """int64 (train_size,)."""
        return self._data[1]

    @property
    def test_images(self) -> Tensor:
        """uint8 (test_size, ...), as `render` takes them."""
        return self._data[2]

    @property
    def test_labels(self) -> Tensor:
        """int64 (test_size,)."""
        return self._data[3]

    def mean_image(self) -> Tensor:
        """The mean training image, float32 (1, C, H, W) in [0, 1]: what denoising pure noise collapses to."""
        mean = self.train_images.sum(0, keepdim=True, dtype=torch.int64).double() / (255 * self.train_size)
        return mean.float()

    def train_dataloader(self) -> StepLoader:
        """This rank's loader, on its device. Raises ValueError for trainer settings that break the clock."""
        trainer = self._attached()
        # The clock counts optimizer steps, and an epoch of the loader is an epoch of the trainer.
        accumulate, limit = trainer.accumulate_grad_batches, trainer.limit_train_batches
        if accumulate != 1:
            raise ValueError(f"trainer.accumulate_grad_batches={accumulate}: allowed is 1; raise data.batch_size")
        whole = isinstance(limit, float) and limit == 1.0  # the integer 1 is one batch
        if not whole and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ValueError(f"trainer.limit_train_batches={limit}: allowed is 1.0; set data.steps_per_epoch")
        device = trainer.strategy.root_device
        return StepLoader(
            self.train_images.to(device),
            self.train_labels.to(device),
            self.batch_size,
            self.seed,
            clock=lambda: trainer.global_step,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            steps_per_epoch=self.steps_per_epoch,
            render=self.render,
        )

    def val_dataloader(self) -> IndexedLoader:
        """Batches (x, labels, indices) of the first val_size test images, in fixed order, of this rank."""
        trainer = self._attached()
        device = trainer.strategy.root_device
        return IndexedLoader(
            self.test_images[: self.val_size].to(device),
            self.test_labels[: self.val_size].to(device),
            self.batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            render=self.render,
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch itself: the loaders make it on the device."""
        return batch

    def _attached(self) -> lightning.Trainer:
        assert self.trainer is not None, "the loaders need a trainer: fit or validate with this data module"
        return self.trainer


class _Files(ImageDataModule):
    """A data set of four IDX files.

    Args:
        root: the data folder, shared by all data sets.
        download: False makes do with the verified files that are there.
    """

    train_size = 60_000
    test_size = 10_000
    collection: Collection
    root: Path

    def __init__(
        self,
        root: str | Path,
        batch_size: int,
        seed: int,
        val_size: int,
        steps_per_epoch: int | None = None,
        download: bool = True,
    ) -> None:
        super().__init__(batch_size, seed, val_size, steps_per_epoch)
        self.root, self.download = Path(root), download

    def prepare_data(self) -> None:
        """Fetches what is missing. Raises DataError when no source has it."""
        fetch(self.collection, self.root, self.download)

    def load(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        folder = self.root / self.collection.name / "raw"
        train_images, train_labels, test_images, test_labels = (idx.read(folder / name) for name in FILES)
        return train_images.unsqueeze(1), train_labels.long(), test_images.unsqueeze(1), test_labels.long()


class MNIST(_Files):
    """Handwritten digits, LeCun et al. 1998: 60 000 + 10 000 grey images of 28 x 28."""

    collection = MNIST_FILES


class FashionMNIST(_Files):
    """Pictures of clothes in MNIST's format, Xiao et al. 2017."""

    collection = FASHION_MNIST_FILES


class Synthetic(ImageDataModule):
    """Bars and squares in ten classes, drawn and not fetched: for tests and for a first try without a network.

    Args:
        size: the number of training images, and of test images; at least 10, one of each class.
    """

    def __init__(
        self, batch_size: int, seed: int, val_size: int, size: int = 512, steps_per_epoch: int | None = None
    ) -> None:
        if size < synthetic.CLASSES:
            raise ValueError(f"data.size={size}: allowed is {synthetic.CLASSES} or more, one image of each class")
        self.train_size = self.test_size = size
        super().__init__(batch_size, seed, val_size, steps_per_epoch)

    def load(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (*synthetic.draw(self.train_size, "train"), *synthetic.draw(self.test_size, "test"))
