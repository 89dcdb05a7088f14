"""What train.py's checkpoints hold: tensors and plain containers, among them `state_dict` and `config`."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import torch


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint as a plain container, on the CPU; weights_only, so that nothing in it is executed.

    Raises ValueError, in one line, for a file that is missing, cut short or no checkpoint of denoiselab.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file torch raises a dozen kinds, IndexError and AssertionError among them
        reason = shorten(f"{type(error).__name__} {error}".splitlines()[0].split(". ")[0], 120)
        raise ValueError(f"checkpoint {path}: truncated or no checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "config"} <= checkpoint.keys():
        raise ValueError(f"checkpoint {path}: not written by denoiselab, it has no state_dict and config")
    return checkpoint
