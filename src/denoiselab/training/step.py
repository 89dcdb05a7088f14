"""What everything that is trained here has in common: a network, Adam, and one clock, the global step."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from denoiselab.training.optimizer import Optimizer

Batch = tuple[Tensor, Tensor]  # x_0 (B, C, H, W) in [0, 1], labels (B,)


class StepModule(L.LightningModule):
    """A network in training.

    Args:
        net: the network.
        optimizer: Adam's settings.
        seed: of everything random in training.
    """

    def __init__(self, net: nn.Module, optimizer: Optimizer, seed: int) -> None:
        super().__init__()
        self.net, self.seed = net, seed
        self.optimizer_settings = optimizer
        # The resolved configuration as a plain container; train.py sets it, checkpoints carry it.
        self.run_config: dict[str, Any] = {}

    def rows(self, batch: int) -> slice:
        """This rank's rows of what is drawn for the global batch, its own batch being so large."""
        return slice(self.global_rank * batch, (self.global_rank + 1) * batch)

    def log_validation(self, loss: Tensor, batch: int) -> None:
        """Logs val_loss, the mean over a batch of so many images."""
        self.log("val_loss", loss, batch_size=batch, sync_dist=True, logger=False)  # Metrics does that

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer_settings.build(self.parameters())

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        lr = self.optimizer_settings.learning_rate(
            self.global_step, int(self.trainer.num_training_batches), int(self.trainer.max_epochs or 1)
        )
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning's own refuses a fused optimizer under mixed precision, for the sake of a loss scaler that bf16
        # does not have.
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.run_config
        checkpoint["world_size"] = self.trainer.world_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError for another number of ranks: the steps of an epoch would be others, and the clock wrong."""
        saved, ours = checkpoint["world_size"], self.trainer.world_size
        if saved != ours:
            raise ValueError(
                f"trainer.devices: the run to resume had {saved} ranks, this has {ours}; allowed is {saved}"
            )
