"""A model trained here, as a Denoiser and as a Backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab import noise
from denoiselab.backbones.weights import DTYPES
from denoiselab.checkpoint import read_checkpoint
from denoiselab.denoise import Backbone, NetworkDenoiser, Split
from denoiselab.hardware import fast_dtype
from denoiselab.nets import UNet, folded

GUIDANCE_SCALE = 5.0  # the write-ups', of a run whose own grids have none


class CheckpointBackbone(Backbone):
    """A time- or class-conditioned digit model: pictures (1, 28, 28) in [0, 1], prompts "0" ... "9", or "" for none.

    Args:
        path: a run directory of train.py, whose last.ckpt is taken, or a checkpoint.
        device: where the network runs.
        max_batch: images a call of the network, see `Split`.
        dtype: of its convolutions, see `convolution_dtype`.

    Attributes:
        epoch: how many it was trained for.
        trained: its config.

    Raises:
        ValueError: in one line, for a file that is no checkpoint, or one of a model that is none of these.
    """

    low = 0.0

    def __init__(
        self,
        path: str | Path,
        device: str | torch.device = "cpu",
        max_batch: int | None = None,
        dtype: str = "fp32",
    ) -> None:
        path, self.device = Path(path), torch.device(device)
        file = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
        checkpoint = read_checkpoint(file)
        network = denoiser_of(checkpoint, file, convolution_dtype(dtype, self.device))
        config = checkpoint["config"]
        self.name, self.trained = config["name"], config
        self.epoch = int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
        network.net.to(self.device)
        self.denoiser = Split(network, max_batch)
        self.shape = (config["model"]["net"]["in_channels"], 28, 28)
        self.num_classes = config["model"]["net"]["num_classes"]
        grids = config["callbacks"].get("samples") or {}
        own = grids.get("guidance_scale")
        self.guidance_scale = 1.0 if not self.num_classes else GUIDANCE_SCALE if own is None else own
        self.solver = {name: value for name, value in config["solver"].items() if name != "_target_"}

    def condition(self, prompts: Sequence[str]) -> Tensor | None:
        """Class vectors (B, K): one-hot, or zero for ""; None for a model without classes."""
        known = ["", *map(str, range(self.num_classes))]
        for prompt in prompts:
            if prompt not in known:
                classes = f"are {', '.join(known[1:])} and '' of {self.name}"
                allowed = classes if self.num_classes else f"is '': {self.name} takes no class"
                raise ValueError(f"prompt {prompt!r}: allowed {allowed}")
        if not self.num_classes:
            return None
        labels = torch.tensor([known.index(prompt) for prompt in prompts], device=self.device)
        return F.one_hot(labels, self.num_classes + 1)[:, 1:].float()


def convolution_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """What a digit model's convolutions are computed in: "fp32", "bf16", or "auto", the faster on the device.

    In bf16 answers depend on the batch, by rounding. Raises ValueError for another.
    """
    if dtype not in ("auto", "fp32", "bf16"):
        raise ValueError(f"dtype={dtype}: allowed are auto, fp32, bf16")
    return DTYPES[fast_dtype(device.type) if dtype == "auto" else dtype]


def load_denoiser(path: str | Path) -> NetworkDenoiser:
    """The time- or class-conditioned network of a checkpoint, BatchNorm folded, on the CPU, in float32.

    With EMA on, the averaged weights. A class model's condition is the class vector (B, K), one-hot or zero.

    Raises ValueError, in one line, for a file that is no checkpoint, or one of a classifier or a single-step denoiser,
    which take no time, or of a text-to-image model, which is loaded from its pipeline.
    """
    return denoiser_of(read_checkpoint(Path(path)), Path(path), torch.float32)


def denoiser_of(checkpoint: dict[str, Any], file: Path, dtype: torch.dtype) -> NetworkDenoiser:
    """As `load_denoiser`, of what `read_checkpoint` read from the file."""
    config = checkpoint["config"]
    if not config["schedule"]:
        raise ValueError(f"checkpoint {file}: of a digit classifier, allowed is a model that is told the time")
    if "text_width" in config["model"]["net"]:
        use = "RUN/pipeline of its run, which is there after the first epoch"
        raise ValueError(f"checkpoint {file}: of a text-to-image model, allowed is {use}")
    net = UNet(**_arguments(config["model"]["net"]))
    if net.time == "none":
        raise ValueError(f"checkpoint {file}: of a single-step denoiser, allowed is a model that is told the time")
    prefix = "net."
    state = checkpoint["state_dict"]
    net.load_state_dict({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
    path_node = config["schedule"]["path"]
    gaussian_path = getattr(noise, path_node["_target_"].rsplit(".")[-1])(**_arguments(path_node))
    fast = folded(net.eval(), dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return NetworkDenoiser(fast, gaussian_path, config["schedule"]["prediction"])


def _arguments(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "_target_"}
