"""Sample and edit with a diffusion model: python sample.py backbone.run=TRAIN_DIR edit=NAME [key=value]."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from denoiselab.config import one_line_errors, rank, register, run_script
from denoiselab.config.check import require
from denoiselab.config.sample_schema import SAMPLE_SCHEMAS, SampleConfig
from denoiselab.config.sampling import (
    edit_name,
    input_files,
    prompted_images,
    prompts_to_encode,
    same_run,
    sample_config,
    source_node,
    time_indices,
)
from denoiselab.imports import quick_imports
from denoiselab.runs import held, removed_if_empty, run_place

CONFIG = Path(__file__).with_name("conf") / "sample.yaml"
VERSIONS = ("denoiselab", "torch", "torchvision", "lightning", "diffusers", "transformers")
register("sample", SampleConfig, SAMPLE_SCHEMAS)
OmegaConf.register_new_resolver("edit_name", edit_name, replace=True)


@hydra.main(version_base="1.3", config_path=str(CONFIG.parent), config_name=CONFIG.stem)
def main(cfg: DictConfig) -> None:
    """Runs one edit; exits with status 1 where an image could not be made."""
    job = HydraConfig.get()
    sweep = job.sweep.dir if job.mode is RunMode.MULTIRUN else None
    directory = Path(job.runtime.output_dir)
    with one_line_errors(), removed_if_empty(directory):
        config = sample_config(cfg, job.overrides.task)
        if sweep:
            for key in ("devices", "num_nodes"):
                value = config["fabric"][key]
                require(value == 1, f"fabric.{key}", value, "1 in a sweep (-m), every rank would replay the sweep")
        name_dtype(config)
        if rank() == 0:
            same_run(config, directory)
        with held(directory) if rank() == 0 else nullcontext():
            before = signal.signal(signal.SIGTERM, _terminate)
            try:
                failures = sample(config, directory, sweep)
            except KeyboardInterrupt as stop:
                place = f"hydra.sweep.dir={sweep}" if sweep else f"hydra.run.dir={directory}"
                print(f"stopped; the same command with {place} goes on", file=sys.stderr)
                sys.exit(128 + (signal.SIGTERM if stop.args else signal.SIGINT))
            finally:
                signal.signal(signal.SIGTERM, before)
        if sweep:
            from denoiselab.sweeps import draw_sweep

            draw_sweep(Path(sweep))
        if failures:
            again = f"the same command with hydra.run.dir={directory} tries them again"
            if not sweep:
                sys.exit(1 if rank() > 0 else f"error: {failures} images failed; {again}")
            print(f"error: {failures} images failed; {again}", file=sys.stderr)  # and the sweep goes on


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a run as Ctrl-C does, whose exception has no arguments."""
    raise KeyboardInterrupt(signum)


def name_dtype(config: dict[str, Any]) -> None:
    """Puts what backbone.dtype=auto is here in its place, so that run.json says what a digit model computed in."""
    backbone = config["backbone"]
    if "run" in backbone and backbone["dtype"] == "auto":
        from denoiselab.hardware import fast_dtype

        backbone["dtype"] = fast_dtype(config["fabric"]["accelerator"])


def sample(config: dict[str, Any], directory: Path, sweep: str | None = None) -> int:
    """Encode prompts -> launch ranks -> load -> make images -> figures. Returns how many images are missing."""
    with quick_imports():
        import torch
        from hydra.utils import get_class, instantiate
        from lightning.fabric import Fabric
        from lightning.fabric.strategies import DDPStrategy

        from denoiselab.allocator import keep_freed_memory
        from denoiselab.edit import Sampler
        from denoiselab.jobs import describe, image_path, make_images, missing_images, save_figures, save_record
        from denoiselab.measurement import evaluate, read_as_asked, reference
        from denoiselab.training import check_devices, recording, resolve_accelerator, wandb_logger

    where = config["fabric"] | {"accelerator": resolve_accelerator(config["fabric"]["accelerator"])}
    if where["accelerator"] == "cpu":
        keep_freed_memory()
    check_devices(where["accelerator"], where["devices"], "fabric")
    source, kind = instantiate(source_node(config)), get_class(config["edit"]["_target_"])
    second = config["edit"]["name"] == "upscale"
    if rank() == 0:  # before there are others: they would wait for it, and after a mistake for ever
        first = torch.device(where["accelerator"])
        source.check(first, second, kind.network)
        source.encode(prompts_to_encode(config), first)
        if config["edit"]["name"] == "evaluate":
            reference(config["edit"]["data_root"]).prepare_data()
    one = (where["devices"], where["num_nodes"]) == (1, 1)
    fabric = Fabric(**where, strategy="auto" if one else DDPStrategy(timeout=timedelta(weeks=1)))
    fabric.launch()
    directory = Path(fabric.broadcast(str(directory)))  # every rank composes its own, at its own second
    level = {"noise_level": config["edit"]["noise_level"]} if second else {}
    backbone = source.load(fabric.device, config["max_batch"], second, network=kind.network, **level)
    edit = instantiate_edit(config["edit"], backbone)
    solver = {name: value for name, value in (config["solver"] or {}).items() if name != "_target_"}
    sampler = Sampler(
        backbone,
        time_indices(config),
        solver or None,
        config["seed"],
        progress=config["progress_bar"] and fabric.is_global_zero,
        record=config["animate"],
        guidance_interval=config["guidance_interval"],
        guidance_rescale=config["guidance_rescale"],
    )
    record = {
        "config": config,
        "seed": config["seed"],
        "backbone": backbone.name,
        "revision": backbone.revision,
        "solver": sampler.solver,
        "times": None if config["edit"]["name"] == "evaluate" else sampler.times,
        "versions": {package: version(package) for package in VERSIONS},
        "inputs": input_files(config),
        "images": describe(edit, sampler),
    }
    if fabric.is_global_zero:
        save_record(directory / "run.json", record)
    missing = fabric.broadcast(missing_images(edit, sampler, directory))
    make_images(edit, sampler, directory, missing[fabric.global_rank :: fabric.world_size], config["batch_size"])
    fabric.barrier()
    missing = missing_images(edit, sampler, directory)
    if fabric.is_global_zero:
        pictures, numbers = save_figures(edit, sampler, directory, config["edit"]["name"]), {}
        if config["edit"]["name"] == "evaluate" and not missing:
            numbers = evaluate(config, edit, sampler, directory)
            pictures.append(directory / "figures" / "quality.png")
        elif not missing:
            numbers = read_as_asked(config, edit, sampler, directory)
        save_record(
            directory / "run.json", record | {"failed": [image_path(directory, *image).name for image in missing]}
        )
        settings = config["logger"]
        if settings:
            group = settings["group"] or (sweep and run_place(Path(sweep)))
            logger = wandb_logger(directory, config["edit"]["name"], config, **{**settings, "group": group})
            with recording(logger):
                shown = [str(path) for path in pictures if path.stem.endswith(("preview", "quality"))]
                logger.log_image(config["edit"]["name"], shown)
                logger.log_metrics(numbers)
        print(f"pictures: {directory / 'figures'}")
    return len(missing)


def instantiate_edit(node: dict[str, Any], backbone: Any) -> Any:
    """The edit of a config node, with the pictures that it names loaded at the backbone's size."""
    from hydra.utils import get_class

    from denoiselab.data.pictures import load_picture, picture_size, read_mask
    from denoiselab.jobs import source_images

    read_here = ("name", "invert", "new", "run", "noise_level", "data_root")
    own = {name: value for name, value in node.items() if name not in read_here}
    shape = backbone.shape
    if node["name"] == "upscale":
        side = shape[-1] // backbone.scale
        if node["run"] is not None:
            own |= source_images(prompted_images(Path(node["run"])))
        else:
            picture = load_picture(own["image"], (shape[0], side, side), "edit.image", invert=node["invert"])
            own["prompts"] = [[prompt] for prompt in own["prompts"]]
            own["pictures"] = picture.expand(len(own["prompts"]), -1, -1, -1)
        del own["image"]
    if "mask" in own:
        size = picture_size(own["image"], "edit.image")
        own["mask"] = read_mask(own["mask"], shape, size, node["new"], "edit.mask")
    if own.get("image") is not None:
        own["image"] = load_picture(own["image"], shape, "edit.image", invert=node["invert"])
        if shape[0] == 1 and own["image"].mean() > 0.5:
            hint = "edit.image is bright, and this model knows white on black: edit.invert=true?"
            print(f"warning: {hint}", file=sys.stderr)
    return get_class(own.pop("_target_"))(**own)


if __name__ == "__main__":
    run_script(main, CONFIG)
