"""sample.py on a text-to-image model that train.py made, and on its stage II."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from composing import answer, checked, load_script
from PIL import Image
from toy import Toy

from denoiselab.backbones import load_backbone
from denoiselab.edit import Generate, Sampler
from denoiselab.measurement import read_as_asked
from denoiselab.noise import Cosine

sample = load_script("sample")
FEW = ("times=linspace", "times.steps=3", "logger=none", "progress_bar=false", "fabric.accelerator=cpu")


def words(text_run: Path, tmp_path: Path, *others: str) -> tuple[str, ...]:
    backbone = (
        "backbone=text_digits",
        f"backbone.path={text_run / 'pipeline'}",
        f"backbone.cache={tmp_path / 'cache'}",
    )
    return (*backbone, *FEW, *others)


def test_an_anagram_is_made_and_then_enlarged(text_run: Path, upscaler_run: Path, tmp_path: Path) -> None:
    anagram = words(text_run, tmp_path, "edit=anagram", "edit.count=2")
    assert sample.sample(checked(*anagram, script="sample"), tmp_path / "anagram") == 0
    record = json.loads((tmp_path / "anagram" / "run.json").read_text())
    assert record["images"]["anagram_000.png"]["prompts"] == ["a red six", "a red nine"]
    assert record["images"]["anagram_000.png"]["guidance_scale"] == 4  # of conf/backbone/text_digits.yaml
    second = (f"backbone.upscaler_path={upscaler_run / 'pipeline'}", "edit=upscale", f"edit.run={tmp_path / 'anagram'}")
    config = checked(*words(text_run, tmp_path, *second), script="sample")
    assert sample.sample(config, tmp_path / "upscaled") == 0
    for name, side in (("small", 32), ("upscaled", 64)):
        with Image.open(tmp_path / "upscaled" / "images" / f"{name}_000.png") as picture:
            assert picture.size == (side, side) and picture.mode == "RGB"


def test_a_picture_is_enlarged_for_a_prompt(text_run: Path, upscaler_run: Path, tmp_path: Path) -> None:
    second = (f"backbone.upscaler_path={upscaler_run / 'pipeline'}", "edit=upscale", "edit.prompts=[a white three]")
    config = checked(*words(text_run, tmp_path, *second), script="sample")
    assert sample.sample(config, tmp_path / "upscaled") == 0
    assert len(list((tmp_path / "upscaled" / "images").glob("upscaled_*.png"))) == 1


def test_a_stage_ii_is_none_of_another_stage_i(tiny_if: Path, upscaler_run: Path, tmp_path: Path) -> None:
    paths = (f"backbone.path={tiny_if / 'stage_1'}", f"backbone.upscaler_path={upscaler_run / 'pipeline'}")
    config = checked("backbone=text_digits", *paths, "edit=upscale", *FEW, script="sample")
    with pytest.raises(ValueError, match="enlarges pictures of 32 pixels, allowed is stage I's 64"):
        sample.sample(config, tmp_path)


def test_a_model_of_words_is_no_model_of_digits(text_run: Path) -> None:
    line = answer(f"backbone.run={text_run}", "edit=generate", script="sample")
    use = f"a model of digits; use backbone=text_digits backbone.path={text_run}/pipeline"
    assert line == f"backbone.run={text_run}: allowed is {use}"


def test_in_python_its_run_directory_is_enough(text_run: Path, tmp_path: Path) -> None:
    model = load_backbone(text_run, ["a red seven"], device="cpu", cache=str(tmp_path))
    assert model.shape == (3, 32, 32)
    condition = model.condition(["a red seven"])
    assert condition is not None
    with torch.no_grad():
        estimate = model.denoiser(torch.randn(1, 3, 32, 32), torch.tensor([500]), condition)
    assert estimate.log_variance_weight is not None and estimate.x_0.isfinite().all()


@pytest.mark.parametrize("beside", [None, "", "[", "lr: 1", "name: mine", "{name: mine, data: imagenet}"])
def test_a_pipeline_of_no_run_is_neither_evaluated_nor_read(text_run: Path, tmp_path: Path, beside: str | None) -> None:
    pipeline = Path(shutil.copytree(text_run / "pipeline", tmp_path / "elsewhere" / "pipeline"))
    if beside is not None:
        (pipeline.parent / "config.yaml").write_text(beside)
    line = answer("backbone=text_digits", f"backbone.path={pipeline}", "edit=evaluate", script="sample")
    assert line == f"backbone.path={pipeline}: allowed is RUN/pipeline of a run of train.py, with its config.yaml"
    config = checked("backbone=text_digits", f"backbone.path={pipeline}", script="sample")
    sampler = Sampler(Toy(Cosine(1000), channels=3))
    assert read_as_asked(config, Generate(prompts=["a red seven"]), sampler, tmp_path) == {}


@pytest.mark.parametrize(
    ("edit", "images", "size"),
    [
        (["edit=generate", "edit.prompts=[a red seven]", "edit.count=2"], ["g7_s3_000", "g7_s3_001"], (32, 32)),
        (["edit=hybrid", "edit.prompts=[a white three,a white eight]", "edit.count=1"], ["hybrid_000"], (32, 32)),
        (["edit=blur", "edit.t=[250]"], ["original_000", "t250_000"], (32, 32)),
        (["edit=one_step", "edit.t=[250]"], ["original_000", "t250_000"], (32, 32)),
        (["edit=encode", "edit.prompts=[a red seven,a blue two]"], ["similarity_000", "similarity_001"], (16, 8)),
    ],
    ids=lambda value: value[0],
)
def test_it_is_a_deepfloyd_of_32_pixels(
    text_run: Path, tmp_path: Path, edit: list[str], images: list[str], size: tuple[int, int]
) -> None:
    asked = ["backbone=deepfloyd", *words(text_run, tmp_path, *edit)[1:]]
    assert sample.sample(checked(*asked, script="sample"), tmp_path / "made") == 0
    for name in images:
        with Image.open(tmp_path / "made" / "images" / f"{name}.png") as picture:
            assert picture.size == size
    assert (tmp_path / "made" / "figures" / f"{edit[0].removeprefix('edit=')}.png").is_file()


def test_weights_that_have_changed_are_noticed(text_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(text_run, tmp_path / "run"))
    config = checked(*words(run, tmp_path, "edit=generate", "edit.count=1"), script="sample")
    assert sample.sample(config, tmp_path / "made") == 0
    weights = run / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    line = answer(f"from_run={tmp_path / 'made'}", script="sample")
    assert line.endswith(f"{weights} has changed")


def test_a_colour_that_the_judges_do_not_know(text_run: Path, tmp_path: Path) -> None:
    asked = words(text_run, tmp_path, "edit=evaluate", "edit.prompts=[a purple seven]")
    line = answer(*[word for word in asked if not word.startswith("times")], script="sample")
    assert line.startswith(
        "edit.prompts='a purple seven': allowed is prompts of one digit and one colour, which are red,"
    )
