"""A checkpoint of a real run, loaded as a Denoiser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from composing import TINY, checked, load_train

from denoiselab.backbones import load_denoiser
from denoiselab.checkpoint import read_checkpoint
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
    assert all(torch.equal(value, saved[f"net.{name}"]) for name, value in denoiser.net.state_dict().items())
    x, t, c = torch.randn(3, 1, 28, 28), torch.tensor([0.1, 0.5, 1.0]), torch.eye(10)[:3]
    with torch.no_grad():
        velocity = denoiser.net(x, t, c)
        estimate = denoiser(x, t, c)
    torch.testing.assert_close(estimate.eps - estimate.x_0, velocity, rtol=1e-4, atol=1e-5)


def test_a_discrete_paths_settings_come_along(tmp_path: Path) -> None:
    denoiser = load_denoiser(run(tmp_path, "model=time_unet", "schedule=ddpm", "schedule.path.T=40"))
    assert isinstance(denoiser.path, DDPM)
    assert torch.equal(denoiser.path.abar, DDPM(40, 1e-4, 0.02).abar)


def test_a_single_step_denoiser_is_refused(tmp_path: Path) -> None:
    config = checked("experiment=denoiser", *TINY, "logger=none", "data.batch_size=8", "callbacks.panels=null")
    load_train().train(config, tmp_path, None)
    with pytest.raises(ValueError, match="of a single-step denoiser, allowed is a model that is told the time"):
        load_denoiser(tmp_path / "checkpoints" / "last.ckpt")
