"""Two CPU processes against one with the same global batch, by every way to start them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import (
    REPOSITORY,
    STEPS,
    compose_config,
    differences,
    finish,
    fit_measured,
    load,
    losses,
    rows,
    start,
    wait_for,
)

EPOCHS, STEPS_PER_EPOCH = 3, 40
UNET = (
    "data=synthetic", f"data.size={16 * STEPS_PER_EPOCH}", "data.val_size=30", "model.net.width=4",
    "callbacks.samples.epochs=[3]", "callbacks.samples.steps=3", "callbacks.samples.rows=1",
    "callbacks.metrics.every=4", f"trainer.max_epochs={EPOCHS}", "trainer.accelerator=cpu",
    "trainer.precision=32-true", "trainer.gradient_clip_val=1.0", "trainer.progress_bar=false",
)  # fmt: skip
TWO = (REPOSITORY / "train.py", "logger=none", *UNET, "trainer=ddp", "trainer.devices=2", "data.batch_size=8")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
IN_A_RUN = {"checkpoints", "config.yaml", "figures", "metrics.csv"}


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Order, times, noise and class dropout are drawn for the global batch, so what is left is the order of sums."""
    process = start(Path(__file__).with_name("two_processes.py"), tmp_path / "two")
    fit_measured(tmp_path / "one", batch_size=16, devices=1)
    finish(process)
    alone, together = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [(row["step"], row["epoch"], row["lr"]) for row in alone] == [
        (row["step"], row["epoch"], row["lr"]) for row in together
    ]
    assert len(losses(tmp_path / "two")) == 3 * STEPS
    for name in ("loss", "val_loss"):
        ours = [float(row[name]) for row in together if row[name]]
        assert ours == pytest.approx([float(row[name]) for row in alone if row[name]], rel=1e-5)
    last = [load(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("one", "two")]
    for name, weight in last[0]["state_dict"].items():
        if not name.startswith("net.norm.running"):
            torch.testing.assert_close(last[1]["state_dict"][name], weight, rtol=0, atol=1e-4, msg=name)
    samples = [torch.stack(load(tmp_path / name / "measured.pt")).int() for name in ("one", "two")]  # type: ignore[arg-type]
    assert samples[0].shape == (2, 25, 1, 28, 28) and len(samples[0][0].unique(dim=0)) == 25
    torch.testing.assert_close(samples[1], samples[0], rtol=0, atol=2)  # in their order
    measured = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert measured[0]["floors"] == measured[1]["floors"]
    for alone_row, row in zip(measured[0]["rows"], measured[1]["rows"], strict=True):
        distance = alone_row["frechet_distance"]["value"]
        assert row["samples"] == 25 and row["frechet_distance"]["value"] == pytest.approx(distance, rel=1e-2)
    variance = [checkpoint["current_model_state"]["net.norm.running_var"] for checkpoint in last]
    assert not torch.isclose(*variance, rtol=0, atol=1e-4).all()  # in training, of a rank's own rows


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of a run of two ranks under torchrun, in the default run directory."""
    directory = tmp_path_factory.mktemp("torchrun")
    (directory / "tmp").mkdir()
    finish(start(*TORCHRUN, *TWO, cwd=directory))
    return directory


def only_run(root: Path) -> Path:
    """The run directory that train.py made there."""
    (directory,) = (root / "outputs" / "train" / "custom").iterdir()
    assert {path.name for path in directory.iterdir()} == IN_A_RUN
    assert {path.name for path in root.iterdir()} <= {"outputs", "tmp"}
    return directory


def test_only_rank_0_writes(torchrun: Path) -> None:
    directory = only_run(torchrun)
    table = rows(directory)
    assert [int(row["step"]) for row in table if row["loss"]] == list(range(1, EPOCHS * STEPS_PER_EPOCH + 1))
    assert [int(row["epoch"]) for row in table if row["val_loss"]] == list(range(1, EPOCHS + 1))
    assert {path.name for path in (directory / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    # Hydra gives rank 1 a folder outside, and it stays empty.
    assert [path for path in (torchrun / "tmp").rglob("*") if path.is_file() and "denoiselab" in path.parts] == []


def test_the_unets_curve_is_that_of_one_process_but_for_batchnorm(torchrun: Path, tmp_path: Path, train: Any) -> None:
    """Each rank normalises by its own 8 rows, one process by all 16; torch synchronises BatchNorm on GPUs only.

    So the first step differs as much as the batch statistics do, and the curves stay together.
    """
    train(compose_config(*UNET, "data.batch_size=16"), tmp_path, None)
    alone, together = losses(tmp_path), losses(only_run(torchrun))
    apart = [abs(ours - theirs) / theirs for ours, theirs in zip(together, alone, strict=True)]
    print(f"relative difference: first {apart[0]:.1e}, mean {sum(apart) / len(apart):.1e}, largest {max(apart):.1e}")
    assert 0 < apart[0] < 5e-3
    assert sum(apart) / len(apart) < 0.02 and max(apart) < 0.1


def test_lightnings_launcher_sigterm_and_resume_end_as_torchrun_does(torchrun: Path, tmp_path: Path) -> None:
    process = start(*TWO, cwd=tmp_path)
    wait_for("outputs/train/custom/*/metrics.csv", tmp_path, process, "\n44,2,")
    process.send_signal(signal.SIGTERM)  # to rank 0 alone
    output = finish(process)
    directory = only_run(tmp_path).relative_to(tmp_path)
    saved = load(tmp_path / directory / "checkpoints" / "last.ckpt")["global_step"]
    assert 44 < saved < EPOCHS * STEPS_PER_EPOCH
    assert (
        f"stopped by SIGTERM at step {saved}, saved in {tmp_path / directory}" in output and "Traceback" not in output
    )
    finish(start(REPOSITORY / "train.py", f"resume={directory}", cwd=tmp_path))
    assert only_run(tmp_path) == tmp_path / directory
    assert rows(tmp_path / directory) == rows(only_run(torchrun))
    ours, theirs = (load(run / "checkpoints" / "last.ckpt") for run in (tmp_path / directory, only_run(torchrun)))
    assert differences({**ours, "config": None}, {**theirs, "config": None}) == []
    assert (tmp_path / directory / "figures" / "samples_epoch_003.png").read_bytes() == (
        only_run(torchrun) / "figures" / "samples_epoch_003.png"
    ).read_bytes()


def test_a_loss_that_is_not_finite_ends_both_ranks(tmp_path: Path) -> None:
    process = start(*TWO, "model.optimizer.lr=1e30", cwd=tmp_path)
    output, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "error: loss=nan at step 2: allowed are finite numbers" in output and "Traceback" not in output, output
    assert not list(tmp_path.rglob("*.ckpt"))
