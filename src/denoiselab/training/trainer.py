"""The Lightning Trainer, with precision, memory format and device chosen by the hardware unless they are named."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy

from denoiselab.hardware import multiplies_bf16_fast
from denoiselab.training.callbacks import AtomicCheckpointIO
from denoiselab.training.progress import ProgressBar


def default_precision(accelerator: str) -> str:
    """ "bf16-mixed" where the hardware multiplies bf16 faster than fp32, else "32-true"."""
    return "bf16-mixed" if multiplies_bf16_fast(accelerator) else "32-true"


def resolve_accelerator(accelerator: str) -> str:
    """ "cuda" or "cpu" for "auto" and "gpu", of which Lightning would take mps too, which has no float64."""
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if accelerator == "gpu" else accelerator


def check_devices(accelerator: str, devices: int | str, key: str = "trainer") -> None:
    """Raises ValueError for an accelerator, or a number of devices, that this machine has not."""
    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    if accelerator in ("gpu", "cuda") and not gpus:
        raise ValueError(f"{key}.accelerator={accelerator}: allowed is auto or cpu, torch finds no GPU here")
    on_gpu = accelerator != "cpu" and gpus
    most = gpus if on_gpu else max(cores, 2)  # two processes show what DDP does on a single core too
    if isinstance(devices, int) and devices > most:
        kind = "GPUs" if on_gpu else "CPU cores"
        raise ValueError(f"{key}.devices={devices}: allowed is auto or 1 to {most}, the {kind} here")


def make_trainer(
    directory: str | Path,
    max_epochs: int,
    callbacks: Sequence[L.Callback],
    logger: Any,
    accelerator: str,
    devices: int | str,
    num_nodes: int,
    strategy: str,
    precision: str,
    gradient_clip_val: float | None,
    progress_bar: bool,
) -> L.Trainer:
    """A Trainer that writes into the run directory and nowhere else, and leaves order and sharding to the data.

    `precision` "auto" is `default_precision`. BatchNorm is synchronised across GPUs; across CPU processes it cannot be
    (torch has no such kernel), so there each rank normalises by its own rows.
    """
    # What Lightning says of a checkpoint from mid-epoch holds for loaders that keep a position; ours asks the clock.
    warnings.filterwarnings("ignore", ".*checkpoint that ended before the epoch ended.*")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated.*")  # its own affair
    for name in ("lightning.pytorch", "lightning.fabric"):  # which devices there are not, and advertisements
        logging.getLogger(name).setLevel(logging.WARNING)
    accelerator = resolve_accelerator(accelerator)
    on_gpu = accelerator != "cpu"
    alone = strategy == "auto" and (devices, num_nodes) == (1, 1)
    # Determinism would fill all new memory with NaN as well, a kernel for each tensor; nothing here reads what it has
    # not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return L.Trainer(
        default_root_dir=directory,
        max_epochs=max_epochs,
        # Drawn at every step the bar would take as long as a GPU does for one.
        callbacks=[*callbacks, *([ProgressBar(refresh_rate=20 if on_gpu else 1)] if progress_bar else [])],
        logger=logger,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        # The first rank draws pictures and measures, for which the others wait; Lightning's own patience is 30 minutes.
        strategy="auto" if alone else DDPStrategy(timeout=timedelta(weeks=1)),
        precision=default_precision(accelerator) if precision == "auto" else precision,  # type: ignore[arg-type]
        gradient_clip_val=gradient_clip_val,
        sync_batchnorm=on_gpu,
        deterministic="warn" if on_gpu else None,  # a resumed run is the uninterrupted one, as far as CUDA has kernels
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress_bar,
        log_every_n_steps=1,
    )
