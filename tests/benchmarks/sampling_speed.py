"""Edits on tiny_if against diffusers' pipeline, and against a loop with a call a branch.

    python tests/benchmarks/sampling_speed.py [OUT.json]

Every row alternates ours with the reference in one process and gives the medians, their ratio and the ratios' range.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from denoiselab.backbones.deepfloyd import DeepFloyd, load_deepfloyd
from denoiselab.backbones.embeddings import EmbeddingCache, encode
from denoiselab.backbones.tiny_if import build_tiny_if
from denoiselab.edit import Anagram, Generate, Sampler, make_view
from denoiselab.edit.times import linspace

PROMPTS = ["an oil painting of an old man", "an oil painting of people around a campfire"]
STEPS = 10


def pipeline_images(pipeline: Any, backbone: DeepFloyd, count: int) -> Tensor:
    """diffusers' IFPipeline as its documentation calls it, with embeddings at hand."""
    return pipeline(
        prompt_embeds=backbone.condition(PROMPTS[:1]),
        negative_prompt_embeds=backbone.condition([""]),
        num_images_per_prompt=count,
        timesteps=linspace(STEPS),
        guidance_scale=7.0,
        output_type="pt",
    ).images


@torch.no_grad()
def separate_calls(backbone: DeepFloyd, pipeline: Any, count: int) -> Tensor:
    """A two-view anagram as the write-ups' notebooks have it: four calls of the UNet a step."""
    views = [make_view(name, 64) for name in ("identity", "flip_vertical")]
    embeds, empty = backbone.condition(PROMPTS), backbone.condition([""])
    scheduler, unet = pipeline.scheduler, pipeline.unet
    scheduler.set_timesteps(timesteps=linspace(STEPS))
    x = torch.randn(count, 3, 64, 64)
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
    return x


def compare(ours: Callable[[], object], theirs: Callable[[], object], count: int, rounds: int) -> dict[str, float]:
    """Images a second of both, alternated."""
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    ours(), theirs()  # warm
    for _ in range(rounds):
        for name, run in (("ours", ours), ("reference", theirs)):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["reference"], strict=True)]
    return {
        "ours_images_per_s": count / statistics.median(seconds["ours"]),
        "reference_images_per_s": count / statistics.median(seconds["reference"]),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def measured(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The rows of the table, by name."""
    tiny = build_tiny_if(folder / "tiny_if") / "stage_1"
    cache = EmbeddingCache(folder / "embeddings", tiny)
    encode(["", *PROMPTS], cache, device="cpu")
    backbone = load_deepfloyd(tiny, cache, device="cpu")
    pipeline = DiffusionPipeline.from_pretrained(tiny, text_encoder=None)
    pipeline.set_progress_bar_config(disable=True)
    sampler = Sampler(backbone, linspace(STEPS), record=False)
    rows = {}
    for count in (1, 4):
        edit = Generate(prompts=PROMPTS[:1], count=count)
        (job,) = edit.jobs(sampler)
        rows[f"generate, batch {count}, against IFPipeline"] = compare(
            lambda edit=edit, job=job, count=count: edit.make(sampler, job, range(count)),
            lambda count=count: pipeline_images(pipeline, backbone, count),
            count,
            rounds,
        )
    for count in (1, 4):
        edit = Anagram(prompts=PROMPTS, views=["identity", "flip_vertical"], count=count)
        (job,) = edit.jobs(sampler)
        rows[f"anagram, batch {count}, against separate calls"] = compare(
            lambda edit=edit, job=job, count=count: edit.make(sampler, job, range(count)),
            lambda count=count: separate_calls(backbone, pipeline, count),
            count,
            rounds,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, help="JSON of the table")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(Path(folder), arguments.rounds)
    for name, row in rows.items():
        print(
            f"{name:48} {row['ours_images_per_s']:7.2f} {row['reference_images_per_s']:7.2f} images/s, "
            f"ratio {row['ratio']:.2f} ({row['lowest']:.2f} to {row['highest']:.2f})"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
