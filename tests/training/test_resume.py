"""A run that is stopped and resumed ends as one that never was, bit for bit; and what cannot be resumed is named."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from training_runs import (
    NOT_UNIFORM,
    STEPS,
    Hook,
    PowerFailure,
    class_module,
    compose_config,
    differences,
    load,
    make_run,
    rows,
    stopped_run,
)

from denoiselab.checkpoint import read_checkpoint
from denoiselab.config import save_config
from denoiselab.nets import UNet
from denoiselab.training import ClassModule, NotFinite, load_for_resume

EPOCHS = 3
# Gradients are clipped and classes dropped in every run of make_run; 4 steps between two reads do not divide an epoch.
OPTIONS: dict[str, Any] = {"epochs": EPOCHS, "ema": 0.8}


class FailAtEpoch(L.Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise PowerFailure


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted")
    make_run(directory, **OPTIONS).fit()
    return directory


def assert_same(directory: Path, reference: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = load(directory / "checkpoints" / name), load(reference / "checkpoints" / name)
        assert differences(ours, theirs) == []  # weights, their average, Adam's state, loops: all of it
    assert rows(directory) == rows(reference)


def test_what_is_compared(uninterrupted: Path) -> None:
    last = load(uninterrupted / "checkpoints" / "last.ckpt")
    assert last["global_step"] == EPOCHS * STEPS
    state = last["optimizer_states"][0]["state"]
    assert len(state) == len(list(class_module().parameters())) and {"exp_avg", "exp_avg_sq", "step"} <= state[0].keys()
    mean = "net.enter.0.1.running_mean"
    assert not torch.equal(last["state_dict"][mean], last["current_model_state"][mean])
    count = "net.enter.0.1.num_batches_tracked"
    assert int(last["current_model_state"][count]) == int(last["state_dict"][count]) == EPOCHS * STEPS
    assert int(last["averaging_state"]["n_averaged"]) == EPOCHS * STEPS
    table = rows(uninterrupted)
    steps = [int(row["step"]) for row in table if row["loss"]]
    assert steps == list(range(1, EPOCHS * STEPS + 1))
    assert [int(row["step"]) for row in table if row["val_loss"]] == [6, 12, 18]
    assert [int(row["epoch"]) for row in table if row["val_loss"]] == [1, 2, 3]


def test_resumed_from_the_end_of_an_epoch(tmp_path: Path, uninterrupted: Path) -> None:
    with pytest.raises(PowerFailure):
        make_run(tmp_path, callbacks=[FailAtEpoch(1)], **OPTIONS).fit()
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == STEPS
    make_run(tmp_path, **OPTIONS).fit(resume=True)
    assert_same(tmp_path, uninterrupted)


# In the first epoch, in the middle, in the last step but one, in an epoch's last step (the next stops).
@pytest.mark.parametrize("step", [1, 8, 17])
def test_resumed_from_sigterm_in_mid_epoch(tmp_path: Path, uninterrupted: Path, step: int) -> None:
    message = stopped_run(tmp_path, step, **OPTIONS).fit_until_stopped()
    assert message == f"stopped by SIGTERM at step {step}, saved in {tmp_path / 'checkpoints' / 'last.ckpt'}"
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == step
    assert [int(row["step"]) for row in rows(tmp_path) if row["loss"]] == list(range(1, step + 1))
    make_run(tmp_path, **OPTIONS).fit(resume=True)
    if step < STEPS:  # epoch 1 had no checkpoint before the signal
        assert (tmp_path / "checkpoints" / "best.ckpt").exists()
    assert_same(tmp_path, uninterrupted)


def test_with_times_that_are_not_uniform_and_an_average(tmp_path: Path) -> None:
    options = OPTIONS | {"warmup": True, "epochs": 2}
    make_run(tmp_path / "one", module=class_module(times=NOT_UNIFORM), **options).fit()
    stopped_run(tmp_path / "two", 8, module=class_module(times=NOT_UNIFORM), **options).fit_until_stopped()
    make_run(tmp_path / "two", module=class_module(times=NOT_UNIFORM), **options).fit(resume=True)
    assert_same(tmp_path / "two", tmp_path / "one")


def test_stopped_at_the_end_of_an_epoch_and_again(tmp_path: Path, uninterrupted: Path) -> None:
    assert "at step 6," in stopped_run(tmp_path, STEPS, **OPTIONS).fit_until_stopped()
    run = stopped_run(tmp_path, 11, **OPTIONS)
    with pytest.raises(Exception, match="at step 11,"):
        run.fit(resume=True)
    make_run(tmp_path, **OPTIONS).fit(resume=True)
    assert_same(tmp_path, uninterrupted)


def test_a_signal_in_the_last_step_lets_the_run_end(tmp_path: Path, uninterrupted: Path) -> None:
    stopped_run(tmp_path, EPOCHS * STEPS, **OPTIONS).fit()
    assert_same(tmp_path, uninterrupted)


def test_rows_after_the_checkpoint_are_dropped_and_half_a_row_too(tmp_path: Path, uninterrupted: Path) -> None:
    def fail(trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step == 11:
            raise PowerFailure

    with pytest.raises(PowerFailure):
        make_run(tmp_path, callbacks=[Hook(fail)], **OPTIONS).fit()
    assert [int(row["step"]) for row in rows(tmp_path) if row["loss"]][-1] == 10
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("11,2,0.3")  # the disk got no further
    make_run(tmp_path, **OPTIONS).fit(resume=True)
    assert_same(tmp_path, uninterrupted)


def test_a_finished_run_resumes_to_nothing(tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose_config("data=synthetic", "trainer=smoke", "model.net.width=4", "trainer.accelerator=cpu")
    save_config(config, tmp_path)
    train(config, tmp_path, None)
    before = (tmp_path / "metrics.csv").read_text(), (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    capsys.readouterr()
    for words in ([], ["trainer.max_epochs=1"]):
        assert train(compose_config(f"resume={tmp_path}", *words), tmp_path, None) is None
        line = f"{tmp_path}: complete after epoch 1; give trainer.max_epochs=N for more\n"
        assert capsys.readouterr().out == line
    assert ((tmp_path / "metrics.csv").read_text(), (tmp_path / "checkpoints" / "last.ckpt").read_bytes()) == before


@pytest.mark.parametrize(
    "experiment", [("callbacks.quality.epochs=[1]",), ("experiment=denoiser", "callbacks.panels=null")], ids=" ".join
)
def test_a_finished_run_measures_what_it_has_not(tmp_path: Path, train: Any, experiment: tuple[str, ...]) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    words = ("data=synthetic", "trainer=smoke", "model.net.width=4", "trainer.accelerator=cpu")
    train(compose_config(*experiment, *words), tmp_path, None)
    before = files()
    (tmp_path / "metrics.json").unlink()
    train(compose_config(f"resume={tmp_path}"), tmp_path, None)
    assert files() == before
    train(compose_config(f"resume={tmp_path}"), tmp_path, None)
    assert files() == before


def test_how_many_epochs_a_checkpoint_has_done(tmp_path: Path) -> None:
    stopped_run(tmp_path / "a", STEPS + 2, epochs=2).fit_until_stopped()
    make_run(tmp_path / "b", epochs=2).fit()
    for name, done in (("a", 1), ("b", 2)):
        assert load_for_resume(tmp_path / name / "checkpoints" / "last.ckpt", class_module()) == done


def test_a_resumed_run_says_nothing_of_unreliable_results(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    stopped_run(tmp_path, 3, epochs=1).fit_until_stopped()
    make_run(tmp_path, epochs=1).fit(resume=True)
    assert [warning for warning in recwarn if "unreliable" in str(warning.message)] == []
    with open(tmp_path / "metrics.csv") as file:
        speeds = [float(line.split(",")[4]) for line in file if line[0].isdigit() and line.split(",")[4]]
    assert len(speeds) == STEPS and min(speeds) > 0.1


# --- what cannot be resumed


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished")
    make_run(directory, epochs=1).fit()
    return directory / "checkpoints" / "last.ckpt"


def test_a_checkpoint_of_the_same_model_is_accepted(checkpoint: Path) -> None:
    load_for_resume(checkpoint, class_module())
    assert read_checkpoint(checkpoint)["config"] == class_module().run_config


def one_line(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_for_resume(path, class_module())
    message = str(caught.value)
    assert message.startswith(f"checkpoint {path}: ") and "\n" not in message and len(message) < 400
    return message


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in one_line(tmp_path / "last.ckpt")
    assert "no such file" in one_line(tmp_path)


@pytest.mark.parametrize("part", [0.0, 1e-4, 0.1, 0.5, 0.9, 0.999, -1])
def test_truncated(checkpoint: Path, tmp_path: Path, part: float) -> None:
    whole = checkpoint.read_bytes()
    path = tmp_path / "last.ckpt"
    path.write_bytes(whole[: -1 if part < 0 else int(part * len(whole))])
    assert "truncated or no checkpoint" in one_line(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content",
    [b"garbage", b"\x80\x02", b"\x80\x04K\x01.", bytes(5000), b"PK\x03\x04" + bytes(300), "é".encode() * 999],
    ids=["text", "half a pickle", "another pickle", "zeros", "half a zip", "utf-8"],
)
def test_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    one_line(path)


@pytest.mark.filterwarnings("ignore")  # torch has its thoughts on what it finds there
def test_bytes_changed_at_random(checkpoint: Path, tmp_path: Path) -> None:
    whole, path, chance = checkpoint.read_bytes(), tmp_path / "last.ckpt", random.Random(0)
    start = whole.find(b"\x80\x02")  # the pickle that says what is in the file
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[start + chance.randrange(2000)] = chance.randrange(256)
        path.write_bytes(damaged)
        with suppress(ValueError):  # and nothing else; a changed number may as well go unnoticed
            load_for_resume(path, class_module())


class Foreign:
    pass


def test_a_checkpoint_with_code_in_it_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "config": Foreign()}, path)
    one_line(path)


def test_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.zeros(3)}, path)
    assert "not written by denoiselab" in one_line(path)
    torch.save(torch.zeros(3), path)
    assert "not written by denoiselab" in one_line(path)


def test_of_another_model(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of another model, net\.enter\.0\.0\.weight is \(4, 1, 3, 3\) there and \(5"):
        load_for_resume(checkpoint, class_module(lambda: UNet(5, "add", 10)))
    with pytest.raises(ValueError, match=r"of another model, net\.class1\.0\.weight is .* and missing in this config"):
        load_for_resume(checkpoint, class_module(lambda: UNet(4, "add")))


def test_another_number_of_ranks_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, epochs=1)
    run.fit()
    checkpoint = load(run.checkpoints.last) | {"world_size": 2}
    torch.save(checkpoint, run.checkpoints.last)
    with pytest.raises(
        ValueError, match=r"^trainer\.devices: the run to resume had 2 ranks, this has 1; allowed is 2$"
    ):
        make_run(tmp_path, epochs=2).fit(resume=True)


def test_a_validation_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    class Breaks(ClassModule):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            if self.current_epoch == 1:
                self.log("val_loss", torch.tensor(float("nan")), batch_size=1, sync_dist=True, logger=False)

    run = make_run(tmp_path, epochs=3, module=class_module(kind=Breaks))
    with pytest.raises(NotFinite, match=r"^val_loss=nan after epoch 2: "):
        run.fit()
    last = load(run.checkpoints.last)
    assert last["global_step"] == STEPS  # of epoch 1
    assert all(bool(value.isfinite().all()) for value in last["state_dict"].values())
