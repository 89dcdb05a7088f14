"""train.py leaves the run directory that DESIGN.md promises, whatever the experiment, and goes on where it stopped."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from composing import CONF, SMOKE, TINY, TINY_NET, answer, checked, load_train, run_train, tiny
from hydra.errors import InstantiationException
from PIL import Image

from denoiselab.config import save_config
from denoiselab.config.errors import explain
from denoiselab.data import MNIST
from denoiselab.data.synthetic import draw
from denoiselab.runs import held
from denoiselab.training import LossCurve, NotFinite

train = load_train()

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
COLUMNS = ["step", "epoch", "loss", "lr", "images_per_s", "val_loss"]
SIDE, PADDING = 28, 2
STEPS = 3  # of trainer=smoke
# A run that draws and measures nothing but its losses.
UNDRAWN = ("experiment=denoiser", *TINY, "logger=none", "data.batch_size=8")
UNDRAWN += ("callbacks.panels=null", "callbacks.denoising=null")
Metrics = list[dict[str, str]]


@dataclass
class Finished:
    directory: Path
    config: dict[str, Any]
    value: float | None
    printed: str

    @property
    def metrics(self) -> Metrics:
        return read_metrics(self.directory)


def rows_with(directory: Path, column: str) -> Metrics:
    return [row for row in read_metrics(directory) if row[column]]


def read_metrics(directory: Path) -> Metrics:
    with open(directory / "metrics.csv", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return list(reader)


def losses(rows: Metrics) -> list[tuple[str, ...]]:
    """All of metrics.csv but the speed."""
    return [tuple(row[name] for name in COLUMNS if name != "images_per_s") for row in rows]


def run(directory: Path, *words: str) -> Finished:
    """What train.py does once Hydra has composed."""
    config = checked(*words)
    if config["resume"] is None:
        save_config(config, directory)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        value = train.train(config, directory, None)
    return Finished(directory, config, value, printed.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, captioned_folder: Path) -> Callable[..., Finished]:
    """The smoke run of an experiment, made once."""
    runs: dict[tuple[str, ...], Finished] = {}

    def get(experiment: str, *words: str) -> Finished:
        key = (experiment, *words)
        if key not in runs:
            directory = tmp_path_factory.mktemp(experiment)
            asked = [f"experiment={experiment}", "logger=none", *words]
            few = 4 if experiment.startswith("text") else 16
            others = (f"data.batch_size={few}", f"data.val_size={few}", *words)
            runs[key] = run(directory, *asked, *tiny(asked, captioned_folder), *others)
        return runs[key]

    return get


def grid_size(columns: int, rows: int, side: int = SIDE) -> tuple[int, int]:
    return columns * (side + PADDING) + PADDING, rows * (side + PADDING) + PADDING


# Of each picture that an experiment leaves after epoch 1: (columns, rows) of its grid.
GRID = (10, 4)
DENOISER = {"noising": (7, 10), "denoised_epoch_001": (10, 3), "out_of_distribution_epoch_001": (7, 6)}
PURE_NOISE = {"pure_noise_epoch_001": (10, 3)}
TIME = {"samples_epoch_001": GRID}
CLASS = {"samples_epoch_001": GRID, "zero_class_epoch_001": GRID, "beside_epoch_001": None}


DIGITS: dict[str, tuple[int, int] | None] = {"misread": None}


TEXT = {"text_digits": {"samples_epoch_001": GRID}, "text_digits_upscaler": {"upscaled_epoch_001": (4, 3)}}


def grids(experiment: str) -> Mapping[str, tuple[int, int] | None]:
    if experiment in TEXT:
        return TEXT[experiment]
    if experiment.startswith("digit"):
        return DIGITS
    if experiment.startswith("denoiser"):
        return PURE_NOISE if experiment.endswith("pure_noise") else DENOISER
    return TIME if experiment.startswith("time") else CLASS


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_smoke_run_leaves_the_whole_directory(finished: Callable[..., Finished], experiment: str) -> None:
    done = finished(experiment)
    figures = done.directory / "figures"
    pictures = grids(experiment)
    animation = {"samples.gif"} if "samples_epoch_001" in pictures else set()
    expected = {f"{name}{end}.png" for name in pictures for end in ("", "_preview")} | animation | {"loss.png"}
    measured = {"metrics.json"} if experiment == "denoiser" else set()
    expected |= {"denoising_quality.png"} if measured else set()
    assert {path.name for path in figures.iterdir()} == expected
    for name, cells in pictures.items():
        with Image.open(figures / f"{name}.png") as picture:
            side = {"text_digits": 32, "text_digits_upscaler": 64}.get(experiment, SIDE)
            assert picture.mode == ("L" if side == SIDE else "RGB"), name
            assert cells is None or picture.size == grid_size(*cells, side), name
    if animation:
        with Image.open(figures / "samples.gif") as gif:
            assert gif.n_frames > 1  # type: ignore[attr-defined]
    names = {"config.yaml", "metrics.csv", "checkpoints", "figures"} | measured
    names |= {"classifier.safetensors"} if experiment.startswith("digit") else set()
    names |= {"pipeline"} if experiment.startswith("text") else set()
    assert {path.name for path in done.directory.iterdir()} == names
    assert {path.name for path in (done.directory / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_smoke_run_says_what_it_did(finished: Callable[..., Finished], experiment: str) -> None:
    done = finished(experiment)
    assert done.printed.splitlines()[-1] == f"pictures: {done.directory / 'figures'}"
    rows = done.metrics
    assert [(row["step"], row["epoch"]) for row in rows] == [("1", "1"), ("2", "1"), ("3", "1"), ("3", "1")]
    for row in rows[:STEPS]:
        assert math.isfinite(float(row["loss"])) and float(row["lr"]) > 0 and float(row["images_per_s"]) > 0
        assert row["val_loss"] == ""
    assert rows[-1]["loss"] == ""
    assert isinstance(done.value, float)
    assert done.value == pytest.approx(float(rows[-1]["val_loss"]))
    if experiment == "denoiser_pure_noise":
        assert "MSE" in done.printed
    if experiment == "denoiser":
        assert "denoising after epoch 1: PSNR in dB at sigma 0.5: " in done.printed


def test_a_smoke_run_measures_a_few_images(finished: Callable[..., Finished]) -> None:
    metrics = json.loads((finished("denoiser").directory / "metrics.json").read_text())
    methods = metrics["denoising"]["epoch_001"]
    assert methods.keys() == {"network", "none", "gaussian_blur", "wiener", "non_local_means"}
    for entries in methods.values():
        assert [entry["sigma"] for entry in entries] == [0, 0.2, 0.4, 0.5, 0.6, 0.8, 1]
        assert {entry["n"] for entry in entries} == {16}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_checkpoint_is_tensors_and_a_plain_config(finished: Callable[..., Finished], experiment: str) -> None:
    done = finished(experiment)
    for name in ("last", "best"):
        checkpoint = torch.load(done.directory / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["config"] == done.config
        assert checkpoint["global_step"] == STEPS
        assert all(isinstance(tensor, torch.Tensor) for tensor in checkpoint["state_dict"].values())


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_config_yaml_is_the_resolved_config(finished: Callable[..., Finished], experiment: str) -> None:
    done = finished(experiment)
    text = (done.directory / "config.yaml").read_text()
    assert yaml.safe_load(text) == done.config
    assert "${" not in text and "???" not in text and done.config["trainer"]["precision"] != "auto"


def test_the_seed_decides_everything(finished: Callable[..., Finished]) -> None:
    one, other = finished("class_flow"), finished("class_flow", "seed=1")
    words = ("experiment=class_flow", *TINY, "logger=none", "data.batch_size=16", "data.val_size=16")
    again = run(one.directory.parent / "again", *words)
    assert losses(again.metrics) == losses(one.metrics)
    for path in (one.directory / "figures").glob("samples*"):
        assert (again.directory / "figures" / path.name).read_bytes() == path.read_bytes()
    assert not {row["loss"] for row in other.metrics if row["loss"]} & {row["loss"] for row in one.metrics}


@pytest.fixture
def copied(finished: Callable[..., Finished], tmp_path: Path) -> Path:
    """A finished run of one epoch, to do with as one pleases."""
    return Path(shutil.copytree(finished("time_flow").directory, tmp_path / "run"))


def test_a_finished_run_goes_on_to_more_epochs(copied: Path) -> None:
    before = losses(read_metrics(copied))
    done = run(copied, f"resume={copied}", "trainer.max_epochs=2")
    assert losses(done.metrics)[: len(before)] == before
    steps = [(row["step"], row["epoch"]) for row in done.metrics if row["loss"]]
    assert steps == [(str(step), str(1 + (step - 1) // STEPS)) for step in range(1, 2 * STEPS + 1)]
    assert [row["step"] for row in done.metrics if row["val_loss"]] == ["3", "6"]
    assert (copied / "figures" / "samples_epoch_002.png").is_file()
    assert torch.load(copied / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2 * STEPS
    assert done.printed.splitlines()[-1] == f"pictures: {copied / 'figures'}"


def test_a_finished_run_has_nothing_to_go_on_with(copied: Path) -> None:
    before = (copied / "metrics.csv").read_text()
    run(copied, f"resume={copied}")
    assert (copied / "metrics.csv").read_text() == before


def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(copied: Path, finished: Callable[..., Finished]) -> None:
    last = copied / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"last\.ckpt: truncated"):
        run(copied, f"resume={copied}", "trainer.max_epochs=2")
    shutil.copyfile(finished("class_flow").directory / "checkpoints" / "last.ckpt", last)
    with pytest.raises(ValueError, match=r"last\.ckpt: of another model"):
        run(copied, f"resume={copied}", "trainer.max_epochs=2")


def test_a_diverged_run_is_an_error_alone_and_infinite_in_a_sweep(tmp_path: Path) -> None:
    config = checked("experiment=denoiser", *TINY, "logger=none", "data.batch_size=16", "model.optimizer.lr=1e30")
    with pytest.raises(NotFinite, match="allowed are finite numbers"):
        train.train(config, tmp_path / "alone", None)
    assert train.train(config, tmp_path / "0", "outputs/sweep/denoiser/now") == math.inf


def test_the_command_prints_its_lines_and_nothing_else(tmp_path: Path) -> None:
    words = ("experiment=denoiser_pure_noise", *TINY, "data.batch_size=16", "name=quiet")
    done = run_train(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "outputs" / "train" / "quiet").iterdir()
    model, noise, pictures = done.stdout.splitlines()
    assert model.startswith("quiet: 0.0") and model.endswith(" on cpu")
    assert noise.startswith("pure noise after epoch 1: MSE ")
    assert pictures == f"pictures: {directory / 'figures'}"
    assert done.stderr == ""
    assert (directory / "config.yaml").is_file() and list(directory.glob("wandb/offline-run-*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]


def test_another_runs_losses_and_samples_are_shown_beside(tmp_path: Path) -> None:
    few = (*TINY, "logger=none", "data.batch_size=8", "callbacks.samples.rows=1")
    run(tmp_path / "a", "experiment=class_flow", *few, "callbacks.samples.zero_class=false")
    names = {path.name for path in (tmp_path / "a" / "figures").iterdir()}
    assert not names & {"loss_beside.png", "beside_epoch_001.png"}
    run(tmp_path / "b", "experiment=class_flow_constant_lr", *few, f"beside=[{tmp_path / 'a'}]")
    figures = tmp_path / "b" / "figures"
    assert (figures / "loss_beside.png").stat().st_size > 5_000
    with Image.open(figures / "beside_epoch_001.png") as picture:
        together = np.array(picture)
    parts = [figures / "samples_epoch_001.png", figures / "zero_class_epoch_001.png"]
    parts.append(tmp_path / "a" / "figures" / "samples_epoch_001.png")
    width, height = grid_size(GRID[0], 1)
    assert together.shape == (3 * (height + PADDING) + PADDING, width + 2 * PADDING)
    for n, part in enumerate(parts):
        top = PADDING + n * (height + PADDING)
        with Image.open(part) as picture:
            assert (together[top : top + height, PADDING:-PADDING] == np.array(picture)).all(), part


def test_runs_beside_must_have_what_is_shown(tmp_path: Path) -> None:
    few = UNDRAWN
    run(tmp_path / "a", *few)
    line = answer("experiment=class_flow", f"beside=[{tmp_path / 'a'}]")
    assert line == f"beside={tmp_path / 'a'}: allowed is runs with a figures/samples_epoch_NNN.png"
    twice = answer(*few, f"beside=[{tmp_path / 'a'},{tmp_path / 'a'}]")
    assert twice.endswith("allowed is directories whose last two names differ")
    header, *_ = (tmp_path / "a" / "metrics.csv").read_text().splitlines()
    (tmp_path / "a" / "metrics.csv").write_text(header + "\n")
    assert answer(*few, f"beside=[{tmp_path / 'a'}]").endswith("allowed is runs with losses in their metrics.csv")


def test_a_run_whose_neighbour_has_moved_goes_on_without_it(tmp_path: Path) -> None:
    few = UNDRAWN
    run(tmp_path / "a", *few)
    run(tmp_path / "b", *few, f"beside=[{tmp_path / 'a'}]")
    picture = tmp_path / "b" / "figures" / "loss_beside.png"
    before = picture.read_bytes()
    shutil.move(tmp_path / "a", tmp_path / "elsewhere")
    words = (f"resume={tmp_path / 'b'}", "trainer.max_epochs=2")
    assert answer(*words).startswith(f"resume={tmp_path / 'b'}: beside={tmp_path / 'a'}: allowed is run directories")
    assert len(run(tmp_path / "b", *words, "beside=[]").metrics) == 2 * (STEPS + 1)
    assert picture.read_bytes() == before
    run(tmp_path / "b", words[0], "trainer.max_epochs=3", f"beside=[{tmp_path / 'elsewhere'}]")
    assert picture.read_bytes() != before


def test_a_key_that_the_saved_config_should_not_have_is_named(tmp_path: Path) -> None:
    few = UNDRAWN
    run(tmp_path, *few)
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("    width: 4", "    width: 4\n    widht: 8"))
    with pytest.raises(InstantiationException) as caught:
        run(tmp_path, f"resume={tmp_path}", "trainer.max_epochs=2")
    line = explain(caught.value)
    assert line is not None and "unexpected keyword argument 'widht'" in line and line.endswith("full_key: net")


def test_a_signal_in_a_jobs_last_epoch_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job itself is complete by then."""
    few = UNDRAWN
    monkeypatch.setattr(LossCurve, "on_train_epoch_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert train.train(checked(*few), tmp_path / "alone", None) > 0
    with pytest.raises(SystemExit):
        train.train(checked(*few), tmp_path / "job", "outputs/sweep/a/b")
    assert (tmp_path / "job" / "checkpoints" / "last.ckpt").exists()


def text_words(folder: Path, *words: str, experiment: str = "text_digits") -> list[str]:
    asked = [f"experiment={experiment}", "logger=none", "data.batch_size=4", "data.val_size=4", *words]
    return [*asked[:2], *tiny(asked, folder), *asked[2:]]


@pytest.mark.parametrize(("experiment", "drawn"), [("text_digits", "samples"), ("text_digits_upscaler", "upscaled")])
def test_a_text_run_that_was_stopped_ends_with_the_same_weights(
    tmp_path: Path, captioned_folder: Path, monkeypatch: pytest.MonkeyPatch, experiment: str, drawn: str
) -> None:
    few = (f"callbacks.{drawn}=null", "trainer.max_epochs=2")
    words = text_words(captioned_folder, *few, experiment=experiment)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(whole, *words)
    with monkeypatch.context() as patched:
        patched.setattr(LossCurve, "on_train_epoch_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        run(stopped, *words)
    assert len(rows_with(stopped, "loss")) == STEPS
    run(stopped, f"resume={stopped}")
    expected, got = (
        torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for each in (whole, stopped)
    )
    assert expected.keys() == got.keys() and all(torch.equal(expected[name], got[name]) for name in expected)
    weights = Path("pipeline") / "unet" / "diffusion_pytorch_model.safetensors"
    assert (whole / weights).read_bytes() == (stopped / weights).read_bytes()


@pytest.mark.parametrize("change", [("red", "crimson"), ("a red", "red a")])
def test_a_text_run_goes_on_with_the_captions_that_it_had(
    tmp_path: Path, captioned_folder: Path, change: tuple[str, str]
) -> None:
    folder = Path(shutil.copytree(captioned_folder, tmp_path / "pictures"))
    run(tmp_path / "run", *text_words(folder, "callbacks.samples=null"))
    captions = folder / "metadata.jsonl"
    captions.write_text(captions.read_text().replace(*change))
    with pytest.raises(ValueError, match="its captions were others"):
        run(tmp_path / "run", f"resume={tmp_path / 'run'}", "trainer.max_epochs=2")


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MNIST of 80 drawn pictures."""
    monkeypatch.setattr(MNIST, "prepare_data", lambda self: None)
    monkeypatch.setattr(MNIST, "load", lambda self: (*draw(60, "train"), *draw(20, "test")))
    for name, size in (("train_size", 60), ("test_size", 20)):
        monkeypatch.setattr(MNIST, name, size)


@pytest.mark.parametrize("experiment", ["text_digits", "text_digits_upscaler"])
def test_digits_in_colours_are_learned(tmp_path: Path, few_digits: None, experiment: str) -> None:
    """What a run will not understand it says as it begins, and how its pipeline is used as it ends."""
    few = (*TINY_NET, *SMOKE, "logger=none", "data.batch_size=4", "data.val_size=10", "model.net.vocabulary=20")
    asked = ["callbacks.samples.prompts=[a red eight,a purple seven]", "callbacks.samples.epochs=[]"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = run(tmp_path, f"experiment={experiment}", *few, *(asked if experiment == "text_digits" else []))
    assert done.value is not None and math.isfinite(done.value)
    unread = [str(each.message) for each in caught if "has never seen" in str(each.message)]
    _, told, *_, use, _ = done.printed.splitlines()
    assert told == "captions: 6 words found no room in model.net.vocabulary=20"  # of the digits
    if experiment == "text_digits":
        assert unread == ["prompt='a purple seven': the tokenizer has never seen 'purple, seven'"]
        assert use.startswith("pipeline: ") and "edit=generate" in use
    else:
        assert unread == []
        assert use.endswith(" edit=upscale")


def test_two_processes_do_not_run_in_one_directory(tmp_path: Path) -> None:
    with held(tmp_path / "run"):
        done = run_train("experiment=denoiser", *TINY, f"hydra.run.dir={tmp_path / 'run'}", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: hydra.run.dir={tmp_path / 'run'}: another process is running there; take another\n"
    assert list((tmp_path / "run").iterdir()) == []
    with held(tmp_path / "run"):  # free again
        pass


@pytest.mark.parametrize("sweep", [None, "outputs/sweep/a/b"])
def test_samples_that_are_no_numbers_are_a_divergence(tmp_path: Path, sweep: str | None) -> None:
    """Its losses are finite, so that no other check finds it."""
    few = ("experiment=class_flow", *TINY, "logger=none", "data.batch_size=8", "callbacks.samples.rows=1")
    config = checked(*few, "callbacks.samples.guidance_scale=1e38")
    with contextlib.ExitStack() as stack:
        if sweep is None:
            message = r"^samples with NaN or infinite pixels after epoch 1: allowed are finite numbers; try a smaller"
            stack.enter_context(pytest.raises(NotFinite, match=message))
        assert train.train(config, tmp_path, sweep) == math.inf
    assert all(math.isfinite(float(row["loss"])) for row in rows_with(tmp_path, "loss"))
    assert not (tmp_path / "figures").exists()


def test_a_directory_that_holds_a_run_is_not_written_over(tmp_path: Path) -> None:
    few = UNDRAWN
    done = run_train(*few, f"hydra.run.dir={tmp_path / 'run'}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    again = run_train(*few, "seed=1", f"hydra.run.dir={tmp_path / 'run'}", folder=tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: hydra.run.dir={tmp_path / 'run'}: holds a run; go on with resume=")
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize("word", ["trainer.strategy=ddp", "trainer.devices=2", "trainer.num_nodes=2"])
def test_a_sweep_over_several_processes_is_refused(tmp_path: Path, word: str) -> None:
    done = run_train("-m", *TINY, word, "seed=0,1", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"error: {word}: allowed in a sweep")
