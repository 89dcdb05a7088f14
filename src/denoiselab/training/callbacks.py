"""What a run leaves behind besides pictures of samples: metrics.csv, loss.png, checkpoints, and a way to stop it."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from denoiselab.figures import loss_curve, loss_curves
from denoiselab.files import naming_full_disks, write_atomically
from denoiselab.runs import read_losses, read_metrics, run_label

COLUMNS = ("step", "epoch", "loss", "lr", "images_per_s", "val_loss")


class NotFinite(RuntimeError):
    """The loss, a weight or a sample is no longer a number; the last checkpoint is from before."""


def not_finite(what: str, lr: float) -> NotFinite:
    return NotFinite(
        f"{what}: allowed are finite numbers; "
        f"try a smaller model.optimizer.lr (now {lr:g}) or trainer.gradient_clip_val=1.0"
    )


def learning_rate(trainer: L.Trainer) -> float:
    """Of the step in progress."""
    return float(trainer.optimizers[0].param_groups[0]["lr"])


class Preempted(RuntimeError):
    """SIGTERM, Ctrl-C or SLURM's SIGUSR2 arrived, and the run is saved."""


def log_picture(trainer: L.Trainer, path: Path) -> None:
    """Shows a picture to every logger that takes images, under its file name without the epoch."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            name = path.stem.removesuffix("_preview").split("_epoch_")[0]
            logger.log_image(key=f"figures/{name}", images=[str(path)], step=trainer.global_step)


class Metrics(L.Callback):
    """metrics.csv: a row per step (loss, lr, images/s), a row per epoch with val_loss; the same to the loggers.

    Losses stay on the device and are read every `every` steps, so that no step waits for the one before it, at the end
    of an epoch, and before a checkpoint is written. A loss or a weight that is not finite raises NotFinite then, so
    nothing of the kind is ever saved. Under DDP a loss is the mean over the ranks, that of the global batch. Steps and
    epochs count from 1. A resumed run drops the rows after its checkpoint and goes on.

    Args:
        directory: the run directory.
        every: steps between two reads, >= 1.

    Attributes:
        loss: the mean of the losses read last; None before the first read.
    """

    def __init__(self, directory: str | Path, every: int) -> None:
        if every < 1:
            raise ValueError(f"callbacks.metrics.every={every}: allowed is 1 or more")
        self.path, self.every = Path(directory) / "metrics.csv", every
        self.pending: list[tuple[int, int, Tensor, float]] = []
        self.since, self.global_batch = 0.0, 0
        self.loss: float | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.pending, self.since = [], time.perf_counter()
        if trainer.is_global_zero:
            kept = [row for row in read_metrics(self.path) if int(row["step"]) <= trainer.global_step]
            with write_atomically(self.path) as temporary, open(temporary, "w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(kept)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        row = trainer.global_step, trainer.current_epoch + 1, outputs["loss"].detach(), learning_rate(trainer)
        self.pending.append(row)
        self.global_batch = len(batch[0]) * trainer.world_size
        if len(self.pending) >= self.every or batch_idx + 1 == trainer.num_training_batches:
            self._flush(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.pending:
            self._flush(trainer, pl_module)

    def _flush(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        unread = torch.stack([loss for _, _, loss, _ in self.pending])
        weights = nn.utils.get_total_norm(module.parameters())  # a finite loss can have a gradient that is not
        values = trainer.strategy.reduce(torch.cat([unread, weights[None]]), reduce_op="mean")
        *losses, norm = values.tolist()  # type: ignore[union-attr]  # the device is waited for here
        seconds = time.perf_counter() - self.since
        images_per_s = len(losses) * self.global_batch / max(seconds, 1e-9)
        rows = [
            {"step": step, "epoch": epoch, "loss": loss, "lr": lr, "images_per_s": round(images_per_s, 1)}
            for (step, epoch, _, lr), loss in zip(self.pending, losses, strict=True)
        ]
        self.pending, self.since = [], time.perf_counter()
        self.loss = math.fsum(losses) / len(losses)
        self._append(trainer, rows)
        for row in rows:
            if not math.isfinite(row["loss"]):
                raise not_finite(f"loss={row['loss']} at step {row['step']}", row["lr"])
        if not math.isfinite(norm):
            raise not_finite(f"weights of norm {norm} after step {rows[-1]['step']}", rows[-1]["lr"])

    def _append(self, trainer: L.Trainer, rows: list[dict[str, Any]]) -> None:
        if not trainer.is_global_zero:
            return
        with naming_full_disks(self.path), open(self.path, "a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerows(rows)
        for logger in trainer.loggers:
            for row in rows:
                values = {name: value for name, value in row.items() if name != "step"}
                logger.log_metrics(values, step=row["step"])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics.get("val_loss")
        if value is not None and trainer.state.fn == "fit":
            row = {"step": trainer.global_step, "epoch": trainer.current_epoch + 1, "val_loss": float(value)}
            self._append(trainer, [row])
            if not math.isfinite(row["val_loss"]):
                raise not_finite(f"val_loss={row['val_loss']} after epoch {row['epoch']}", learning_rate(trainer))
        self.since = time.perf_counter()


class LossCurve(L.Callback):
    """figures/loss.png after every epoch: the loss of every step on a log axis, with the epoch averages.

    Args:
        directory: the run directory, whose metrics.csv is drawn.
        title: the picture's title.
        beside: directories of other runs, whose losses and these are drawn into one picture, figures/loss_beside.png.
    """

    def __init__(self, directory: str | Path, title: str, beside: Iterable[str | Path] = ()) -> None:
        self.directory, self.title, self.beside = Path(directory), title, [Path(run) for run in beside]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        held_out = [row for row in read_metrics(self.directory / "metrics.csv") if row["val_loss"]]
        validation = [int(row["step"]) for row in held_out], [float(row["val_loss"]) for row in held_out]
        curve = read_losses(self.directory)
        path = self.directory / "figures" / "loss.png"
        loss_curve(path, *curve, title=self.title, validation=validation)
        log_picture(trainer, path)
        if self.beside:
            path = self.directory / "figures" / "loss_beside.png"
            others = {run_label(run): read_losses(run) for run in self.beside}
            loss_curves(path, {self.title: curve, **others}, title="loss of each step")
            log_picture(trainer, path)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and hold nothing but tensors and plain containers.

    Lightning writes into the system's temporary folder and moves, which on another file system is a copy that a kill
    can cut short. torch.save into a file says "unexpected pos" where the disk is full; written from memory, it is an
    OSError that names the file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with write_atomically(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class Checkpoints(L.Callback):
    """checkpoints/last.ckpt and best.ckpt (lowest val_loss) after every epoch, epoch_NNN.ckpt after the asked ones.

    On SIGTERM or Ctrl-C the step in progress is finished, last.ckpt is saved and Preempted is raised; a second Ctrl-C
    does not wait. Under DDP the ranks agree every `agree_every` steps and at the end of an epoch. List it after every
    callback whose work it saves.

    Args:
        directory: the run directory.
        epochs: epochs, from 1, whose checkpoint is kept.
    """

    agree_every = 16

    def __init__(self, directory: str | Path, epochs: Iterable[int]) -> None:
        self.directory, self.epochs = Path(directory) / "checkpoints", set(epochs)
        self.best = math.inf
        self.signal: signal.Signals | None = None

    @property
    def last(self) -> Path:
        return self.directory / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            for left_by_a_kill in self.directory.glob(".*.ckpt"):
                left_by_a_kill.unlink()
        # In place of Lightning's handler, which stops in the middle of validation as well, where no exact resume is
        # possible.
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, self._terminate)
        if "SLURM_JOB_ID" in os.environ:  # submitit asks SLURM for this one before the time runs out
            signal.signal(signal.SIGUSR2, self._terminate)

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(signum)
        if self.signal is signal.SIGINT:
            print("\nstopping after this step (a validation or picture in progress ends first); Ctrl-C again: at once")
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            return  # the epoch's own end follows; it saves
        if trainer.world_size > 1 and trainer.global_step % self.agree_every:
            return
        if self._agreed(trainer):
            trainer.save_checkpoint(self.last, weights_only=False)
            self._stop(trainer)

    def _agreed(self, trainer: L.Trainer) -> bool:
        """Whether any rank has had the signal."""
        return trainer.strategy.reduce_boolean_decision(self.signal is not None, all=False)

    def _stop(self, trainer: L.Trainer) -> NoReturn:
        name = self.signal.name if self.signal else "a signal to another rank"
        raise Preempted(f"stopped by {name} at step {trainer.global_step}, saved in {self.last}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = float(trainer.callback_metrics.get("val_loss", math.inf))
        best = value < self.best
        if best:
            self.best = value
        epoch = trainer.current_epoch + 1
        # last.ckpt comes last: a run killed before it repeats the epoch, and with it the others.
        names = ["best.ckpt"] * best + [f"epoch_{epoch:03d}.ckpt"] * (epoch in self.epochs) + ["last.ckpt"]
        first, *others = [self.directory / name for name in names]
        trainer.save_checkpoint(first, weights_only=False)
        if trainer.is_global_zero:
            for other in others:
                _copy(first, other)
        if epoch != trainer.max_epochs and self._agreed(trainer):
            self._stop(trainer)


def _copy(source: Path, target: Path) -> None:
    """A second name for the same file where the file system allows it: checkpoints are replaced, never rewritten."""
    with write_atomically(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
