"""sample.py's config: the values it may have, and that of a run to repeat. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from denoiselab.config.check import (
    ACCELERATORS,
    FEWEST_SAMPLES,
    MOST_GUIDANCE,
    TEXT_MODELS,
    ConfigError,
    check_interval,
    check_ranks,
    check_solver,
    one_of,
    plain_container,
    require,
)
from denoiselab.config.sample_schema import SAMPLE_SCHEMAS
from denoiselab.data.pictures import check_mask, check_picture, picture_size
from denoiselab.data.words import COLOURS, digit_and_colour
from denoiselab.edit import check_anagram, check_hybrid, check_sigma, times
from denoiselab.edit.names import INCREMENTAL
from denoiselab.runs import read_config, read_measured, recipe

# --- allowed values --------------------------------------------------------------------------------------------------

LARGE = 2**28  # bytes of weights that are not digested for a run's record
DIGIT = 28  # pixels of a side
BESIDE_FROM_RUN = ("hydra", "fabric", "logger", "progress_bar", "max_batch", "beside")
PLAIN_GUIDANCE = {"guidance_interval": [0.0, 1.0], "guidance_rescale": 0.0}


def sample_config(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The checked config of sample.py as a plain container; with from_run=DIR, the one of DIR/run.json.

    Raises ConfigError, naming key, value and what is allowed, also where a file that the run was made from has changed.
    """
    words = dict(override.lstrip("+~").split("=", 1) for override in overrides if "=" in override)
    if cfg.from_run is None:
        return check_sample(cfg, asked=words)
    directory = Path(cfg.from_run)
    record = read_record(directory, "from_run")
    for name, value in words.items():
        if name != "from_run" and name.split(".")[0] not in BESIDE_FROM_RUN:
            raise ConfigError(f"{name}={value}: allowed beside from_run are {', '.join(BESIDE_FROM_RUN)}")
    config, now = record["config"], plain_container(cfg)
    for name in BESIDE_FROM_RUN[1:]:
        if any(word.split(".")[0] == name for word in words):
            config[name] = now[name]
    try:
        _check_targets(config)
        check_values(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"from_run={directory}: its run.json is not of sample.py as it is now ({error!r})") from error
    for name, digest in record["inputs"].items():
        require(Path(name).is_file(), "from_run", directory, f"a run whose files are there, {name} is not")
        same = file_digest(Path(name)) == digest
        require(same, "from_run", directory, f"a run whose files are as they were, {name} has changed")
    return config


def _check_targets(config: dict[str, Any]) -> None:
    """A run.json may come from anywhere, and what it names is called."""
    for group in ("backbone", "edit", "times"):
        known = [schema._target_ for schema in SAMPLE_SCHEMAS[group].values()]  # type: ignore[attr-defined]
        one_of(f"{group}._target_", config[group]["_target_"], known)


def read_record(directory: Path, key: str) -> dict[str, Any]:
    """run.json of a run directory of sample.py."""
    path = directory / "run.json"
    try:
        record = json.loads(path.read_text())
        record["config"]["edit"]["name"], record["images"], record["inputs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{key}={directory}: allowed is a run directory of sample.py, with a run.json") from error
    return record  # type: ignore[no-any-return]


def edit_name(name: str, from_run: str | None) -> str:
    """Of the run's edit, for its directory; with from_run=DIR that of the run in DIR."""
    return name if from_run is None else str(read_record(Path(from_run), "from_run")["config"]["edit"]["name"])


def file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sample(cfg: DictConfig, asked: Iterable[str] = ()) -> dict[str, Any]:
    """The resolved config of sample.py as a plain container, with every value in its range and every file found."""
    config = plain_container(cfg)
    if config["batch_size"] is None:
        config["batch_size"] = 200 if config["edit"]["name"] == "evaluate" else 16
    if config["edit"].get("run") is not None:
        for key in ("edit.prompts", "edit.image"):
            require(key not in asked, key, "...", "nothing beside edit.run, whose images have their own")
    if config["edit"].get("image", "") is None:
        require("edit.held" not in asked, "edit.held", config["edit"]["held"], "nothing without an edit.image to hold")
    check_values(config, asked)
    return config


def check_values(config: dict[str, Any], asked: Iterable[str] = ()) -> None:
    """Raises ConfigError, or a ValueError of one line, for a value out of its range and a file that is not there.

    A model without classes has nothing to be asked for: prompts that nobody gave become empty ones.

    Args:
        asked: keys overridden on the command line.
    """
    require(0 <= config["seed"] < 2**32, "seed", config["seed"], "0 to 4294967295")
    require(config["batch_size"] > 0, "batch_size", config["batch_size"], "a positive number of images")
    most = config["max_batch"]
    require(most is None or most > 0, "max_batch", most, "null (all at once) or a positive number of images")
    check_interval("guidance_interval", config["guidance_interval"])
    require(0 <= config["guidance_rescale"] <= 1, "guidance_rescale", config["guidance_rescale"], "0 to 1")
    fabric = config["fabric"]
    one_of("fabric.accelerator", fabric["accelerator"], ACCELERATORS)
    check_ranks("fabric", fabric)
    indices = time_indices(config)
    backbone, edit = config["backbone"], config["edit"]
    model = _check_backbone(backbone, set(asked), edit)
    for key, off in PLAIN_GUIDANCE.items():
        none = model["classes"] == 0 and config[key] != off
        require(not none, key, config[key], f"{off}: this model has no classes to guide by")
    check_solver(config["solver"])
    variance = (config["solver"] or {}).get("variance")
    learned = model["classes"] is None
    require(variance != "learned" or learned, "solver.variance", variance, "beta or posterior for this model")
    name = (config["solver"] or {}).get("name")
    moved = name in INCREMENTAL and model["thresholding"]
    require(not moved, "solver", name, "ddpm, ddim or dpmpp: this model's dynamic thresholding moves x_0 alone")
    _check_edit(edit, model, indices)
    measured = edit["name"] == "evaluate"
    require(measured or not config["beside"], "beside", config["beside"], "empty but for edit=evaluate")
    if measured:
        _check_evaluate(edit, model, config["beside"])
    if measured:
        require(
            "times" not in asked and not any(word.startswith("times.") for word in asked), "times", "...", "edit.steps"
        )
    elif model["T"]:
        T = model["T"]
        lists = [("times", f"{len(indices)} steps", indices)]
        if edit["name"] == "generate":
            lists += [("edit.steps", str(n), times.shifted(n, edit["shift"])) for n in edit["steps"] or []]
        for key, value, each in lists:
            distinct = len({max(1, round((index + 1) * T / times.INDICES)) for index in each})
            require(distinct == len(each), key, value, f"fewer on this model's path of {T}")


def time_indices(config: dict[str, Any]) -> list[int]:
    """The list of times that the config asks for."""
    options = {name: value for name, value in config["times"].items() if name != "_target_"}
    return getattr(times, config["times"]["_target_"].rsplit(".")[-1])(**options)  # type: ignore[no-any-return]


def _check_backbone(backbone: dict[str, Any], asked: set[str], edit: dict[str, Any]) -> dict[str, Any]:
    """What the edits have to know of the model before it is loaded: {"shape", "classes", "T", "thresholding", "data"}.

    `classes` is None for a model that takes words, `T` for a path that is not discrete or has 1,000 steps, `data` for a
    pipeline, whose folder, if it is one, is its "path".
    """
    second = edit["name"] == "upscale"
    if "run" not in backbone:
        if "size" in backbone:
            one_of("backbone.size", backbone["size"], ["M", "L", "XL"])
            one_of("backbone.upscaler_size", backbone["upscaler_size"], ["M", "L"])
        one_of("backbone.dtype", backbone["dtype"], ["auto", "fp32", "fp16", "bf16"])
        _check_guidance("backbone.guidance_scale", backbone["guidance_scale"])
        folder = Path(backbone["path"])
        size = _stored(folder / "unet" / "config.json", "sample_size", 64)
        thresholding = _stored(folder / "scheduler" / "scheduler_config.json", "thresholding", True)
        return {
            "shape": (3, size, size),
            "classes": None,
            "T": None,
            "thresholding": thresholding,
            "data": None,
            "path": folder,
        }
    require(not second, "edit", "upscale", "an edit of one stage: digit models have no second")
    one_of("backbone.dtype", backbone["dtype"], ["auto", "fp32", "bf16"])
    run = Path(backbone["run"] or "null")
    try:
        trained = yaml.safe_load((run / "config.yaml").read_text())
        net, schedule = trained["model"]["net"], trained["schedule"]
        T = schedule["path"].get("T") if schedule else None
        data = trained["data"]["_target_"].rsplit(".")[-1]
        words = trained["model"]["_target_"].rsplit(".")[-1] in TEXT_MODELS
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        near = sorted(Path("outputs/train").glob("*/*/config.yaml"))
        hint = f" (the newest: {max(near, key=lambda p: p.stat().st_mtime).parent})" if near else ""
        raise ConfigError(f"backbone.run={run}: allowed is a run directory of train.py{hint}") from None
    use = f"a model of digits; use backbone=text_digits backbone.path={run}/pipeline"
    require(not words, "backbone.run", run, use)
    kind = "a time- or class-conditioned model, this is a"
    require(bool(schedule), "backbone.run", run, f"{kind} classifier")
    require(net["time"] != "none", "backbone.run", run, f"{kind} one-step denoiser")
    file = run / "checkpoints" / backbone["file"]
    require(file.is_file(), "backbone.file", backbone["file"], f"a file in {file.parent}")
    classes = net["num_classes"]
    if not classes and "edit.prompts" not in asked and "prompts" in edit:
        paired = edit["name"] in ("anagram", "hybrid")
        edit["prompts"] = [""] * (len(edit["prompts"]) if paired else 1)  # there is nothing to ask this model for
    return {"shape": (1, 28, 28), "classes": classes, "T": T, "thresholding": False, "data": data}


def _stored(path: Path, key: str, published: Any) -> Any:
    """A setting of a pipeline in a local folder; where there is none, DeepFloyd IF's as published."""
    return json.loads(path.read_text()).get(key, published) if path.is_file() else published


def _check_guidance(key: str, scale: float | None) -> None:
    require(scale is None or 0 <= scale <= MOST_GUIDANCE, key, scale, f"null (the usual) or 0 to {MOST_GUIDANCE}")


def _check_edit(edit: dict[str, Any], model: dict[str, Any], indices: list[int]) -> None:
    size, classes = model["shape"][-1], model["classes"]
    prompts = [("edit.prompts", prompt) for prompt in edit.get("prompts", [])]
    prompts += [("edit.prompt", edit["prompt"])] if "prompt" in edit else []
    if "prompts" in edit:
        require(bool(edit["prompts"]), "edit.prompts", edit["prompts"], "one prompt or more")
    if classes is not None:
        known = ["", *map(str, range(classes))]
        for key, prompt in prompts:
            allowed = f"a digit from 0 to {classes - 1}, or '' for none" if classes else "'': this model takes no class"
            require(prompt in known, key, repr(prompt), allowed)
        require(bool(classes) or edit["name"] != "encode", "edit", "encode", "another: this model takes no class")
    for key in ("count", "every", "jump", "resamples"):
        require(edit.get(key, 1) > 0, f"edit.{key}", edit.get(key), "1 or more")
    several = bool(edit.get("guidance_scales"))
    for scale in edit["guidance_scales"] if several else [edit.get("guidance_scale")]:
        key = "edit.guidance_scales" if several else "edit.guidance_scale"
        _check_guidance(key, scale)
        none = classes == 0 and scale not in (None, 1)
        require(not none, key, scale, "1: this model has no classes to guide by")
    for t in edit.get("t", []):
        require(0 <= t < times.INDICES, "edit.t", t, f"0 to {times.INDICES - 1}")
    for key in ("start", "starts"):
        for start in [edit[key]] if key == "start" and key in edit else edit.get(key, []):
            times.check_start(start, indices, f"edit.{key}")
    for key in ("t", "starts", "steps", "guidance_scales"):
        listed = edit.get(key)
        require(listed != [], f"edit.{key}", "[]", "one value or more")
        require(not listed or len(set(listed)) == len(listed), f"edit.{key}", listed, "values that differ")
    if edit["name"] == "generate":
        shift = edit["shift"]
        require(
            edit["steps"] is not None or shift == 1, "edit.shift", shift, "1 without edit.steps (try times=shifted)"
        )
        for steps in edit["steps"] or []:
            times.shifted(steps, shift, "edit")
    if "sigma" in edit:
        check_sigma(edit["sigma"], "edit.sigma")
    if edit.get("image") is not None:
        check_picture(edit["image"], "edit.image")
    if "mask" in edit:
        one_of("edit.new", edit["new"], ["white", "black"])
        check_mask(edit["mask"], model["shape"], picture_size(edit["image"], "edit.image"), edit["new"], "edit.mask")
    if "views" in edit:
        check_anagram(edit["prompts"], edit["views"], size, edit["reduction"], edit["weights"])
    if "factors" in edit:
        check_hybrid(edit["prompts"], edit["factors"], model["shape"][0], edit["held"])
    if "noise_level" in edit:
        level = edit["noise_level"]
        require(0 <= level < times.INDICES, "edit.noise_level", level, f"0 to {times.INDICES - 1}")
        if edit["run"] is not None:
            _check_source(Path(edit["run"]), size)


def _check_evaluate(edit: dict[str, Any], model: dict[str, Any], beside: list[str]) -> None:
    if model["classes"] is None:
        for prompt in edit["prompts"]:
            allowed = f"prompts of one digit and one colour, which are {', '.join(COLOURS)}: its judges know no others"
            require(None not in digit_and_colour(prompt), "edit.prompts", repr(prompt), allowed)
        try:
            recipe(read_config(model["path"].parent))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            require(False, "backbone.path", model["path"], "RUN/pipeline of a run of train.py, with its config.yaml")
        side = model["shape"][-1]
        require(side >= DIGIT, "backbone.path", model["path"], f"pictures of {DIGIT} pixels or more, it makes {side}")
    digits = Counter(digit_and_colour(prompt)[0] for prompt in edit["prompts"])
    whole = set(digits) == {None} or (set(digits) == set(range(10)) and len(set(digits.values())) == 1)
    none = "" if model["classes"] is None else ", or '' for none"
    allowed = f"each digit equally often, as they are measured against all{none}"
    require(whole, "edit.prompts", edit["prompts"], allowed)
    require(model["data"] != "FashionMNIST", "edit", "evaluate", "another: its judges know only digits")
    samples, T = edit["samples"], model["T"]
    require(samples >= FEWEST_SAMPLES, "edit.samples", samples, f"{FEWEST_SAMPLES} or more")
    require(0 < edit["shift"] < math.inf, "edit.shift", edit["shift"], "a positive number")
    for steps in edit["steps"]:
        require(steps > 0, "edit.steps", steps, "a positive number")
        fine = T or (times.INDICES if model["classes"] is None else 2**20)  # a continuous path's times are float32
        distinct = len({round(share * fine) for share in times.shares(steps, edit["shift"])})
        path = f"path of {T}" if T else f"path with edit.shift={edit['shift']:g}"
        require(distinct == steps + 1, "edit.steps", steps, f"fewer on this model's {path}")
    for run in beside:
        try:
            done = "rows" in read_measured(Path(run))
        except (OSError, ValueError):
            done = False
        require(done, "beside", run, "run directories of edit=evaluate that are done, with a metrics.json")


def _check_source(run: Path, size: int) -> None:
    """Whether the run has images of the first stage's size, before anything is loaded."""
    found = prompted_images(run)
    require(bool(found), "edit.run", run, "a run with images made for prompts")
    fits = all(picture_size(path, "edit.run") == (size, size) for path in found)
    require(fits, "edit.run", run, f"a run with images of {size} x {size}")


# --- what a run is made from -----------------------------------------------------------------------------------------


def source_node(config: dict[str, Any]) -> dict[str, Any]:
    """The backbone's node without what its edits are about."""
    about = ("image", "null_prompt", "views", "factors", "count", "prompts", "size", "upscaler_size")
    return {name: value for name, value in config["backbone"].items() if name not in about}


def prompts_to_encode(config: dict[str, Any]) -> list[str]:
    """The distinct prompts that a run's edit asks for, and the empty one, which guidance needs; or none at all."""
    edit = config["edit"]
    if "prompts" not in edit and "prompt" not in edit:
        return []
    prompts = ["", *edit.get("prompts", []), *([edit["prompt"]] if "prompt" in edit else [])]
    if edit.get("run") is not None:
        images = prompted_images(Path(edit["run"])).values()
        prompts = ["", *(prompt for image in images for prompt in image["prompts"])]
    return [*dict.fromkeys(prompts)]


def prompted_images(run: Path) -> dict[Path, dict[str, Any]]:
    """The images of a run of sample.py that were made for prompts, and what its run.json says of each."""
    images = read_record(run, "edit.run")["images"]
    paths = {run / "images" / name: each for name, each in images.items() if each["prompts"]}
    return {path: each for path, each in paths.items() if path.is_file()}


def input_files(config: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of the files that the run is made from: the checkpoint, the picture, the mask."""
    edit, backbone = config["edit"], config["backbone"]
    names = [edit.get("image"), edit.get("mask")]
    if "run" in backbone:
        names.append(str(Path(backbone["run"]) / "checkpoints" / backbone["file"]))
    upscaled = ["upscaler_path"] * (edit.get("name") == "upscale")
    for key in ("path", *upscaled):  # a run's pipeline is replaced after every epoch; DeepFloyd's files stay
        if backbone.get(key) is not None:
            files = sorted(Path(backbone[key]).glob("*/*.safetensors"))
            names += [str(file) for file in files if file.stat().st_size < LARGE]
    if edit.get("run") is not None:
        names += [str(path) for path in prompted_images(Path(edit["run"]))]
    return {name: file_digest(Path(name)) for name in names if name is not None and Path(name).is_file()}


def same_run(config: dict[str, Any], directory: Path) -> None:
    """Raises ConfigError where the directory holds images of another config: they would be taken for this one's."""
    if not (directory / "run.json").exists():
        return
    record = read_record(directory, "hydra.run.dir")
    new, old = _flat(config), _flat(record["config"])
    free = ("from_run", "batch_size", *BESIDE_FROM_RUN)
    for key in [*new, *(key for key in old if key not in new)]:
        if key.split(".")[0] not in free and new.get(key, "absent") != old.get(key, "absent"):
            word = f"{key}={new.get(key)}"
            raise ConfigError(f"{word}: allowed in hydra.run.dir={directory} is what its run.json says; take another")
    if input_files(config) != record["inputs"]:
        raise ConfigError(f"hydra.run.dir={directory}: its images were made from files that have changed; take another")


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """{"edit.name": ...}: the leaves of a plain container by their dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        key: leaf
        for name, each in node.items()
        for key, leaf in _flat(each, f"{prefix}.{name}" if prefix else name).items()
    }
