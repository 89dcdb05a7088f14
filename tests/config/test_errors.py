"""A mistake is answered with one line on standard error, soon and without torch; so is --help, on standard output."""

from __future__ import annotations

import errno
import time
import warnings
from pathlib import Path

import pytest
import yaml
from composing import CONF, answer, checked, run_train
from hydra.errors import HydraException

from denoiselab.config.check import require
from denoiselab.config.errors import explain, one_line_errors, run_script
from denoiselab.config.sample_schema import SAMPLE_SCHEMAS

SECONDS_TO_ANSWER = 2.0
ROOT_KEYS = "name, lever, seed, resume, beside, model, schedule, solver, data, callbacks, logger, trainer"


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (
            "model.net.widht=4",
            "model.net.widht: unknown key; allowed are width, time, num_classes, in_channels (did you mean width?)",
        ),
        (
            "+model.net.widht=4",
            "model.net.widht: unknown key; allowed are width, time, num_classes, in_channels (did you mean width?)",
        ),
        ("sed=1", f"sed: unknown key; allowed are {ROOT_KEYS} (did you mean seed?)"),
        ("+sed=1", f"sed: unknown key; allowed are {ROOT_KEYS} (did you mean seed?)"),
        ("modle=class_unet", f"modle: unknown key; allowed are {ROOT_KEYS} (did you mean model?)"),
        (
            "model=class_unt",
            "model=class_unt: allowed are class_unet, denoiser, digit_classifier, text_unet, time_unet, upscaler_unet "
            "(did you mean class_unet?)",
        ),
        (
            "data=mnits",
            "data=mnits: allowed are captioned_folder, coloured_mnist, fashion_mnist, mnist, synthetic "
            "(did you mean mnist?)",
        ),
        ("schedule=cosin", "schedule=cosin: allowed are additive, cosine, ddpm, flow (did you mean cosine?)"),
        ("solver=eulr", "solver=eulr: allowed are ddim, ddpm, ddpm_learned, dpmpp, euler, heun (did you mean euler?)"),
        ("trainer=smok", "trainer=smok: allowed are ddp, default, smoke (did you mean smoke?)"),
        ("model.net.width=wide", "model.net.width=wide: allowed is a whole number"),
        ("model.net.width=4.5", "model.net.width=4.5: allowed is a whole number"),
        ("model.net.width=", "model.net.width=: allowed is a whole number"),
        ("model.net.width=null", "model.net.width=null: allowed is a value"),
        ("seed=one", "seed=one: allowed is a whole number"),
        ("trainer.sampling_steps=few", "trainer.sampling_steps=few: allowed is a whole number"),
        ("model.optimizer.lr=high", "model.optimizer.lr=high: allowed is a number"),
        ("trainer.compile=perhaps", "trainer.compile=perhaps: allowed is true or false"),
        (
            "callbacks.samples.epochs=7",
            "callbacks.samples.epochs=7: allowed is a list, e.g. callbacks.samples.epochs=[7]",
        ),
        (
            "optimizer.lr=1",
            "optimizer.lr: unknown key; allowed are name, lever, seed, resume, beside, model, schedule, solver, data, "
            "callbacks, logger, trainer (did you mean model.optimizer.lr?)",
        ),
        ("callbacks.samples.epochs=[one]", "callbacks.samples.epochs[0]=one: allowed is a whole number"),
        (
            "callbacks.panels.digits=3",
            "callbacks.panels.digits=3: allowed is no such key here, the node that it belongs to is null",
        ),
        (
            "model.net.width",
            "model.net.width: allowed is KEY=VALUE, GROUP=CHOICE (Error parsing override 'model.net.width')",
        ),
    ],
)
def test_an_unknown_word_is_named(word: str, line: str) -> None:
    assert answer(word) == line


def test_an_unknown_experiment_is_answered_with_all_of_them() -> None:
    line = answer("experiment=class_flo")
    names = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
    assert line == f"experiment=class_flo: allowed are {', '.join(names)} (did you mean class_flow?)"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("trainer: {max_epoch: 2}", "trainer.max_epoch: unknown key; allowed are max_epochs, "),
        ("trainr: {max_epochs: 2}", "trainr: unknown key; allowed are name, lever, seed, "),
        ("model: {optimizer: {learning_rate: 1}}", "model.optimizer.learning_rate: unknown key; allowed are lr, "),
        ("data: {batch_size: many}", "data.batch_size=many: allowed is a whole number"),
        ("defaults: [{override /model: clas_unet}]", "model=clas_unet: allowed are class_unet, "),
        ("trainer: {max_epochs: 0}", "trainer.max_epochs=0: allowed is a positive number of epochs"),
        ("callbacks: {samples: {epochs: [0, 1]}}", "callbacks.samples.epochs=[0, 1]: allowed is epochs from 1 to "),
    ],
)
def test_a_mistake_inside_an_experiment_file_is_named(tmp_path: Path, body: str, line: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{body}\n")
    said = answer(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert said.startswith(line)
    assert "\n" not in said
    if "unknown key" in line:
        assert said.endswith("(in experiment/mine)")


def test_what_is_not_the_users_mistake_keeps_its_traceback() -> None:
    assert explain(KeyError("ours")) is None
    with pytest.raises(KeyError), one_line_errors():
        raise KeyError("ours")


def test_an_exception_becomes_one_line_and_a_status(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: a b \(HYDRA_FULL_ERROR=1 shows the traceback\)$"), one_line_errors():
        raise ValueError("a\n  b")
    with pytest.raises(SystemExit, match=r"^error: seed=-1: allowed is 0 or more$"), one_line_errors():
        require(False, "seed", -1, "0 or more")
    full = OSError(errno.ENOSPC, "disk full, file not written", str(tmp_path))
    assert explain(full) == f"{tmp_path}: disk full, file not written"
    assert explain(HydraException("two\nlines")) == "two lines"


# --- train.py as a process -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["seed=-1"], "error: seed=-1: allowed is 0 to 4294967295"),
        (["trainer=smok"], "error: trainer=smok: allowed are ddp, default, smoke (did you mean smoke?)"),
        (
            ["hydra.run.dir=/dev/null/x"],
            "error: hydra.run.dir: allowed is a folder that can be made; /dev/null/x: Not a directory",
        ),
        (["resume=nowhere"], "error: resume=nowhere: allowed is a run directory, and there is none"),
        (["--config-dir", "{folder}", "experiment=mine"], "error: sed: unknown key; allowed are "),
        (["-m", "model.net.width=0,1"], "error: model.net.width=0: allowed is a positive number of channels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_train_answers_with_one_line_and_leaves_nothing(tmp_path: Path, words: list[str], line: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nsed: 3\n")
    done = run_train(*(word.format(folder=tmp_path) for word in words), folder=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith(line)
    assert not [path for path in tmp_path.rglob("outputs/*/*/*") if words[0] != "-m"]  # no directory of a run
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("word", ["--help", "model.net.widht=4", "trainer=smok", "seed=-1"])
def test_the_answer_comes_soon_and_without_torch(tmp_path: Path, word: str) -> None:
    durations = []
    while not durations or (min(durations) > SECONDS_TO_ANSWER and len(durations) < 3):
        start = time.perf_counter()
        done = run_train(word, folder=tmp_path, python=("-X", "importtime"))
        durations.append(time.perf_counter() - start)
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "hydra" in imported
    assert not imported & {"torch", "numpy", "lightning", "wandb", "matplotlib", "torchvision"}
    assert min(durations) < SECONDS_TO_ANSWER


def test_help_shows_what_there_is_to_choose(tmp_path: Path) -> None:
    done = run_train("--help", folder=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "_schema" not in done.stdout
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines() if " " in line)
    for group in (path for path in CONF.iterdir() if path.is_dir() and path.name not in SAMPLE_SCHEMAS):
        names = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
        assert rows[group.name].removesuffix(" (after -m)") == names
    assert "outputs/train/NAME/DATE_TIME" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_commands_that_help_shows_are_understood() -> None:
    shown = yaml.safe_load((CONF / "train.yaml").read_text())["hydra"]["help"]["template"].splitlines()
    commands = [line.split()[2:] for line in shown if line.startswith("python train.py ")]
    understood = [checked(*words) for words in commands if not words[0].startswith(("[", "resume", "-m"))]
    assert len(understood) == 4


def test_a_warning_is_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr("sys.argv", ["train.py"])
    run_script(lambda: None, CONF / "train.yaml")
    assert warnings.formatwarning("a word is unknown", UserWarning, "file.py", 3) == "warning: a word is unknown\n"
