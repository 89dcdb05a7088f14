"""Weights & Biases: online where an account is configured, offline otherwise, and never a question."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import wandb
from composing import ROOT, TINY, checked, load_train, wandb_record
from PIL import Image

from denoiselab.config import save_config
from denoiselab.training import Preempted, tracking
from denoiselab.training.tracking import git_state, recorded_id, recording, wandb_logger, wandb_mode

train = load_train()
NO_SERVER = "http://127.0.0.1:9"  # the discard port: refused at once


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def write_netrc(host: str) -> None:
    Path(os.environ["NETRC"]).write_text(f"machine {host}\n  login user\n  password {'a' * 40}\n")


def test_without_an_account_the_record_is_offline() -> None:
    assert wandb_mode() == "offline"


def test_a_key_means_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    assert wandb_mode() == "online"


def test_a_login_means_online_where_it_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    write_netrc("api.wandb.ai")
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080/x")
    assert wandb_mode() == "offline"
    write_netrc("wandb.example.org")
    assert wandb_mode() == "online"


def test_an_unreadable_netrc_is_no_account(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine\nnonsense {")
    assert wandb_mode() == "offline"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_wandb_mode_decides(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert wandb_mode() == mode


def test_an_unknown_wandb_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "of")
    with pytest.raises(ValueError, match=r"^WANDB_MODE=of: allowed are online, offline, disabled"):
        wandb_mode()


def test_git_state_of_a_repository(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q", "-b", "trunk"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    state = git_state(tmp_path)
    assert (len(state["commit"]), state["branch"], state["dirty"]) == (40, "trunk", False)
    (tmp_path / "file").touch()
    assert git_state(tmp_path)["dirty"] is True


def logger_in(directory: Path) -> Any:
    return wandb_logger(directory, "name", {"seed": 1}, "project", entity=None, group=None, tags=["a"])


@pytest.mark.parametrize("key", ["a" * 40, "short"])
def test_an_account_that_fails_does_not_stop_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", NO_SERVER)
    monkeypatch.setattr(tracking, "SECONDS_TO_CONNECT", 2)
    start = time.perf_counter()
    logger = logger_in(tmp_path)
    assert time.perf_counter() - start < 20
    with recording(logger):
        logger.log_metrics({"loss": 0.5}, step=3)
    assert "warning: Weights & Biases cannot be used, the record stays offline: " in capsys.readouterr().err
    record = wandb_record(tmp_path)
    assert record["history"][0]["loss"] == 0.5
    assert (record["name"], record["tags"], record["config"]["seed"]) == ("name", ["a"], 1)


def test_two_runs_of_one_process_have_a_record_each(tmp_path: Path) -> None:
    with recording(logger_in(tmp_path / "0")):
        pass
    with pytest.raises(KeyError), recording(logger_in(tmp_path / "1")):
        raise KeyError
    assert wandb.run is None
    with pytest.raises(Preempted), recording(logger_in(tmp_path / "2")):
        raise Preempted
    assert [wandb_record(tmp_path / name)["exit"] for name in "012"] == [0, 1, 0]
    with recording(None):
        pass


def test_a_run_that_goes_on_keeps_its_id(tmp_path: Path) -> None:
    assert recorded_id(tmp_path) is None
    ids = []
    for _ in range(2):
        logger = logger_in(tmp_path)
        ids.append(logger.experiment.id)
        with recording(logger):
            logger.log_metrics({"loss": 0.5}, step=3)
        assert recorded_id(tmp_path) == ids[0]
    assert ids[0] == ids[1]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) >= 1


def test_the_id_of_the_last_record_counts(tmp_path: Path) -> None:
    for name in ("run-20260102_030405-later", "offline-run-20260101_030405-early"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / f"run-{name.rsplit('-')[-1]}.wandb").touch()
    (tmp_path / "wandb" / "latest-run").symlink_to("run-20260102_030405-later")
    assert recorded_id(tmp_path) == "later"


def test_disabled_records_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = logger_in(tmp_path)
    with recording(logger):
        logger.log_metrics({"loss": 0.5}, step=3)
    assert not list(tmp_path.rglob("*.wandb"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A smoke run with the default logger, as a job of a sweep."""
    directory = tmp_path_factory.mktemp("recorded")
    words = ("data.batch_size=16", "data.val_size=16", "callbacks.quality.epochs=[1]")
    config = checked("experiment=class_ddpm", *TINY, *words)
    save_config(config, directory)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
        train.train(config, directory, "outputs/sweep/class_ddpm/2026-01-02_03-04-05")
    return directory, config


def test_the_record_has_the_config_and_the_code(recorded: tuple[Path, dict[str, Any]]) -> None:
    directory, config = recorded
    record = wandb_record(directory)
    found = {name: record["config"][name] for name in config}
    assert found == config
    assert record["config"].get("git", {}) == git_state(ROOT)
    assert (record["name"], record["project"], record["exit"]) == ("class_ddpm", "denoiselab", 0)
    assert record["group"] == "class_ddpm/2026-01-02_03-04-05"


def test_the_record_has_every_step(recorded: tuple[Path, dict[str, Any]]) -> None:
    rows = wandb_record(recorded[0])["history"]
    steps = [row for row in rows if "loss" in row]
    assert [row["trainer/global_step"] for row in steps] == [1, 2, 3]
    assert all({"loss", "lr", "images_per_s", "epoch"} <= row.keys() for row in steps)
    lines = (recorded[0] / "metrics.csv").read_text().splitlines()[1:4]
    assert [row["loss"] for row in steps] == [float(line.split(",")[2]) for line in lines]
    assert [row["val_loss"] for row in rows if "val_loss" in row]


def test_the_record_has_what_was_measured(recorded: tuple[Path, dict[str, Any]]) -> None:
    (row,) = json.loads((recorded[0] / "metrics.json").read_text())["rows"]
    (logged,) = [each for each in wandb_record(recorded[0])["history"] if "quality/guidance_5/accuracy" in each]
    for name in ("frechet_distance", "accuracy", "coverage", "memorised"):
        assert logged[f"quality/guidance_5/{name}"] == row[name]["value"], name
    assert logged["trainer/global_step"] == 3


def test_the_record_has_every_picture(recorded: tuple[Path, dict[str, Any]]) -> None:
    record = wandb_record(recorded[0])
    files: dict[str, str] = {}
    for row in record["history"]:
        files |= {key.split("/")[1]: value[0] for key, value in row.items() if key.endswith("/filenames")}
    assert files.keys() == {"samples", "zero_class", "beside", "loss", "quality"}
    for name, file in files.items():
        whole = name in ("loss", "quality")
        source = recorded[0] / "figures" / (f"{name}.png" if whole else f"{name}_epoch_001_preview.png")
        with Image.open(record["folder"] / "files" / file) as logged, Image.open(source) as drawn:
            assert logged.tobytes() == drawn.convert(logged.mode).tobytes(), name
