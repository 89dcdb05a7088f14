"""A model trained here, as a Denoiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from denoiselab import noise
from denoiselab.checkpoint import read_checkpoint
from denoiselab.denoise import NetworkDenoiser
from denoiselab.nets import UNet


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
