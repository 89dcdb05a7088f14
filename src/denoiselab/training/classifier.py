"""Training of the digit classifiers that judge samples: a LightningModule under the same clock as the denoisers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.evaluation import DigitClassifier, read_digits, save_digits
from denoiselab.figures import save_grid
from denoiselab.noise import key
from denoiselab.training.callbacks import log_picture
from denoiselab.training.optimizer import Optimizer
from denoiselab.training.step import Batch, StepModule

SHOWN = 60  # misread digits at most


class ClassifierModule(StepModule):
    """Cross entropy on digits that are moved, turned and scaled a little, each by its own random amount.

    Args:
        net: the classifier.
        optimizer: Adam's settings.
        seed: of everything random in training.
        pixels, degrees, zoom: the largest shift (pixels), turn (degrees) and change of size (a fraction).
    """

    net: DigitClassifier

    def __init__(
        self,
        net: DigitClassifier,
        optimizer: Optimizer,
        seed: int,
        pixels: float = 2.0,
        degrees: float = 12.0,
        zoom: float = 0.1,
    ) -> None:
        super().__init__(net, optimizer, seed)
        self.pixels, self.degrees, self.zoom = pixels, degrees, zoom

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, labels = batch
        generator = torch.Generator(x.device).manual_seed(key(self.seed, self.global_step, "training"))
        u = 2 * torch.rand(4, len(x) * self.trainer.world_size, generator=generator, device=x.device) - 1
        return F.cross_entropy(self.net(self.moved(x, u[:, self.rows(len(x))])).float(), labels)

    def moved(self, x: Tensor, u: Tensor) -> Tensor:
        """Images x (B, 1, H, W), turned, scaled and shifted as u (4, B) in [-1, 1] says; black comes in."""
        angle, scale = math.radians(self.degrees) * u[0], 1 + self.zoom * u[1]
        cos, sin = scale * angle.cos(), scale * angle.sin()
        shift = u[2:] * 2 * self.pixels / x.shape[-1]  # the grid of affine_grid spans [-1, 1]
        theta = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Logs val_loss, the cross entropy of held-out images as they are."""
        x, labels, _ = batch
        self.log_validation(F.cross_entropy(self.net(x).float(), labels), len(x))


class Classifier(L.Callback):
    """classifier.safetensors and figures/misread.png after every epoch: the classifier and what it reads wrong.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ClassifierModule)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        images, labels = data.test_images[: data.val_size], data.test_labels[: data.val_size]
        read = read_digits(pl_module.net, images)
        right, epoch = int((read == labels).sum()), trainer.current_epoch + 1
        line = f"{right} of {len(labels)} test images read as labelled after epoch {epoch} ({right / len(labels):.2%})"
        print(line)
        for logger in trainer.loggers:
            logger.log_metrics({"accuracy": right / len(labels)}, step=trainer.global_step)
        about = {"experiment": pl_module.run_config["name"], "seed": pl_module.seed, "epochs": epoch, "right": right}
        save_digits(pl_module.net, self.directory / "classifier.safetensors", about | {"of": len(labels)})
        wrong = (read != labels).nonzero()[:SHOWN, 0]
        if len(wrong):
            path = self.directory / "figures" / "misread.png"
            shown = images[wrong].float() / 255
            log_picture(trainer, save_grid(shown, path, 10, title=f"misread: {line}"))
