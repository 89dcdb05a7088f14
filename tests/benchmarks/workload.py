"""What is trained and sampled, the same for ours, the references and the peers: networks, pictures, noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from denoiselab.data import Synthetic
from denoiselab.nets import UNet

CLASSES, DROPOUT = 10, 0.1  # of the class UNet: digits, and the probability that the class is dropped in training
SIGMA = 0.5  # of the denoiser
T, BETAS = 300, (1e-4, 0.02)  # of DDPM
EULER, SCALE = 300, 5.0  # steps and guidance of the write-ups' grids


def network(kind: str, width: int) -> UNet:
    """The course's "class UNet", "time UNet" or "denoiser", with the same weights at every call, on the CPU.

    Its classes differ as a trained one's do, and BatchNorm's statistics are not those that it begins with.
    """
    torch.manual_seed(0)
    arguments: dict[str, tuple[str | int, ...]] = {"class UNet": ("add", CLASSES), "time UNet": ("add",)}
    net = UNet(width, *arguments.get(kind, ()))  # type: ignore[arg-type]
    inputs = [torch.rand(16), torch.eye(CLASSES)[torch.arange(16) % CLASSES]][: len(arguments.get(kind, ()))]
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear):  # of time and class
                layer.weight.normal_()
        for _ in range(5):
            net(torch.randn(16, 1, 28, 28), *inputs)
    return net


def pictures(batch: int, steps: int) -> Synthetic:
    """An epoch of so many steps, drawn and not fetched."""
    data = Synthetic(batch, seed=0, val_size=10, size=batch * steps, steps_per_epoch=steps)
    data.setup()
    return data


def noise(count: int, device: torch.device) -> Tensor:
    """What sampling starts from where its pixels are compared, the same at every call, (count, 1, 28, 28)."""
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(device)


def digits(count: int, device: torch.device) -> Tensor:
    """What is asked for, in turn, (count,)."""
    return (torch.arange(count) % CLASSES).to(device)
