"""Schemas, YAML and signatures say the same, and everything shipped in conf/ can be built."""

from __future__ import annotations

import inspect
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from composing import CONF, TINY, answer, checked, composed, load_train
from hydra.utils import instantiate

from denoiselab.config.sample_schema import SAMPLE_SCHEMAS
from denoiselab.config.schema import (
    SCHEMAS,
    CallbacksConfig,
    OptimizerConfig,
    TimesConfig,
    TrainerConfig,
    UNetConfig,
    WandbConfig,
    run_directory,
)
from denoiselab.sample import evaluations

train = load_train()

# What train.py takes from elsewhere in the config and passes beside a node's own keys.
PASSED = {
    "model": {"path", "prediction", "seed"},
    "data": {"seed"},
    "callbacks": {"directory", "solver", "beside"},
    "trainer": {"directory", "callbacks", "logger"},
    "logger": {"directory", "name", "run_config"},
}
# What train.py itself obeys, and does not pass on to make_trainer.
OBEYED = {"channels_last", "compile", "sampling_steps", "evaluated_images"}


def group_files(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in SAMPLE_SCHEMAS)
EXPERIMENTS = group_files("experiment")
CHOICES = [(group, name) for group in GROUPS if group not in ("experiment", "sweep") for name in group_files(group)]
# A choice that goes with another model or schedule than the default ones.
COMPANIONS = {
    ("model", "denoiser"): ["schedule=additive"],
    ("schedule", "additive"): ["model=denoiser"],
    ("callbacks", "denoiser"): ["model=denoiser", "schedule=additive"],
    ("callbacks", "pure_noise"): ["model=denoiser", "schedule=additive"],
    ("callbacks", "samples"): ["model=time_unet"],
    ("callbacks", "digit_classifier"): ["model=digit_classifier", "~schedule"],
    ("model", "digit_classifier"): ["~schedule"],
}
TEXT = ["data=coloured_mnist", "schedule=cosine", "schedule.path.T=1000"]
COMPANIONS |= {
    ("model", "text_unet"): TEXT,
    ("model", "upscaler_unet"): [*TEXT, "data.resolution=64"],
    ("callbacks", "text_samples"): ["model=text_unet", *TEXT],
    ("callbacks", "upscaled"): ["model=upscaler_unet", *TEXT, "data.resolution=64"],
    ("solver", "ddpm_learned"): ["model=text_unet", *TEXT],
    ("data", "coloured_mnist"): ["model=text_unet", *TEXT[1:]],
    ("data", "captioned_folder"): ["model=text_unet", *TEXT[1:], "data.folder=FOLDER", "data.batch_size=4"],
}
COMPANIONS |= {("lever", name): ["experiment=quickstart"] for name in group_files("lever")}


def targets() -> list[tuple[str, str, type]]:
    """(group, _target_, schema) of every node that is instantiated."""
    found: list[tuple[str, str, type]] = [
        ("net", UNetConfig._target_, UNetConfig),
        ("optimizer", OptimizerConfig._target_, OptimizerConfig),
        ("times", TimesConfig._target_, TimesConfig),
        ("trainer", TrainerConfig._target_, TrainerConfig),
        ("logger", "denoiselab.training.wandb_logger", WandbConfig),
        ("data", "denoiselab.data.MNIST", SCHEMAS["data"]["downloaded"]),
        ("data", "denoiselab.data.FashionMNIST", SCHEMAS["data"]["downloaded"]),
        ("data", "denoiselab.data.ColouredMNIST", SCHEMAS["data"]["coloured_mnist"]),
        ("data", "denoiselab.data.CaptionedFolder", SCHEMAS["data"]["captioned_folder"]),
        ("data", "denoiselab.data.Synthetic", SCHEMAS["data"]["synthetic"]),
    ]
    found += [("model", schema._target_, schema) for schema in SCHEMAS["model"].values()]  # type: ignore[attr-defined]
    for schema in SCHEMAS["schedule"].values():
        path = schema().path
        found.append(("path", path._target_, type(path)))
    for name in ("metrics", "ema", "loss_curve", "checkpoints"):
        node = getattr(CallbacksConfig(), name)
        found.append(("callbacks", node._target_, type(node)))
    optional = [field.type for field in fields(CallbacksConfig) if str(field.type).endswith("| None")]
    module = import_module("denoiselab.config.schema")
    schemas = [getattr(module, str(kind).removesuffix(" | None")) for kind in optional]
    return found + [("callbacks", schema._target_, schema) for schema in schemas]


@pytest.mark.parametrize(("group", "target", "schema"), targets(), ids=lambda value: getattr(value, "__name__", value))
def test_a_schema_has_the_keys_that_its_target_takes(group: str, target: str, schema: type) -> None:
    module, _, name = target.rpartition(".")
    parameters = set(inspect.signature(getattr(import_module(module), name)).parameters)
    keys = {field.name for field in fields(schema)} - {"_target_"}
    assert keys - (OBEYED if group == "trainer" else set()) == parameters - PASSED.get(group, set())


def test_solver_schemas_have_the_keys_that_the_solvers_take() -> None:
    for name in group_files("solver"):
        solver = composed(f"solver={name}").solver
        instantiate(solver)
        assert solver.name == name.removesuffix("_learned")
        options = getattr(instantiate(solver), "keywords", {})  # of a partial; dpmpp is an object without options
        assert options.keys() == set(solver) - {"_target_", "name"}


def test_every_schema_is_used_by_a_shipped_file() -> None:
    used = {word for path in CONF.rglob("*.yaml") for word in _defaults(path)}
    for group, schemas in SCHEMAS.items():
        for name in schemas:
            assert f"{name}_schema" in used, f"{group}/{name}"


def _defaults(path: Path) -> list[str]:
    return [entry for entry in (yaml.safe_load(path.read_text()) or {}).get("defaults", []) if isinstance(entry, str)]


def narrow(words: list[str]) -> list[str]:
    """The words that make the network of these a small one."""
    return ["model.net.widths=[8,32]"] if "widths" in composed(*words).model.net else ["model.net.width=8"]


def build(config: dict[str, Any], directory: Path) -> None:
    """Everything that train.py builds before it fits."""
    module = instantiate(config["model"], **instantiate(config["schedule"] or {}), seed=config["seed"])
    data = instantiate(config["data"], seed=config["seed"])
    assert data.batch_size == config["data"]["batch_size"]
    settings = {name: value for name, value in config["trainer"].items() if name not in OBEYED}
    callbacks = train.make_callbacks(config, directory, config["trainer"]["sampling_steps"], None)
    trainer = instantiate(settings, directory=directory, callbacks=callbacks, logger=False)
    assert trainer.max_epochs == config["trainer"]["max_epochs"]
    assert sum(p.numel() for p in module.parameters()) > 0


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_built(name: str, tmp_path: Path) -> None:
    config = checked(f"experiment={name}", *narrow([f"experiment={name}"]))
    assert config["name"] == name
    build(config, tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing is written or fetched before the fit


@pytest.mark.parametrize("name", [name for name in group_files("lever") if name != "none"])
def test_a_lever_changes_the_recipe_and_says_its_name(name: str) -> None:
    plain, pulled = checked("experiment=quickstart"), checked("experiment=quickstart", f"lever={name}")
    assert pulled.pop("lever") == name and plain.pop("lever") == "none"
    assert pulled != plain


@pytest.mark.parametrize(("group", "name"), CHOICES, ids="-".join)
def test_every_choice_of_a_group_is_built(group: str, name: str, tmp_path: Path, captioned_folder: Path) -> None:
    others = [word.replace("FOLDER", str(captioned_folder)) for word in COMPANIONS.get((group, name), [])]
    words = [*others, f"{group}={name}", "trainer.accelerator=cpu", "trainer.devices=1"]
    config = checked(*words, *narrow(words))
    build(config, tmp_path)


@pytest.mark.parametrize("name", group_files("sweep"))
def test_every_sweep_is_composed_and_its_plugin_found(name: str) -> None:
    cfg = composed(*TINY, f"sweep={name}", hydra=True)
    plugin = {"optuna": cfg.hydra.sweeper, "joblib": cfg.hydra.launcher, "slurm": cfg.hydra.launcher}[name]
    assert instantiate(plugin) is not None


def test_slurm_asks_for_what_a_run_needs() -> None:
    launcher = composed("sweep=slurm", hydra=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node, launcher.timeout_min) == (1, 1, 1, 60)


TWENTY: dict[str, Any] = {"trainer.max_epochs": 20, "data.batch_size": 64, "model.net.width": 64}
TWENTY |= {"data._target_": "denoiselab.data.MNIST"}
DENOISER: dict[str, Any] = {
    "trainer.max_epochs": 5,
    "data.batch_size": 256,
    "model.net.width": 128,
    "model.optimizer.lr": 1e-4,
    "model.optimizer.schedule": "constant",
    "model.optimizer.warmup_steps": 0,
}
DECAY: dict[str, Any] = {"model.optimizer.schedule": "exponential", "model.optimizer.final": 0.1}
DECAY |= {"trainer.gradient_clip_val": None}
FLOW: dict[str, Any] = {"schedule.path._target_": "denoiselab.noise.RectifiedFlow", "schedule.prediction": "velocity"}
FLOW |= {"solver.name": "euler", "callbacks.samples.steps": 300}
DDPM: dict[str, Any] = {"schedule.path.T": 300, "schedule.path.beta_start": 1e-4, "schedule.path.beta_end": 0.02}
DDPM |= {"schedule.prediction": "eps", "solver.name": "ddpm", "solver.variance": "beta", "callbacks.samples.steps": 300}
CLASSES: dict[str, Any] = {
    "model.class_dropout": 0.1,
    "model.net.num_classes": 10,
    "model.net.time": "add",
    "callbacks.samples.guidance_scale": 5.0,
    "callbacks.samples.rows": 4,
    "callbacks.samples.digits": list(range(10)),
    "callbacks.samples.epochs": [1, 5, 20],
    "callbacks.samples.zero_class": True,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "denoiser": DENOISER
    | {
        "model.t": 0.5,
        "schedule.path._target_": "denoiselab.noise.Additive",
        "callbacks.panels.sigmas": [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0],
        "callbacks.panels.epochs": [1, 5],
        "callbacks.denoising.sigmas": [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0],
        "callbacks.denoising.epochs": [5],
        "callbacks.denoising.count": 10_000,
    },
    "denoiser_pure_noise": DENOISER
    | {
        "model.t": 1.0,
        "schedule.path._target_": "denoiselab.noise.RectifiedFlow",
        "schedule.prediction": "x_0",
        "callbacks.pure_noise.epochs": [1, 5],
        "callbacks.panels": None,
        "callbacks.denoising": None,
        "callbacks.samples": None,
    },
    "time_flow": TWENTY
    | DECAY
    | FLOW
    | {"model.optimizer.lr": 1e-2, "model.net.time": "multiply", "callbacks.samples.epochs": [1, 5, 10, 20]},
    "time_ddpm": TWENTY
    | DECAY
    | DDPM
    | {
        "model.optimizer.lr": 1e-3,
        "model.net.time": "add",
        "callbacks.samples.epochs": [1, 2, 3, 4, 5, 16, 17, 18, 19, 20],
    },
    "quickstart": FLOW
    | CLASSES
    | {
        "model.net.width": 24,
        "schedule.prediction": "x_0",
        "data.batch_size": 32,
        "trainer.max_epochs": 1,
        "callbacks.ema.decay": 0.99,
        "callbacks.samples.epochs": [1],
        "callbacks.samples.steps": 20,
        "callbacks.samples.guidance_scale": 2.5,
        "solver.name": "dpmpp",
    },
    "class_flow_best": FLOW
    | CLASSES
    | {
        "model.net.width": 64,
        "model.optimizer.lr": 2e-3,
        "model.optimizer.schedule": "cosine",
        "model.times.law": "logit_normal",
        "schedule.prediction": "x_0",
        "data.batch_size": 32,
        "trainer.max_epochs": 5,
        "callbacks.ema.decay": 0.998,
        "callbacks.samples.epochs": [1, 5],
        "callbacks.samples.steps": 10,
        "callbacks.samples.guidance_scale": 1.5,
        "solver.name": "dpmpp",
    },
    "class_flow": TWENTY | DECAY | FLOW | CLASSES | {"model.optimizer.lr": 1e-2},
    "class_ddpm": TWENTY | DECAY | DDPM | CLASSES | {"model.optimizer.lr": 1e-3},
    "class_flow_constant_lr": TWENTY
    | FLOW
    | CLASSES
    | {"model.optimizer.lr": 5e-3, "model.optimizer.schedule": "constant", "trainer.gradient_clip_val": 1.0},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_experiment_has_the_settings_of_the_write_ups(name: str) -> None:
    config = checked(f"experiment={name}")

    def at(key: str) -> Any:
        value: Any = config
        for word in key.split("."):
            value = value[word]
        return value

    assert {key: at(key) for key in SETTINGS[name]} == SETTINGS[name]


def test_a_lever_is_one() -> None:
    line = answer("experiment=quickstart", "lever=[batch_64,no_average]")
    assert line == "lever=[batch_64,no_average]: allowed is one, a run is named by it"
    assert answer("lever=batch64").startswith("lever=batch64: allowed are batch_64, constant_lr, default_betas, ")


def test_a_lever_changes_something() -> None:
    for name in ("uniform_times", "batch_64", "no_average", "velocity_prediction"):  # what class_flow is already
        line = answer("experiment=class_flow", f"lever={name}")
        assert line == f"lever={name}: allowed for class_flow is what changes the recipe, which is the same without it"
    # A word of the command line wins over a lever.
    assert answer("experiment=quickstart", "lever=batch_64", "data.batch_size=32").startswith("lever=batch_64: ")


def test_the_best_recipe_trains_the_course_s_network_on_the_same_data() -> None:
    best, course = checked("experiment=class_flow_best"), checked("experiment=class_flow")
    assert best["model"]["net"] == course["model"]["net"]
    assert best["model"]["class_dropout"] == course["model"]["class_dropout"]
    assert best["data"] == course["data"] | {"batch_size": best["data"]["batch_size"]}
    assert best["trainer"]["max_epochs"] <= 5 < course["trainer"]["max_epochs"]
    assert evaluations(best["solver"]["name"], best["callbacks"]["samples"]["steps"]) <= 20


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["callbacks.samples.epochs=[1,2]", "trainer.max_epochs=3"], "callbacks.samples.epochs", [1, 2]),
        (["solver=heun"], "solver.name", "heun"),
        (["solver=ddim", "solver.eta=0.5"], "solver.eta", 0.5),
        (["schedule=cosine"], "solver.name", "ddpm"),
        (["schedule=cosine"], "schedule.path.T", 300),
        (["model=time_unet"], "callbacks.samples.columns", 10),
        (["callbacks.ema.decay=0.99"], "callbacks.ema.decay", 0.99),
        (["callbacks.samples=null"], "callbacks.samples", None),
        (["model.class_dropout=0"], "model.class_dropout", 0.0),
        (["experiment=class_flow", "data=fashion_mnist"], "data._target_", "denoiselab.data.FashionMNIST"),
        (["experiment=class_flow", "trainer=smoke"], "callbacks.samples.epochs", [1]),
        (["experiment=class_flow", "trainer.max_epochs=7"], "callbacks.samples.epochs", [1, 5, 7]),
        (["experiment=class_flow", "trainer.max_epochs=20"], "callbacks.samples.epochs", [1, 5, 20]),
    ],
)
def test_what_the_command_line_says_is_done(words: list[str], key: str, value: Any) -> None:
    config: Any = checked(*words)
    for word in key.split("."):
        config = config[word]
    assert config == value


def test_ema_is_off_by_default_and_on_with_a_decay(tmp_path: Path) -> None:
    names = [type(callback).__name__ for callback in train.make_callbacks(checked(), tmp_path, None, None)]
    assert names == ["Metrics", "SampleGrids", "LossCurve", "Checkpoints", "SampleQuality"]
    names = [type(c).__name__ for c in train.make_callbacks(checked("callbacks.ema.decay=0.9"), tmp_path, None, None)]
    assert names == ["Metrics", "SampleGrids", "EMA", "LossCurve", "Checkpoints", "SampleQuality"]


def test_the_run_directory_names_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_directory("train", "class_flow", None).startswith("outputs/train/class_flow/2")
    assert run_directory("train", "class_flow", str(tmp_path)) == str(tmp_path)
    monkeypatch.setenv("RANK", "3")
    assert run_directory("train", "class_flow", None).endswith("rank_3")
    assert run_directory("train", "class_flow", str(tmp_path)) == str(tmp_path)
