"""Whether a checkpoint can be gone on from, said before anything slow starts."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from denoiselab.checkpoint import read_checkpoint


def load_for_resume(path: Path, module: nn.Module) -> int:
    """How many epochs the checkpoint's run has done.

    Raises ValueError, in one line, unless the checkpoint is there, whole, and of this model.
    """
    checkpoint = read_checkpoint(path)
    saved = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
    ours = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name in [*ours, *saved]:
        if saved.get(name) != ours.get(name):
            raise ValueError(
                f"checkpoint {path}: of another model, {name} is {saved.get(name, 'missing')} there "
                f"and {ours.get(name, 'missing')} in this config"
            )
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
