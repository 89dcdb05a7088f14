"""The README tells the truth: its commands run, its files are there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from composing import ROOT, checked, composed, load_script, load_train, run_train, tiny
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.utils import get_class

LISTS = ("callbacks.samples.epochs", "callbacks.quality.epochs", "trainer.max_epochs")
SHORT = ["times=linspace", "times.steps=3"]
README = (ROOT / "README.md").read_text()
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
COMMANDS = [shlex.split(line, comments=True) for line in SHELL if line and not line.startswith("#")]
TRAIN = [words[2:] for words in COMMANDS if words[:2] == ["python", "train.py"]]
SAMPLE = [words[2:] for words in COMMANDS if words[:2] == ["python", "sample.py"]]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PLAIN = [words for words in TRAIN if words[0] not in ("-m", "--help") and not words[0].startswith("resume=")]


def jobs(words: list[str]) -> list[list[str]]:
    """The words of a command, or those of each job of a sweep, one value changed from the first job's at a time."""
    parsed = OverridesParser.create().parse_overrides([word for word in words if word != "-m"])
    values = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [each.input_line]
        for each in parsed
    ]
    first = [each[0] for each in values]
    return [first] + [[*first[:n], other, *first[n + 1 :]] for n, each in enumerate(values) for other in each[1:]]


def test_every_command_is_of_a_kind_that_is_tested_here() -> None:
    kinds = {" ".join(words[:2]) if words[0] == "python" and words[1] != "-m" else "install" for words in COMMANDS}
    assert kinds == {"python train.py", "python sample.py", "install"}
    installs = [words for words in COMMANDS if words[1] not in ("train.py", "sample.py")]
    # .ci/run types the second of them; the first is its subset.
    assert installs == [
        ["python", "-m", "pip", "install", "-e", "."],
        ["python", "-m", "pip", "install", "-e", ".[dev]", "&&", "pytest"],
    ]
    assert 'pip install --quiet -e ".[dev]"' in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_training_command_runs(words: list[str], tmp_path: Path, captioned_folder: Path) -> None:
    """As it stands it is composed and checked; cut to a few steps on drawn data it is run."""
    words = [word.replace("MY_PICTURES", str(captioned_folder)) for word in words]
    checked(*words)
    # The last word wins; an asked list of epochs must fit the run, so it stays out of the short one.
    short = [word for word in words if not word.startswith(LISTS)]
    few = ["data.batch_size=4", "data.val_size=4"] if any("text" in word for word in words) else []
    config = checked(*short, *tiny(words, captioned_folder), *few, "logger=none")
    assert load_train().train(config, tmp_path, None) > 0
    assert (tmp_path / "figures" / "loss.png").exists()


@pytest.mark.parametrize("words", [words for words in TRAIN if words[0] == "-m"], ids=" ".join)
def test_a_sweep_command_is_composed_with_its_plugins(words: list[str]) -> None:
    """Sweeps are run in test_sweeps.py; here every word of the README's is understood."""
    cfg = composed(*jobs(words)[0], hydra=True)
    assert issubclass(get_class(cfg.hydra.sweeper._target_), Sweeper)
    assert issubclass(get_class(cfg.hydra.launcher._target_), Launcher)
    for job in jobs(words):
        checked(*[word for word in job if not word.startswith("hydra.")])


def test_resuming_a_run_that_is_not_there_is_answered_with_a_line(tmp_path: Path) -> None:
    (words,) = [words for words in TRAIN if words[0].startswith("resume=")]
    done = run_train(*words, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {words[0]}: allowed is a run directory")


@pytest.mark.parametrize("words", [words for words in SAMPLE if words[0] == "-m"], ids=" ".join)
def test_a_sampling_sweep_is_composed(words: list[str], class_run: Path) -> None:
    """Its jobs are commands as the others are; such a sweep is run in test_measurement.py."""
    for job in jobs(words):
        mine = [re.sub(r"=outputs/train/\w+/DATE_TIME", f"={class_run}", word) for word in job]
        checked(*[word for word in mine if not word.startswith("hydra.")], script="sample")


@pytest.mark.parametrize("words", [words for words in SAMPLE if words[0] not in ("-m", "--help")], ids=" ".join)
def test_a_sampling_command_runs(
    words: list[str], class_run: Path, tiny_if: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """On a digit model of three steps and on DeepFloyd in miniature, in three steps where the times are the default."""
    script = load_script("sample")
    if "edit=evaluate" in words:
        request.getfixturevalue("mnist")

    def run(folder: Path, *words: str) -> None:
        long = ("backbone.size", "fabric.devices", "edit.steps", "edit.samples", "beside")
        given = [word for word in words if not word.startswith(long)]
        few = [] if any(word.startswith(("times", "edit=sdedit", "edit=iterative")) for word in words) else SHORT
        mine = [f"backbone.folder={tiny_if}"] if "backbone=tiny_if" in words else []
        mine += [f"backbone.cache={tmp_path / 'cache'}"] if mine or "backbone=text_digits" in words else []
        small = [] if "edit=sdedit" in words or "edit=inpaint" in words or "edit=upscale" in words else ["edit.count=1"]
        small = [] if "edit=iterative" in words or "edit=encode" in words else small
        if "edit=evaluate" in words:
            few, small = [], ["edit.samples=100", "edit.steps=[2]", f"edit.data_root={ROOT / 'data'}"]
            small += ["edit.guidance_scales=[2]"]  # each is measured anew
        config = checked(*given, *few, *mine, *small, "logger=none", "progress_bar=false", script="sample")
        assert script.sample(config, folder) == 0
        assert (folder / "figures" / f"{config['edit']['name']}.png").is_file()

    if "backbone=text_digits" in words:
        text_run = request.getfixturevalue("text_run")
        words = [re.sub(r"=outputs/train/text_digits/DATE_TIME", f"={text_run}", word) for word in words]
        if any("upscaler" in word for word in words):
            upscaler = request.getfixturevalue("upscaler_run")
            words = [re.sub(r"=outputs/train/text_digits_upscaler/DATE_TIME", f"={upscaler}", word) for word in words]
    words = [re.sub(r"=outputs/train/\w+/DATE_TIME", f"={class_run}", word) for word in words]
    if "backbone=deepfloyd" in words:
        checked(*[word for word in words if not word.startswith("edit.run")], script="sample")
        words = ["backbone=tiny_if" if word == "backbone=deepfloyd" else word for word in words]
    if any("outputs/sample/anagram/DATE_TIME" in word for word in words):
        backbone = ["backbone=tiny_if" if "edit=upscale" in words else f"backbone.run={class_run}"]
        if "backbone=text_digits" in words:
            backbone = [word for word in words if word.startswith("backbone")]
        run(tmp_path / "before", *backbone, "edit=anagram")
        words = [word.replace("outputs/sample/anagram/DATE_TIME", str(tmp_path / "before")) for word in words]
    if words[0].startswith("from_run="):
        # sample() writes its run.json before main() would, so this is the whole of what from_run reads
        config = checked(*words, "progress_bar=false", script="sample")
        assert script.sample(config, tmp_path / "again") == 0
        for path in (tmp_path / "before" / "images").iterdir():
            assert path.read_bytes() == (tmp_path / "again" / "images" / path.name).read_bytes()
        return
    run(tmp_path / "run", *words)


def test_the_python_that_it_shows_runs(class_run: Path) -> None:
    (code,) = PYTHON
    names: dict[str, object] = {}
    exec(code.replace("outputs/train/class_flow/DATE_TIME", str(class_run)), names)
    result = names["result"]
    assert result.images.shape == (4, 1, 28, 28) and len(result.pil) == 4  # type: ignore[attr-defined]
    assert len(code.strip().splitlines()) <= 7


def test_the_pictures_that_it_shows_are_tracked_files() -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert shown
    for picture in shown:
        assert (ROOT / picture).is_file(), picture


@pytest.mark.parametrize("group", ["experiment", "edit"])
def test_every_choice_is_in_its_table(group: str) -> None:
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        assert f"`{path.stem}`" in README, path.stem


def table(after: str) -> list[list[str]]:
    """The rows of the first table after these words of the README, without its head and bold type."""
    lines = README[README.index(after) :].split("\n\n| ", 1)[1].split("\n\n")[0].replace("**", "").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def recorded(study: str) -> list[dict[str, Any]]:
    """What outputs/gallery/quality.json has of a study: rows of metrics.json, as they were measured."""
    rows = json.loads((ROOT / "outputs" / "gallery" / "quality.json").read_text())
    return [row for row in rows if row["study"] == study]


def test_the_qualities_of_10_000_samples_are_those_recorded() -> None:
    def cells(row: dict[str, Any]) -> list[str]:
        distance, accuracy, (low, high) = row["frechet_distance"], row["accuracy"], row["guidance_interval"]
        where = "" if (low, high) == (0, 1) else f" in [{low:g}, {high:g}]"
        return [
            f"{row['guidance_scale']:g}{where}",
            f"{row['evaluations']}",
            f"{distance['value']:.2f} ({distance['low']:.2f} to {distance['high']:.2f})",
            f"{100 * accuracy['value']:.2f} % ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})",
        ]

    rows = recorded("10,000 samples")
    assert table("With 10,000 samples each") == [[row["label"], *cells(row)] for row in rows]
    assert {row["samples"] for row in rows} == {10_000}
    for row in rows:
        assert row["label"] == f"`{row['model']}`, {row['epoch']} epochs, seed {row['training_seed']}"


def test_the_levers_are_worth_what_is_recorded() -> None:
    rows = recorded("quickstart")
    assert {row["samples"] for row in rows} == {1000}
    for label, *cells in table("On the quickstart's network, too"):
        own = {row["guidance_scale"]: row for row in rows if row["label"] == label}
        distances = [f"{own[scale]['frechet_distance']['value']:.1f}" for scale in (1, 1.5, 2)]
        assert cells == [*distances, f"{100 * own[2]['accuracy']['value']:.1f} %"]


def test_the_levers_of_several_seeds_are_worth_what_is_recorded() -> None:
    rows = recorded("levers")
    assert {row["samples"] for row in rows} == {1000}

    def cell(lever: str, scale: float, measure: str, unit: float, sign: str) -> str:
        of = [row for row in rows if (row["lever"], row["guidance_scale"]) == (lever, scale)]
        found = [unit * row[measure]["value"] for row in of]
        spread = f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else ""
        return f"{median(found):.1f}{sign}{spread}"

    shown = table("By the first sweep (D = 24")
    assert [label.split("`")[1] for label, *_ in shown] == list(dict.fromkeys(row["lever"] for row in rows))
    for label, *cells in shown:
        lever = label.split("`")[1]
        distances = [cell(lever, scale, "frechet_distance", 1, "") for scale in (1, 1.5, 2)]
        assert cells == [*distances, *(cell(lever, scale, "accuracy", 100, " %") for scale in (1.5, 2))]
