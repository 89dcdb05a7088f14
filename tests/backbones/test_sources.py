"""Any backbone by its name, and what is done before it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from test_checkpoint import run

from denoiselab.backbones import load_backbone
from denoiselab.backbones.sources import CheckpointSource, DeepFloydSource, TinyIfSource
from denoiselab.denoise import Upscaler
from denoiselab.edit import Anagram, Generate, Upscale

CPU = torch.device("cpu")


def source(tiny_if: Path, **settings: str) -> DeepFloydSource:
    return DeepFloydSource(str(tiny_if / "stage_1"), str(tiny_if / "stage_2"), **settings)  # type: ignore[arg-type]


def test_a_run_of_train_py_is_a_backbone_whose_prompts_are_digits(tmp_path: Path) -> None:
    run(tmp_path, "experiment=class_flow")
    model = load_backbone(tmp_path, device="cpu")
    assert (model.name, model.shape, model.low) == ("class_flow", (1, 28, 28), 0.0)
    assert model.solver == {"name": "euler"} and model.guidance_scale == 5
    assert torch.equal(model.condition(["3", "", "9"]), torch.eye(10)[[3, 0, 9]] * torch.tensor([[1.0], [0], [1]]))
    with pytest.raises(ValueError, match=r"prompt '10': allowed are 0, 1, .* and '' of class_flow"):
        model.condition(["10"])
    result = Anagram(prompts=["6", "9"], count=2).run(model, times=[900, 400, 0])
    assert result.images.shape == (2, 1, 28, 28) and result.pil[0].size == (28, 28)


def test_a_time_model_takes_no_condition_and_no_guidance(tmp_path: Path) -> None:
    run(tmp_path, "model=time_unet", "schedule=ddpm", "schedule.path.T=40")
    model = load_backbone(tmp_path, device="cpu")
    assert model.condition(["", ""]) is None and model.guidance_scale == 1
    assert Generate(prompts=[""], count=2).run(model, times=[900, 400, 0]).images.shape == (2, 1, 28, 28)
    with pytest.raises(ValueError, match=r"guidance_scale=3: allowed is 1, custom takes no condition"):
        Generate(prompts=[""], guidance_scales=[3]).run(model, times=[900, 400, 0])
    with pytest.raises(ValueError, match="edit=upscale: allowed is a backbone with a second stage"):
        CheckpointSource(str(tmp_path)).check(CPU, second=True)


def test_a_pipeline_in_a_folder_is_a_backbone_whose_prompts_are_words(tiny_if: Path, tmp_path: Path) -> None:
    model = load_backbone(tiny_if / "stage_1", prompts=["a cat"], device="cpu", cache=str(tmp_path))
    assert model.shape == (3, 64, 64) and model.threshold == (0.95, 1.5)
    small = Generate(prompts=["a cat"]).run(model, times=[900, 0]).images
    upscaler = load_backbone(
        tiny_if / "stage_2", text_encoder=tiny_if / "stage_1", device="cpu", cache=str(tmp_path), prompts=["a cat"]
    )
    assert isinstance(upscaler, Upscaler) and upscaler.shape == (3, 256, 256)
    large = Upscale(pictures=small, prompts=[["a cat"]]).run(upscaler, times=[900, 0]).made["upscaled"][""]
    assert large.shape == (1, 3, 256, 256)


def test_a_name_that_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path=.*nothing: is no folder, allowed are"):
        load_backbone(tmp_path / "nothing", device="cpu")


def test_prompts_are_encoded_once_for_both_stages(tiny_if: Path, tmp_path: Path, monkeypatch) -> None:
    tiny = source(tiny_if, cache=str(tmp_path))
    tiny.encode(["", "a cat"], CPU)
    monkeypatch.setattr("transformers.T5EncoderModel.from_pretrained", None)
    tiny.encode(["a cat", ""], CPU)
    for second in (False, True):
        model = tiny.load(CPU, second=second)
        assert torch.equal(model.condition(["a cat"]), tiny.embeddings().load(["a cat"]))


def test_another_encoder_in_the_same_folder_has_embeddings_of_its_own(tiny_if: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_if / "stage_1", tmp_path / "stage_1")
    mine = DeepFloydSource(str(tmp_path / "stage_1"), "", cache=str(tmp_path / "embeddings"))
    mine.encode(["a cat"], CPU)
    assert mine.embeddings().missing(["a cat"]) == []
    (weights,) = (tmp_path / "stage_1" / "text_encoder").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes())  # trained anew
    assert mine.embeddings().missing(["a cat"]) == ["a cat"]


def test_a_saved_dictionary_of_embeddings_spares_the_encoder(tiny_if: Path, tmp_path: Path, monkeypatch) -> None:
    saved = {"": torch.zeros(1, 77, 32), "a rocket ship": torch.ones(1, 77, 32)}
    torch.save(saved, tmp_path / "embeddings.pt")
    monkeypatch.setattr("transformers.T5EncoderModel.from_pretrained", None)
    tiny = source(tiny_if, cache=str(tmp_path / "cache"), import_embeddings=str(tmp_path / "embeddings.pt"))
    tiny.encode(["", "a rocket ship"], CPU)
    assert torch.equal(tiny.load(CPU).condition(["a rocket ship"]), saved["a rocket ship"])


def test_what_does_not_fit_is_said_before_it_is_loaded(tiny_if: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("denoiselab.backbones.weights.free_memory", lambda device: 1000)
    with pytest.raises(ValueError, match=r"backbone.path=.*stage_1: the UNet needs .* GB .* a smaller backbone.size"):
        source(tiny_if).check(CPU)
    with pytest.raises(ValueError, match=r"allowed here is stage II"):
        DeepFloydSource(str(tiny_if / "stage_1"), str(tiny_if / "stage_1")).check(CPU, second=True)


def test_the_miniature_is_built_where_it_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    tiny = TinyIfSource(str(folder / "stage_1"), str(folder / "stage_2"), folder=str(folder))
    tiny.check(CPU, second=True)
    assert (folder / "stage_2" / "model_index.json").is_file()
