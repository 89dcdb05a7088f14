"""DeepFloyd IF (Saharia et al. 2022's Imagen, as trained by DeepFloyd): both stages as backbones.

Only the UNet and its schedulers are loaded; the prompts' embeddings come from the cache that `embeddings.encode` fills.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from denoiselab.backbones.embeddings import EmbeddingCache
from denoiselab.backbones.weights import (
    PARAMETERS,
    SCALE,
    STAGE_1,
    STAGE_2,
    check_fitting,
    fetch_fitting,
    is_hub,
    resolve_device,
    resolve_dtype,
    resolve_variant,
    scale_of,
)
from denoiselab.denoise import Backbone, Denoiser, Estimate, Split, Upscaler
from denoiselab.noise import VariancePreserving, per_image

DIFFUSERS_NAMES = {"eps": "epsilon", "velocity": "v_prediction"}  # of predictions

# Type checkers see nothing behind diffusers' lazy imports.
UNet2DConditionModel: TypeAlias = Any
DDPMScheduler: TypeAlias = Any


class DeepFloydDenoiser(Denoiser):
    """A UNet in DeepFloyd IF's form, which may predict a variance beside eps (as IF's do) or velocity, as a Denoiser.

    The UNet runs in its own type; x_t, the estimate and all coefficients are float32 or wider (alpha_T^2 = 2.4e-9 is
    zero in half precision). The time of diffusers is ours less one: its 0 is the first noisy one.

    Args:
        unet: of C or 2 C channels in, and C (eps) or 2 C (eps, v) out, v in [-1, 1]; or velocity in eps' place.
        path: with the betas of its scheduler.
        noise_level: for stage II, whose calls take 2 C channels, x_t and the enlarged picture, the index at which the
            latter was noised; the UNet is told it. The estimate is that of x_t. None for stage I.
        prediction: "eps" or "velocity".
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        path: VariancePreserving,
        noise_level: int | None = None,
        prediction: str = "eps",
    ) -> None:
        self.unet, self.path, self.noise_level, self.prediction = unet, path, noise_level, prediction
        self.channels = unet.config.in_channels // (1 if noise_level is None else 2)
        self.dtype = next(unet.parameters()).dtype

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        if condition is None:
            raise ValueError("DeepFloyd needs a condition: the embeddings of as many prompts as images, (B, 77, D)")
        t = per_image(t, x_t)  # (B,)
        x_t = x_t.to(torch.promote_types(x_t.dtype, torch.float32))
        labels = {} if self.noise_level is None else {"class_labels": torch.full_like(t, self.noise_level)}
        answer = self.unet(
            x_t.to(self.dtype), t - 1, encoder_hidden_states=condition.to(self.dtype), return_dict=False, **labels
        )[0]
        value, *learned = answer.to(x_t.dtype).split(self.channels, dim=1)  # (B, C, H, W), once or twice
        x_0, eps = self.path.estimate(self.prediction, value, x_t[:, : self.channels], t)
        return Estimate(x_0, eps, (learned[0] + 1) / 2 if learned else None)


class DeepFloyd(Backbone):
    """Stage I: pictures of a prompt, as large as its UNet makes them; of 64 x 64 pixels in DeepFloyd's own.

    Args:
        name: for titles and records.
        unet: on `device` or offloaded to it, in eval mode.
        scheduler: its path, its thresholding and its variance are what count; its timesteps are not.
        cache: has the prompts' embeddings.
        device: where the UNet computes.
        max_batch: images a call of the UNet, or None for all at once.

    Attributes:
        revision: the hub's commit that was loaded; None for a folder.
    """

    low = -1.0
    guidance_scale = 7.0  # IFPipeline's
    revision: str | None = None

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        cache: EmbeddingCache,
        device: torch.device,
        max_batch: int | None = None,
        noise_level: int | None = None,
    ) -> None:
        self.name, self.cache, self.device = name, cache, device
        self.embeddings: dict[str, Tensor] = {}  # those asked for so far, each (1, 77, D), on the device
        prediction = {theirs: ours for ours, theirs in DIFFUSERS_NAMES.items()}[scheduler.config.prediction_type]
        denoiser = DeepFloydDenoiser(unet, VariancePreserving(scheduler.betas), noise_level, prediction)
        self.denoiser = Split(denoiser, max_batch)
        self.shape = (denoiser.channels, unet.config.sample_size, unet.config.sample_size)
        self.width = unet.config.encoder_hid_dim
        settings = scheduler.config
        self.solver = {"name": "ddpm"}
        if settings.variance_type == "learned_range":
            self.solver["variance"] = "learned"
        if settings.thresholding:
            self.threshold = (settings.dynamic_thresholding_ratio, settings.sample_max_value)

    def condition(self, prompts: Sequence[str]) -> Tensor:
        """The embeddings (B, 77, D) of B prompts, from the cache, on the device.

        ValueError, in one line, for prompts that are not encoded, and for embeddings of another encoder.
        """
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.embeddings]
        if new:
            read = self.cache.load(new)
            if read.shape[-1] != self.width:
                raise ValueError(
                    f"embeddings of width {read.shape[-1]} in {self.cache.directory}: {self.name} takes {self.width}"
                )
            self.embeddings |= zip(new, read.to(self.device).split(1), strict=True)
        return torch.cat([self.embeddings[prompt] for prompt in prompts])


class DeepFloydUpscaler(DeepFloyd, Upscaler):
    """Stage II: pictures of a prompt and of smaller ones; 256 x 256 pixels of 64 x 64 in DeepFloyd's own.

    Args:
        noising_scheduler: whose path the enlarged picture is noised on.
        noise_level: 0 to 999, its index there. diffusers' default is 250; 50 keeps more of the picture.
        scale: how many times a side grows.
        others: see DeepFloyd.
    """

    guidance_scale = 4.0  # IFSuperResolutionPipeline's

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        noising_scheduler: DDPMScheduler,
        cache: EmbeddingCache,
        device: torch.device,
        max_batch: int | None = None,
        noise_level: int = 250,
        scale: int = SCALE,
    ) -> None:
        super().__init__(name, unet, scheduler, cache, device, max_batch, noise_level)
        self.noise_level, self.scale = noise_level, scale
        self.noising_path = VariancePreserving(noising_scheduler.betas)

    def context(self, pictures: Tensor, eps: Tensor) -> Tensor:
        return noised_context(self.pixels(pictures), self.noising_path, torch.tensor(self.noise_level), eps)


def noised_context(pixels: Tensor, path: VariancePreserving, level: Tensor, eps: Tensor) -> Tensor:
    """What stage II sees beside x_t: pixels (B, C, h, w), enlarged to the shape of eps (B, C, H, W) and noised with it
    to a level, 0 to T - 1, () or (B,).
    """
    enlarged = interpolate(pixels, eps.shape[-2:], mode="bilinear", align_corners=True)  # (B, C, H, W)
    return path.add_noise(enlarged, level + 1, eps)


def load_deepfloyd(
    path: str | Path,
    cache: EmbeddingCache,
    *,
    device: str | torch.device,
    revision: str | None = None,
    variant: str | None = "auto",
    dtype: str = "auto",
    offload: bool = False,
    max_batch: int | None = None,
    network: bool = True,
    key: str = "path",
) -> DeepFloyd:
    """Stage I of a hub id or a local folder.

    Args:
        path: DeepFloyd/IF-I-{M,L,XL}-v1.0, or a folder of the same layout.
        cache: has the prompts' embeddings.
        device: where the UNet computes.
        revision: of the hub; None is the main branch.
        variant: of the weights, see `weights.resolve_variant`.
        dtype: of the weights, see `weights.resolve_dtype`.
        offload: keep the weights in the CPU's memory, and each layer's on the device only while it computes. Slower;
            needs the package accelerate.
        max_batch: images a call of the UNet, or None for all at once.
        network: whether its denoiser is to be called; if not, no weights are fetched or loaded.
        key: what the errors call the path, e.g. backbone.path, and beside it backbone.dtype.

    Raises ValueError, in one line, for each of these that will not do, before weights are loaded.
    """
    chosen = resolve_device(device)
    found = _weights(STAGE_1, chosen, variant, dtype, offload, network, path, key)
    folder, unet = _load_unet(path, revision, found, chosen, offload, max_batch)
    backbone = DeepFloyd(Path(path).name, unet, _scheduler(folder, "scheduler", key), cache, chosen, max_batch)
    backbone.revision = folder.name if is_hub(path) else None
    return backbone


def load_upscaler(
    path: str | Path,
    cache: EmbeddingCache,
    *,
    device: str | torch.device,
    noise_level: int = 250,
    revision: str | None = None,
    variant: str | None = "auto",
    dtype: str = "auto",
    offload: bool = False,
    max_batch: int | None = None,
    network: bool = True,
    key: str = "path",
) -> DeepFloydUpscaler:
    """Stage II of a hub id (DeepFloyd/IF-II-{M,L}-v1.0) or a local folder, which says its scale; the arguments are
    load_deepfloyd's, and `DeepFloydUpscaler`'s.

    Its prompts are encoded by the same T5, so that `cache` may be that of stage I.
    """
    if not 0 <= noise_level < 1000:
        raise ValueError(f"noise_level={noise_level}: allowed are 0 to 999")
    chosen = resolve_device(device)
    found = _weights(STAGE_2, chosen, variant, dtype, offload, network, path, key)
    folder, unet = _load_unet(path, revision, found, chosen, offload, max_batch)
    schedulers = _scheduler(folder, "scheduler", key), _scheduler(folder, "image_noising_scheduler", key)
    backbone = DeepFloydUpscaler(
        Path(path).name, unet, *schedulers, cache, chosen, max_batch, noise_level, scale_of(folder)
    )
    backbone.revision = folder.name if is_hub(path) else None
    return backbone


def check_deepfloyd(
    path: str | Path,
    *,
    device: torch.device,
    second: bool = False,
    revision: str | None = None,
    dtype: str = "auto",
    offload: bool = False,
    network: bool = True,
    key: str = "path",
) -> None:
    """Raises the ValueErrors of `load_deepfloyd`, or of `load_upscaler`, that need no download."""
    parts = STAGE_2 if second else STAGE_1
    check_fitting(path, revision, **_weights(parts, device, "auto", dtype, offload, network, path, key))


def _weights(
    parts: tuple[str, ...],
    device: torch.device,
    variant: str | None,
    dtype: str,
    offload: bool,
    network: bool,
    path: str | Path,
    key: str,
) -> dict[str, Any]:
    """What `check_fitting` and `fetch_fitting` are to look for."""
    prefix = key[: key.rfind(".") + 1]
    if offload and not _has_accelerate():
        raise ValueError(f"{prefix}offload=true: needs one package more, `pip install accelerate`")
    kind = resolve_dtype(dtype, device, f"{prefix}dtype")
    helps = [f"a smaller {key.removesuffix('path')}size"] if str(path) in PARAMETERS else []
    helps += [f"{prefix}offload=true"] if device.type == "cuda" and not offload else []
    helps += [f"a half-precision {prefix}dtype"] if kind == torch.float32 else []
    return {
        "parts": parts,
        "variant": variant,
        "dtype": kind,
        "device": torch.device("cpu") if offload else device,
        "helps": " or ".join([", ".join(helps), "another device"] if helps else ["another device"]) + " would do",
        "network": network,
        "key": key,
    }


def _has_accelerate() -> bool:
    return importlib.util.find_spec("accelerate") is not None


def _load_unet(
    path: str | Path,
    revision: str | None,
    found: dict[str, Any],
    device: torch.device,
    offload: bool,
    max_batch: int | None,
) -> tuple[Path, UNet2DConditionModel]:
    """The folder that has the parts, and the UNet in it, ready to be called in batches of max_batch.

    Without `network` it is on the meta device: its config is right, and it cannot be called.
    """
    if max_batch is not None and max_batch < 1:  # Split's own check comes when the weights are there
        raise ValueError(f"max_batch={max_batch}: allowed is a positive number of images, or None")
    folder = fetch_fitting(path, revision, **found)
    from diffusers import UNet2DConditionModel

    if not found["network"]:
        with torch.device("meta"):
            config = UNet2DConditionModel.load_config(folder, subfolder="unet")
            return folder, UNet2DConditionModel.from_config(config).eval()
    unet = UNet2DConditionModel.from_pretrained(
        folder,
        subfolder="unet",
        variant=resolve_variant(folder, found["variant"], "unet"),
        dtype=found["dtype"],
        use_safetensors=True,
        low_cpu_mem_usage=_has_accelerate(),  # diffusers' default, less its complaint
    )
    unet.eval().requires_grad_(False)
    unet.to(memory_format=torch.channels_last)  # 1.15 times as fast on a CPU, and what half-precision convolutions want
    if offload:
        unet.enable_group_offload(onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level")
    else:
        unet.to(device)
    return folder, unet


def _scheduler(folder: Path, part: str, key: str) -> DDPMScheduler:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_pretrained(folder, subfolder=part)
    if scheduler.config.prediction_type not in DIFFUSERS_NAMES.values():
        allowed = " and ".join(DIFFUSERS_NAMES.values())
        raise ValueError(f"{key}={folder}: predicts {scheduler.config.prediction_type}, allowed are {allowed}")
    return scheduler
