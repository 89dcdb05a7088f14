"""What is compared: the shipped Trainer, its step without Lightning, and the shipped sampling."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import references
import torch
import torch.nn.functional as F
from PIL import Image
from timing import Figures, Way, matrix_product_rate, synchronise
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms.functional import to_tensor
from workload import BETAS, CLASSES, DROPOUT, SIGMA, T, digits, network, pictures

from denoiselab.allocator import keep_freed_memory
from denoiselab.backbones.checkpoint import convolution_dtype
from denoiselab.data import StepLoader
from denoiselab.denoise import Denoiser, Guide, NetworkDenoiser
from denoiselab.nets import folded
from denoiselab.noise import DDPM, Additive, ImageNoise, RectifiedFlow
from denoiselab.sample import make_solver, sample
from denoiselab.training import (
    EMA,
    Checkpoints,
    ClassModule,
    Metrics,
    OneStepModule,
    Optimizer,
    TimeModule,
    make_trainer,
    recording,
    wandb_logger,
)
from denoiselab.training.modules import PixelModule
from denoiselab.training.trainer import default_precision

# What test_levers.py compares with; of a training step with the device on which it is a change, None for any.
TRAINING_CHANGES = {
    "in float32": None,
    "in NCHW": None,
    "with Adam unfused": None,
    "without kept memory": "cpu",
    "with pictures that a DataLoader decodes": None,
    "with noise drawn on the CPU": "cuda",
    "waiting for every loss": "cuda",
}
SAMPLING_CHANGES = ("in float32", "with BatchNorm unfolded", "with two whole branches")
FLOW, NOISING = RectifiedFlow(), DDPM(T, *BETAS)


def module(kind: str, width: int, device: torch.device) -> PixelModule:
    """A "class UNet" by flow matching, a "time UNet" by DDPM or a "denoiser", as train.py lays them out."""
    net, optimizer = network(kind, width), Optimizer(lr=1e-3, schedule="constant")
    made: PixelModule
    if kind == "denoiser":
        made = OneStepModule(net, Additive(), "x_0", optimizer, seed=0, t=SIGMA)
    elif kind == "time UNet":
        made = TimeModule(net, NOISING, "eps", optimizer, seed=0)
    else:
        made = ClassModule(net, FLOW, "velocity", optimizer, seed=0, class_dropout=DROPOUT)
    return made.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def training_dtype(device: torch.device) -> torch.dtype:
    """That the Trainer multiplies in."""
    return torch.bfloat16 if default_precision(device.type) == "bf16-mixed" else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """What the Trainer computes in, weights being cast at every step, as by Lightning."""
    enabled = training_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def loss(
    module: PixelModule, x_0: Tensor, labels: Tensor, t: Tensor, eps: Tensor, u: Tensor, cast: bool = True
) -> Tensor:
    """Of a training step, given what is drawn for it, in the Trainer's precision or, not `cast`, in float32."""
    with autocast(x_0.device) if cast else nullcontext():
        return module.loss(x_0, t, eps, module.training_condition(labels, u))


def prepare(device: torch.device, kept_memory: bool = True) -> None:
    """What train.py does to its process, for one that is a way's own."""
    if device.type == "cpu":
        if kept_memory:
            keep_freed_memory()
    else:
        # As Lightning has it, before the first matrix product: torch looks only once, and then warns at every one.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


class Decoded(Dataset[tuple[Tensor, int]]):
    """Pictures decoded one by one, as torchvision's MNIST with ToTensor does it."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images[:, 0], labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_tensor(Image.fromarray(self.images[index].numpy())), int(self.labels[index])


def bare_loop(kind: str, width: int, batch: int, steps: int, device: torch.device, change: str = "") -> Way:
    """Our step in a plain loop: what Lightning calls, without Lightning, and with its deterministic kernels.

    Args:
        change: one of TRAINING_CHANGES, or nothing.
    """
    assert change in ("", *TRAINING_CHANGES), change
    prepare(device, kept_memory=change != "without kept memory")
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    model, data = module(kind, width, device), pictures(batch, steps)
    if change == "in NCHW":
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = model.optimizer_settings.build(model.parameters())
    if change == "with Adam unfused":
        optimizer = torch.optim.Adam(model.parameters(), lr=model.optimizer_settings.lr)
    held = StepLoader(data.train_images.to(device), data.train_labels.to(device), batch, 0, lambda: 0)
    decoded = DataLoader(Decoded(data.train_images, data.train_labels), batch, shuffle=True, drop_last=True)

    def run() -> None:
        batches = decoded if change == "with pictures that a DataLoader decodes" else map(held.batch, range(steps))
        for step, (x_0, labels) in enumerate(batches):
            drawn_on = torch.device("cpu") if change == "with noise drawn on the CPU" else device
            like = torch.empty_like(x_0, device=drawn_on)
            drawn = model.draw(batch, like, torch.Generator(drawn_on).manual_seed(step))
            value = loss(model, *(each.to(device) for each in (x_0, labels, *drawn)), cast=change != "in float32")
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            if change == "waiting for every loss":
                value.item()

    return run


class Stopwatch(L.Callback):
    """Seconds from the first step's end to the last one's; list it after all others.

    Lightning hands a GPU's memory back between two fits, and Adam makes its state in its first step.
    """

    seconds = 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            synchronise()
            self.start = time.perf_counter()
        elif batch_idx + 1 == trainer.num_training_batches:
            synchronise()
            self.seconds = time.perf_counter() - self.start


def trainer(
    kind: str,
    width: int,
    batch: int,
    steps: int,
    device: torch.device,
    folder: Path,
    averaged: bool = False,
    compiled: bool = False,
) -> Callable[[], Figures]:
    """train.py's Trainer for an epoch of one step more, of which the first is not timed.

    What acts on every step is there: the bar, metrics.csv, Weights & Biases (offline), signals. What comes once an
    epoch (validation, pictures, checkpoints) is not in its seconds.

    Args:
        averaged: gradients are clipped and the weights averaged too.
        compiled: trainer.compile=true; it compiles in the round to warm up.
    """
    prepare(device)
    model, data = module(kind, width, device), pictures(batch, steps + 1)
    if compiled:
        model.net.compile()
    folder.mkdir(parents=True, exist_ok=True)

    def run() -> Figures:
        stopwatch, logger = Stopwatch(), wandb_logger(folder, "benchmark", {}, "denoiselab", None, None, [])
        extra = [EMA(0.995)] if averaged else []
        with recording(logger):
            make_trainer(
                folder,
                max_epochs=1,
                callbacks=[Metrics(folder, every=50), *extra, Checkpoints(folder, []), stopwatch],
                logger=logger,
                accelerator=device.type,
                devices=1,
                num_nodes=1,
                strategy="auto",
                precision="auto",
                gradient_clip_val=1.0 if averaged else None,
                progress_bar=True,
            ).fit(model, datamodule=data)
        return Figures({"compiled" if compiled else "ours": stopwatch.seconds})

    return run


def trainer_beside_limit(
    kind: str, width: int, batch: int, steps: int, device: torch.device, folder: Path
) -> Callable[[], Figures]:
    """As `trainer`, and the FLOP/s of matrix products in the precision that it computes in, before it and after."""
    work = trainer(kind, width, batch, steps, device, folder)
    dtype = training_dtype(device)

    def run() -> Figures:
        before, figures = matrix_product_rate(device, dtype), work()
        return Figures(**figures, limit=max(before, matrix_product_rate(device, dtype)))

    return run


def differences(kind: str, width: int, batch: int, device: torch.device, compiled: bool = False) -> str:
    """How far loss and gradients of one batch are from the reference's, which has the same weights and noise."""
    net, model, data = network(kind, width).to(device), module(kind, width, device), pictures(batch, 1)
    x_0 = data.train_images.float() / 255
    drawn = x_0, data.train_labels, *model.draw(batch, x_0, torch.Generator().manual_seed(0))
    x_0, labels, t, eps, u = (each.to(device) for each in drawn)
    theirs = references.loss(kind, net, x_0, labels, t, eps, u >= DROPOUT)
    theirs.backward()  # and then there is memory for the other
    if compiled:
        model.net.compile()
    mine = loss(model, x_0, labels, t, eps, u)
    mine.backward()
    pairs = [(a.grad, b.grad) for a, b in zip(model.net.parameters(), net.parameters(), strict=True)]
    most = max(float((a - b).abs().max()) for a, b in pairs)  # type: ignore[operator]
    largest = max(float(b.abs().max()) for _, b in pairs)  # type: ignore[union-attr]
    return (
        f"{default_precision(device.type)}; loss of one batch {mine.item():.6f}, in eager float32 {theirs.item():.6f}; "
        f"gradients differ by at most {most:.1e}, the largest is {largest:.1e}"
    )


def training_flops(kind: str, width: int, batch: int) -> int:
    """Multiplications and additions of a step's convolutions and matrix products, forward and backward, counted."""
    net = network(kind, width).to("meta")
    inputs = [torch.empty(batch, *shape, device="meta") for shape in [(1, 28, 28), (), (CLASSES,)]]
    number = {"denoiser": 1, "time UNet": 2, "class UNet": 3}[kind]
    with FlopCounterMode(display=False) as counter:
        net(*inputs[:number]).sum().backward()
    return counter.get_total_flops()


def sampler(
    *,
    kind: str,
    width: int,
    device: torch.device,
    solver: dict[str, Any],
    steps: int,
    total: int,
    scale: float | None = None,
    prediction: str | None = None,
    dtype: str | None = "fp32",
    change: str = "",
    compiled: bool = False,
) -> Callable[[Tensor], Tensor]:
    """Noise (B, 1, 28, 28) to pictures of the digits in turn: the first `steps` of `total` steps of a solver.

    Args:
        scale: of guidance; None for none.
        prediction: what the network answers; None: what `module` trains it for.
        dtype: backbone.dtype of sample.py, which folds BatchNorm; None: as train.py draws its grids, in the Trainer's
            precision with BatchNorm as it is.
        change: one of SAMPLING_CHANGES, or nothing.
        compiled: by torch.compile, in the first call.
    """
    assert change in ("", *SAMPLING_CHANGES), change
    model = module(kind, width, device).eval()
    net = model.net
    if dtype is not None:
        convolutions = torch.float32 if change == "in float32" else convolution_dtype(dtype, device)
        if change == "with BatchNorm unfolded":
            for layer in net.modules():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    layer.to(convolutions)
        else:
            net = folded(net, convolutions).to(memory_format=torch.channels_last)
    if change == "with two whole branches":
        net.shares_branches = False
    if compiled:
        net.compile()
    denoiser: Denoiser = NetworkDenoiser(net, model.path, prediction or model.prediction)
    if scale is not None:
        denoiser = Guide(denoiser, scale, torch.zeros(1, CLASSES))
    times = model.path.times(total)[: steps + 1]

    def run(x: Tensor) -> Tensor:
        condition = None if scale is None else F.one_hot(digits(len(x), device), CLASSES).float()
        noise = ImageNoise(0, range(len(x)), "sampling")
        with autocast(device) if dtype is None else nullcontext():
            return sample(denoiser, x, times, make_solver(**solver), noise, condition).cpu()

    return run


def sampling(count: int, device: torch.device, **settings: Any) -> Way:
    """From noise, each image's its own, to pictures on the CPU by `sampler` of these settings."""
    prepare(device)
    run, like = sampler(device=device, **settings), torch.empty(count, 1, 28, 28, device=device)
    return lambda: run(ImageNoise(0, range(count), "start")(like))
