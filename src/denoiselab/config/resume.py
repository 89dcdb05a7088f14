"""The config of the run at hand: as composed, or, with resume=DIR, as DIR/config.yaml has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from denoiselab.config.check import ConfigError, check
from denoiselab.config.schema import TrainConfig, TrainerConfig
from denoiselab.files import write_atomically
from denoiselab.runs import recipe


def train_config(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The checked config of train.py as a plain container.

    With resume=DIR it is the one that DIR/config.yaml holds; only trainer.KEY=VALUE may change (more epochs, another
    device), and the runs it is shown beside, since anything else would be another run. What was to happen after the
    last epoch happens after the new last one too.

    Args:
        cfg: as Hydra composed it.
        overrides: the command line's KEY=VALUE words.
    """
    values = dict(override.lstrip("+~").split("=", 1) for override in overrides if "=" in override)
    if values.get("lever", "").startswith("["):
        raise ConfigError(f"lever={values['lever']}: allowed is one, a run is named by it")
    if cfg.resume is None:
        config = check(cfg, asked=values)
        _check_lever(config, overrides)
        return config
    directory = Path(cfg.resume)
    path = directory / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"resume={directory}: allowed is a run directory, and this has no config.yaml")
    checkpoint = directory / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise ConfigError(f"resume={directory}: nothing to resume, {checkpoint} is missing")
    try:
        saved = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.create(_saved(directory)))
    except Exception as error:
        raise ConfigError(f"resume={directory}: {path} cannot be read: {str(error).splitlines()[0]}") from error
    before = saved.trainer.max_epochs
    for name, value in values.items():
        if name == "resume" or name.startswith("hydra"):
            continue
        if name != "beside" and not name.startswith("trainer."):
            keys = ", ".join(_trainer_keys())
            raise ConfigError(f"{name}={value}: allowed beside resume are beside and trainer.{{{keys}}}")
        OmegaConf.update(saved, name, OmegaConf.select(cfg, name))
    saved.resume = str(directory)
    try:
        config = check(saved)  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"resume={directory}: {path} is not a config of train.py ({error!r})") from error
    except ConfigError as error:
        raise ConfigError(f"resume={directory}: {error}") from None
    if config["trainer"]["max_epochs"] > before:
        for callback in filter(None, config["callbacks"].values()):
            if before in callback.get("epochs", []):
                callback["epochs"].append(config["trainer"]["max_epochs"])
    return config


def _check_lever(config: dict[str, Any], overrides: Sequence[str]) -> None:
    """Raises ConfigError for a lever that leaves the experiment as it is: a sweep would train it twice."""
    if config["lever"] == "none":
        return
    without = compose("train", [word for word in overrides if not word.startswith("lever=")])
    try:
        same = recipe(check(without)) == recipe(config)
    except ConfigError:  # which the lever mends
        return
    if same:
        changes = "what changes the recipe, which is the same without it"
        raise ConfigError(f"lever={config['lever']}: allowed for {config['name']} is {changes}")


def _saved(directory: Path) -> Any:
    """What DIR/config.yaml holds."""
    return yaml.safe_load((directory / "config.yaml").read_text()) or {}


def _trainer_keys() -> list[str]:
    return [name for name in TrainerConfig.__annotations__ if not name.startswith("_")]


def same_config(config: dict[str, Any], directory: Path) -> bool:
    """Whether DIR/config.yaml is this config, of which trainer.precision=auto is what the run began with."""
    saved = _saved(directory)
    if config["trainer"]["precision"] == "auto":
        saved["trainer"]["precision"] = "auto"
    return bool(saved == {**config, "resume": None})


def going_on(config: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The same config, see `same_config`, to go on with the run in DIR, in the precision that it began in."""
    precision = _saved(directory)["trainer"]["precision"]
    return {**config, "resume": str(directory), "trainer": {**config["trainer"], "precision": precision}}


def save_config(config: dict[str, Any], directory: Path) -> None:
    """Writes DIR/config.yaml."""
    with write_atomically(directory / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump({**config, "resume": None}, sort_keys=False))
