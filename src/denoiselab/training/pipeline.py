"""The pipeline that a text-to-image run ends with."""

from __future__ import annotations

from pathlib import Path

import lightning as L

from denoiselab.training.text import TextModule, UpscalerModule


class Pipeline(L.Callback):
    """pipeline/ after every epoch: the model in DeepFloyd IF's format, for `backbone=deepfloyd` and for diffusers.

    List it before EMA, whose average it then has.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TextModule)
        if trainer.is_global_zero:
            path = self.directory / "pipeline"
            pl_module.save_pipeline(path)
            if trainer.current_epoch + 1 == trainer.max_epochs:
                stage_1 = f"backbone.path={path} edit=generate 'edit.prompts=[...]'"
                stage_2 = f"backbone.path=STAGE_1 backbone.upscaler_path={path} edit=upscale"
                use = stage_2 if isinstance(pl_module, UpscalerModule) else stage_1
                print(f"pipeline: python sample.py backbone=text_digits {use}")
