"""The README tells the truth: its commands run, its files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from composing import ROOT, TINY, checked, composed, load_train, run_train
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.utils import get_class

README = (ROOT / "README.md").read_text()
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [shlex.split(line, comments=True) for line in SHELL if line and not line.startswith("#")]
TRAIN = [words[2:] for words in COMMANDS if words[:2] == ["python", "train.py"]]
PLAIN = [words for words in TRAIN if words[0] not in ("-m", "--help") and not words[0].startswith("resume=")]


def test_every_command_is_of_a_kind_that_is_tested_here() -> None:
    kinds = {" ".join(words[:2]) if words[0] == "python" and words[1] != "-m" else "install" for words in COMMANDS}
    assert kinds == {"python train.py", "install"}
    installs = [words for words in COMMANDS if words[:2] != ["python", "train.py"]]
    # .ci/run types the second of them; the first is its subset.
    assert installs == [
        ["python", "-m", "pip", "install", "-e", "."],
        ["python", "-m", "pip", "install", "-e", ".[dev]", "&&", "pytest"],
    ]
    assert 'pip install --quiet -e ".[dev]"' in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_training_command_runs(words: list[str], tmp_path: Path) -> None:
    """As it stands it is composed and checked; cut to a few steps on drawn data it is run."""
    checked(*words)
    # The last word wins; an asked list of epochs must fit the run, so it stays out of the short one.
    short = [word for word in words if not word.startswith(("callbacks.samples.epochs", "trainer.max_epochs"))]
    config = checked(*short, *TINY, "logger=none")
    assert load_train().train(config, tmp_path, None) > 0
    assert (tmp_path / "figures" / "loss.png").exists()


@pytest.mark.parametrize("words", [words for words in TRAIN if words[0] == "-m"], ids=" ".join)
def test_a_sweep_command_is_composed_with_its_plugins(words: list[str]) -> None:
    """Sweeps are run in test_sweeps.py; here every word of the README's is understood."""
    single = [word for word in words[1:] if "," not in word]
    cfg = composed(*single, hydra=True)
    assert issubclass(get_class(cfg.hydra.sweeper._target_), Sweeper)
    assert issubclass(get_class(cfg.hydra.launcher._target_), Launcher)
    for word in words[1:]:
        if "," in word:  # a list of choices, each of which must do by itself
            key, choices = word.split("=", 1)
            for choice in choices.split(","):
                checked(*[w for w in single if not w.startswith("hydra.")], f"{key}={choice}")


def test_resuming_a_run_that_is_not_there_is_answered_with_a_line(tmp_path: Path) -> None:
    (words,) = [words for words in TRAIN if words[0].startswith("resume=")]
    done = run_train(*words, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {words[0]}: allowed is a run directory")


def test_the_pictures_that_it_shows_are_tracked_files() -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert shown
    for picture in shown:
        assert (ROOT / picture).is_file(), picture


def test_every_experiment_is_in_its_table() -> None:
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert f"`{path.stem}`" in README, path.stem
