"""Train a pixel diffusion model: python train.py experiment=NAME [group=choice] [key=value]."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from denoiselab.config import (
    ConfigError,
    going_on,
    one_line_errors,
    rank,
    register,
    run_script,
    same_config,
    save_config,
    train_config,
)
from denoiselab.imports import quick_imports
from denoiselab.runs import held, last_val_loss, measured_epochs, removed_if_empty, run_place

CONFIG = Path(__file__).with_name("conf") / "train.yaml"
register()


@hydra.main(version_base="1.3", config_path=str(CONFIG.parent), config_name=CONFIG.stem)
def main(cfg: DictConfig) -> float | None:
    """Runs one job and returns the val_loss of its last epoch, which a sweeper minimises."""
    job = HydraConfig.get()
    sweep = job.sweep.dir if job.mode is RunMode.MULTIRUN else None
    with one_line_errors(), removed_if_empty(Path(job.runtime.output_dir)):
        config = train_config(cfg, job.overrides.task)
        if sweep:
            one_process = {"strategy": "auto", "devices": 1, "num_nodes": 1}
            for name, allowed in one_process.items():
                value = config["trainer"][name]
                why = f"allowed in a sweep (-m) is {allowed}, every rank would replay the sweep"
                if value != allowed:
                    raise ConfigError(f"trainer.{name}={value}: {why}")
        directory = Path(config["resume"] or job.runtime.output_dir)
        with held(directory) if rank() == 0 else nullcontext():
            begun = (directory / "checkpoints" / "last.ckpt").exists()
            if rank() == 0 and begun and not config["resume"]:
                if not (sweep and same_config(config, directory)):
                    key = "hydra.sweep.dir" if sweep else "hydra.run.dir"
                    raise ConfigError(f"{key}={directory}: holds a run; go on with resume={directory}, or take another")
                config = going_on(config, directory)  # the sweep was stopped, and is typed again
            value = train(config, directory, sweep)
            if sweep:
                from denoiselab.sweeps import draw_sweep

                draw_sweep(Path(sweep))
            return value


def train(config: dict[str, Any], directory: Path, sweep: str | None) -> float | None:
    """Compose -> fit -> figures. The heavy imports are here, after every mistake that needs none has been answered."""
    with quick_imports():
        import lightning as L
        import torch
        from hydra.utils import instantiate
        from lightning.pytorch.callbacks import LambdaCallback

        from denoiselab.allocator import keep_freed_memory
        from denoiselab.training import (
            Checkpoints,
            NotFinite,
            Preempted,
            check_devices,
            default_precision,
            load_for_resume,
            recording,
            resolve_accelerator,
        )

    check_devices(config["trainer"]["accelerator"], config["trainer"]["devices"])
    accelerator = resolve_accelerator(config["trainer"]["accelerator"])
    if accelerator == "cpu":
        keep_freed_memory()
    if config["trainer"]["precision"] == "auto":  # once: the run's files say what it is, and it goes on so
        config["trainer"]["precision"] = default_precision(accelerator)
    L.seed_everything(config["seed"], verbose=False)  # the initial weights; all else has generators of its own
    module = instantiate(config["model"], **instantiate(config["schedule"] or {}), seed=config["seed"])
    module.run_config = config
    data = instantiate(config["data"], seed=config["seed"])
    checkpoint, complete = None, False
    if config["resume"]:
        checkpoint = directory / "checkpoints" / "last.ckpt"
        done, asked = load_for_resume(checkpoint, module), config["trainer"]["max_epochs"]
        measures = [node for node in map(config["callbacks"].get, ("denoising", "quality")) if node]
        to_measure = any(done in node["epochs"] for node in measures) and done not in measured_epochs(directory)
        complete = done >= asked
        if complete and rank() == 0:
            more = "" if sweep else "; give trainer.max_epochs=N for more"
            print(f"{directory}: complete after epoch {done}{', but for measuring it' if to_measure else more}")
        if complete and not to_measure:
            return last_val_loss(directory) if sweep else None
    if rank() == 0:
        save_config(config, directory)

    settings = dict(config["trainer"])
    if settings.pop("channels_last"):
        module.to(memory_format=torch.channels_last)
    if settings.pop("compile"):
        module.net.compile()
    sampling_steps = settings.pop("sampling_steps")
    evaluated_images = settings.pop("evaluated_images")
    callbacks = make_callbacks(config, directory, sampling_steps, evaluated_images)
    if complete:  # Only measuring is left, which begins another epoch; of no epoch Lightning would call nothing.
        settings["max_epochs"] = done + 1
        callbacks.append(LambdaCallback(on_train_start=lambda trainer, module: setattr(trainer, "should_stop", True)))
    logger = make_logger(config, directory, sweep)
    try:
        with recording(logger):
            trainer = instantiate(settings, directory=directory, callbacks=callbacks, logger=logger or False)
            if trainer.is_global_zero:
                millions = sum(parameter.numel() for parameter in module.net.parameters()) / 1e6
                where = f"{trainer.precision} on {trainer.strategy.root_device}"
                print(f"{config['name']}: {millions:.3f} M parameters, {where}")
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except Preempted as stop:
        if rank() == 0:
            print(f"{stop}; go on with: python train.py resume={directory}")
        if sweep is None:
            return None
        sys.exit()  # what stops a job stops the jobs that would follow in this process
    except NotFinite as stop:
        if sweep is None:
            raise
        print(f"error: {stop}")  # the worst there is, and the sweep goes on
        return float("inf")
    if trainer.is_global_zero:
        print(f"pictures: {directory / 'figures'}")
    checkpoints = next(callback for callback in callbacks if isinstance(callback, Checkpoints))
    if sweep and checkpoints.signal:  # which had nothing to stop: it came in the last epoch
        sys.exit()
    value = trainer.callback_metrics.get("val_loss")
    return last_val_loss(directory) if value is None else float(value)


def make_callbacks(
    config: dict[str, Any], directory: Path, sampling_steps: int | None, evaluated_images: int | None
) -> list[Any]:
    """The callbacks that the config has on, in the order of its schema."""
    from hydra.utils import instantiate

    callbacks = []
    for name, node in config["callbacks"].items():
        if node is None or (name == "ema" and node["decay"] is None):
            continue
        extra: dict[str, Any] = {} if name == "ema" else {"directory": directory}
        if name in ("samples", "loss_curve"):
            extra["beside"] = config["beside"]
        if name in ("samples", "upscaled", "quality"):
            extra["solver"] = instantiate(config["solver"])
            extra["steps"] = min(node["steps"], sampling_steps or node["steps"])
        if key := {"denoising": "count", "quality": "samples"}.get(name):
            extra[key] = min(node[key], evaluated_images or node[key])
        callbacks.append(instantiate(node, **extra, _convert_="all"))
    return callbacks


def make_logger(config: dict[str, Any], directory: Path, sweep: str | None) -> Any:
    """The logger that the config has on, or None. Runs of a sweep are grouped under the sweep's directory name."""
    from denoiselab.training import wandb_logger

    settings = config["logger"]
    if not settings or rank() > 0:
        return None
    group = settings["group"] or (sweep and run_place(Path(sweep)))
    return wandb_logger(directory, config["name"], config, **{**settings, "group": group})


if __name__ == "__main__":
    run_script(main, CONFIG)
