"""The miniature is what diffusers takes for DeepFloyd IF."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from denoiselab.backbones.tiny_if import STAGES, build_tiny_if


@pytest.mark.usefixtures("no_network")
def test_diffusers_loads_both_stages_without_a_network(tiny_if: Path) -> None:
    from diffusers import DiffusionPipeline

    first, second = (DiffusionPipeline.from_pretrained(tiny_if / stage) for stage in STAGES)
    assert type(first).__name__ == "IFPipeline" and type(second).__name__ == "IFSuperResolutionPipeline"
    for pipeline, channels, size, most in ((first, 3, 64, 1.5), (second, 6, 256, 1.0)):
        unet, schedule = pipeline.unet.config, pipeline.scheduler.config
        assert (unet.in_channels, unet.out_channels, unet.sample_size) == (channels, 6, size)
        assert (schedule.num_train_timesteps, schedule.beta_schedule) == (1000, "squaredcos_cap_v2")
        assert (schedule.prediction_type, schedule.variance_type) == ("epsilon", "learned_range")
        assert schedule.thresholding
        assert (schedule.dynamic_thresholding_ratio, schedule.sample_max_value) == (0.95, most)
    assert second.unet.config.class_embed_type == "timestep"
    with torch.no_grad():
        x = torch.randn(1, 3, 64, 64)
        answers = [
            first.unet(x, torch.tensor([500]), first.encode_prompt(text)[0]).sample for text in ("a dog", "a house")
        ]
    assert (answers[0] - answers[1]).abs().mean() > 0.01  # the prompt counts


def test_it_is_built_once_and_always_the_same(tiny_if: Path, tmp_path: Path) -> None:
    weights = [tiny_if / stage / "unet" / "diffusion_pytorch_model.safetensors" for stage in STAGES]
    before = [path.stat().st_mtime_ns for path in weights]
    assert build_tiny_if(tiny_if) == tiny_if
    assert [path.stat().st_mtime_ns for path in weights] == before
    again = build_tiny_if(tmp_path / "deeper" / "if")
    for path in weights:
        one, other = load_file(path), load_file(again / path.relative_to(tiny_if))
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_two_processes_build_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # spawned, each would import diffusers for ten seconds
    start, inodes = context.Barrier(2), context.Queue()

    def build() -> None:
        start.wait()
        inodes.put([(build_tiny_if(tmp_path / "if") / stage / "model_index.json").stat().st_ino for stage in STAGES])

    processes = [context.Process(target=build) for _ in range(2)]
    for process in processes:
        process.start()
    assert inodes.get(timeout=60) == inodes.get(timeout=60)  # none was built again
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(path.name for path in (tmp_path / "if").iterdir()) == [".lock", *STAGES]
