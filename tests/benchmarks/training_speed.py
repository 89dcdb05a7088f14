"""Images per second of three ways to train the class-conditioned UNet, in turn, several rounds; medians and ratios.

    python tests/benchmarks/training_speed.py [--width 64] [--batch 64] [--steps 30] [--rounds 5]

naive: a plain loop in eager float32, contiguous memory, Adam as it comes, a DataLoader.
bare: the same loop with what train.py uses on this machine (precision, memory format, fused Adam, data in memory).
shipped: train.py's Trainer with what acts on every step of every run: metrics.csv, the record of Weights & Biases
(offline), the watch for signals. What comes once an epoch (validation, pictures, checkpoints) is not in it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from denoiselab.data import StepLoader, Synthetic
from denoiselab.nets import UNet
from denoiselab.noise import RectifiedFlow
from denoiselab.training import Checkpoints, ClassModule, Metrics, Optimizer, make_trainer, recording, wandb_logger
from denoiselab.training.trainer import default_precision


def naive(options: argparse.Namespace, data: Synthetic) -> Callable[[], float]:
    net = UNet(options.width, "add", 10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    images = TensorDataset(data.train_images.float() / 255, data.train_labels)
    loader = DataLoader(images, options.batch, shuffle=True, drop_last=True)

    def run() -> float:
        start = time.perf_counter()
        for _, (x_0, labels) in zip(range(options.steps), loader, strict=False):
            t, eps = torch.rand(len(x_0)), torch.randn_like(x_0)
            c = F.one_hot(labels, 10).float() * (torch.rand(len(x_0), 1) > 0.1)
            x_t = (1 - t[:, None, None, None]) * x_0 + t[:, None, None, None] * eps
            loss = F.mse_loss(net(x_t, t, c), eps - x_0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return time.perf_counter() - start

    return run


def module(options: argparse.Namespace) -> ClassModule:
    settings = Optimizer(lr=1e-3, schedule="constant")
    net = UNet(options.width, "add", 10)
    return ClassModule(net, RectifiedFlow(), "velocity", settings, seed=0, class_dropout=0.1).to(
        memory_format=torch.channels_last
    )


def bare(options: argparse.Namespace, data: Synthetic) -> Callable[[], float]:
    model = module(options)
    optimizer = model.optimizer_settings.build(model.parameters())
    step = 0
    loader = StepLoader(data.train_images, data.train_labels, options.batch, 0, lambda: step)
    bf16 = default_precision("cpu") == "bf16-mixed"

    def run() -> float:
        nonlocal step
        start = time.perf_counter()
        for _ in range(options.steps):
            x_0, labels = loader.batch(step)
            generator = torch.Generator().manual_seed(step)
            t = model.times(len(x_0), generator)
            eps = torch.randn(x_0.shape, generator=generator)
            condition = model.drop(model.condition(labels), torch.rand(len(x_0), generator=generator))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model.loss(x_0, t, eps, condition)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        return time.perf_counter() - start

    return run


class Stopwatch(L.Callback):
    """Seconds from before the first batch to the last step's end; list it after all others."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds = time.perf_counter() - self.start


def shipped(options: argparse.Namespace, data: Synthetic) -> Callable[[], float]:
    model = module(options)
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}

    def run() -> float:
        stopwatch = Stopwatch()
        with tempfile.TemporaryDirectory() as directory:
            logger = wandb_logger(directory, "benchmark", {}, "denoiselab", entity=None, group=None, tags=[])
            with recording(logger):
                trainer = make_trainer(
                    directory,
                    max_epochs=1,
                    callbacks=[Metrics(directory, every=50), Checkpoints(directory, []), stopwatch],
                    logger=logger,
                    accelerator="cpu",
                    devices=1,
                    num_nodes=1,
                    strategy="auto",
                    precision="auto",
                    gradient_clip_val=None,
                    progress_bar=False,
                )
                trainer.fit(model, datamodule=data)
        return stopwatch.seconds

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    data = Synthetic(
        options.batch, 0, val_size=10, size=options.batch * options.steps + 10, steps_per_epoch=options.steps
    )
    data.setup()
    ways = {way.__name__: way(options, data) for way in (naive, bare, shipped)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(options.rounds + 1):  # the first is warm-up
        for name, run in ways.items():
            taken = run()
            if round_:
                seconds[name].append(taken)
    images = options.batch * options.steps
    print(
        f"\nD = {options.width}, batch {options.batch}, {default_precision('cpu')}, {torch.get_num_threads()} threads"
    )
    for name, taken in seconds.items():
        print(f"{name:8} {images / statistics.median(taken):6.1f} images/s (median of {options.rounds})")

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(seconds[a], seconds[b], strict=True))

    print(f"shipped is {ratio('naive', 'shipped'):.2f} times as fast as naive")
    print(f"the Trainer costs {100 * (ratio('shipped', 'bare') - 1):.1f} % over the bare loop")


if __name__ == "__main__":
    main()
