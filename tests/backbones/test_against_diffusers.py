"""Whole runs of the edits against diffusers' own pipelines: the same weights, the same embeddings, the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, IFImg2ImgPipeline
from torch import Tensor

from denoiselab.backbones import load_backbone
from denoiselab.backbones.deepfloyd import load_deepfloyd
from denoiselab.backbones.embeddings import EmbeddingCache
from denoiselab.denoise import Backbone
from denoiselab.edit import Edit, Generate, Sampler, SDEdit, Upscale
from denoiselab.noise import Cosine, ImageNoise

PROMPTS = ["an oil painting of a snowy village", "A photo of a dog!"]
TIMES = [990, 660, 330, 30, 0]
SEED = 3


def draws(*purposes: str) -> Any:
    """randn_tensor of diffusers with our generators: a call a purpose, and the last one's from there on."""
    queue = [ImageNoise(SEED, range(len(PROMPTS)), purpose) for purpose in purposes]

    def randn_tensor(shape: Sequence[int], **options: Any) -> Tensor:
        noise = queue.pop(0) if len(queue) > 1 else queue[0]
        return noise(torch.empty(*shape))

    return randn_tensor


def share_noise(monkeypatch: pytest.MonkeyPatch, module: str, *purposes: str) -> None:
    pipelines = "diffusers.pipelines.deepfloyd_if"
    monkeypatch.setattr(f"{pipelines}.{module}.randn_tensor", draws(*purposes))
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", draws("sampling"))


def embeddings(backbone: Backbone) -> dict[str, Tensor]:
    return {
        "prompt_embeds": backbone.condition(PROMPTS),
        "negative_prompt_embeds": backbone.condition([""] * len(PROMPTS)),
    }


def made(edit: Edit, backbone: Backbone, times: Sequence[int]) -> Tensor:
    sampler = Sampler(backbone, times, seed=SEED)
    (job,) = [job for job in edit.jobs(sampler) if job.settings]  # the others show what was given
    return edit.make(sampler, job, range(len(PROMPTS)))[""]


def pictures(pixels: Tensor) -> Tensor:
    return (pixels / 2 + 0.5).clamp(0, 1)


def test_generate_is_ifpipeline(tiny_if: Path, cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guided, dynamically thresholded, with learned variance."""
    backbone = load_deepfloyd(tiny_if / "stage_1", cache, device="cpu")
    pipeline = DiffusionPipeline.from_pretrained(tiny_if / "stage_1", text_encoder=None)
    pipeline.unet.to(memory_format=torch.channels_last)  # the same kernels too: they differ by 2e-4 in the end
    share_noise(monkeypatch, "pipeline_if", "start")
    expected = pipeline(**embeddings(backbone), timesteps=TIMES, guidance_scale=7.0, output_type="pt").images
    got = made(Generate(prompts=PROMPTS), backbone, TIMES)
    torch.testing.assert_close(got, pictures(expected), rtol=0, atol=1e-4)


def test_sdedit_is_ifimg2imgpipeline_from_the_same_noised_start(
    tiny_if: Path, cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_deepfloyd(tiny_if / "stage_1", cache, device="cpu")
    parts = DiffusionPipeline.from_pretrained(tiny_if / "stage_1", text_encoder=None)
    pipeline = IFImg2ImgPipeline(**parts.components, requires_safety_checker=False)
    photo = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    pipeline.unet.to(memory_format=torch.channels_last)
    share_noise(monkeypatch, "pipeline_if_img2img", "forward")
    expected = pipeline(
        **embeddings(backbone),
        image=(2 * photo - 1).expand(len(PROMPTS), -1, -1, -1),
        timesteps=TIMES,
        strength=0.8,  # of five steps, four
        guidance_scale=7.0,
        output_type="pt",
    ).images
    got = made(SDEdit(image=photo, prompts=PROMPTS, starts=[1]), backbone, TIMES)
    torch.testing.assert_close(got, pictures(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("stage", "side", "noise_level"),
    [("tiny_if/stage_2", 64, 50), ("tiny_if/stage_2", 64, 250), ("upscaler_run/pipeline", 32, 50)],
)
@pytest.mark.filterwarnings("ignore:prompt=.* has never seen")
def test_upscale_is_ifsuperresolutionpipeline(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    side: int,
    noise_level: int,
) -> None:
    """Of one that was trained here too, which enlarges twice and not four times."""
    fixture, _, part = stage.partition("/")
    folder = request.getfixturevalue(fixture) / part
    backbone = load_backbone(folder, PROMPTS, "cpu", noise_level=noise_level, cache=str(tmp_path))
    pipeline = DiffusionPipeline.from_pretrained(folder, text_encoder=None)
    assert type(pipeline).__name__ == "IFSuperResolutionPipeline"
    pipeline.scheduler.alphas_cumprod = Cosine(1000).abar[1:]  # theirs is float32: 1.1e-4 in one pixel of 400,000
    small = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    pipeline.unet.to(memory_format=torch.channels_last)
    share_noise(monkeypatch, "pipeline_if_superresolution", "start", "context")
    expected = pipeline(
        **embeddings(backbone),
        image=2 * small - 1,
        timesteps=[900, 300, 0],
        guidance_scale=4.0,
        noise_level=noise_level,
        output_type="pt",
    ).images
    edit = Upscale(pictures=small, prompts=[[prompt] for prompt in PROMPTS])
    got = made(edit, backbone, [900, 300, 0])
    torch.testing.assert_close(got, pictures(expected), rtol=0, atol=1e-4)
