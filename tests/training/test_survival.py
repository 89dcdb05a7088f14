"""Losses that are not numbers, full disks, kills: the last good checkpoint survives."""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from training_runs import (
    STEPS,
    Hook,
    class_module,
    compose_config,
    differences,
    finish,
    load,
    make_run,
    rows,
    start,
    stopped_run,
    terminate_after,
    wait_for,
)

from denoiselab.training import ClassModule, NotFinite
from denoiselab.training.callbacks import AtomicCheckpointIO


def assert_finite(path: Path) -> None:
    tensors = [value for value in load(path)["state_dict"].values() if value.is_floating_point()]
    assert tensors and all(bool(value.isfinite().all()) for value in tensors)


# --- losses and weights that are not finite


class Breaks(ClassModule):
    """The loss of one step is not finite."""

    at, value = 0, float("nan")

    def loss(self, x_0: Tensor, *rest: Any) -> Tensor:
        loss = super().loss(x_0, *rest)
        return loss * self.value if self.training and self.global_step + 1 == self.at else loss


def breaking(at: int, value: float) -> Breaks:
    module = class_module(kind=Breaks)
    assert isinstance(module, Breaks)
    module.at, module.value = at, value
    return module


@pytest.mark.parametrize(
    ("at", "value", "every"),
    [
        (8, float("nan"), 1),
        (8, float("inf"), 4),  # between two reads
        (7, float("nan"), 50),  # read at the end of the epoch only
        (12, float("nan"), 50),  # in its last step
    ],
)
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, at: int, value: float, every: int) -> None:
    run = make_run(tmp_path, module=breaking(at, value), every=every, ema=0.8)
    with pytest.raises(NotFinite) as caught:
        run.fit()
    message = str(caught.value)
    assert message.startswith(f"loss={value} at step {at}: allowed are finite numbers") and "\n" not in message
    assert "model.optimizer.lr" in message
    assert load(run.checkpoints.last)["global_step"] == STEPS
    assert_finite(run.checkpoints.last)


def test_it_is_seen_before_a_checkpoint_is_written(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        module=breaking(8, float("nan")),
        callbacks=[terminate_after(lambda: run.checkpoints, 8)],
        every=50,
    )
    with pytest.raises(NotFinite, match="at step 8"):
        run.fit()
    assert load(run.checkpoints.last)["global_step"] == STEPS


@pytest.mark.parametrize("sigterm", [False, True])
def test_a_finite_loss_whose_gradient_is_not(tmp_path: Path, sigterm: bool) -> None:
    module, at = class_module(), 9 if sigterm else 12

    def overflow(gradient: Tensor) -> Tensor:
        return gradient * float("inf") if module.global_step + 1 == at else gradient

    next(module.parameters()).register_hook(overflow)
    run = make_run(
        tmp_path,
        module=module,
        callbacks=[terminate_after(lambda: run.checkpoints, 9)] if sigterm else [],
        every=50,
    )
    with pytest.raises(NotFinite, match=rf"weights of norm nan after step {at}"):
        run.fit()
    assert load(run.checkpoints.last)["global_step"] == STEPS
    assert_finite(run.checkpoints.last)
    assert "nan" not in (tmp_path / "metrics.csv").read_text()


# --- full disk


@pytest.mark.parametrize("kept", [(), (2,)])
def test_a_full_disk_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...]
) -> None:
    def fill(trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step == 2 * STEPS:
            monkeypatch.setattr(secrets, "token_hex", lambda size: "token")
            for name in ("best", "last", "epoch_002"):
                (tmp_path / "checkpoints" / f".{name}.token.ckpt").symlink_to("/dev/full")

    run = make_run(tmp_path, callbacks=[Hook(fill)], kept=kept)
    with pytest.raises(OSError, match=r"disk full, file not written.*\.ckpt"):
        run.fit()
    assert load(run.checkpoints.last)["global_step"] == STEPS
    assert load(tmp_path / "checkpoints" / "best.ckpt")["global_step"] == STEPS
    assert not (tmp_path / "checkpoints" / "epoch_002.ckpt").exists()


# --- checkpoints


def test_checkpoints_are_of_the_asked_and_the_best_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path, kept=[1, 3], ema=0.8)
    run.fit()
    names = sorted(os.listdir(run.checkpoints.directory))
    assert names == ["best.ckpt", "epoch_001.ckpt", "epoch_003.ckpt", "last.ckpt"]
    held_out = [float(row["val_loss"]) for row in rows(tmp_path) if row["val_loss"]]
    best = load(run.checkpoints.directory / "best.ckpt")
    assert best["global_step"] == STEPS * (1 + held_out.index(min(held_out)))
    assert load(run.checkpoints.directory / "epoch_001.ckpt")["global_step"] == STEPS
    assert load(run.checkpoints.directory / "epoch_003.ckpt")["global_step"] == 3 * STEPS
    assert best["config"] == run.module.run_config
    assert os.listdir(tmp_path / "checkpoints") and sorted(os.listdir(tmp_path)) == ["checkpoints", "metrics.csv"]


def test_best_is_the_lowest_and_not_the_last(tmp_path: Path) -> None:
    class Worsens(ClassModule):
        def loss(self, x_0: Tensor, *rest: Any) -> Tensor:
            return super().loss(x_0, *rest) + (0 if self.training else self.current_epoch)

    run = make_run(tmp_path, epochs=2, module=class_module(kind=Worsens))
    run.fit()
    assert load(run.checkpoints.directory / "best.ckpt")["global_step"] == STEPS
    assert load(run.checkpoints.last)["global_step"] == 2 * STEPS


# --- kills


def killed_after(child_work: Any, ready: Path, seconds: float) -> None:
    """Runs child_work in a fork, waits for a file and a little longer, and kills it with -9."""
    pid = os.fork()
    if pid == 0:
        try:
            child_work()
        finally:
            os._exit(1)
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert time.monotonic() < deadline, "nothing was saved"
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)


def test_a_kill_while_checkpoints_are_written(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    last = directory / "last.ckpt"
    content = {"state_dict": {str(i): torch.full((5_000,), float(i)) for i in range(40)}, "config": {}}

    def save_all_the_time() -> None:
        number = 0
        while True:
            AtomicCheckpointIO().save_checkpoint({**content, "number": number}, last)
            number += 1

    moments, left = random.Random(0), 0
    for _ in range(12):
        last.unlink(missing_ok=True)
        killed_after(save_all_the_time, last, moments.uniform(0, 0.03))
        found = load(last)
        assert differences(found["state_dict"], content["state_dict"]) == []
        left += len(list(directory.glob(".last.*.ckpt")))
    assert left > 0  # some kills were in the middle of a file


def test_what_a_kill_has_left_is_cleared_and_confuses_nothing(tmp_path: Path) -> None:
    stopped_run(tmp_path, STEPS, epochs=2).fit_until_stopped()
    half = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()[:1000]
    for name in (".last.0123abcd.ckpt", ".best.0123abcd.ckpt"):
        (tmp_path / "checkpoints" / name).write_bytes(half)
    run = make_run(tmp_path, epochs=2)
    run.fit(resume=True)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.ckpt", "last.ckpt"]
    assert load(run.checkpoints.last)["global_step"] == 2 * STEPS


def test_the_best_checkpoint_is_there_before_the_last_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two files: the epoch is repeated, and best.ckpt written again."""
    written: list[str] = []
    replace = os.replace

    def note(source: Any, target: Any) -> None:
        written.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    make_run(tmp_path, epochs=1, kept=[1]).fit()
    assert [name for name in written if name.endswith("ckpt")] == ["best.ckpt", "epoch_001.ckpt", "last.ckpt"]


COMMAND = (
    "train.py", "logger=none", "data=synthetic", "data.size=512", "data.batch_size=16", "data.val_size=32",
    "model.net.width=4", "callbacks.samples.epochs=[]", "callbacks.metrics.every=4", "trainer.accelerator=cpu",
    "trainer.precision=32-true", "trainer.progress_bar=false",
)  # fmt: skip


def test_sigterm_saves_and_resume_alone_finishes(tmp_path: Path) -> None:
    process = start(*COMMAND, "trainer.max_epochs=12", f"hydra.run.dir={tmp_path}")
    wait_for("metrics.csv", tmp_path, process, "\n40,2,")
    process.send_signal(signal.SIGTERM)
    output = finish(process)
    saved = load(tmp_path / "checkpoints" / "last.ckpt")["global_step"]
    assert 40 <= saved < 12 * 32
    (line,) = [line for line in output.splitlines() if "SIGTERM" in line]
    assert line.startswith(f"stopped by SIGTERM at step {saved}, saved in {tmp_path}/checkpoints/last.ckpt")
    assert line.endswith(f"go on with: python train.py resume={tmp_path}")
    assert "Traceback" not in output
    output = finish(start("train.py", f"resume={tmp_path}"))
    assert f"pictures: {tmp_path / 'figures'}" in output
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 12 * 32
    assert [int(row["step"]) for row in rows(tmp_path) if row["loss"]] == list(range(1, 12 * 32 + 1))


def test_kill_9_and_resume(tmp_path: Path, train: Any) -> None:
    process = start(*COMMAND, "trainer.max_epochs=40", "data.steps_per_epoch=2", f"hydra.run.dir={tmp_path}")
    wait_for("checkpoints/last.ckpt", tmp_path, process)
    time.sleep(random.Random(1).uniform(0, 0.5))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    saved = load(tmp_path / "checkpoints" / "last.ckpt")["global_step"]
    train(compose_config(f"resume={tmp_path}", f"trainer.max_epochs={saved // 2 + 2}"), tmp_path, None)
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == saved + 4
    assert [int(row["step"]) for row in rows(tmp_path) if row["loss"]] == list(range(1, saved + 5))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR2"])
def test_the_signal_handler_is_in_place_during_the_fit_and_gone_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "SIGUSR2":  # what submitit has SLURM send before the time runs out; without SLURM it is not ours
        monkeypatch.setenv("SLURM_JOB_ID", "1")
    number = signal.Signals[name]
    before = signal.getsignal(number)
    seen = []

    def note(trainer: L.Trainer, module: L.LightningModule) -> None:
        seen.append(signal.getsignal(number))
        if trainer.global_step == 2:
            os.kill(os.getpid(), number)

    run = make_run(tmp_path, callbacks=[Hook(note)])
    assert run.fit_until_stopped().startswith(f"stopped by {name} at step 2,")
    assert all(getattr(handler, "__self__", None) is run.checkpoints for handler in seen)
    assert signal.getsignal(number) == before


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    def twice(trainer: L.Trainer, module: L.LightningModule) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit):  # what Lightning makes of a KeyboardInterrupt
        make_run(tmp_path, callbacks=[Hook(twice)]).fit()
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
