"""A checkpoint of a real run, loaded as a Denoiser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from composing import TINY, checked, load_train

from denoiselab.backbones import load_backbone, load_denoiser
from denoiselab.checkpoint import read_checkpoint
from denoiselab.nets import UNet
from denoiselab.noise import DDPM, RectifiedFlow


def run(directory: Path, *words: str) -> Path:
    config = checked(*words, *TINY, "logger=none", "data.batch_size=8", "callbacks.samples=null")
    load_train().train(config, directory, None)
    return directory / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("ema", [(), ("callbacks.ema.decay=0.5",)], ids=["plain", "ema"])
def test_a_class_models_checkpoint_is_its_network_on_its_path(tmp_path: Path, ema: tuple[str, ...]) -> None:
    path = run(tmp_path, "experiment=class_flow", *ema)
    denoiser = load_denoiser(path)
    assert isinstance(denoiser.path, RectifiedFlow) and denoiser.prediction == "velocity"
    assert not denoiser.net.training
    saved = read_checkpoint(path)["state_dict"]  # with EMA on, the average
    net = UNet(4, time="add", num_classes=10).eval()
    net.load_state_dict({name.removeprefix("net."): value for name, value in saved.items()})
    x, t, c = torch.randn(3, 1, 28, 28), torch.tensor([0.1, 0.5, 1.0]), torch.eye(10)[:3]
    with torch.no_grad():
        velocity = net(x, t, c)
        estimate = denoiser(x, t, c)
    torch.testing.assert_close(estimate.eps - estimate.x_0, velocity, rtol=1e-4, atol=1e-5)


def test_sampled_in_bf16_where_that_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run(tmp_path, "experiment=class_flow")
    x, t, c = torch.randn(3, 1, 28, 28), torch.tensor([0.1, 0.5, 1.0]), torch.eye(10)[:3]
    answers = {}
    for fast, dtype in ((True, "fp32"), (False, "auto"), (True, "auto"), (False, "bf16")):
        monkeypatch.setattr("denoiselab.hardware.multiplies_bf16_fast", lambda _, fast=fast: fast)
        backbone = load_backbone(path, device="cpu", dtype=dtype)
        with torch.no_grad():
            answers[fast, dtype] = backbone.denoiser(x, t, c).x_0
    wide, half = answers[True, "fp32"], answers[True, "auto"]
    assert torch.equal(answers[False, "auto"], wide) and torch.equal(answers[False, "bf16"], half)
    assert half.dtype == torch.float32 and 0 < float((half - wide).abs().max()) < 0.05
    with pytest.raises(ValueError, match=r"^dtype=fp16: allowed are auto, fp32, bf16$"):
        load_backbone(path, device="cpu", dtype="fp16")


def test_a_discrete_paths_settings_come_along(tmp_path: Path) -> None:
    denoiser = load_denoiser(run(tmp_path, "model=time_unet", "schedule=ddpm", "schedule.path.T=40"))
    assert isinstance(denoiser.path, DDPM)
    assert torch.equal(denoiser.path.abar, DDPM(40, 1e-4, 0.02).abar)


def test_a_single_step_denoiser_is_refused(tmp_path: Path) -> None:
    config = checked("experiment=denoiser", *TINY, "logger=none", "data.batch_size=8", "callbacks.panels=null")
    load_train().train(config, tmp_path, None)
    with pytest.raises(ValueError, match="of a single-step denoiser, allowed is a model that is told the time"):
        load_denoiser(tmp_path / "checkpoints" / "last.ckpt")


def test_a_text_to_image_model_is_refused_without_its_pipeline(text_run: Path, tmp_path: Path) -> None:
    early = Path(shutil.copytree(text_run, tmp_path / "early", ignore=shutil.ignore_patterns("pipeline")))
    file = early / "checkpoints" / "last.ckpt"
    for name in (early, file):
        with pytest.raises(ValueError) as error:
            load_backbone(name, device="cpu")
        use = "RUN/pipeline of its run, which is there after the first epoch"
        assert str(error.value) == f"checkpoint {file}: of a text-to-image model, allowed is {use}"


def test_a_classifier_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "config": {"schedule": None}}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="of a digit classifier, allowed is a model that is told the time"):
        load_denoiser(tmp_path / "last.ckpt")
