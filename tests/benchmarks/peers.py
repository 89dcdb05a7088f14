"""Other people's loops and pipelines with our network in them, in float32 as they come or in bf16.

`bf16` is a line of their users': autocast around the network or, in denoising-diffusion-pytorch's Trainer, its `amp`.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from timing import Way
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from workload import BETAS, CLASSES, T, network, pictures


def torchcfm_training(width: int, batch: int, steps: int, device: torch.device, bf16: bool) -> Way:
    """The training loop of torchcfm's conditional MNIST example, on tensors in memory."""
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    net, matcher, data = (
        network("class UNet", width).to(device),
        ConditionalFlowMatcher(sigma=0.0),
        pictures(batch, steps),
    )
    optimizer = torch.optim.Adam(net.parameters())
    images = TensorDataset(data.train_images.float() / 255, data.train_labels)
    loader = DataLoader(images, batch, shuffle=True, drop_last=True)

    def run() -> None:
        for x1, y in loader:
            optimizer.zero_grad()
            x1, c = x1.to(device), F.one_hot(y.to(device), CLASSES).float()
            t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                vt = net(xt, t, c)
            loss = torch.mean((vt - ut) ** 2)
            loss.backward()
            optimizer.step()
            loss.item()  # it prints them

    return run


class TimeUNet(nn.Module):
    """Our time-conditioned UNet as denoising-diffusion-pytorch and diffusers call theirs: t in 0, ..., T - 1."""

    channels = out_dim = 1
    self_condition = False

    def __init__(self, width: int, bf16: bool = False) -> None:
        super().__init__()
        self.net, self.bf16 = network("time UNet", width), bf16

    def forward(self, x: Tensor, t: Tensor, x_self_cond: None = None) -> Tensor:
        if not self.bf16:  # so that the Trainer's own setting holds
            return self.net(x, (t.expand(len(x)) + 1) / T)  # type: ignore[no-any-return]
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.net(x, (t.expand(len(x)) + 1) / T).float()  # type: ignore[no-any-return]


def lucidrains_diffusion(width: int, bf16: bool = False) -> Any:
    """denoising-diffusion-pytorch's GaussianDiffusion as time_ddpm trains: eps, linear betas."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    return GaussianDiffusion(
        TimeUNet(width, bf16), image_size=28, timesteps=T, objective="pred_noise", beta_schedule="linear"
    )


def lucidrains_training(
    width: int, batch: int, steps: int, device: torch.device, folder: Path, rounds: int, bf16: bool
) -> Way:
    """denoising-diffusion-pytorch's Trainer on a folder of PNGs, which is how it takes its data."""
    from denoising_diffusion_pytorch import Trainer

    os.environ["ACCELERATE_USE_CPU"] = str(device.type == "cpu")
    (folder / "images").mkdir(parents=True)
    # As many as it sees: it starts its workers anew whenever it has seen all.
    for number, image in enumerate(pictures(batch, steps * (rounds + 2)).train_images[:60_000, 0]):
        Image.fromarray(image.numpy()).save(folder / "images" / f"{number}.png")
    trainer = Trainer(
        lucidrains_diffusion(width),
        folder / "images",
        train_batch_size=batch,
        train_lr=1e-3,
        train_num_steps=steps,
        amp=bf16,
        mixed_precision_type="bf16",
        save_and_sample_every=10**9,
        calculate_fid=False,
        augment_horizontal_flip=False,
        results_folder=folder / "results",
    )

    def run() -> None:
        trainer.step = 0
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # its bars
            trainer.train()

    return run


def lucidrains_sampling(width: int, count: int, device: torch.device, steps: int, bf16: bool) -> Way:
    """The first `steps` of the T steps of denoising-diffusion-pytorch's DDPM sampler."""
    diffusion = lucidrains_diffusion(width, bf16).to(device).eval()

    def run() -> Tensor:
        image = torch.randn(count, 1, 28, 28, device=device)
        for t in reversed(range(T - steps, T)):
            image, _ = diffusion.p_sample(image, t)
        return diffusion.unnormalize(image).cpu()  # type: ignore[no-any-return]

    return run


def diffusers_sampling(width: int, count: int, device: torch.device, steps: int, bf16: bool) -> Way:
    """diffusers' DDPMPipeline in so many steps."""
    from diffusers import DDPMPipeline, DDPMScheduler
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.models.modeling_utils import ModelMixin

    class Network(ModelMixin, ConfigMixin):  # type: ignore[misc]
        @register_to_config
        def __init__(self, sample_size: int = 28, in_channels: int = 1) -> None:
            super().__init__()
            self.net = TimeUNet(width, bf16)

        def forward(self, x: Tensor, t: Tensor) -> Any:
            return SimpleNamespace(sample=self.net(x, t.to(x.device)))

    pipeline = DDPMPipeline(Network().eval(), DDPMScheduler(T, *BETAS, clip_sample=False)).to(device)  # type: ignore[attr-defined]
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=count, num_inference_steps=steps, output_type="np")
