"""The progress bar."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from denoiselab.training.callbacks import Metrics


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with epochs counted from 1, as everything else here counts them, and the loss last read."""

    def on_train_epoch_start(self, trainer: L.Trainer, *rest: Any) -> None:
        super().on_train_epoch_start(trainer, *rest)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # the logger's version, which says nothing to anybody
        # Metrics reads the losses now and then; to read one here would wait for the device at every step.
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Metrics) and callback.loss is not None:
                metrics["loss"] = f"{callback.loss:.4f}"
        return metrics
