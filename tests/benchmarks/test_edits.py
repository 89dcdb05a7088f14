"""Edits on tiny_if against diffusers' pipeline, and against a loop with a call a branch."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from table import Table
from timing import Figures, timed
from torch import Tensor

from denoiselab.allocator import keep_freed_memory
from denoiselab.backbones.deepfloyd import DeepFloyd, load_deepfloyd
from denoiselab.backbones.embeddings import EmbeddingCache, encode
from denoiselab.backbones.tiny_if import build_tiny_if
from denoiselab.edit import Anagram, Generate, Sampler, make_view
from denoiselab.edit.times import linspace

PROMPTS = ["an oil painting of an old man", "an oil painting of people around a campfire"]
COUNTS = (1, 4)


def pipeline_images(backbone: DeepFloyd, pipeline: Any, count: int, steps: int) -> Tensor:
    """diffusers' IFPipeline as its documentation calls it, with embeddings at hand."""
    return pipeline(
        prompt_embeds=backbone.condition(PROMPTS[:1]),
        negative_prompt_embeds=backbone.condition([""]),
        num_images_per_prompt=count,
        timesteps=linspace(steps),
        guidance_scale=7.0,
        output_type="pt",
    ).images.cpu()


@torch.no_grad()
def separate_calls(backbone: DeepFloyd, pipeline: Any, count: int, steps: int) -> Tensor:
    """A two-view anagram as the write-ups' notebooks have it: four calls of the UNet a step."""
    views = [make_view(name, 64) for name in ("identity", "flip_vertical")]
    scheduler, unet = pipeline.scheduler, pipeline.unet
    embeds, empty = (backbone.condition(prompts).to(unet.dtype) for prompts in (PROMPTS, [""]))
    scheduler.set_timesteps(timesteps=linspace(steps))
    x = torch.randn(count, 3, 64, 64, dtype=unet.dtype, device=embeds.device)
    for t in scheduler.timesteps:
        eps, variance = torch.zeros_like(x), torch.zeros_like(x)
        for view, prompt in zip(views, embeds, strict=True):
            seen = view(x)
            conditional = unet(seen, t, prompt.expand(count, -1, -1)).sample
            unconditional = unet(seen, t, empty.expand(count, -1, -1)).sample
            guided = unconditional[:, :3] + 7.0 * (conditional[:, :3] - unconditional[:, :3])
            eps += view.inverse(guided) / 2
            variance += view.inverse_variance(conditional[:, 3:]) / 2
        x = scheduler.step(torch.cat([eps, variance], dim=1), t, x).prev_sample
    return x.cpu()


EDITS: dict[str, tuple[dict[str, Any], str]] = {
    "generate": ({"prompts": PROMPTS[:1]}, "IFPipeline"),
    "anagram": ({"prompts": PROMPTS, "views": ["identity", "flip_vertical"]}, "four calls a step"),
}


def load(folder: Path, device: torch.device) -> DeepFloyd:
    """tiny_if, built if it is not there."""
    tiny = folder / "tiny_if" / "stage_1"
    if not tiny.exists():
        build_tiny_if(folder / "tiny_if")
    cache = EmbeddingCache(folder / "embeddings", tiny)
    encode(["", *PROMPTS], cache, device="cpu")
    return load_deepfloyd(tiny, cache, device=device)


def ours(steps: int, folder: Path, device: torch.device) -> Callable[[], Figures]:
    if device.type == "cpu":
        keep_freed_memory()
    sampler = Sampler(load(folder, device), linspace(steps), record=False)

    def run(name: str, count: int) -> Any:
        edit: Any = {"generate": Generate, "anagram": Anagram}[name](count=count, **EDITS[name][0])
        return edit.make(sampler, edit.jobs(sampler)[0], range(count))

    return lambda: each_edit("ours", run)


def theirs(steps: int, folder: Path, device: torch.device) -> Callable[[], Figures]:
    """In the precision that ours has on this device."""
    backbone = load(folder, device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    stage = folder / "tiny_if" / "stage_1"
    pipeline = DiffusionPipeline.from_pretrained(stage, text_encoder=None, dtype=dtype).to(device)
    pipeline.set_progress_bar_config(disable=True)
    calls = {"generate": pipeline_images, "anagram": separate_calls}
    return lambda: each_edit("theirs", lambda name, count: calls[name](backbone, pipeline, count, steps))


def each_edit(way: str, run: Callable[[str, int], object]) -> Figures:
    """Seconds of every edit and number of pictures, on their way to the CPU."""
    figures = Figures()
    for name, count in product(EDITS, COUNTS):
        start = time.perf_counter()
        run(name, count)
        figures[f"{way}, {name}, {count}"] = time.perf_counter() - start
    return figures


def test_edits(table: Table, tmp_path: Path) -> None:
    steps = table.size(cpu=10, cuda=30, quick=2)
    load(tmp_path, table.device)
    ways = {way.__name__: partial(way, steps, tmp_path, table.device) for way in (ours, theirs)}
    seconds = timed(ways, table.rounds)
    for name, count in product(EDITS, COUNTS):
        title, key = f"{name} on tiny_if, {steps} steps, batch {count}", f"{name}, {count}"
        table.compare(title, EDITS[name][1], seconds, f"ours, {key}", f"theirs, {key}", count)
