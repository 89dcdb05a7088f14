"""Configuration: the schema of every node of the scripts' configs, and where a run's directory is.

The schema gives types and no values: those are in conf/ (choices) and in the signatures (defaults). Nothing here
imports torch, so that a mistake is answered before anything slow starts.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from denoiselab.config.check import require

# --- model -----------------------------------------------------------------------------------------------------------


@dataclass
class UNetConfig:
    _target_: str = "denoiselab.nets.UNet"
    width: int = MISSING
    time: str = MISSING
    num_classes: int = MISSING
    in_channels: int = MISSING


@dataclass
class OptimizerConfig:
    _target_: str = "denoiselab.training.Optimizer"
    lr: float = MISSING
    schedule: str = MISSING
    final: float = MISSING
    warmup_steps: int = MISSING
    betas: list[float] = MISSING


@dataclass
class TimesConfig:
    _target_: str = "denoiselab.training.Times"
    law: str = MISSING
    location: float = MISSING
    scale: float = MISSING


@dataclass
class ModelConfig:
    _target_: str = MISSING
    net: UNetConfig = field(default_factory=UNetConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass
class OneStepModelConfig(ModelConfig):
    _target_: str = "denoiselab.training.OneStepModule"
    t: float = MISSING


@dataclass
class TimeModelConfig(ModelConfig):
    _target_: str = "denoiselab.training.TimeModule"
    times: TimesConfig = field(default_factory=TimesConfig)


@dataclass
class ClassModelConfig(TimeModelConfig):
    _target_: str = "denoiselab.training.ClassModule"
    class_dropout: float = MISSING


@dataclass
class TextUNetConfig:
    _target_: str = "denoiselab.backbones.text_unet.TextUNet"
    resolution: int = MISSING
    widths: list[int] = MISSING
    text_width: int = MISSING
    vocabulary: int = MISSING
    groups: int = MISSING
    head_width: int = MISSING
    threshold_most: float = MISSING


@dataclass
class UpscalerUNetConfig(TextUNetConfig):
    upscaler: bool = MISSING


@dataclass
class TextModelConfig:
    _target_: str = "denoiselab.training.TextModule"
    net: TextUNetConfig = field(default_factory=TextUNetConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    empty: float = MISSING
    null: float = MISSING
    bound_weight: float = MISSING


@dataclass
class UpscalerModelConfig(TextModelConfig):
    _target_: str = "denoiselab.training.UpscalerModule"
    net: UpscalerUNetConfig = field(default_factory=UpscalerUNetConfig)
    low_resolution: int = MISSING


@dataclass
class DigitClassifierConfig:
    _target_: str = "denoiselab.evaluation.DigitClassifier"
    width: int = MISSING
    depth: int = MISSING
    pooling: str = MISSING


@dataclass
class ClassifierModelConfig:
    _target_: str = "denoiselab.training.ClassifierModule"
    net: DigitClassifierConfig = field(default_factory=DigitClassifierConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    pixels: float = MISSING
    degrees: float = MISSING
    zoom: float = MISSING


# --- schedule and solver ---------------------------------------------------------------------------------------------


@dataclass
class PathConfig:
    _target_: str = MISSING


@dataclass
class DDPMConfig(PathConfig):
    _target_: str = "denoiselab.noise.DDPM"
    T: int = MISSING
    beta_start: float = MISSING
    beta_end: float = MISSING
    zero_terminal_snr: bool = MISSING


@dataclass
class CosineConfig(PathConfig):
    _target_: str = "denoiselab.noise.Cosine"
    T: int = MISSING
    max_beta: float = MISSING


@dataclass
class FlowConfig(PathConfig):
    _target_: str = "denoiselab.noise.RectifiedFlow"


@dataclass
class AdditiveConfig(PathConfig):
    _target_: str = "denoiselab.noise.Additive"


@dataclass
class ScheduleConfig:
    path: PathConfig = MISSING
    prediction: str = MISSING


@dataclass
class DDPMScheduleConfig(ScheduleConfig):
    path: DDPMConfig = field(default_factory=DDPMConfig)


@dataclass
class CosineScheduleConfig(ScheduleConfig):
    path: CosineConfig = field(default_factory=CosineConfig)


@dataclass
class FlowScheduleConfig(ScheduleConfig):
    path: FlowConfig = field(default_factory=FlowConfig)


@dataclass
class AdditiveScheduleConfig(ScheduleConfig):
    path: AdditiveConfig = field(default_factory=AdditiveConfig)


@dataclass
class SolverConfig:
    _target_: str = "denoiselab.sample.make_solver"
    name: str = MISSING


@dataclass
class DDPMSolverConfig(SolverConfig):
    variance: str = MISSING


@dataclass
class DDIMSolverConfig(SolverConfig):
    eta: float = MISSING


# --- data ------------------------------------------------------------------------------------------------------------


@dataclass
class DataConfig:
    _target_: str = MISSING
    batch_size: int = MISSING
    val_size: int = MISSING
    steps_per_epoch: int | None = MISSING


@dataclass
class DownloadedDataConfig(DataConfig):
    root: str = MISSING
    download: bool = MISSING


@dataclass
class ColouredMNISTConfig(DownloadedDataConfig):
    _target_: str = "denoiselab.data.ColouredMNIST"
    resolution: int = MISSING


@dataclass
class CaptionedFolderConfig(DataConfig):
    _target_: str = "denoiselab.data.CaptionedFolder"
    folder: str = MISSING
    captions: str = MISSING
    resolution: int = MISSING
    bad_rows: str = MISSING


@dataclass
class SyntheticDataConfig(DataConfig):
    _target_: str = "denoiselab.data.Synthetic"
    size: int = MISSING


# --- callbacks -------------------------------------------------------------------------------------------------------


@dataclass
class MetricsConfig:
    _target_: str = "denoiselab.training.Metrics"
    every: int = MISSING


@dataclass
class LossCurveConfig:
    _target_: str = "denoiselab.training.LossCurve"
    title: str = MISSING


@dataclass
class EMAConfig:
    """Off where decay is null; a node that is null itself could not be given a decay on the command line."""

    _target_: str = "denoiselab.training.EMA"
    decay: float | None = MISSING
    warmup: bool = MISSING


@dataclass
class CheckpointsConfig:
    _target_: str = "denoiselab.training.Checkpoints"
    epochs: list[int] = MISSING


@dataclass
class PictureConfig:
    _target_: str = MISSING
    epochs: list[int] = MISSING
    seed: int = MISSING


@dataclass
class PanelsConfig(PictureConfig):
    _target_: str = "denoiselab.training.DenoisedPanels"
    sigmas: list[float] = MISSING
    digits: int = MISSING


@dataclass
class DenoisingConfig(PictureConfig):
    _target_: str = "denoiselab.training.DenoisingQuality"
    sigmas: list[float] = MISSING
    count: int = MISSING


@dataclass
class PureNoiseConfig(PictureConfig):
    _target_: str = "denoiselab.training.PureNoisePanels"
    count: int = MISSING


@dataclass
class SamplesConfig(PictureConfig):
    _target_: str = "denoiselab.training.SampleGrids"
    steps: int = MISSING
    rows: int = MISSING
    columns: int | None = None
    digits: list[int] | None = None
    prompts: list[str] | None = None
    guidance_scale: float | None = None
    guidance_interval: list[float] | None = None
    zero_class: bool = MISSING
    animate: bool = MISSING


@dataclass
class UpscaledConfig(PictureConfig):
    _target_: str = "denoiselab.training.UpscaledPanels"
    steps: int = MISSING
    columns: int = MISSING
    guidance_scale: float = MISSING
    noise_level: int = MISSING


@dataclass
class QualityConfig(PictureConfig):
    _target_: str = "denoiselab.training.SampleQuality"
    samples: int = MISSING
    steps: int = MISSING
    guidance_scales: list[float] | None = None
    guidance_interval: list[float] | None = None
    batch_size: int = MISSING


@dataclass
class PipelineConfig:
    _target_: str = "denoiselab.training.Pipeline"


@dataclass
class ClassifierConfig:
    _target_: str = "denoiselab.training.Classifier"


@dataclass
class CallbacksConfig:
    """In the order in which they run: what draws comes before EMA, what saves after it, what takes long comes last."""

    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    panels: PanelsConfig | None = None
    pure_noise: PureNoiseConfig | None = None
    samples: SamplesConfig | None = None
    upscaled: UpscaledConfig | None = None
    classifier: ClassifierConfig | None = None
    pipeline: PipelineConfig | None = None
    ema: EMAConfig = field(default_factory=EMAConfig)
    loss_curve: LossCurveConfig = field(default_factory=LossCurveConfig)
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    denoising: DenoisingConfig | None = None
    quality: QualityConfig | None = None


# --- trainer, logger, root -------------------------------------------------------------------------------------------


@dataclass
class TrainerConfig:
    """These have values here because conf/trainer/*.yaml comes after the experiment, so that trainer=smoke wins.

    `sampling_steps` caps the solver steps of every picture, `evaluated_images` the images of every evaluation.
    """

    _target_: str = "denoiselab.training.make_trainer"
    max_epochs: int = 1
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    gradient_clip_val: float | None = None
    progress_bar: bool = True
    channels_last: bool = True
    compile: bool = False
    sampling_steps: int | None = None
    evaluated_images: int | None = None


@dataclass
class WandbConfig:
    project: str = MISSING
    entity: str | None = MISSING
    group: str | None = MISSING
    tags: list[str] = MISSING


@dataclass
class TrainConfig:
    """Root of train.py.

    Attributes:
        name: of the run; part of its default directory and of its record in Weights & Biases.
        lever: what conf/lever/ changes of the experiment, by name; none: nothing.
        seed: of weights, data order, noise, class dropout and pictures.
        resume: the run directory to go on with, or null.
        beside: run directories whose losses and grids are drawn beside this run's.
    """

    name: str = "custom"
    lever: str = "none"
    seed: int = 0
    resume: str | None = None
    beside: list[str] = field(default_factory=list)
    model: Any = MISSING
    schedule: Any = None
    solver: Any = None
    data: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


SCHEMAS: dict[str, dict[str, type]] = {
    "model": {
        "denoiser": OneStepModelConfig,
        "time_unet": TimeModelConfig,
        "class_unet": ClassModelConfig,
        "text_unet": TextModelConfig,
        "upscaler_unet": UpscalerModelConfig,
        "digit_classifier": ClassifierModelConfig,
    },
    "schedule": {
        "ddpm": DDPMScheduleConfig,
        "cosine": CosineScheduleConfig,
        "flow": FlowScheduleConfig,
        "additive": AdditiveScheduleConfig,
    },
    "solver": {"plain": SolverConfig, "ddpm": DDPMSolverConfig, "ddim": DDIMSolverConfig},
    "data": {
        "downloaded": DownloadedDataConfig,
        "coloured_mnist": ColouredMNISTConfig,
        "captioned_folder": CaptionedFolderConfig,
        "synthetic": SyntheticDataConfig,
    },
    "callbacks": {"all": CallbacksConfig},
    "logger": {"wandb": WandbConfig},
}
SCHEMA_SUFFIX = "_schema"


def register(name: str = "train", root: type = TrainConfig, groups: dict[str, dict[str, type]] | None = None) -> None:
    """Puts the schemas of a script where conf/ finds them, as GROUP/NAME_schema, and defines the run directory."""
    store = ConfigStore.instance()
    store.store(name=name + SCHEMA_SUFFIX, node=root)
    for group, schemas in (SCHEMAS | (groups or {})).items():
        for name, schema in schemas.items():
            store.store(group=group, name=name + SCHEMA_SUFFIX, node=schema)
    OmegaConf.register_new_resolver("run_dir", run_directory, replace=True, use_cache=True)


def rank() -> int:
    """0 for the first process of a run, above 0 for every other that torchrun, SLURM or Lightning started."""
    return max(int(os.environ.get(name) or 0) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"))


def run_directory(script: str, name: str, resume: str | None) -> str:
    """outputs/SCRIPT/NAME/DATE_TIME (then _2, ...), or the directory to go on with, which Hydra must not make.

    Under torchrun and SLURM every rank composes its own configuration, at its own second; only rank 0 writes, so the
    others get a folder outside.
    """
    if resume:
        require(Path(resume).is_dir(), "resume", resume, "a run directory, and there is none")
        return resume
    if rank() > 0:
        return str(Path(tempfile.gettempdir()) / f"denoiselab_{getpass.getuser()}" / f"rank_{rank()}")
    directory = start = f"outputs/{script}/{name}/{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for n in count(2):
        if not Path(directory).exists():
            break
        directory = f"{start}_{n}"
    return directory
