"""edit=evaluate from the command line's words to metrics.json and its pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from composing import ROOT, answer, checked, load_script, run_script
from hydra.utils import instantiate
from PIL import Image

from denoiselab.checkpoint import read_checkpoint
from denoiselab.data import MNIST
from denoiselab.evaluation import Evaluator
from denoiselab.jobs import load_image
from denoiselab.runs import read_config
from denoiselab.sweeps import draw_sweep
from denoiselab.training import SampleQuality

sample = load_script("sample")
WORDS = ("edit=evaluate", "edit.samples=100", "edit.guidance_scales=[1,3]", "edit.steps=[2]", "logger=none")
QUIET = ("fabric.accelerator=cpu", "progress_bar=false")


@pytest.fixture(scope="session")
def digit_run(class_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class model that says it was trained on MNIST."""
    directory = Path(shutil.copytree(class_run, tmp_path_factory.mktemp("digit") / "run"))
    config = yaml.safe_load((directory / "config.yaml").read_text())
    config["data"]["_target_"] = "denoiselab.data.MNIST"
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return directory


def words(digit_run: Path, *others: str) -> tuple[str, ...]:
    return (f"backbone.run={digit_run}", *WORDS, f"edit.data_root={ROOT / 'data'}", *QUIET, *others)


@pytest.fixture(scope="session")
def study(digit_run: Path, mnist: MNIST, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with two jobs of 100 samples."""
    directory = tmp_path_factory.mktemp("study")
    assert sample.sample(checked(*words(digit_run), script="sample"), directory) == 0
    return directory


def metrics(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "metrics.json").read_text())  # type: ignore[no-any-return]


def test_a_run_leaves_numbers_and_pictures(study: Path) -> None:
    found = metrics(study)
    assert [row["guidance_scale"] for row in found["rows"]] == [1, 3]
    for row in found["rows"]:
        assert (row["model"], row["epoch"], row["evaluations"], row["samples"]) == ("class_flow", 1, 2, 100)
        assert (
            0 <= row["frechet_distance"]["low"] <= row["frechet_distance"]["value"] <= row["frechet_distance"]["high"]
        )
        assert set(row["accuracy_per_digit"]) == set("0123456789")
    assert found["floors"]["train_subset"]["samples"] == 100
    # Three steps of training: noise, which no judge mistakes for digits.
    floor = found["floors"]["train_subset"]["frechet_distance"]["value"]
    assert all(row["frechet_distance"]["value"] > 3 * floor for row in found["rows"])
    assert len(list((study / "images").iterdir())) == 200
    pictures = {path.name for path in (study / "figures").iterdir()}
    assert pictures == {
        f"{name}.png" for name in ("evaluate", "evaluate_preview", "quality", "misread", "misread_preview")
    }
    assert not (study / "frames").exists()


def test_the_numbers_are_those_of_the_images(study: Path, mnist: MNIST) -> None:
    splits = (mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels)
    images = torch.stack([load_image(study / "images" / f"g3_s2_{n:03d}.png") for n in range(100)])
    measured = Evaluator(*splits, cache=ROOT / "data").measure(images, torch.arange(100) % 10)
    row = metrics(study)["rows"][1]
    assert {name: row[name] for name in measured} == measured


def test_run_json_says_how_the_samples_were_made_in_few_words(study: Path) -> None:
    record = json.loads((study / "run.json").read_text())
    assert record["times"] is None and record["failed"] == []
    assert record["images"]["g3_s2"]["count"] == 100 and record["images"]["g3_s2"]["prompts"] == list("0123456789")


def test_two_ranks_find_the_same(study: Path, digit_run: Path, tmp_path: Path) -> None:
    done = run_script(
        *words(digit_run, "fabric.devices=2", f"hydra.run.dir={tmp_path / 'two'}"), script="sample", folder=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "two") == metrics(study)
    assert "floor: train subset" in done.stdout


def test_training_measures_the_samples_that_are_drawn_here(study: Path, digit_run: Path, tmp_path: Path) -> None:
    config = read_config(digit_run)
    module = instantiate(config["model"], **instantiate(config["schedule"]), seed=0)
    module.load_state_dict(read_checkpoint(digit_run / "checkpoints" / "last.ckpt")["state_dict"])
    quality = {"seed": 100, "samples": 100, "steps": 2, "guidance_scales": [3.0]}
    callback = SampleQuality(tmp_path, [1], solver=instantiate(config["solver"]), **quality)  # type: ignore[arg-type]
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(image_shape=(1, 28, 28)))
    with torch.no_grad():
        ours = callback.made(trainer, module.eval(), 3.0, range(100), lambda count: None).clamp(0, 1) * 255
    drawn = torch.stack([load_image(study / "images" / f"g3_s2_{n:03d}.png") for n in range(100)])
    torch.testing.assert_close(ours / 255, drawn, rtol=0, atol=1.01 / 255)
    seeds = (
        checked("experiment=class_flow")["callbacks"]["quality"]["seed"],
        checked(*words(digit_run), script="sample")["seed"],
    )
    assert seeds == (100, 100)


def test_a_run_that_has_been_measured_is_not_measured_again(
    study: Path, digit_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Path(shutil.copytree(study, tmp_path / "copy"))
    (directory / "figures" / "quality.png").unlink()

    def refuse(*arguments: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("denoiselab.measurement.evaluator_of", refuse)
    config = checked(*words(digit_run), script="sample")
    assert sample.sample(config, directory) == 0
    assert metrics(directory) == metrics(study) and (directory / "figures" / "quality.png").is_file()
    old = metrics(study) | {"version": 0}
    (directory / "metrics.json").write_text(json.dumps(old))
    with pytest.raises(AssertionError, match="measured again"):
        sample.sample(config, directory)


def test_measures_of_another_version_are_refused_beside(study: Path, digit_run: Path, tmp_path: Path) -> None:
    old = metrics(study)
    del old["floors"]["train_subset"]["balanced"]
    (tmp_path / "metrics.json").write_text(json.dumps(old))
    said = answer(*words(digit_run, f"beside=[{tmp_path}]"), script="sample")
    assert said.startswith(f"beside={tmp_path}: allowed is run directories of edit=evaluate")


def test_those_misread_are_shown_by_job(study: Path) -> None:
    with Image.open(study / "figures" / "misread.png") as picture:
        rows = (picture.height - 2) // 30
    misread = [100 - round(100 * row["accuracy"]["value"]) for row in metrics(study)["rows"]]
    assert rows == sum(min(3, -(-wrong // 10)) for wrong in misread) and picture.width == 302


def test_a_study_beside_another(study: Path, digit_run: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(study, tmp_path / "copy"))
    before = (directory / "figures" / "quality.png").read_bytes()
    config = checked(*words(digit_run, f"beside=[{study}]"), script="sample")
    assert sample.sample(config, directory) == 0
    assert metrics(directory) == metrics(study)
    assert (directory / "figures" / "quality.png").read_bytes() != before
    with Image.open(directory / "figures" / "quality.png") as picture:
        assert picture.height == 600


def test_a_sweep_over_solvers_is_one_picture(digit_run: Path, mnist: MNIST, tmp_path: Path) -> None:
    """Its jobs as sample.py's main runs them, in one process, where they share the floors."""
    few = ("edit.samples=20", "edit.guidance_scales=[2]", "edit.steps=[2,3]")
    sweep = tmp_path / "solvers"
    for n, solver in enumerate(("euler", "dpmpp")):
        config = checked(*words(digit_run, *few, f"solver={solver}"), script="sample")
        assert sample.sample(config, sweep / str(n), str(sweep)) == 0
    draw_sweep(sweep)
    with Image.open(tmp_path / "solvers" / "quality.png") as picture:
        assert picture.height == 600
    table = (tmp_path / "solvers" / "quality.txt").read_text().splitlines()[1:5]
    assert [line.split("  ")[0] for line in table] == [
        f"network evaluations {evaluations}, {solver}" for solver in ("euler", "dpmpp") for evaluations in (2, 3)
    ]


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("edit.samples=9", "edit.samples=9: allowed is 10 or more"),
        ("times=linspace", "times=...: allowed is edit.steps"),
        ("edit.shift=1e9", "edit.steps=2: allowed is fewer on this model's path with edit.shift=1e+09"),
        ("beside=[nowhere]", "beside=nowhere: allowed is run directories of edit=evaluate"),
    ],
)
def test_mistakes_are_answered_in_a_line(digit_run: Path, mistake: str, line: str) -> None:
    assert answer(*words(digit_run, mistake), script="sample").startswith(line)


def test_models_of_other_pictures_are_refused(digit_run: Path, class_run: Path, tmp_path: Path) -> None:
    clothes = Path(shutil.copytree(digit_run, tmp_path / "clothes"))
    config = (clothes / "config.yaml").read_text()
    (clothes / "config.yaml").write_text(config.replace("denoiselab.data.MNIST", "denoiselab.data.FashionMNIST"))
    said = answer(f"backbone.run={clothes}", *WORDS, script="sample")
    assert said == "edit=evaluate: allowed is another: its judges know only digits"
    said = answer(f"backbone.run={class_run}", "edit=generate", f"beside=[{class_run}]", script="sample")
    assert "allowed is empty but for edit=evaluate" in said


def test_a_classifier_s_run_is_no_backbone(digit_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(digit_run, tmp_path / "judge"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"schedule": None}))
    said = answer(f"backbone.run={run}", "edit=generate", script="sample")
    assert said == f"backbone.run={run}: allowed is a time- or class-conditioned model, this is a classifier"
