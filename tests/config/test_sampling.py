"""sample.py's config: everything that ships fits together, and every mistake is answered in one line without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from composing import CONF, clean_environment, composed, line_of, load_script
from composing import answer as answer_of
from composing import checked as checked_by
from hydra.utils import instantiate
from PIL import Image

from denoiselab.config.sampling import input_files, prompts_to_encode, same_run, source_node, time_indices
from denoiselab.denoise import Backbone
from denoiselab.edit import Edit, Sampler
from denoiselab.jobs import save_record

EDITS = sorted(path.stem for path in (CONF / "edit").glob("*.yaml"))
DIGITS = [name for name in EDITS if name != "upscale"]
checked: Callable[..., dict[str, Any]] = partial(checked_by, script="sample")
answer: Callable[..., str] = partial(answer_of, script="sample")


@pytest.fixture(scope="session")
def words(class_run: Path, time_run: Path, one_step_run: Path, tiny_if: Path) -> dict[str, list[str]]:
    """What chooses each backbone on the command line."""
    tiny = ["backbone=tiny_if", f"backbone.folder={tiny_if}"]
    runs = {"class": class_run, "time": time_run, "one_step": one_step_run}
    return {"tiny": tiny} | {name: [f"backbone.run={run}"] for name, run in runs.items()}


# Everything that ships

PAIRS = [(backbone, edit) for backbone in ("class", "time", "tiny", "deepfloyd") for edit in EDITS]
REFUSED = [
    ("class", "upscale"),
    ("time", "upscale"),
    ("time", "encode"),
    ("tiny", "evaluate"),
    ("deepfloyd", "evaluate"),
]
PAIRS = [pair for pair in PAIRS if pair not in REFUSED]  # which are refused below


@pytest.fixture(scope="session")
def loaded(
    words: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, dict[str, Any]], Backbone]:
    """The backbone of a config, loaded once; its second stage apart."""
    folder = tmp_path_factory.mktemp("cache")
    backbones: dict[tuple[str, bool], Backbone] = {}

    def load(name: str, config: dict[str, Any]) -> Backbone:
        second = config["edit"]["name"] == "upscale"
        if (name, second) not in backbones:
            node = source_node(config) | ({"cache": str(folder)} if name == "tiny" else {})
            source = instantiate(node)
            source.encode([""], torch.device("cpu"))
            backbones[name, second] = source.load(torch.device("cpu"), None, second)
        return backbones[name, second]

    return load


@pytest.mark.parametrize(("backbone", "edit"), PAIRS)
def test_every_edit_runs_on_every_backbone_with_its_defaults(
    words: dict[str, list[str]], loaded: Callable[..., Backbone], backbone: str, edit: str
) -> None:
    config = checked(*words.get(backbone, [f"backbone={backbone}"]), f"edit={edit}")
    assert config["edit"]["name"] == edit
    assert time_indices(config)[-1] == 0
    if backbone == "deepfloyd":
        return
    made = load_script("sample").instantiate_edit(config["edit"], loaded(backbone, config))
    assert isinstance(made, Edit)
    sampler = Sampler(loaded(backbone, config), time_indices(config), config["solver"])
    assert made.jobs(sampler)
    asked = {prompt for job in made.jobs(sampler) for n in range(job.count) for prompt in made.prompts_of(job, n)}
    assert asked <= set(prompts_to_encode(config))


@pytest.mark.parametrize("solver", sorted(path.stem for path in (CONF / "solver").glob("*.yaml")))
@pytest.mark.parametrize("backbone", ["class", "time", "tiny"])
def test_every_solver_runs_on_every_backbone_but_by_increments_under_thresholding(
    words: dict[str, list[str]], solver: str, backbone: str
) -> None:
    if backbone != "tiny" and solver == "ddpm_learned":
        line = "solver.variance=learned: allowed is beta or posterior for this model"
        assert answer(*words[backbone], f"solver={solver}") == line
    elif backbone == "tiny" and solver in ("euler", "heun"):
        line = f"solver={solver}: allowed is ddpm, ddim or dpmpp: this model's dynamic thresholding moves x_0 alone"
        assert answer(*words[backbone], f"solver={solver}") == line
    else:
        assert checked(*words[backbone], f"solver={solver}")["solver"]["name"] == solver.removesuffix("_learned")


def test_times_are_as_asked(words: dict[str, list[str]]) -> None:
    def times(*asked: str) -> list[int]:
        return time_indices(checked(*words["class"], *asked))

    assert times() == list(range(990, -1, -30))
    assert times("times.stride=100", "times.first=300") == [300, 200, 100, 0]
    assert times("times=linspace", "times.steps=3") == [999, 500, 0]
    assert times("times=shifted", "times.steps=5", "times.shift=3") == [999, 899, 749, 500, 0]
    assert times("times=explicit", "times.indices=[700,20,0]") == [700, 20, 0]


def test_a_model_without_classes_is_asked_for_nothing_where_nothing_is_said(words: dict[str, list[str]]) -> None:
    edits = {name: checked(*words["time"], f"edit={name}")["edit"] for name in DIGITS if name != "encode"}
    assert {name: edit["prompts"] for name, edit in edits.items() if "prompts" in edit} == {
        **{name: [""] for name in ("generate", "sdedit", "inpaint", "evaluate")},
        **{name: ["", ""] for name in ("anagram", "hybrid")},
    }
    assert edits["iterative"]["prompt"] == ""


def weights_of(stage: Path) -> list[str]:
    return [
        str(stage / part) for part in ("text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors")
    ]


def test_only_files_that_a_run_is_made_from_are_its_inputs(
    words: dict[str, list[str]], class_run: Path, tiny_if: Path
) -> None:
    checkpoint = str(class_run / "checkpoints" / "last.ckpt")
    assert input_files(checked(*words["class"], "edit=inpaint")).keys() == {checkpoint}
    photo = str(CONF.parent / "tests" / "nowhere.png")
    assert input_files(checked(*words["class"]) | {"edit": {"image": photo}}).keys() == {checkpoint}
    assert list(input_files(checked(*words["tiny"], "edit=sdedit"))) == weights_of(tiny_if / "stage_1")


# Mistakes: (backbone, the other words, the line). {folder} is of the test's files.

MISTAKES = [
    # prompts
    ("class", "edit.prompts=[11]", "edit.prompts='11': allowed is a digit from 0 to 9, or '' for none"),
    ("class", "edit=iterative edit.prompt=x", "edit.prompt='x': allowed is a digit from 0 to 9, or '' for none"),
    ("class", "edit.prompts=[]", "edit.prompts=[]: allowed is one prompt or more"),
    ("time", "edit.prompts=[3]", "edit.prompts='3': allowed is '': this model takes no class"),
    ("time", "edit=one_step edit.prompt=3", "edit.prompt='3': allowed is '': this model takes no class"),
    ("time", "edit=encode", "edit=encode: allowed is another: this model takes no class"),
    ("class", "edit=anagram edit.prompts=[1,2,3]", "edit.prompts=[1, 2, 3]: allowed is 2, as many as edit.views"),
    (
        "class",
        "edit=anagram edit.prompts=[6] edit.views=[identity,negate]",
        "edit.prompts=[6]: allowed is 2, as many as edit.views",
    ),
    (
        "class",
        "edit=hybrid edit.prompts=[0,1] edit.factors=three_bands",
        "edit.prompts=[0, 1]: allowed is 3, as many as edit.factors",
    ),
    # pictures and masks
    (
        "class",
        "edit=sdedit edit.image={folder}/none.png",
        "edit.image={folder}/none.png: allowed is a picture file that",
    ),
    (
        "tiny",
        "edit=blur edit.image={folder}/text.png",
        "edit.image={folder}/text.png: allowed is a picture file; Pillow recognises no picture in it",
    ),
    (
        "class",
        "edit=forward edit.image={folder}/large.png",
        "edit.image={folder}/large.png: allowed is at most 64 megapixels (64,000,000 pixels); it has 100,000,000",
    ),
    ("tiny", "edit=sdedit edit.image=towr", "... (did you mean tower?)"),
    ("class", "edit=inpaint edit.image=null", "edit.image=null: allowed is a value"),
    (
        "class",
        "edit=inpaint edit.mask={folder}/narrow.png",
        "edit.mask={folder}/narrow.png: allowed is 28 x 28, as the model's images; it is 20 x 28",
    ),
    (
        "tiny",
        "edit=inpaint edit.image={folder}/photo.png edit.mask={folder}/narrow.png",
        "edit.mask={folder}/narrow.png: allowed is 40 x 30, as the photo, or 64 x 64, as the model's images; "
        "it is 20 x 28",
    ),
    ("class", "edit=inpaint edit.mask={folder}/black.png", "... with new=white nothing would be made new"),
    ("class", "edit=inpaint edit.mask={folder}/black.png edit.new=black", "... everything would be made new"),
    ("class", "edit=inpaint edit.new=grey", "edit.new=grey: allowed are white, black"),
    ("class", "edit=inpaint edit.mask=botom_half", "... (did you mean bottom_half?)"),
    # times and starts
    ("class", "edit=sdedit edit.starts=[1,34]", "edit.starts=34: allowed is 0 to 33, a position in the list of times"),
    ("class", "edit=iterative edit.start=-1", "edit.start=-1: allowed is 0 to 33, a position in the list of times"),
    (
        "tiny",
        "edit=sdedit times=linspace times.steps=20",
        "edit.starts=20: allowed is 0 to 19, a position in the list of times",
    ),
    ("class", "edit=sdedit edit.starts=[1,1]", "edit.starts=[1, 1]: allowed is values that differ"),
    ("class", "edit=sdedit edit.starts=[]", "edit.starts=[]: allowed is one value or more"),
    (
        "class",
        "times=explicit times.indices=[900,500,3]",
        "times.indices=[900, 500, 3]: allowed are indices that fall strictly from at most 999 to 0, or the result "
        "would not be clean",
    ),
    ("class", "times=explicit", "times.indices: a value is required and none was given"),
    (
        "class",
        "times.first=991",
        "times.first=991: allowed is a multiple of times.stride=30 up to 990, or the list would not end clean",
    ),
    ("class", "times.stride=0", "times.stride=0: allowed is 1 to 999"),
    ("class", "times=linspace times.steps=1", "times.steps=1: allowed is 2 to 1000"),
    ("class", "times=shifted times.steps=1", "times.steps=1: allowed is 2 to 1000"),
    ("class", "times=shifted times.shift=0", "times.shift=0.0: allowed is a positive number"),
    ("class", "times=shifted times.steps=900", "times.steps=900: allowed are fewer with times.shift=3, whose times"),
    (
        "time",
        "times=shifted times.steps=200",
        "times=200 steps: allowed is fewer on this model's path of 300",
    ),
    ("time", "edit.steps=[6,200] edit.shift=3", "edit.steps=200: allowed is fewer on this model's path of 300"),
    ("class", "edit.steps=[6,900] edit.shift=3", "edit.steps=900: allowed are fewer with edit.shift=3, whose times"),
    ("class", "edit.steps=[6] edit.shift=-1", "edit.shift=-1.0: allowed is a positive number"),
    ("class", "edit.shift=3", "edit.shift=3.0: allowed is 1 without edit.steps (try times=shifted)"),
    ("time", "times.stride=3", "times=334 steps: allowed is fewer on this model's path of 300"),
    ("time", "edit.steps=[6,400]", "edit.steps=400: allowed is fewer on this model's path of 300"),
    ("class", "edit.steps=[1]", "edit.steps=1: allowed is 2 to 1000"),
    ("class", "edit=forward edit.t=[250,1000]", "edit.t=1000: allowed is 0 to 999"),
    # scales and counts
    (
        "class",
        "edit=anagram edit.guidance_scale=inf",
        "edit.guidance_scale=inf: allowed is null (the usual) or 0 to 100",
    ),
    ("class", "edit.guidance_scales=[1,nan]", "edit.guidance_scales=nan: allowed is null (the usual) or 0 to 100"),
    ("tiny", "backbone.guidance_scale=-1", "backbone.guidance_scale=-1.0: allowed is null (the usual) or 0 to 100"),
    ("class", "edit.guidance_scales=[]", "edit.guidance_scales=[]: allowed is one value or more"),
    (
        "time",
        "edit.guidance_scales=[5]",
        "edit.guidance_scales=5.0: allowed is 1: this model has no classes to guide by",
    ),
    (
        "time",
        "edit=iterative edit.guidance_scale=5",
        "edit.guidance_scale=5.0: allowed is 1: this model has no classes to guide by",
    ),
    (
        "class",
        "guidance_interval=[0.8,0.2]",
        "guidance_interval=[0.8, 0.2]: allowed is [low, high] with 0 <= low < high <= 1, times as shares of the "
        "noisiest",
    ),
    ("class", "guidance_interval=[0.2]", "guidance_interval=[0.2]: allowed is [low, high] with"),
    ("class", "guidance_interval=[0,nan]", "guidance_interval=[0.0, nan]: allowed is [low, high] with"),
    ("class", "guidance_interval=0.2", "guidance_interval=0.2: allowed is a list"),
    ("class", "guidance_interval=null", "guidance_interval=null: allowed is a value"),
    ("class", "guidance_rescale=1.5", "guidance_rescale=1.5: allowed is 0 to 1"),
    ("class", "guidance_rescal=0.5", "... (did you mean guidance_rescale?)"),
    (
        "time",
        "guidance_interval=[0,0.5]",
        "guidance_interval=[0.0, 0.5]: allowed is [0.0, 1.0]: this model has no classes to guide by",
    ),
    (
        "time",
        "guidance_rescale=0.5",
        "guidance_rescale=0.5: allowed is 0.0: this model has no classes to guide by",
    ),
    ("class", "edit.count=0", "edit.count=0: allowed is 1 or more"),
    ("class", "edit=inpaint edit.jump=0", "edit.jump=0: allowed is 1 or more"),
    ("class", "edit=inpaint edit.resamples=0", "edit.resamples=0: allowed is 1 or more"),
    (
        "class",
        "edit=blur edit.sigma=0",
        "edit.sigma=0.0: allowed is a sigma in pixels at 64 px, more than 0 and at most",
    ),
    ("tiny", "edit=upscale edit.noise_level=1000", "edit.noise_level=1000: allowed is 0 to 999"),
    # views and factors
    (
        "class",
        "edit=anagram edit.views=[identity,{{patches: 5}}]",
        "edit.views[1]={{patches: 5}}: allowed is patches with n, a whole number of patches a side, 2 or more, that "
        "divides the size 28",
    ),
    ("tiny", "edit=anagram edit.views=[identity,{{patches: 7}}]", "... that divides the size 64"),
    ("class", "edit=anagram edit.views=[identity,rotate_18]", "... (did you mean rotate_180?)"),
    (
        "class",
        "edit=anagram edit.weights=[1]",
        "edit.weights=[1.0]: allowed is null (equal) or a positive number for each view",
    ),
    (
        "class",
        "edit=anagram edit.reduction=alternatin",
        "edit.reduction=alternatin: allowed is one of mean, alternating (did you mean alternating?)",
    ),
    (
        "class",
        "edit=anagram edit.reduction=alternating edit.weights=[1,2]",
        "edit.weights=[1.0, 2.0]: allowed is null with edit.reduction=alternating",
    ),
    (
        "class",
        "edit=hybrid edit.factors=[{{low: 2}},{{high: 3}}]",
        "edit.factors=[{{low: 2}}, {{high: 3}}]: allowed is factors that sum to the identity, these sum to "
        "low(2) + identity - low(3)",
    ),
    ("class", "edit=hybrid edit.factors=low_hig", "... (did you mean low_high?)"),
    ("class", "edit=hybrid edit.factors=grey_colour", "... this model's pictures have one channel"),
    ("class", "edit=hybrid edit.image=three edit.held=2", "edit.held=2: allowed is 0 to 1, a factor"),
    ("class", "edit=hybrid edit.held=1", "edit.held=1: allowed is nothing without an edit.image to hold"),
    # names
    (
        "tiny",
        "edit=evaluate",
        "edit.prompts='a high quality photo': allowed is prompts of one digit and one colour, which are red, green, "
        "blue, yellow, white: its judges know no others",
    ),
    (
        "class",
        "edit=evaluate edit.prompts=[3]",
        "edit.prompts=['3']: allowed is each digit equally often, as they are measured against all, or '' for none",
    ),
    ("class", "edit=upscale", "edit=upscale: allowed is an edit of one stage: digit models have no second"),
    ("class", "edit=anagrm", f"edit=anagrm: allowed are {', '.join(EDITS)} (did you mean anagram?)"),
    (
        "",
        "backbone=checkpont",
        "backbone=checkpont: allowed are checkpoint, deepfloyd, text_digits, tiny_if (did you mean checkpoint?)",
    ),
    (
        "class",
        "solver=dpmp",
        "solver=dpmp: allowed are ddim, ddpm, ddpm_learned, dpmpp, euler, heun (did you mean dpmpp?)",
    ),
    (
        "class",
        "times=linspac",
        "times=linspac: allowed are explicit, linspace, shifted, strided (did you mean linspace?)",
    ),
    (
        "class",
        "edit.promts=[1]",
        "edit.promts: unknown key; allowed are name, prompts, count, guidance_scales, steps, shift (did you mean "
        "prompts?)",
    ),
    ("class", "+edit.promts=[1]", "... (did you mean prompts?)"),
    ("class", "edt=anagram", "... (did you mean edit?)"),
    ("tiny", "backbone.size=M", "backbone.size: unknown key; allowed are image, null_prompt, views, factors, count, "),
    ("", "backbone=deepfloyd backbone.size=S", "backbone.size=S: allowed are M, L, XL"),
    ("tiny", "backbone.dtype=fp61", "backbone.dtype=fp61: allowed are auto, fp32, fp16, bf16 (did you mean fp16?)"),
    (
        "time",
        "solver=ddpm solver.variance=learned",
        "solver.variance=learned: allowed is beta or posterior for this model",
    ),
    (
        "class",
        "solver=ddpm solver.variance=learned",
        "solver.variance=learned: allowed is beta or posterior for this model",
    ),
    # runs
    ("", "", "backbone.run=null: allowed is a run directory of train.py"),
    ("", "backbone.run={folder}", "backbone.run={folder}: allowed is a run directory of train.py"),
    ("one_step", "", "... allowed is a time- or class-conditioned model, this is a one-step denoiser"),
    ("class", "backbone.dtype=fp16", "backbone.dtype=fp16: allowed are auto, fp32, bf16 (did you mean bf16?)"),
    ("class", "backbone.file=bst.ckpt", "backbone.file=bst.ckpt: allowed is a file in "),
    (
        "tiny",
        "edit=upscale edit.run={folder}",
        "edit.run={folder}: allowed is a run directory of sample.py, with a run.json",
    ),
    ("", "from_run={folder}", "from_run={folder}: allowed is a run directory of sample.py, with a run.json"),
    # the rest
    ("class", "seed=-1", "seed=-1: allowed is 0 to 4294967295"),
    ("class", "seed=one", "seed=one: allowed is a whole number"),
    ("class", "batch_size=0", "batch_size=0: allowed is a positive number of images"),
    ("class", "max_batch=0", "max_batch=0: allowed is null (all at once) or a positive number of images"),
    (
        "class",
        "fabric.accelerator=gpus",
        "fabric.accelerator=gpus: allowed are auto, cpu, gpu, cuda (did you mean gpu?)",
    ),
    ("class", "fabric.devices=0", "fabric.devices=0: allowed is auto or a number > 0"),
    ("class", "fabric.num_nodes=0", "fabric.num_nodes=0: allowed is a positive number of nodes"),
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are no good."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.png").write_text("no picture")
    Image.new("1", (10_000, 10_000)).save(folder / "large.png")
    Image.new("L", (40, 30), 100).save(folder / "photo.png")
    Image.new("L", (20, 28), 255).save(folder / "narrow.png")
    Image.new("L", (28, 28)).save(folder / "black.png")
    return folder


@pytest.mark.parametrize(("backbone", "rest", "line"), MISTAKES, ids=[f"{name} {rest}" for name, rest, _ in MISTAKES])
def test_a_mistake_is_answered_in_one_line(
    words: dict[str, list[str]],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backbone: str,
    rest: str,
    line: str,
) -> None:
    """The line is given from its start, or after ... to its end."""
    monkeypatch.chdir(tmp_path)  # where there is no outputs/train
    said = answer(*words.get(backbone, []), *_split(rest.format(folder=folder)))
    expected = line.format(folder=folder)
    assert said.endswith(expected[3:]) if expected.startswith("...") else said.startswith(expected)
    assert "\n" not in said


def _split(rest: str) -> list[str]:
    """Words of a command line; a space after a colon is inside one."""
    return [word.replace(":\0", ": ") for word in rest.replace(": ", ":\0").split()]


def test_the_newest_run_is_offered_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "outputs" / "train" / "class_flow" / "now"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert answer() == (
        "backbone.run=null: allowed is a run directory of train.py (the newest: outputs/train/class_flow/now)"
    )


# Runs to repeat and to go on with


@pytest.fixture
def recorded(words: dict[str, list[str]], folder: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A run directory of an SDEdit with a photo of its own, as far as the config is concerned."""
    shutil.copyfile(folder / "photo.png", tmp_path / "photo.png")
    config = checked(*words["class"], "edit=sdedit", f"edit.image={tmp_path / 'photo.png'}", "seed=7")
    save_record(tmp_path / "run" / "run.json", {"config": config, "inputs": input_files(config), "images": {}})
    return tmp_path / "run", config


def test_a_run_is_repeated_as_it_was(recorded: tuple[Path, dict[str, Any]]) -> None:
    directory, config = recorded
    assert checked(f"from_run={directory}") == config
    elsewhere = checked(f"from_run={directory}", "fabric.devices=2", "max_batch=4", "hydra.run.dir=x", "logger=none")
    assert elsewhere == config | {"max_batch": 4, "logger": {}, "fabric": config["fabric"] | {"devices": 2}}


@pytest.mark.parametrize("word", ["seed=8", "edit=blur", "edit.count=3", "backbone.file=best.ckpt", "batch_size=3"])
def test_a_run_is_not_repeated_otherwise(recorded: tuple[Path, dict[str, Any]], word: str) -> None:
    beside = "allowed beside from_run are hydra, fabric, logger, progress_bar, max_batch, beside"
    assert answer(f"from_run={recorded[0]}", word) == f"{word}: {beside}"


def test_a_run_whose_file_has_changed_or_gone_is_not_repeated(recorded: tuple[Path, dict[str, Any]]) -> None:
    directory, config = recorded
    photo = Path(config["edit"]["image"])
    Image.new("L", (40, 30), 99).save(photo)
    line = answer(f"from_run={directory}")
    assert line == f"from_run={directory}: allowed is a run whose files are as they were, {photo} has changed"
    photo.unlink()
    assert answer(f"from_run={directory}").startswith(f"edit.image={photo}: allowed is a picture file that exists")


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"config": {}, "images": {}, "inputs": {}}'])
def test_a_record_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    line = f"from_run={tmp_path}: allowed is a run directory of sample.py, with a run.json"
    assert answer(f"from_run={tmp_path}") == line


def test_a_directory_is_gone_on_with_by_the_same_config_only(
    recorded: tuple[Path, dict[str, Any]], words: dict[str, list[str]], tmp_path: Path
) -> None:
    directory, config = recorded
    same_run(config, tmp_path / "new")
    same_run(config, directory)
    elsewhere = {"batch_size": 1, "max_batch": 2, "logger": None, "progress_bar": False, "from_run": str(directory)}
    same_run(config | elsewhere, directory)
    rest = f"allowed in hydra.run.dir={directory} is what its run.json says; take another"
    assert line_of(lambda: same_run(config | {"seed": 8}, directory)) == f"seed=8: {rest}"
    other = config | {"edit": config["edit"] | {"starts": [1, 2]}}
    assert line_of(lambda: same_run(other, directory)) == f"edit.starts=[1, 2]: {rest}"
    another = checked(*words["class"], "edit=blur", "seed=7")
    assert line_of(lambda: same_run(another, directory)).endswith(rest)
    Image.new("L", (40, 30), 99).save(config["edit"]["image"])
    line = f"hydra.run.dir={directory}: its images were made from files that have changed; take another"
    assert line_of(lambda: same_run(config, directory)) == line


def test_the_prompts_of_an_upscaled_run_are_those_to_encode(
    words: dict[str, list[str]], tiny_if: Path, tmp_path: Path
) -> None:
    images = {"a_000.png": {"prompts": ["a dog", "a cat"]}, "b_000.png": {"prompts": ["a cat"]}}
    (tmp_path / "run.json").write_text(
        json.dumps({"config": {"edit": {"name": "hybrid"}}, "inputs": {}, "images": images})
    )
    asked = (*words["tiny"], "edit=upscale", f"edit.run={tmp_path}")
    line = f"edit.run={tmp_path}: allowed is a run with images made for prompts"
    assert answer(*asked) == line
    (tmp_path / "images").mkdir()
    for name in images:
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / name)
    config = checked(*asked)
    assert prompts_to_encode(config) == ["", "a dog", "a cat"]
    both = [*weights_of(tiny_if / "stage_1"), *weights_of(tiny_if / "stage_2")]
    assert list(input_files(config)) == both + [str(tmp_path / "images" / name) for name in images]
    assert (
        answer(*asked, "edit.prompts=[a]")
        == "edit.prompts=...: allowed is nothing beside edit.run, whose images have their own"
    )
    Image.new("RGB", (28, 28)).save(tmp_path / "images" / "a_000.png")
    assert answer(*asked) == f"edit.run={tmp_path}: allowed is a run with images of 64 x 64"


def test_a_broken_config_of_a_trained_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: [")
    assert answer(f"backbone.run={tmp_path}").startswith(
        f"backbone.run={tmp_path}: allowed is a run directory of train"
    )


def test_a_mistake_is_answered_before_torch_is_imported(words: dict[str, list[str]], tmp_path: Path) -> None:
    """With sample.py as a process: what it imports, it has to import to answer."""
    script = CONF.parent / "sample.py"
    for mistake in (["edit=anagram", "edit.views=[identity,{patches: 5}]"], ["edit=sdedit", "edit.image=nowhere.png"]):
        run = subprocess.run(
            [sys.executable, "-X", "importtime", str(script), *words["class"], *mistake],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        *imports, line = run.stderr.splitlines()
        assert run.returncode == 1 and line.startswith(f"error: {mistake[1].partition('=')[0]}")
        imported = {each.rpartition("|")[2].strip().partition(".")[0] for each in imports}
        assert "denoiselab" in imported
        assert not imported & {"torch", "numpy", "lightning", "diffusers", "transformers", "wandb", "matplotlib"}
        assert run.stdout == "" and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_directory_is_named_after_the_edit_also_of_a_run_that_is_repeated(
    recorded: tuple[Path, dict[str, Any]],
) -> None:
    load_script("sample")  # which registers what its YAML asks for

    def directory(*words: str) -> str:
        return str(composed(*words, script="sample", hydra=True).hydra.run.dir)

    assert directory().startswith("outputs/sample/generate/2")
    assert directory("edit=blur").startswith("outputs/sample/blur/2")
    assert directory(f"from_run={recorded[0]}").startswith("outputs/sample/sdedit/2")
    mistake = f"from_run={recorded[0]}s: allowed is a run directory of sample.py, with a run.json"
    assert line_of(lambda: directory(f"from_run={recorded[0]}s")) == mistake


def test_what_a_run_json_names_is_called_only_if_it_is_ours(words: dict[str, list[str]], tmp_path: Path) -> None:
    config = checked(*words["class"])
    config["edit"]["_target_"] = "os.system"
    (tmp_path / "run.json").write_text(json.dumps({"config": config, "images": {}, "inputs": {}}))
    assert answer(f"from_run={tmp_path}").startswith("edit._target_=os.system: allowed are denoiselab.edit.")


def test_a_recorded_prompt_is_taken_as_it_stands(words: dict[str, list[str]], tmp_path: Path) -> None:
    config = checked(*words["tiny"])
    config["edit"]["prompts"] = ["a ${backbone.cache}"]
    (tmp_path / "run.json").write_text(json.dumps({"config": config, "images": {}, "inputs": {}}))
    assert checked(f"from_run={tmp_path}")["edit"]["prompts"] == ["a ${backbone.cache}"]


def test_a_directory_of_another_solver_is_refused_where_this_one_names_none(
    words: dict[str, list[str]], tmp_path: Path
) -> None:
    before = checked(*words["class"], "solver=ddim", "solver.eta=0.5")
    (tmp_path / "run.json").write_text(json.dumps({"config": before, "images": {}, "inputs": input_files(before)}))
    same_run(before, tmp_path)
    rest = f"allowed in hydra.run.dir={tmp_path} is what its run.json says; take another"
    assert line_of(lambda: same_run(checked(*words["class"]), tmp_path)) == f"solver=None: {rest}"


def test_torchrun_and_the_number_of_ranks_agree(words: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process would be a run of its own, in the same directory, otherwise."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "8")
    line = "fabric.devices=1: allowed is with fabric.num_nodes=1 what makes 8, the processes that torchrun started"
    assert answer(*words["class"]) == line
    checked(*words["class"], "fabric.devices=4", "fabric.num_nodes=2")


def test_edits_without_a_model_have_nothing_encoded(words: dict[str, list[str]]) -> None:
    assert prompts_to_encode(checked(*words["tiny"], "edit=forward")) == []
    assert prompts_to_encode(checked(*words["tiny"], "edit=one_step")) == ["", "a high quality photo"]
