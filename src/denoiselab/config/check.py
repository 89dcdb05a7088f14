"""The values that a config may have, checked before torch is imported."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from denoiselab.data.collection import DataError
from denoiselab.data.rows import BAD_ROWS, read_rows
from denoiselab.edit.names import INCREMENTAL
from denoiselab.nearest import nearest
from denoiselab.runs import read_losses, run_label, sample_grids

PRECISIONS = ("auto", "32-true", "bf16-mixed")
CLASSES = 10  # of every data set here
MOST_GUIDANCE = 100  # beyond it x_0 is that of no picture, and in the end not finite
FEWEST_SAMPLES = 10  # that an evaluation can make anything of
MNIST_SIZES = 60_000, 10_000  # training and test images, of Fashion-MNIST too
# Choices of conf/data by their targets, of those whose pictures have captions and of the others.
CAPTIONED = {"ColouredMNIST": "coloured_mnist", "CaptionedFolder": "captioned_folder"}
LABELLED = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist", "Synthetic": "synthetic"}
# Choices of conf/model by their targets, of those that take captions and of the others.
TEXT_MODELS = {"TextModule": "text_unet", "UpscalerModule": "upscaler_unet"}
LABEL_MODELS = {
    "OneStepModule": "denoiser",
    "TimeModule": "time_unet",
    "ClassModule": "class_unet",
    "ClassifierModule": "digit_classifier",
}
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")  # not mps, which has no float64 for the coefficients


class ConfigError(ValueError):
    """A user's mistake in the configuration: one line that names the key, the value and what is allowed."""


def require(condition: bool, key: str, value: Any, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{key}={value}: allowed is {allowed}")


def one_of(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{key}={value}: allowed are {', '.join(choices)}{nearest(str(value), choices)}")


def check(cfg: DictConfig, asked: Iterable[str] = ()) -> dict[str, Any]:
    """The resolved config of train.py as a plain container, with every value in its range.

    Epoch lists that an experiment brings along are cut to the run's epochs, and then end with the last one; a list that
    the user asked for by name must fit as it is.

    Args:
        cfg: as composed.
        asked: keys overridden on the command line, e.g. "callbacks.samples.epochs".

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    check_pair(OmegaConf.select(cfg, "model._target_"), OmegaConf.select(cfg, "data._target_"))
    config = plain_container(cfg)
    require(0 <= config["seed"] < 2**32, "seed", config["seed"], "0 to 4294967295")
    require(bool(config["name"]), "name", repr(config["name"]), "a word, it names the run's directory")
    if config["model"]["_target_"].endswith("ClassifierModule"):
        _check_classifier(config)
    else:
        if _takes_text(config["model"]["_target_"]):
            _check_text_model(config["model"], config["data"])
        else:
            _check_model(config["model"])
        _check_schedule(config["model"], config["schedule"], config["solver"])
    check_data(config["data"])
    _check_trainer(config["trainer"])
    _check_callbacks(config, set(asked))
    return config


def plain_container(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as a plain container.

    Raises ConfigError for keys that no schema knows, and for values that are required and missing.
    """
    _reject_unknown(cfg)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"{missing[0]}: a value is required and none was given")
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def _reject_unknown(node: DictConfig, prefix: str = "") -> None:
    """Hydra's +KEY=VALUE gets past a schema; this does not."""
    schema = OmegaConf.get_type(node)
    known = [f.name for f in fields(schema)] if is_dataclass(schema) else list(map(str, node))
    for name in map(str, node):
        if name not in known:
            allowed = [word for word in known if not word.startswith("_")]
            raise ConfigError(f"{prefix}{name}: unknown key; allowed are {', '.join(allowed)}{nearest(name, allowed)}")
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing()):
            _reject_unknown(child, f"{prefix}{name}.")


def _check_model(model: dict[str, Any]) -> None:
    net, optimizer = model["net"], model["optimizer"]
    kind = model["_target_"].rsplit(".")[-1]
    require(net["width"] > 0, "model.net.width", net["width"], "a positive number of channels")
    require(net["in_channels"] == 1, "model.net.in_channels", net["in_channels"], "1, the channels of the data")
    one_of("model.net.time", net["time"], ["none"] if kind == "OneStepModule" else ["add", "multiply"])
    if kind == "ClassModule":
        classes = net["num_classes"]
        require(classes >= CLASSES, "model.net.num_classes", classes, f"{CLASSES} or more, the classes of the data")
        dropout = model["class_dropout"]
        require(0 <= dropout <= 1, "model.class_dropout", dropout, "a probability, 0 to 1")
    else:
        require(net["num_classes"] == 0, "model.net.num_classes", net["num_classes"], "0 for this model")
    _check_times(model.get("times"))
    _check_optimizer(optimizer)


def _takes_text(target: str) -> bool:
    return target.rsplit(".")[-1] in TEXT_MODELS


def _check_text_model(model: dict[str, Any], data: dict[str, Any]) -> None:
    net, second = model["net"], "low_resolution" in model
    require(net["resolution"] == data["resolution"], "model.net.resolution", net["resolution"], "data.resolution")
    require(net.get("upscaler", False) == second, "model.net.upscaler", not second, f"{second} for this model")
    widths, groups, resolution = net["widths"], net["groups"], net["resolution"]
    require(groups > 0, "model.net.groups", groups, "a positive number of groups")
    good = bool(widths) and all(width > 0 and width % groups == 0 for width in widths)
    require(good, "model.net.widths", widths, f"one or more multiples of model.net.groups={groups}")
    head = net["head_width"]
    require(
        head > 0 and widths[-1] % head == 0, "model.net.head_width", head, f"a divisor of {widths[-1]}, the last width"
    )
    side = 2 ** (len(widths) - 1)
    require(
        resolution % side == 0, "data.resolution", resolution, f"a multiple of {side} with model.net.widths={widths}"
    )
    width = net["text_width"]
    require(width > 0 and width % 4 == 0, "model.net.text_width", width, "a positive multiple of 4")
    most = net["threshold_most"]
    require(1 <= most < math.inf, "model.net.threshold_most", most, "1 or more, and finite")
    words = net["vocabulary"]
    require(words > 4, "model.net.vocabulary", words, "5 words or more, 4 being those of 'a high quality photo'")
    for name in ("empty", "null"):
        require(0 <= model[name] <= 1, f"model.{name}", model[name], "a probability, 0 to 1")
    both = model["empty"] + model["null"]
    require(both <= 1, "model.null", model["null"], f"at most 1 with model.empty={model['empty']}")
    weight = model["bound_weight"]
    require(0 <= weight < math.inf, "model.bound_weight", weight, "0 or more")
    if second:
        low = model["low_resolution"]
        good = 0 < low < resolution and resolution % low == 0
        require(good, "model.low_resolution", low, f"a divisor of data.resolution={resolution}, and less")
    _check_optimizer(model["optimizer"])


def _check_optimizer(optimizer: dict[str, Any]) -> None:
    require(optimizer["lr"] > 0, "model.optimizer.lr", optimizer["lr"], "a positive number")
    one_of("model.optimizer.schedule", optimizer["schedule"], ["constant", "exponential", "cosine"])
    least = 0 if optimizer["schedule"] == "cosine" else 1e-12
    require(least <= optimizer["final"] <= 1, "model.optimizer.final", optimizer["final"], "a fraction of lr, up to 1")
    require(optimizer["warmup_steps"] >= 0, "model.optimizer.warmup_steps", optimizer["warmup_steps"], "0 or more")
    betas = optimizer["betas"]
    require(len(betas) == 2 and all(0 <= b < 1 for b in betas), "model.optimizer.betas", betas, "two numbers in [0, 1)")


def _check_classifier(config: dict[str, Any]) -> None:
    model = config["model"]
    net = model["net"]
    for name in ("width", "depth"):
        require(net[name] > 0, f"model.net.{name}", net[name], "a positive number")
    one_of("model.net.pooling", net["pooling"], ["max", "average"])
    require(model["pixels"] >= 0, "model.pixels", model["pixels"], "a shift of 0 pixels or more")
    require(0 <= model["degrees"] <= 180, "model.degrees", model["degrees"], "a turn of 0 to 180")
    require(0 <= model["zoom"] < 1, "model.zoom", model["zoom"], "a fraction, at least 0 and less than 1")
    _check_optimizer(model["optimizer"])
    for name in ("schedule", "solver"):
        require(config[name] is None, name, "...", "nothing (~schedule): a classifier does not denoise")


def _check_times(times: dict[str, Any] | None) -> None:
    """None of a model that has none."""
    if times is None:
        return
    one_of("model.times.law", times["law"], ["uniform", "logit_normal"])
    location, scale = times["location"], times["scale"]
    require(math.isfinite(location), "model.times.location", location, "a finite number")
    require(0 < scale < math.inf, "model.times.scale", scale, "a positive number")
    for name, value, idle in (("location", location, 0), ("scale", scale, 1)):
        used = times["law"] == "logit_normal" or value == idle
        require(used, f"model.times.{name}", value, "of use with model.times.law=logit_normal only")


def _check_schedule(model: dict[str, Any], schedule: dict[str, Any] | None, solver: dict[str, Any] | None) -> None:
    require(schedule is not None, "schedule", None, "ddpm, cosine, flow or additive")
    assert schedule is not None
    path, prediction = schedule["path"], schedule["prediction"]
    if model["_target_"].endswith("OneStepModule"):
        most = path.get("T", 1)
        require(prediction == "x_0", "schedule.prediction", prediction, "x_0 for this model (try schedule=additive)")
        require(0 < model["t"] <= most, "model.t", model["t"], f"more than 0 and at most {most}")
        require("T" not in path or model["t"] % 1 == 0, "model.t", model["t"], f"an integer, 1 to {most}")
    else:
        additive = path["_target_"].endswith("Additive")
        require(
            not additive, "schedule", "additive", "ddpm, cosine or flow for this model: additive never ends in noise"
        )
    # eps says nothing of x_0 where there is no signal left, as at the noisiest time of rectified flow
    zero = path.get("zero_terminal_snr", False)
    flow = path["_target_"].endswith("RectifiedFlow")
    text = _takes_text(model["_target_"])
    if text:
        kind = path["_target_"].rsplit(".")[-1]
        require(kind == "Cosine", "schedule", kind, "cosine for this model, whose pipeline is DeepFloyd IF's")
        for name, value in (("T", 1000), ("max_beta", 0.999)):
            require(
                path[name] == value, f"schedule.path.{name}", path[name], f"{value} for this model, as DeepFloyd IF's"
            )
    kinds = ["velocity", "x_0"] if flow or zero else ["eps", "velocity"] if text else ["eps", "x_0", "velocity"]
    one_of("schedule.prediction", prediction, kinds)
    if "T" in path:
        require(path["T"] > 0, "schedule.path.T", path["T"], "a positive number of steps")
        require(path["T"] > 1 or not zero, "schedule.path.T", path["T"], "2 or more with zero_terminal_snr")
    if "max_beta" in path:
        require(0 < path["max_beta"] < 1, "schedule.path.max_beta", path["max_beta"], "more than 0 and less than 1")
    if "beta_start" in path:
        start, end = path["beta_start"], path["beta_end"]
        require(0 < start < 1, "schedule.path.beta_start", start, "more than 0 and less than 1")
        require(0 < end < 1, "schedule.path.beta_end", end, "more than 0 and less than 1")
    check_solver(solver, learned=text)
    moved = text and solver is not None and solver["name"] in INCREMENTAL
    require(not moved, "solver", (solver or {}).get("name"), "ddpm_learned, ddpm, ddim or dpmpp for this model")


def check_solver(solver: dict[str, Any] | None, learned: bool = True) -> None:
    """Raises ConfigError for an option out of range; `learned`: whether the model may have learned its variance."""
    if solver and solver["name"] == "ddpm":
        one_of("solver.variance", solver["variance"], ["beta", "posterior", *["learned"] * learned])
    if solver and solver["name"] == "ddim":
        require(0 <= solver["eta"] <= 1, "solver.eta", solver["eta"], "0 to 1")


def check_interval(key: str, interval: list[float]) -> None:
    """Raises ConfigError for an interval that `denoise.Guide` does not take."""
    good = len(interval) == 2 and 0 <= interval[0] < interval[1] <= 1
    require(good, key, interval, "[low, high] with 0 <= low < high <= 1, times as shares of the noisiest")


def check_ranks(key: str, node: dict[str, Any]) -> None:
    """Raises ConfigError unless node has a number of devices and of nodes."""
    require(node["num_nodes"] > 0, f"{key}.num_nodes", node["num_nodes"], "a positive number of nodes")
    devices = node["devices"]
    good = devices == "auto" or (type(devices) is int and devices > 0)
    require(good, f"{key}.devices", devices, "auto or a number > 0")
    started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else None
    if started and devices != "auto":  # each process would be a run of its own otherwise
        ranks = devices * node["num_nodes"]
        allowed = f"with {key}.num_nodes={node['num_nodes']} what makes {started}, the processes that torchrun started"
        require(ranks == started, f"{key}.devices", devices, allowed)


def check_pair(model: str | None, data: str | None) -> None:
    """Raises ConfigError for a model and data, given by their targets, of which only one is about captions."""
    kind, shown = (str(target).rsplit(".")[-1] for target in (model, data))
    allowed = CAPTIONED if kind in TEXT_MODELS else LABELLED
    if kind in TEXT_MODELS | LABEL_MODELS and shown in CAPTIONED | LABELLED and shown not in allowed:
        given, name = (CAPTIONED | LABELLED)[shown], (TEXT_MODELS | LABEL_MODELS)[kind]
        raise ConfigError(f"data={given}: allowed with model={name} are {', '.join(allowed.values())}")


def check_data(data: dict[str, Any]) -> None:
    """Raises ConfigError for a value out of its range, or a captions file that cannot be used."""
    kind = data["_target_"].rsplit(".")[-1]
    if kind == "ColouredMNIST":
        require(data["resolution"] in (32, 64), "data.resolution", data["resolution"], "32 or 64")
    if kind == "CaptionedFolder":
        train, test = _check_folder(data)
    else:
        if "size" in data:
            require(data["size"] >= 10, "data.size", data["size"], "10 or more, an image of each class")
        train, test = (data["size"], data["size"]) if "size" in data else MNIST_SIZES
    batch, validation, steps = data["batch_size"], data["val_size"], data["steps_per_epoch"]
    require(1 <= validation <= test, "data.val_size", validation, f"1 to {test} images")
    require(1 <= batch <= train, "data.batch_size", batch, f"1 to {train} images per rank")
    most = train // batch
    require(steps is None or 1 <= steps <= most, "data.steps_per_epoch", steps, f"null (all) or 1 to {most}")


def _check_folder(data: dict[str, Any]) -> tuple[int, int]:
    """The number of training images, and how many could be held out. A picture may still turn out to be damaged."""
    resolution = data["resolution"]
    good = resolution >= 16 and resolution % 8 == 0
    require(good, "data.resolution", resolution, "a multiple of 8, 16 or more")
    one_of("data.bad_rows", data["bad_rows"], BAD_ROWS)
    try:
        rows = read_rows(data["folder"], data["captions"])
        rows.accept(data["bad_rows"])
    except DataError as error:
        raise ConfigError(str(error)) from error
    count = len(rows.pictures)
    return count - data["val_size"], count - 1


def _check_trainer(trainer: dict[str, Any]) -> None:
    require(trainer["max_epochs"] > 0, "trainer.max_epochs", trainer["max_epochs"], "a positive number of epochs")
    check_ranks("trainer", trainer)
    one_of("trainer.precision", trainer["precision"], PRECISIONS)
    one_of("trainer.accelerator", trainer["accelerator"], ACCELERATORS)
    one_of("trainer.strategy", trainer["strategy"], ["auto", "ddp"])
    clip = trainer["gradient_clip_val"]
    require(clip is None or clip > 0, "trainer.gradient_clip_val", clip, "null (none) or a positive norm")
    steps = trainer["sampling_steps"]
    require(steps is None or steps > 0, "trainer.sampling_steps", steps, "null (no cap) or a positive number")
    images = trainer["evaluated_images"]
    good = images is None or images >= FEWEST_SAMPLES
    require(good, "trainer.evaluated_images", images, f"null (no cap) or {FEWEST_SAMPLES} or more")


def _check_callbacks(config: dict[str, Any], asked: set[str]) -> None:
    callbacks, last = config["callbacks"], config["trainer"]["max_epochs"]
    require(callbacks["metrics"]["every"] > 0, "callbacks.metrics.every", callbacks["metrics"]["every"], "1 or more")
    decay = callbacks["ema"]["decay"]
    require(decay is None or 0 < decay < 1, "callbacks.ema.decay", decay, "null (off), or more than 0 and less than 1")
    warmup = callbacks["ema"]["warmup"]
    require(not warmup or decay is not None, "callbacks.ema.warmup", warmup, "of use with a callbacks.ema.decay only")
    _check_beside(config["beside"], grids=callbacks["samples"] is not None)
    for name, callback in callbacks.items():
        if callback and callback.get("epochs"):
            key, epochs = f"callbacks.{name}.epochs", callback["epochs"]
            inside = [epoch for epoch in epochs if 1 <= epoch <= last]
            if key in asked or min(epochs) < 1:
                require(inside == epochs, key, epochs, f"epochs from 1 to trainer.max_epochs={last}")
            callback["epochs"] = inside if inside == epochs else sorted({*inside, last})
    kind, denoising = config["model"]["_target_"].rsplit(".")[-1], callbacks["denoising"]
    belong = {
        "ClassifierModule": ("classifier",),
        "OneStepModule": ("panels", "denoising", "pure_noise"),
        "TextModule": ("samples", "pipeline"),
        "UpscalerModule": ("upscaled", "pipeline"),
    }
    names = ("panels", "denoising", "pure_noise", "samples", "upscaled", "quality", "classifier", "pipeline")
    for name in names:
        mine = name in belong.get(kind, ("samples", "quality"))
        require(mine or callbacks[name] is None, f"callbacks.{name}", "on", "null for this model")
    for name, node in (("panels", callbacks["panels"]), ("denoising", denoising)):
        if node:
            path = config["schedule"]["path"]["_target_"].rsplit(".")[-1]
            why = "null unless schedule=additive, whose sigmas it shows"
            require(path == "Additive", f"callbacks.{name}", "on", why)
            sigmas = node["sigmas"]
            good = bool(sigmas) and all(0 <= sigma < math.inf for sigma in sigmas) and len(set(sigmas)) == len(sigmas)
            require(good, f"callbacks.{name}.sigmas", sigmas, "one or more numbers >= 0 that differ")
    if denoising:
        require(denoising["count"] > 1, "callbacks.denoising.count", denoising["count"], "2 images or more")
    if callbacks["panels"]:
        digits = callbacks["panels"]["digits"]
        require(1 <= digits <= 10, "callbacks.panels.digits", digits, "1 to 10")
    if callbacks["pure_noise"]:
        require(
            callbacks["pure_noise"]["count"] > 0, "callbacks.pure_noise.count", callbacks["pure_noise"]["count"], "> 0"
        )
    if callbacks["samples"]:
        _check_samples(config, callbacks["samples"])
    if callbacks["upscaled"]:
        _check_upscaled(config, callbacks["upscaled"])
    if callbacks["quality"]:
        _check_quality(config, callbacks["quality"])


def _check_beside(runs: list[str], grids: bool) -> None:
    """Whether there is something to show, before a run has trained an epoch for it."""
    labels = set()
    for run in map(Path, runs):
        try:
            labels.add(run_label(run))
        except (OSError, ValueError):
            require(False, "beside", run, "run directories, with a config.yaml that has a name")
        require(bool(read_losses(run)[0]), "beside", run, "runs with losses in their metrics.csv")
        require(bool(not grids or sample_grids(run)), "beside", run, "runs with a figures/samples_epoch_NNN.png")
    require(len(labels) == len(runs), "beside", runs, "directories whose last two names differ")


def _check_samples(config: dict[str, Any], samples: dict[str, Any]) -> None:
    key, classes = "callbacks.samples", config["model"]["net"].get("num_classes", 0)
    scale, text = samples["guidance_scale"], _takes_text(config["model"]["_target_"])
    guides = bool(classes) or text
    require(guides or scale is None, f"{key}.guidance_scale", scale, "null: this model has no classes to guide by")
    require(scale is None or math.isfinite(scale), f"{key}.guidance_scale", scale, "null (off) or a finite number")
    interval = samples["guidance_interval"]
    if interval is not None:
        none = f"{key}.guidance_scale is null" if guides else "this model has no classes to guide by"
        require(scale is not None, f"{key}.guidance_interval", interval, f"null: {none}")
        check_interval(f"{key}.guidance_interval", interval)
    asked = "digits" if classes else "prompts" if text else "columns"
    for name in {"digits", "prompts", "columns"} - {asked}:
        value = samples[name]
        require(value is None, f"{key}.{name}", value, f"null for this model, whose grid has {asked}")
    require(samples["rows"] > 0, f"{key}.rows", samples["rows"], "a positive number")
    if classes:
        digits = samples["digits"]
        good = bool(digits) and all(0 <= digit < classes for digit in digits)
        require(good, f"{key}.digits", digits, f"classes from 0 to {classes - 1}")
    elif text:
        require(bool(samples["prompts"]), f"{key}.prompts", samples["prompts"], "one prompt or more")
        require(not samples["zero_class"], f"{key}.zero_class", True, "false: this model has no classes")
    else:
        columns = samples["columns"]
        require(columns is not None and columns > 0, f"{key}.columns", columns, "a positive number")
    require(config["solver"] is not None, "solver", None, "ddpm, ddim, euler or heun: callbacks.samples needs one")
    steps, T = samples["steps"], config["schedule"]["path"].get("T")
    most = f"1 to schedule.path.T={T}" if T else "a positive number"
    require(steps > 0 and (T is None or steps <= T), f"{key}.steps", steps, most)


def _check_upscaled(config: dict[str, Any], upscaled: dict[str, Any]) -> None:
    key, T = "callbacks.upscaled", config["schedule"]["path"]["T"]
    require(config["solver"] is not None, "solver", None, "ddpm_learned, ddpm, ddim or dpmpp: it is needed here")
    require(1 <= upscaled["steps"] <= T, f"{key}.steps", upscaled["steps"], f"1 to schedule.path.T={T}")
    require(upscaled["columns"] > 0, f"{key}.columns", upscaled["columns"], "a positive number of pictures")
    require(0 <= upscaled["noise_level"] < T, f"{key}.noise_level", upscaled["noise_level"], f"0 to {T - 1}")
    scale = upscaled["guidance_scale"]
    require(math.isfinite(scale), f"{key}.guidance_scale", scale, "a finite number")


def _check_quality(config: dict[str, Any], quality: dict[str, Any]) -> None:
    """Only where some epoch is asked for: it is part of every model of digits, and off."""
    key, classes = "callbacks.quality", config["model"]["net"]["num_classes"]
    scales, steps, T = quality["guidance_scales"], quality["steps"], config["schedule"]["path"].get("T")
    if not quality["epochs"]:
        return
    data = config["data"]["_target_"].rsplit(".")[-1]
    require(data != "FashionMNIST", f"{key}.epochs", quality["epochs"], "[] for data=fashion_mnist: it judges digits")
    none = "null: this model has no classes to guide by"
    require(bool(classes) or scales is None, f"{key}.guidance_scales", scales, none)
    good = scales is None or (
        bool(scales) and len(set(scales)) == len(scales) and all(0 <= scale <= MOST_GUIDANCE for scale in scales)
    )
    allowed = f"null (off) or one or more numbers from 0 to {MOST_GUIDANCE} that differ"
    require(good, f"{key}.guidance_scales", scales, allowed)
    interval = quality["guidance_interval"]
    if interval is not None:
        require(scales is not None, f"{key}.guidance_interval", interval, "null without guidance_scales")
        check_interval(f"{key}.guidance_interval", interval)
    require(
        config["solver"] is not None, "solver", None, "ddpm, ddim, euler, heun or dpmpp: callbacks.quality needs one"
    )
    least = f"{FEWEST_SAMPLES} or more"
    require(quality["samples"] >= FEWEST_SAMPLES, f"{key}.samples", quality["samples"], least)
    require(quality["batch_size"] > 0, f"{key}.batch_size", quality["batch_size"], "a positive number")
    most = f"1 to schedule.path.T={T}" if T else "a positive number"
    require(steps > 0 and (T is None or steps <= T), f"{key}.steps", steps, most)
