"""Whether a checkpoint can be gone on from, said before anything slow starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint as a plain container, on the CPU; weights_only, so that nothing in it is executed.

    Raises ValueError, in one line, for a file that is missing, cut short or no checkpoint of denoiselab.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file torch raises a dozen kinds, IndexError and AssertionError among them
        reason = f"{type(error).__name__} {error}".splitlines()[0][:120].strip()
        raise ValueError(f"checkpoint {path}: truncated or no checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "config"} <= checkpoint.keys():
        raise ValueError(f"checkpoint {path}: not written by denoiselab, it has no state_dict and config")
    return checkpoint


def load_for_resume(path: Path, module: nn.Module) -> None:
    """Raises ValueError, in one line, unless the checkpoint is there, whole, and of this model."""
    saved = {name: tuple(value.shape) for name, value in read_checkpoint(path)["state_dict"].items()}
    ours = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name in [*ours, *saved]:
        if saved.get(name) != ours.get(name):
            raise ValueError(
                f"checkpoint {path}: of another model, {name} is {saved.get(name, 'missing')} there "
                f"and {ours.get(name, 'missing')} in this config"
            )
