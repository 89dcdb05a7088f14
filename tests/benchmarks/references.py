"""What ours is compared with: training and sampling as the write-ups' notebooks do them, in eager float32, NCHW.

The data are tensors in memory already, where a notebook decodes each picture anew: the reference is a fast one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timing import Way
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from workload import BETAS, CLASSES, DROPOUT, SIGMA, T, digits, network, pictures


def loss(kind: str, net: nn.Module, x_0: Tensor, labels: Tensor, t: Tensor, eps: Tensor, kept: Tensor) -> Tensor:
    """Of the class UNet by flow matching, its class dropped where it is not kept, (B,); of the denoiser; or of the time
    UNet by DDPM, t being 1 to T.
    """
    if kind == "denoiser":
        return F.mse_loss(net(x_0 + SIGMA * eps), x_0)
    if kind == "time UNet":
        abar = (1 - torch.linspace(*BETAS, T, device=t.device)).cumprod(0)[t - 1][:, None, None, None]
        return F.mse_loss(net(abar.sqrt() * x_0 + (1 - abar).sqrt() * eps, t / T), eps)
    c = F.one_hot(labels, CLASSES).float() * kept[:, None]
    x_t = (1 - t[:, None, None, None]) * x_0 + t[:, None, None, None] * eps
    return F.mse_loss(net(x_t, t, c), eps - x_0)


def training(kind: str, width: int, batch: int, steps: int, device: torch.device) -> Way:
    """A plain loop over a DataLoader, which looks at every step's loss."""
    net = network(kind, width).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    data = pictures(batch, steps)
    images = TensorDataset(data.train_images.float() / 255, data.train_labels)
    loader = DataLoader(images, batch, shuffle=True, drop_last=True)

    def run() -> None:
        for x_0, labels in loader:
            x_0, labels = x_0.to(device), labels.to(device)
            t, kept = torch.rand(batch, device=device), torch.rand(batch, device=device) >= DROPOUT
            optimizer.zero_grad()
            value = loss(kind, net, x_0, labels, t, torch.randn_like(x_0), kept)
            value.backward()
            optimizer.step()
            value.item()

    return run


@torch.no_grad()
def guided_euler(net: nn.Module, x: Tensor, labels: Tensor, steps: int, total: int, scale: float) -> Tensor:
    """The first `steps` of `total` Euler steps of a flow-matching model, with two calls of the network a step.

    Args:
        net: in eval mode.
        x: (B, 1, 28, 28) noise.
        labels: (B,).
        scale: the guidance scale.
    """
    c = F.one_hot(labels, CLASSES).float()
    for step in range(steps):
        t = torch.full((len(x),), 1 - step / total, device=x.device)
        conditional, unconditional = net(x, t, c), net(x, t, torch.zeros_like(c))
        x = x - (unconditional + scale * (conditional - unconditional)) / total
    return x


def sampling(width: int, count: int, device: torch.device, steps: int, total: int, scale: float) -> Way:
    """From noise to pictures on the CPU by `guided_euler`."""
    net, labels = network("class UNet", width).to(device).eval(), digits(count, device)
    return lambda: guided_euler(net, torch.randn(count, 1, 28, 28, device=device), labels, steps, total, scale).cpu()
