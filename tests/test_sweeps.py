"""Real tiny sweeps: the basic sweeper, Optuna, joblib; each job a whole run, and val_loss the objective."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from composing import TINY, run_train, wandb_record
from PIL import Image

from denoiselab.sweeps import draw_sweep

# The cheapest run that there is: three steps of a denoiser, no pictures.
FREE = tuple(word for word in TINY if not word.startswith("model."))  # for a sweep over the width
CHEAP = ("experiment=denoiser", *FREE, "data.batch_size=8", "data.val_size=8", "callbacks.panels=null")
CHEAP += ("callbacks.denoising=null",)


def jobs(folder: Path) -> list[Path]:
    """The directories of a sweep's jobs, in their order."""
    return sorted(path.parent for path in folder.rglob("config.yaml"))


def val_loss(job: Path) -> float:
    with open(job / "metrics.csv", newline="") as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]][-1]


def configs(folder: Path) -> list[dict[str, Any]]:
    return [yaml.safe_load((job / "config.yaml").read_text()) for job in jobs(folder)]


def test_the_basic_sweeper_runs_every_value_even_if_one_diverges(tmp_path: Path) -> None:
    done = run_train("-m", *CHEAP, "model.net.width=4", "model.optimizer.lr=1e30,1e-4", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs" / "sweep" / "denoiser").iterdir()
    assert jobs(tmp_path) == [sweep / name for name in "01"]
    assert [config["model"]["optimizer"]["lr"] for config in configs(tmp_path)] == [1e30, 1e-4]
    assert done.stdout.count("error: ") == 1  # the diverged one, in a line
    assert not (sweep / "0" / "checkpoints").exists()
    assert val_loss(sweep / "1") > 0
    records = [wandb_record(job) for job in jobs(tmp_path)]
    assert {record["group"] for record in records} == {f"denoiser/{sweep.name}"}
    assert [record["config"]["model"]["optimizer"]["lr"] for record in records] == [1e30, 1e-4]
    assert [record["exit"] for record in records] == [1, 0]


def test_optuna_minimises_the_validation_loss(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ("model.net.width=choice(4,6)", "model.optimizer.lr=tag(log,interval(1e-4,1e-2))")
    words = (*CHEAP, "logger=none", "hydra.sweeper.n_trials=2", *search)
    done = run_train("-m", "sweep=optuna", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs" / "sweep" / "denoiser").iterdir()
    assert len(jobs(tmp_path)) == 2
    result = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
    best = min(jobs(tmp_path), key=val_loss)
    assert result["best_value"] == pytest.approx(val_loss(best))
    config = yaml.safe_load((best / "config.yaml").read_text())
    assert result["best_params"]["model.net.width"] == config["model"]["net"]["width"]
    assert result["best_params"]["model.optimizer.lr"] == pytest.approx(config["model"]["optimizer"]["lr"])


def test_joblib_runs_two_jobs_at_once(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = run_train("-m", "sweep=joblib", *CHEAP, "logger=none", "model.net.width=4,6", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [config["model"]["net"]["width"] for config in configs(tmp_path)] == [4, 6]
    first, second = jobs(tmp_path)
    assert val_loss(first) != val_loss(second)


def test_a_sweep_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    words = ("-m", *CHEAP, "logger=none", "hydra.sweep.dir=study", "model.net.width=4,6")
    assert run_train(*words, folder=tmp_path).returncode == 0
    first, second = jobs(tmp_path)
    shutil.rmtree(second)
    before = (first / "metrics.csv").read_bytes()
    again = run_train(*words, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("study/0: complete after epoch 1") == 1
    assert (first / "metrics.csv").read_bytes() == before and val_loss(second) > 0
    other = run_train(*words, "seed=5", folder=tmp_path)
    assert other.returncode == 1
    assert "study/0: holds a run" in other.stderr


def test_a_sweep_draws_what_its_runs_have_measured(tmp_path: Path) -> None:
    few = [f"callbacks.quality.{word}" for word in ("epochs=[1]", "samples=16", "steps=2", "guidance_scales=[1,2]")]
    words = (
        "experiment=quickstart",
        *TINY,
        *few,
        "callbacks.samples.epochs=[]",
        "logger=none",
        "hydra.sweep.dir=study",
    )
    words += ("lever=uniform_times", "seed=0,1")
    done = run_train("-m", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [config["lever"] for config in configs(tmp_path)] == ["uniform_times"] * 2
    assert done.stdout.count("study: study/quality.png") == 2
    with Image.open(tmp_path / "study" / "quality.png") as picture:
        assert picture.size == (1800, 600)
    lines = (tmp_path / "study" / "quality.txt").read_text().splitlines()
    found = [re.split(" {2,}", line)[:3] for line in lines[1:3]]
    assert found == [[f"guidance scale {scale}", "16", "2"] for scale in (1, 2)]


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_sweep(tmp_path)  # nothing was measured
    assert not (tmp_path / "quality.png").exists()
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "metrics.json").write_text('{"rows"')
    draw_sweep(tmp_path)
    said = capsys.readouterr()
    file = tmp_path / "0" / "metrics.json"
    assert said.err.startswith(f"warning: no picture of the sweep: {file}: is no JSON")
    file.write_text('{"rows": [{"model": "m", "frechet_distance": 3}], "floors": {}}')
    draw_sweep(tmp_path)
    said = capsys.readouterr()
    why = "its rows are not as this version measures them (KeyError('samples')); remove it"
    assert said.err.strip() == f"warning: no picture of the sweep: {file}: {why}"
    assert not said.out and not (tmp_path / "quality.png").exists()
