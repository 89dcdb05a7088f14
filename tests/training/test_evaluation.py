"""evaluation.py: metrics.json grows by epochs, and the numbers are those of the weights of that epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from training_runs import (
    SEED,
    STEPS,
    PowerFailure,
    WithoutBatchNorm,
    class_module,
    differences,
    load,
    make_run,
    terminate_after,
)

from denoiselab.evaluation import Evaluator, denoising_quality
from denoiselab.nets import UNet
from denoiselab.noise import Additive
from denoiselab.runs import measured_epochs, read_measured
from denoiselab.sample import euler
from denoiselab.training import DenoisingQuality, NotFinite, OneStepModule, Optimizer, SampleQuality

SIGMAS = [0.0, 0.4, 0.5]


def one_step(lr: float = 1e-3) -> OneStepModule:
    torch.manual_seed(0)
    return OneStepModule(UNet(4), Additive(), "x_0", Optimizer(lr, "constant"), SEED, 0.5)


def test_a_run_that_goes_on_keeps_its_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(epochs: int) -> OneStepModule:
        callback = DenoisingQuality(tmp_path, [1, 3], 11, SIGMAS, count=8)
        made = make_run(tmp_path, epochs, module=one_step(), last=[callback])  # type: ignore[arg-type]
        made.fit(resume=epochs > 2)
        data = made.data
        made.module.eval()
        with torch.no_grad():
            found = denoising_quality(
                lambda z, sigma: made.module.net(z), data.test_images[:8], SIGMAS, data.train_images, 11
            )
        expected.append([entry.mse["value"] for entry in found["network"]])
        return made.module  # type: ignore[return-value]

    expected: list[list[float]] = []
    run(1)
    run(3)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["denoising"]
    assert list(metrics) == ["epoch_001", "epoch_003"]
    for methods, mse in zip(metrics.values(), expected, strict=True):
        assert [entry["mse"]["value"] for entry in methods["network"]] == pytest.approx(mse, rel=1e-5)
        assert [entry["n"] for entry in methods["network"] + methods["non_local_means"]] == [8] * 6
        assert methods["none"][0]["psnr"] == {"value": None, "low": None, "high": None}
    assert metrics["epoch_001"]["wiener"] == metrics["epoch_003"]["wiener"]
    with Image.open(tmp_path / "figures" / "denoising_quality.png") as picture:
        assert picture.size == (1000, 600)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line, epoch in zip(lines, (1, 3), strict=True):
        psnr = metrics[f"epoch_{epoch:03d}"]["network"][2]["psnr"]["value"]
        start = f"denoising after epoch {epoch}: PSNR in dB at sigma 0.5: {psnr:.2f} network, trained at sigma 0.5; "
        assert line.startswith(start)


def test_an_answer_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    callback = DenoisingQuality(tmp_path, [1], 0, SIGMAS, count=8)
    run = make_run(tmp_path, 1, module=one_step(), last=[callback])  # type: ignore[arg-type]

    def broken(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output if len(inputs[0]) != 8 else output * math.nan

    run.module.net.register_forward_hook(broken)
    with pytest.raises(NotFinite, match="denoised pictures with NaN or infinite pixels after epoch 1"):
        run.fit()
    assert not (tmp_path / "metrics.json").exists()


class NoNumbers(SampleQuality):
    """Of a model that draws none."""

    def made(self, *arguments: Any) -> Tensor:
        return super().made(*arguments) * math.nan


def test_a_run_that_ended_because_it_drew_no_numbers_can_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "samples with NaN or infinite pixels after epoch 1"
    with pytest.raises(NotFinite, match=line):
        make_run(tmp_path, 2, last=[quality(tmp_path, [1], kind=NoNumbers)]).fit()
    make_run(tmp_path, 2, last=[quality(tmp_path, [1], kind=NoNumbers)]).fit(resume=True)
    assert f"warning: not measured: {line}" in capsys.readouterr().err
    assert load(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2 * STEPS


def quality(
    directory: Path,
    epochs: list[int],
    scales: tuple[float, ...] = (2.0, 3.0),
    kind: type[SampleQuality] = SampleQuality,
) -> SampleQuality:
    return kind(directory, epochs, 5, euler, samples=24, steps=2, guidance_scales=scales, batch_size=10)


def test_samples_are_measured_at_their_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(epochs: int) -> None:
        made = make_run(tmp_path, epochs, last=[quality(tmp_path, [1, 3])])  # type: ignore[arg-type]
        made.fit(resume=epochs > 2)

    run(1)
    run(3)
    study = json.loads((tmp_path / "metrics.json").read_text())
    assert [(row["epoch"], row["guidance_scale"]) for row in study["rows"]] == [(1, 2), (1, 3), (3, 2), (3, 3)]
    assert {(row["evaluations"], row["samples"], row["training_seed"]) for row in study["rows"]} == {(2, 24, SEED)}
    assert study["floors"]["train_subset"]["samples"] == 24
    assert len({row["frechet_distance"]["value"] for row in study["rows"]}) == 4
    assert (tmp_path / "figures" / "quality.png").is_file()
    assert "floor: train subset" in capsys.readouterr().out


class CutShort(SampleQuality):
    """Power fails while it measures."""

    def measure(self, *arguments: Any) -> None:
        raise PowerFailure


def test_a_run_killed_while_it_measures_loses_nothing(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    make_run(whole, 2, last=[quality(whole, [1, 2])], ema=0.9).fit()
    with pytest.raises(PowerFailure):
        make_run(cut, 2, last=[quality(cut, [1, 2], kind=CutShort)], ema=0.9).fit()
    assert load(cut / "checkpoints" / "last.ckpt")["global_step"] == STEPS
    assert measured_epochs(cut) == set()
    make_run(cut, 2, last=[quality(cut, [1, 2])], ema=0.9).fit(resume=True)
    ours, theirs = (read_measured(directory)["rows"] for directory in (cut, whole))
    assert [row | {"run": ""} for row in ours] == [row | {"run": ""} for row in theirs] and len(ours) == 4
    last = [load(directory / "checkpoints" / "last.ckpt") for directory in (cut, whole)]
    assert differences(*last) == []


def test_a_run_that_goes_on_in_mid_epoch_measures_nothing_anew(tmp_path: Path) -> None:
    run = make_run(tmp_path, 2, callbacks=[terminate_after(lambda: run.checkpoints, STEPS + 2)])
    run.fit_until_stopped()
    make_run(tmp_path, 2, last=[quality(tmp_path, [1, 2])]).fit(resume=True)  # asked for later: epoch 1 is gone
    assert measured_epochs(tmp_path) == {2}


def test_without_guidance_no_digit_is_read(tmp_path: Path) -> None:
    make_run(tmp_path, 1, last=[quality(tmp_path, [1], (0.0, 1.0))]).fit()  # type: ignore[arg-type]
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert ["accuracy" in row for row in rows] == [False, True]


def test_what_is_measured_are_samples_of_the_average(tmp_path: Path) -> None:
    callback = quality(tmp_path, [1])
    run = make_run(tmp_path, 1, module=class_module(WithoutBatchNorm), last=[callback], ema=0.9)
    run.fit()
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    data, labels = run.data, torch.arange(24) % 10
    evaluator = Evaluator(data.train_images, data.train_labels, data.test_images, data.test_labels)
    run.module.eval()

    def measured() -> list[float]:
        with torch.no_grad():
            images = [callback.gathered(run.trainer, run.module, 1, scale) for scale in (2.0, 3.0)]
        return [evaluator.measure(each, labels)["frechet_distance"]["value"] for each in images]

    found = [row["frechet_distance"]["value"] for row in rows]
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    run.module.load_state_dict(checkpoint["state_dict"])
    assert measured() == pytest.approx(found, rel=1e-6)
    run.module.load_state_dict(checkpoint["current_model_state"])  # the last step's
    assert measured() != pytest.approx(found, rel=1e-3)


def test_samples_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    run = make_run(tmp_path, 1)
    run.fit()
    run.module.eval()
    callback = quality(tmp_path, [1])
    with torch.no_grad():
        ours = callback.gathered(run.trainer, run.module, 1, 2.0)
        callback.batch_size = 24
        torch.testing.assert_close(callback.gathered(run.trainer, run.module, 1, 2.0).int(), ours.int(), rtol=0, atol=1)
    assert ours.shape == (24, 1, 28, 28) and ours.dtype == torch.uint8
