"""sample.py leaves the run directory that DESIGN.md promises, on digit models and on DeepFloyd IF in miniature."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from composing import ROOT, checked, clean_environment, load_script, run_script, wandb_record
from PIL import Image
from safetensors import safe_open

from denoiselab.config.sampling import same_run
from denoiselab.jobs import load_image

sample = load_script("sample")
FEW = ("times=linspace", "times.steps=3", "fabric.accelerator=cpu", "progress_bar=false")
SIDE, PADDING = 28, 2


@dataclass
class Finished:
    directory: Path
    config: dict[str, Any]
    missing: int
    printed: str

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.directory / "run.json").read_text())  # type: ignore[no-any-return]

    @property
    def images(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.directory / "images").iterdir()}


def run(directory: Path, *words: str, logger: str = "none") -> Finished:
    """What sample.py does in a directory once Hydra has composed."""
    config = checked(*words, f"logger={logger}", script="sample")
    same_run(config, directory)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        missing = sample.sample(config, directory)
    return Finished(directory, config, missing, printed.getvalue())


@pytest.fixture(scope="session")
def anagram(class_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Three anagrams of a class model, with the default logger, in float32 whatever the hardware."""
    words = (f"backbone.run={class_run}", "backbone.dtype=fp32", "edit=anagram", "edit.count=3", *FEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.setenv("WANDB_MODE", "offline")
        return run(tmp_path_factory.mktemp("anagram"), *words, logger="wandb")


@pytest.fixture
def copied(anagram: Finished, tmp_path: Path) -> Path:
    """The anagrams' directory, to do with as one pleases."""
    without = shutil.ignore_patterns("wandb")
    return Path(shutil.copytree(anagram.directory, tmp_path / "run", ignore=without))


IMAGES = {f"anagram{role}_{n:03d}.png" for role in ("", "_view0", "_view1") for n in range(3)}


def test_a_run_leaves_the_whole_directory(anagram: Finished) -> None:
    assert anagram.missing == 0
    assert anagram.printed == f"pictures: {anagram.directory / 'figures'}\n"
    assert {path.name for path in anagram.directory.iterdir()} == {"images", "frames", "figures", "run.json", "wandb"}
    assert anagram.images.keys() == IMAGES
    figures = anagram.directory / "figures"
    assert {path.name for path in figures.iterdir()} == {"anagram.png", "anagram_preview.png", "anagram.gif"}
    with Image.open(figures / "anagram.png") as figure, Image.open(figures / "anagram_preview.png") as preview:
        width, height = (n * (SIDE + PADDING) + PADDING for n in (3, 2))
        assert figure.size == (width, height) and figure.mode == "L"
        assert preview.width > width and preview.height > height
    with Image.open(figures / "anagram.gif") as gif:
        assert 2 <= gif.n_frames <= 4  # type: ignore[attr-defined]
    upright, turned = (load_image(anagram.directory / "images" / f"anagram_view{n}_000.png") for n in (0, 1))
    assert torch.equal(turned, upright.flip(1, 2))


def test_run_json_repeats_the_run(anagram: Finished, class_run: Path) -> None:
    record = anagram.record
    assert record["config"] == anagram.config
    assert record["seed"] == 100 and record["failed"] == []
    assert record["times"] == [999, 500, 0] and record["solver"] == {"name": "euler"}
    for package in ("denoiselab", "torch", "diffusers"):
        assert record["versions"][package] == version(package)
    assert list(record["inputs"]) == [str(class_run / "checkpoints" / "last.ckpt")]
    described = {"guidance_scale": 5.0, "views": ["identity", "rotate_180"], "prompts": ["6", "9"], "job": "anagram"}
    described |= {"reduction": "mean", "weights": None}
    assert record["images"] == {f"anagram_{n:03d}.png": described | {"index": n} for n in range(3)}


def test_the_record_has_the_picture_and_the_config(anagram: Finished) -> None:
    record = wandb_record(anagram.directory)
    assert {name: record["config"][name] for name in anagram.config} == anagram.config
    assert (record["name"], record["project"], record["exit"]) == ("anagram", "denoiselab", 0)
    (file,) = [row["anagram/filenames"][0] for row in record["history"] if "anagram/filenames" in row]
    preview = anagram.directory / "figures" / "anagram_preview.png"
    with Image.open(record["folder"] / "files" / file) as logged, Image.open(preview) as drawn:
        assert logged.tobytes() == drawn.convert(logged.mode).tobytes()


def test_a_second_run_makes_what_is_missing_alone(anagram: Finished, copied: Path) -> None:
    lost = copied / "images" / "anagram_001.png"
    lost.unlink()
    before = {path: path.stat().st_mtime_ns for path in (copied / "images").iterdir()}
    words = (*backbone_of(anagram), "edit=anagram", "edit.count=3", *FEW)
    again = run(copied, *words)
    assert again.images == anagram.images and again.missing == 0
    changed = {path.name for path, then in before.items() if path.stat().st_mtime_ns != then}
    assert changed == {"anagram_view0_001.png", "anagram_view1_001.png"}  # and the lost one
    assert (copied / "figures" / "anagram.png").read_bytes() == (
        anagram.directory / "figures" / "anagram.png"
    ).read_bytes()


def test_a_run_is_repeated_to_the_byte(anagram: Finished, tmp_path: Path) -> None:
    again = run(tmp_path, f"from_run={anagram.directory}")
    assert again.images == anagram.images
    assert again.config == anagram.config | {"logger": {}}
    assert again.record["images"] == anagram.record["images"]
    for path in (anagram.directory / "figures").iterdir():
        assert (tmp_path / "figures" / path.name).read_bytes() == path.read_bytes()


def test_the_batch_does_not_change_the_pictures(anagram: Finished, tmp_path: Path) -> None:
    words = (*backbone_of(anagram), "edit=anagram", "edit.count=3", *FEW)
    small = run(tmp_path, *words, "batch_size=1", "max_batch=1")
    check_close(small.directory, anagram.directory)


def backbone_of(finished: Finished) -> tuple[str, ...]:
    """The words for its backbone."""
    return tuple(f"backbone.{name}={finished.config['backbone'][name]}" for name in ("run", "dtype"))


def check_close(directory: Path, other: Path) -> None:
    """The same pictures, but for what another order of sums rounds otherwise: 1e-3 of them by one of 255 levels."""
    names = {path.name for path in (other / "images").iterdir()}
    assert {path.name for path in (directory / "images").iterdir()} == names
    for name in names:
        one, two = (np.array(Image.open(folder / "images" / name)).astype(int) for folder in (directory, other))
        assert abs(one - two).max() <= 1 and (one != two).mean() <= 1e-3, name


def test_two_processes_make_the_pictures_of_one(anagram: Finished, tmp_path: Path) -> None:
    words = (*backbone_of(anagram), "edit=anagram", "edit.count=3", *FEW, "logger=none")
    done = run_script(*words, "fabric.devices=2", "hydra.run.dir=two", script="sample", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"pictures: {tmp_path / 'two' / 'figures'}"
    check_close(tmp_path / "two", anagram.directory)
    assert {path.name for path in tmp_path.iterdir()} == {"two"}
    assert json.loads((tmp_path / "two" / "run.json").read_text())["images"] == anagram.record["images"]


def nan_run(class_run: Path, directory: Path) -> Path:
    """A trained run whose weights are no numbers."""
    shutil.copytree(class_run, directory)
    path = directory / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for tensor in checkpoint["state_dict"].values():
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)
    torch.save(checkpoint, path)
    return directory


def test_images_that_fail_are_told_and_end_with_status_1(class_run: Path, tmp_path: Path) -> None:
    """On two ranks, each of which tells its own; the last line is told once. What needs no network is made."""
    broken = nan_run(class_run, tmp_path / "broken")
    words = (f"backbone.run={broken}", "edit=sdedit", "edit.starts=[0,1]", *FEW, "logger=none", "hydra.run.dir=run")
    done = run_script(*words, "fabric.devices=2", script="sample", folder=tmp_path)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith(("failed", "error"))]
    reason = "ValueError: {}: class_flow answered with NaN or infinite pixels"
    assert sorted(told[:2]) == [f"failed: {job}_000.png: {reason.format(job)}" for job in ("start00", "start01")]
    again = f"the same command with hydra.run.dir={tmp_path / 'run'} tries them again"
    assert told[2:] == [f"error: 2 images failed; {again}"]
    assert "Traceback" not in done.stderr
    failed = json.loads((tmp_path / "run" / "run.json").read_text())["failed"]
    assert failed == ["start00_000.png", "start01_000.png"]
    assert [path.name for path in (tmp_path / "run" / "images").iterdir()] == ["original_000.png"]
    figure = load_image(tmp_path / "run" / "figures" / "sdedit.png")
    assert figure.shape == (1, SIDE + 2 * PADDING, 3 * (SIDE + PADDING) + PADDING)


def test_a_sweep_that_is_stopped_says_how_it_goes_on(class_run: Path, tmp_path: Path) -> None:
    words = [f"backbone.run={class_run}", "edit=generate", "edit.count=2000", "seed=1,2", "hydra.sweep.dir=sweep"]
    command = [sys.executable, str(ROOT / "sample.py"), "-m", *words, "logger=none", "progress_bar=false"]
    environment = clean_environment(NETRC=str(tmp_path / "no_netrc"))
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not list(tmp_path.glob("sweep/0/images/*.png")) and time.monotonic() < deadline:
                time.sleep(0.1)
            process.terminate()
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped; the same command with hydra.sweep.dir=sweep goes on" in said.splitlines()
    assert not (tmp_path / "sweep" / "1").exists()


def test_help_is_a_page_with_every_choice(tmp_path: Path) -> None:
    done = run_script("--help", script="sample", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in ("backbone    checkpoint, deepfloyd, text_digits, tiny_if", "solver      ddim, ddpm, ddpm_learned,"):
        assert line in done.stdout
    assert "${" not in done.stdout and len(done.stdout.splitlines()) < 40


@pytest.mark.parametrize("word", ["fabric.devices=2", "fabric.num_nodes=2"])
def test_a_sweep_over_several_processes_is_refused(class_run: Path, tmp_path: Path, word: str) -> None:
    done = run_script("-m", f"backbone.run={class_run}", word, "seed=0,1", script="sample", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {word}: allowed is 1 in a sweep (-m), every rank would replay the sweep\n"


# DeepFloyd IF in miniature


@pytest.fixture(scope="session")
def tiny(tiny_if: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What chooses it, with an empty cache of embeddings for all these tests."""
    cache = tmp_path_factory.mktemp("embeddings")
    return ("backbone=tiny_if", f"backbone.folder={tiny_if}", f"backbone.cache={cache}", *FEW)


@pytest.fixture(scope="session")
def tiny_anagram(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    words = ("edit=anagram", "edit.count=1", "edit.views=[identity,rotate_90]")
    return run(tmp_path_factory.mktemp("tiny_anagram"), *tiny, *words)


def test_with_a_full_cache_the_text_encoder_is_not_loaded(
    tiny: tuple[str, ...], tiny_anagram: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_anagram.missing == 0
    monkeypatch.setattr(transformers.T5EncoderModel, "from_pretrained", lambda *_, **__: pytest.fail("T5 was loaded"))
    monkeypatch.setattr(transformers.T5Tokenizer, "from_pretrained", lambda *_, **__: pytest.fail("T5 was loaded"))
    again = run(tmp_path, f"from_run={tiny_anagram.directory}")
    assert again.images == tiny_anagram.images
    with pytest.raises(pytest.fail.Exception, match="T5 was loaded"):
        run(tmp_path / "new", *tiny, "edit.prompts=[a new prompt]", "edit.count=1")


def test_the_images_of_a_run_go_to_the_second_stage_with_their_prompts_and_views(
    tiny: tuple[str, ...], tiny_anagram: Finished, tmp_path: Path
) -> None:
    done = run(tmp_path, *tiny, "times.steps=2", "edit=upscale", f"edit.run={tiny_anagram.directory}")
    assert done.missing == 0 and done.images.keys() == {"small_000.png", "upscaled_000.png"}
    assert done.images["small_000.png"] == tiny_anagram.images["anagram_000.png"]
    assert load_image(tmp_path / "images" / "upscaled_000.png").shape == (3, 256, 256)
    told = done.record["images"]["upscaled_000.png"]
    assert told["prompts"] == tiny_anagram.config["edit"]["prompts"]
    assert told["views"] == ["identity", "rotate_90"] and told["noise_level"] == 250
    assert load_image(tmp_path / "figures" / "upscale.png").shape == (3, 3 * 258 + 2, 258 + 2)


def test_one_image_goes_to_the_second_stage_for_every_prompt(tiny: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *tiny, "times.steps=2", "edit=upscale", "edit.prompts=[a,b]", "edit.noise_level=10")
    assert {name for name in done.images if name.startswith("upscaled")} == {"upscaled_000.png", "upscaled_001.png"}
    assert [each["prompts"] for each in done.record["images"].values()] == [[], [], ["a"], ["b"]]


def test_the_images_of_a_second_stage_are_too_large_for_it(
    tiny: tuple[str, ...], tiny_anagram: Finished, tmp_path: Path
) -> None:
    first = run(tmp_path / "one", *tiny, "times.steps=2", "edit=upscale", f"edit.run={tiny_anagram.directory}")
    with pytest.raises(ValueError, match="allowed is a run with images of 64 x 64"):
        run(tmp_path / "two", *tiny, "edit=upscale", f"edit.run={first.directory}")


def text_of(embedding: Path) -> str:
    with safe_open(embedding, "pt") as file:
        return file.metadata()["text"]  # type: ignore[no-any-return]


def test_a_corrupt_embedding_is_made_anew(tiny: tuple[str, ...], tiny_anagram: Finished, tmp_path: Path) -> None:
    cache = Path(tiny_anagram.config["backbone"]["cache"])
    asked = tiny_anagram.config["edit"]["prompts"][0]
    (file,) = [path for path in cache.rglob("*.safetensors") if text_of(path) == asked]  # the cache has others' too
    file.write_bytes(b"torn")
    with pytest.warns(UserWarning, match=file.name):
        again = run(tmp_path, f"from_run={tiny_anagram.directory}")
    assert again.images == tiny_anagram.images
    assert file.stat().st_size > 1000
