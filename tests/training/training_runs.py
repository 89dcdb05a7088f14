"""Tiny training runs on drawn pictures, wired as train.py wires them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from denoiselab.config import register, train_config
from denoiselab.data import Synthetic
from denoiselab.nets import UNet
from denoiselab.noise import RectifiedFlow
from denoiselab.sample import euler
from denoiselab.training import (
    EMA,
    Checkpoints,
    ClassModule,
    Metrics,
    Optimizer,
    Preempted,
    SampleQuality,
    Times,
    make_trainer,
)
from denoiselab.training.modules import PixelModule

REPOSITORY = Path(__file__).parents[2]
SEED = 3
STEPS = 6  # of an epoch: 96 images in batches of 16


class PowerFailure(Exception):
    """Ends a run where nothing of it is prepared for that."""


class Hook(L.Callback):
    """Calls a function after every step, when the callbacks listed before it have run."""

    def __init__(self, after_step: Callable[[L.Trainer, L.LightningModule], None]) -> None:
        self.after_step = after_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.after_step(trainer, pl_module)


class WithoutBatchNorm(nn.Module):
    """A class-conditioned network whose samples do not see each other."""

    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
        self.time, self.classes = nn.Linear(1, 4), nn.Linear(10, 4)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        h = self.enter(x) * self.classes(c)[:, :, None, None] + self.time(t[:, None])[:, :, None, None]
        return self.leave(h.relu())  # (B, 1, H, W)


class IdleBatchNorm(WithoutBatchNorm):
    """Its BatchNorm sees the pictures and changes nothing: its statistics are all that two ranks differ in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return super().forward(x, t, c) + 0 * self.norm(self.enter(x)).mean()


NOT_UNIFORM = Times("logit_normal", 0.3, 1.2)


@dataclass
class Run:
    directory: Path
    module: ClassModule
    trainer: L.Trainer
    data: Synthetic
    checkpoints: Checkpoints

    def fit(self, resume: bool = False) -> None:
        checkpoint = self.checkpoints.last if resume else None
        self.trainer.fit(self.module, datamodule=self.data, ckpt_path=checkpoint, weights_only=True)

    def fit_until_stopped(self) -> str:
        """The message of the Preempted that ends the run."""
        try:
            self.fit()
        except Preempted as stop:
            return str(stop)
        raise AssertionError("the run was not stopped")


def small_unet() -> UNet:
    return UNet(4, time="add", num_classes=10)


def class_module(
    net: Callable[[], nn.Module] = small_unet, kind: type[ClassModule] = ClassModule, **levers: Any
) -> ClassModule:
    """With the same weights every time."""
    torch.manual_seed(SEED)
    module = kind(net(), RectifiedFlow(), "velocity", Optimizer(1e-2, "exponential"), SEED, class_dropout=0.3, **levers)
    module.run_config = {
        "name": "test",
        "lever": "none",
        "seed": SEED,
        "solver": {"name": "euler"},
        "model": {},
        "schedule": {},
        "data": {},
        "callbacks": {"ema": None},
        "trainer": dict.fromkeys(("max_epochs", "devices", "num_nodes", "precision", "gradient_clip_val")),
    }
    return module


def make_run(
    directory: Path,
    epochs: int = 3,
    *,
    module: ClassModule | None = None,
    callbacks: Sequence[L.Callback] = (),
    last: Sequence[L.Callback] = (),
    ema: float | None = None,
    warmup: bool = False,
    every: int = 4,
    clip: float | None = 0.5,
    precision: str = "32-true",
    batch_size: int = 16,
    devices: int = 1,
    kept: Sequence[int] = (),
) -> Run:
    checkpoints = Checkpoints(directory, kept)
    average = [] if ema is None else [EMA(ema, warmup)]
    trainer = make_trainer(
        directory,
        epochs,
        [Metrics(directory, every), *callbacks, *average, checkpoints, *last],
        logger=False,
        accelerator="cpu",
        devices=devices,
        num_nodes=1,
        strategy="ddp" if devices > 1 else "auto",
        precision=precision,
        gradient_clip_val=clip,
        progress_bar=False,
    )
    data = Synthetic(batch_size, SEED, val_size=32, size=96)
    return Run(directory, module or class_module(), trainer, data, checkpoints)


class Kept(SampleQuality):
    """It keeps what it measures."""

    def measure(self, trainer: L.Trainer, module: PixelModule, epoch: int, made: Mapping[float | None, Tensor]) -> None:
        torch.save([*made.values()], self.directory / "measured.pt")
        super().measure(trainer, module, epoch, made)


def fit_measured(directory: Path, batch_size: int, devices: int) -> None:
    """Fits IdleBatchNorm at times that are not uniform, with an average of the weights, and measures 25 samples, which
    no two ranks can share evenly; they are in measured.pt.
    """
    quality = Kept(directory, [2], SEED, euler, samples=25, steps=2, guidance_scales=[2.0, 3.0], batch_size=4)
    run = make_run(
        directory,
        module=class_module(IdleBatchNorm, times=NOT_UNIFORM),
        last=[quality],
        batch_size=batch_size,
        devices=devices,
        ema=0.8,
        warmup=True,
    )
    run.fit()


def terminate_after(run_checkpoints: Callable[[], Checkpoints], step: int) -> Hook:
    """Sets what SIGTERM sets, after a step."""

    def after_step(trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step == step:
            run_checkpoints().signal = signal.SIGTERM

    return Hook(after_step)


def stopped_run(directory: Path, step: int, **options: Any) -> Run:
    """A run that gets the signal in a step."""
    run = make_run(directory, callbacks=[terminate_after(lambda: run.checkpoints, step)], **options)
    return run


def rows(directory: Path) -> list[dict[str, str]]:
    """metrics.csv without the speed."""
    with open(directory / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "images_per_s"} for row in csv.DictReader(file)]


def losses(directory: Path) -> list[float]:
    return [float(row["loss"]) for row in rows(directory) if row["loss"]]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two nested containers of tensors and plain values are not equal, bit for bit."""
    if isinstance(a, Tensor):
        return [] if isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict):
        if not isinstance(b, dict) or a.keys() != b.keys():
            return [where]
        return [found for name in a for found in differences(a[name], b[name], f"{where}/{name}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [where]
        return [found for i in range(len(a)) for found in differences(a[i], b[i], f"{where}/{i}")]
    return [] if a == b else [where]


def start(*command: str | Path, cwd: Path = REPOSITORY) -> subprocess.Popen[str]:
    """A Python process, its output captured together, in an environment like a user's whatever launched the tests.

    One thread each: there may be two. Temporary files go to cwd/tmp where that is a folder.
    """
    ours = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "PL_GLOBAL_SEED")
    environment = {name: value for name, value in os.environ.items() if name not in (*ours, "HYDRA_FULL_ERROR")}
    environment["OMP_NUM_THREADS"] = "1"
    if (cwd / "tmp").is_dir():
        environment["TMPDIR"] = str(cwd / "tmp")
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str], timeout: float = 240) -> str:
    """Its output, when it has ended well."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


def wait_for(pattern: str, root: Path, process: subprocess.Popen[str], text: str = "") -> Path:
    """The file that matches the pattern below root, as soon as it is there and has the text in it."""
    deadline = time.monotonic() + 120
    while True:
        for path in root.glob(pattern):
            if not text or text in path.read_text():
                return path
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{pattern} did not come"
        time.sleep(0.005)


def compose_config(*overrides: str) -> dict[str, Any]:
    """What train.py makes of its command line, without tracking."""
    register()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return {**train_config(compose("train", [*overrides]), overrides), "logger": None}
