"""Where a backbone comes from, as conf/backbone names it: check -> encode -> load."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from denoiselab.backbones.checkpoint import CheckpointBackbone
from denoiselab.denoise import Backbone


class Source(ABC):
    """A backbone that is not loaded yet."""

    @abstractmethod
    def check(self, device: torch.device, second: bool = False) -> None:
        """Raises ValueError, in one line, where the weights cannot be had or do not fit the device. Loads nothing."""

    @abstractmethod
    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        """Makes the conditions that are expensive to make, once, before the backbone is loaded."""

    @abstractmethod
    def load(self, device: torch.device, max_batch: int | None = None, second: bool = False) -> Backbone:
        """The backbone.

        Args:
            max_batch: images a call of the network, see `Split`.
            second: whether its second stage is meant.
        """


@dataclass
class CheckpointSource(Source):
    """A run of train.py.

    Args:
        run: the run directory.
        file: of its checkpoints/.
    """

    run: str
    file: str = "last.ckpt"

    def check(self, device: torch.device, second: bool = False) -> None:
        if second:
            raise ValueError("edit=upscale: allowed is a backbone with a second stage, digit models have none")

    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        pass  # a class vector costs nothing

    def load(self, device: torch.device, max_batch: int | None = None, second: bool = False) -> Backbone:
        return CheckpointBackbone(Path(self.run) / "checkpoints" / self.file, device, max_batch)
