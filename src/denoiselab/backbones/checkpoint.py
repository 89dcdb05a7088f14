"""A model trained here, as a Denoiser."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from denoiselab import noise
from denoiselab.denoise import NetworkDenoiser
from denoiselab.nets import UNet


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint as a plain container, on the CPU; weights_only, so that nothing in it is executed.

    Raises ValueError, in one line, for a file that is missing, cut short or no checkpoint of denoiselab.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {path}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ValueError(f"checkpoint {path}: truncated or no checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "config"} <= checkpoint.keys():
        raise ValueError(f"checkpoint {path}: not written by denoiselab, it has no state_dict and config")
    return checkpoint


def load_denoiser(path: str | Path) -> NetworkDenoiser:
    """The time- or class-conditioned network of a checkpoint, in eval mode, on the CPU, in float32.

    With EMA on, the averaged weights. A class model's condition is the class vector (B, K), one-hot or zero.

    Raises ValueError, in one line, for a file that is no checkpoint, or one of a single-step denoiser, which takes no
    time.
    """
    checkpoint = read_checkpoint(Path(path))
    config = checkpoint["config"]
    net = UNet(**_arguments(config["model"]["net"]))
    if net.time == "none":
        raise ValueError(f"checkpoint {path}: of a single-step denoiser, allowed is a model that is told the time")
    prefix = "net."
    state = checkpoint["state_dict"]
    net.load_state_dict({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
    path_node = config["schedule"]["path"]
    gaussian_path = getattr(noise, path_node["_target_"].rsplit(".")[-1])(**_arguments(path_node))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return NetworkDenoiser(net.eval(), gaussian_path, config["schedule"]["prediction"])


def _arguments(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "_target_"}
