"""The schema of every node of sample.py's config. It gives types and no values, as `schema` does for train.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from denoiselab.config.schema import SolverConfig

# --- backbone --------------------------------------------------------------------------------------------------------


@dataclass
class BackboneConfig:
    """Beside the backbone itself, what its edits are about where the command line does not say."""

    _target_: str = MISSING
    image: str = MISSING
    null_prompt: str = MISSING
    views: list[Any] = MISSING
    factors: Any = MISSING
    count: int = MISSING
    prompts: dict[str, list[str]] = MISSING


@dataclass
class CheckpointConfig(BackboneConfig):
    _target_: str = "denoiselab.backbones.sources.CheckpointSource"
    run: str | None = MISSING
    file: str = MISSING
    dtype: str = MISSING


@dataclass
class PipelineConfig(BackboneConfig):
    """A pipeline of DeepFloyd IF's classes."""

    _target_: str = "denoiselab.backbones.sources.DeepFloydSource"
    path: str = MISSING
    upscaler_path: str | None = MISSING
    text_encoder: str | None = MISSING
    revision: str | None = MISSING
    upscaler_revision: str | None = MISSING
    dtype: str = MISSING
    offload: bool = MISSING
    clean_caption: bool = MISSING
    cache: str = MISSING
    import_embeddings: str | None = MISSING
    guidance_scale: float | None = MISSING


@dataclass
class DeepFloydConfig(PipelineConfig):
    size: str = MISSING
    upscaler_size: str = MISSING


@dataclass
class TinyIfConfig(PipelineConfig):
    _target_: str = "denoiselab.backbones.sources.TinyIfSource"
    folder: str = MISSING


# --- edit ------------------------------------------------------------------------------------------------------------


@dataclass
class EditConfig:
    _target_: str = MISSING
    name: str = MISSING


@dataclass
class PhotoConfig(EditConfig):
    """An edit of a picture."""

    image: str = MISSING
    invert: bool = MISSING


@dataclass
class ForwardConfig(PhotoConfig):
    _target_: str = "denoiselab.edit.Forward"
    t: list[int] = MISSING


@dataclass
class BlurConfig(ForwardConfig):
    _target_: str = "denoiselab.edit.Blur"
    sigma: float = MISSING


@dataclass
class OneStepConfig(ForwardConfig):
    _target_: str = "denoiselab.edit.OneStep"
    prompt: str = MISSING
    guidance_scale: float = MISSING


@dataclass
class IterativeConfig(PhotoConfig):
    _target_: str = "denoiselab.edit.Iterative"
    start: int = MISSING
    every: int = MISSING
    prompt: str = MISSING
    guidance_scale: float = MISSING
    sigma: float = MISSING


@dataclass
class EncodeConfig(EditConfig):
    _target_: str = "denoiselab.edit.Encode"
    prompts: list[str] = MISSING


@dataclass
class GenerateConfig(EditConfig):
    _target_: str = "denoiselab.edit.Generate"
    prompts: list[str] = MISSING
    count: int = MISSING
    guidance_scales: list[float] | None = MISSING
    steps: list[int] | None = MISSING
    shift: float = MISSING


@dataclass
class EvaluateConfig(EditConfig):
    _target_: str = "denoiselab.edit.Evaluate"
    prompts: list[str] = MISSING
    samples: int = MISSING
    guidance_scales: list[float] | None = MISSING
    steps: list[int] = MISSING
    shift: float = MISSING
    data_root: str = MISSING


@dataclass
class GuidedConfig(EditConfig):
    """Pictures of prompts under guidance."""

    prompts: list[str] = MISSING
    count: int = MISSING
    guidance_scale: float | None = MISSING


@dataclass
class SDEditConfig(GuidedConfig, PhotoConfig):
    _target_: str = "denoiselab.edit.SDEdit"
    starts: list[int] = MISSING


@dataclass
class InpaintConfig(GuidedConfig, PhotoConfig):
    _target_: str = "denoiselab.edit.Inpaint"
    mask: str = MISSING
    new: str = MISSING
    jump: int = MISSING
    resamples: int = MISSING


@dataclass
class AnagramConfig(GuidedConfig):
    _target_: str = "denoiselab.edit.Anagram"
    views: list[Any] = MISSING
    reduction: str = MISSING
    weights: list[float] | None = MISSING


@dataclass
class HybridConfig(GuidedConfig):
    _target_: str = "denoiselab.edit.Hybrid"
    factors: Any = MISSING
    image: str | None = MISSING
    invert: bool = MISSING
    held: int = MISSING


@dataclass
class UpscaleConfig(PhotoConfig):
    _target_: str = "denoiselab.edit.Upscale"
    run: str | None = MISSING
    prompts: list[str] = MISSING
    guidance_scale: float | None = MISSING
    noise_level: int = MISSING


# --- times, fabric, root ---------------------------------------------------------------------------------------------


@dataclass
class StridedConfig:
    _target_: str = "denoiselab.edit.times.strided"
    stride: int = MISSING
    first: int | None = MISSING


@dataclass
class LinspaceConfig:
    _target_: str = "denoiselab.edit.times.linspace"
    steps: int = MISSING


@dataclass
class ShiftedConfig:
    _target_: str = "denoiselab.edit.times.shifted"
    steps: int = MISSING
    shift: float = MISSING


@dataclass
class ExplicitConfig:
    _target_: str = "denoiselab.edit.times.explicit"
    indices: list[int] = MISSING


@dataclass
class FabricConfig:
    """Where the images are made: ranks are devices x num_nodes."""

    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1


@dataclass
class SampleConfig:
    """Root of sample.py.

    Attributes:
        seed: of every image, with its number; the write-ups have 100 and 180.
        from_run: a run directory whose run.json is repeated, or null.
        beside: run directories of edit=evaluate that are drawn beside this one's.
        batch_size: images made at once on a rank; null: 16, and 200 of those that are only measured.
        max_batch: images a call of the network; null: all, guidance and views included.
        animate: whether the steps are kept, and shown as a GIF.
        guidance_interval: [low, high] of t / T, where an edit's guidance acts; outside, its scale is 1.
        guidance_rescale: 0 to 1, how far guided pictures are brought to the contrast of conditional ones.
    """

    seed: int = 100
    from_run: str | None = None
    beside: list[str] = field(default_factory=list)
    batch_size: int | None = None
    max_batch: int | None = None
    animate: bool = True
    progress_bar: bool = True
    guidance_interval: list[float] = field(default_factory=lambda: [0.0, 1.0])
    guidance_rescale: float = 0.0
    backbone: Any = MISSING
    edit: Any = MISSING
    times: Any = MISSING
    solver: SolverConfig | None = None
    logger: Any = None
    fabric: FabricConfig = field(default_factory=FabricConfig)


SAMPLE_SCHEMAS: dict[str, dict[str, type]] = {
    "backbone": {
        "checkpoint": CheckpointConfig,
        "deepfloyd": DeepFloydConfig,
        "pipeline": PipelineConfig,
        "tiny_if": TinyIfConfig,
    },
    "edit": {
        "forward": ForwardConfig,
        "blur": BlurConfig,
        "one_step": OneStepConfig,
        "iterative": IterativeConfig,
        "generate": GenerateConfig,
        "sdedit": SDEditConfig,
        "inpaint": InpaintConfig,
        "anagram": AnagramConfig,
        "hybrid": HybridConfig,
        "upscale": UpscaleConfig,
        "encode": EncodeConfig,
        "evaluate": EvaluateConfig,
    },
    "times": {
        "strided": StridedConfig,
        "linspace": LinspaceConfig,
        "shifted": ShiftedConfig,
        "explicit": ExplicitConfig,
    },
}
