"""Batches as a function of one clock, the global step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from denoiselab.noise import key

# (stored images uint8 (B, ...), their labels int64 (B,)) -> float32 (B, C, H, W) in [0, 1]
Render = Callable[[Tensor, Tensor], Tensor]


def to_unit(images: Tensor, labels: Tensor | None = None) -> Tensor:
    """uint8 pixels as float32 in [0, 1], of the same shape; whatever the labels."""
    return images.float() / 255


class StepLoader:
    """Training batches (x, labels) from a data set that is held in memory.

    What a batch holds depends on (seed, step, rank) alone: the run's past, and so an interruption, leaves no
    trace. An epoch is a permutation keyed by (seed, epoch); a step takes its next world_size * batch_size
    entries, of which each rank has its own batch_size in a row. What is left over at the end is dropped.

    Iterating starts at the clock's step and ends with that step's epoch: a run that is resumed in mid-epoch
    goes on with the batch that it had not yet seen; one that stands at the end of an epoch starts the next.

    Args:
        images: uint8 (N, ...).
        labels: int64 (N,), on the same device.
        batch_size: images in one rank's batch.
        seed: the run's seed.
        clock: tells the global step, counted from 0 in batches; asked when an iteration begins.
        rank, world_size: which shard of the global batch is this loader's.
        steps_per_epoch: shortens the epochs; N // (batch_size * world_size) when it is None.
        render: makes a batch's x of its images and labels.

    Raises ValueError when the images do not fill one global batch, or steps_per_epoch of them.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        seed: int,
        clock: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
        steps_per_epoch: int | None = None,
        render: Render = to_unit,
    ) -> None:
        assert len(images) == len(labels)
        assert images.device == labels.device
        assert 0 <= rank < world_size
        check_batches(len(images), batch_size, world_size, steps_per_epoch)
        self.images, self.labels = images, labels
        self.batch_size, self.seed, self.clock = batch_size, seed, clock
        self.rank, self.world_size, self.render = rank, world_size, render
        self.steps_per_epoch = steps_per_epoch or len(images) // (batch_size * world_size)
        self._permutation: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        start = self.clock()
        end = (start // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(start, end):
            yield self.batch(step)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the clock is all there is. Lightning takes a loader without the method for one that starts over."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """(x, labels) of a global step: float32 (B, C, H, W) in [0, 1] and int64 (B,)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = (place * self.world_size + self.rank) * self.batch_size
        rows = self.permutation(epoch)[start : start + self.batch_size]
        labels = self.labels[rows]
        return self.render(self.images[rows], labels), labels

    def permutation(self, epoch: int) -> Tensor:
        """The order of the images in an epoch, int64 (N,), the same on every rank. The last one is kept."""
        if self._permutation is None or self._permutation[0] != epoch:
            # On the CPU wherever the data is, so that the order is the same on every device.
            generator = torch.Generator().manual_seed(key(self.seed, epoch, "data order"))
            order = torch.randperm(len(self.images), generator=generator)
            self._permutation = (epoch, order.to(self.images.device))
        return self._permutation[1]


class IndexedLoader:
    """Images in a fixed order, in batches (x, labels, indices); rank r has the batches r, r + world_size, ...

    The images are cut into as few nearly equal batches as batch_size and the ranks allow. Every rank has the
    same number of them and none is empty: a forward pass under DDP broadcasts BatchNorm's buffers, in evaluation too,
    and would otherwise wait for a rank that has finished. (With batch_size 1 that may take batches of two.)

    Args:
        images: uint8 (N, ...).
        labels: int64 (N,), on the same device.
        batch_size: the largest batch.
        rank, world_size: which batches are this loader's.
        render: makes a batch's x of its images and labels.

    Raises ValueError when there are fewer images than ranks.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        render: Render = to_unit,
    ) -> None:
        assert len(images) == len(labels)
        assert images.device == labels.device
        assert 0 <= rank < world_size
        if len(images) < world_size:
            raise ValueError(f"data.val_size={len(images)} on {world_size} ranks: allowed is {world_size} or more")
        self.images, self.labels, self.render = images, labels, render
        rounds = min(-(-len(images) // (batch_size * world_size)), len(images) // world_size)
        self._batches = torch.arange(len(images)).tensor_split(rounds * world_size)[rank::world_size]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(x, labels, indices): float32 (B, C, H, W) in [0, 1], int64 (B,), and each image's number (B,)."""
        for indices in self._batches:
            indices = indices.to(self.images.device)
            labels = self.labels[indices]
            yield self.render(self.images[indices], labels), labels, indices


def check_batches(images: int, batch_size: int, world_size: int, steps_per_epoch: int | None) -> None:
    """Raises ValueError unless the images fill a batch on each rank, steps_per_epoch times."""
    ranks = f" on {world_size} ranks" if world_size > 1 else ""
    most = images // world_size
    if not 1 <= batch_size <= most:
        raise ValueError(f"data.batch_size={batch_size}{ranks}: allowed is 1 to {most}, of {images} images")
    most = images // (batch_size * world_size)
    if steps_per_epoch is not None and not 1 <= steps_per_epoch <= most:
        given = f"data.steps_per_epoch={steps_per_epoch} with data.batch_size={batch_size}{ranks}"
        raise ValueError(f"{given}: allowed is 1 to {most}, or null")
