"""pictures.py: the right files, drawn with the right weights, and training that does not notice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from training_runs import SEED, class_module, differences, load, make_run, rows

from denoiselab.data import Synthetic
from denoiselab.denoise import Denoiser
from denoiselab.nets import UNet
from denoiselab.noise import Additive, ImageNoise, RectifiedFlow
from denoiselab.sample import make_solver, sample
from denoiselab.training import (
    DenoisedPanels,
    OneStepModule,
    Optimizer,
    PureNoisePanels,
    SampleGrids,
    TimeModule,
    pictures,
)

DIGITS, ROWS, STEPS = [0, 3, 7], 2, 4
PICTURE_SEED = 11
SIDE = 30  # of a picture and its padding


def cells(path: Path, columns: int) -> Tensor:
    """The pictures of a grid, uint8 (B, 1, 28, 28)."""
    canvas = torch.from_numpy(np.array(Image.open(path)))
    assert canvas.ndim == 2 and (canvas.shape[1] - 2) // SIDE == columns and (canvas.shape[1] - 2) % SIDE == 0
    return torch.stack(
        [
            canvas[2 + SIDE * row : SIDE * (row + 1), 2 + SIDE * column : SIDE * (column + 1)]
            for row in range((canvas.shape[0] - 2) // SIDE)
            for column in range(columns)
        ]
    ).unsqueeze(1)


def as_bytes(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def sample_grids(directory: Path, epochs: Sequence[int], **options: Any) -> SampleGrids:
    settings = {"rows": ROWS, "digits": DIGITS, "guidance_scale": 3.0, "zero_class": True, **options}
    return SampleGrids(directory, epochs, PICTURE_SEED, make_solver("euler"), STEPS, **settings)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs with EMA; pictures after the first and the third."""
    directory = tmp_path_factory.mktemp("drawn")
    make_run(directory, ema=0.7, callbacks=[sample_grids(directory, [1, 3])], kept=[1, 3]).fit()
    return directory


def test_the_files_are_those_asked_for(drawn: Path) -> None:
    names = [f"{kind}_epoch_{epoch}" for kind in ("samples", "zero_class", "beside") for epoch in ("001", "003")]
    expected = {f"{name}{ending}" for name in names for ending in (".png", "_preview.png")} | {"samples.gif"}
    assert {path.name for path in (drawn / "figures").iterdir()} == expected
    for name in names:
        image = Image.open(drawn / "figures" / f"{name}.png")
        width, height = 2 + SIDE * len(DIGITS), 2 + SIDE * ROWS
        both = (width + 4, 2 * height + 6)  # with and without a class, one under the other
        assert image.mode == "L" and image.size == (both if name.startswith("beside") else (width, height))


def by_hand(state: dict[str, Tensor], zero_class: bool) -> Tensor:
    """The grid's pictures, from a checkpoint's weights."""
    module = class_module()
    module.load_state_dict(state)
    module.eval()
    count = ROWS * len(DIGITS)
    noise = ImageNoise(PICTURE_SEED, range(count), "sampling")
    x = noise(torch.empty(count, 1, 28, 28))
    condition = torch.eye(10)[torch.tensor(DIGITS * ROWS)]
    with torch.no_grad():
        denoiser = module.denoiser(None if zero_class else 3.0)
        if zero_class:
            condition = torch.zeros(count, 10)
        return sample(denoiser, x, module.path.times(STEPS), make_solver("euler"), noise, condition)


# Sampling by hand for both epochs starts from the same noise, cell by cell: so did the grids.
@pytest.mark.parametrize("epoch", ["001", "003"])
@pytest.mark.parametrize("kind", ["samples", "zero_class"])
def test_the_averaged_weights_are_drawn(drawn: Path, kind: str, epoch: str) -> None:
    checkpoint = load(drawn / "checkpoints" / f"epoch_{epoch}.ckpt")
    picture = cells(drawn / "figures" / f"{kind}_epoch_{epoch}.png", len(DIGITS))
    expected = as_bytes(by_hand(checkpoint["state_dict"], kind == "zero_class"))
    assert expected.float().std() > 5
    assert int((picture.int() - expected.int()).abs().max()) <= 1
    current = as_bytes(by_hand(checkpoint["current_model_state"], kind == "zero_class"))
    assert int((picture.int() - current.int()).abs().max()) > 20


def test_training_does_not_notice(drawn: Path, tmp_path: Path) -> None:
    make_run(tmp_path, ema=0.7, kept=[1, 3]).fit()
    for name in ("epoch_001.ckpt", "last.ckpt"):  # running statistics, averages and Adam's state with them
        assert differences(load(tmp_path / "checkpoints" / name), load(drawn / "checkpoints" / name)) == []
    assert rows(tmp_path) == rows(drawn)


def test_the_animation_is_of_the_last_epoch_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames_at = []
    run = make_run(tmp_path, epochs=3, callbacks=[sample_grids(tmp_path, [1, 2], zero_class=False)])

    def record(frames: Sequence[Tensor], path: Path, columns: int) -> None:
        frames_at.append((run.trainer.current_epoch + 1, list(frames), path, columns))

    monkeypatch.setattr(pictures, "animation", record)
    run.fit()
    ((epoch, frames, path, columns),) = frames_at
    assert (epoch, path, columns) == (2, tmp_path / "figures" / "samples.gif", len(DIGITS))
    assert len(frames) == 1 + STEPS
    noise = ImageNoise(PICTURE_SEED, range(ROWS * len(DIGITS)), "sampling")(torch.empty(6, 1, 28, 28))
    assert torch.equal(frames[0], noise)
    grid = cells(tmp_path / "figures" / "samples_epoch_002.png", len(DIGITS))
    assert torch.equal(as_bytes(frames[-1]), grid)


def test_another_runs_last_grid_stands_in_for_an_epoch_it_lacks(tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copytree(drawn / "figures", tmp_path / "other" / "figures")
    (tmp_path / "other" / "config.yaml").write_text("name: averaged")
    callback = sample_grids(tmp_path, [1, 2], zero_class=False, rows=1, beside=[tmp_path / "other"])
    make_run(tmp_path, epochs=2, callbacks=[callback]).fit()
    for epoch, theirs in (("001", "001"), ("002", "003")):
        together = np.array(Image.open(tmp_path / "figures" / f"beside_epoch_{epoch}.png"))
        ours = np.array(Image.open(tmp_path / "figures" / f"samples_epoch_{epoch}.png"))
        other = np.array(Image.open(drawn / "figures" / f"samples_epoch_{theirs}.png"))
        height, width = other.shape  # two rows; ours, of one row, stands in as much room
        assert together.shape == (2 * height + 6, width + 4)
        assert (together[2 : 2 + len(ours), 2:-2] == ours).all() and not together[2 + len(ours) : 2 + height].any()
        assert (together[4 + height : -2, 2:-2] == other).all()


@pytest.mark.parametrize("interval", [None, [0.6, 0.8]])
def test_a_grid_is_guided_in_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: list[float] | None
) -> None:
    """Both branches at those of four steps that are in it; one where there is no class to guide by."""
    rows: list[int] = []

    def counted(denoiser: Denoiser, *rest: Any, **options: Any) -> Tensor:
        assert isinstance(module.net, UNet)
        hook = module.net.register_forward_pre_hook(lambda net, inputs: rows.append(len(inputs[1])))
        try:
            return sample(denoiser, *rest, **options)
        finally:
            hook.remove()

    monkeypatch.setattr(pictures, "sample", counted)
    run = make_run(tmp_path, 1, callbacks=[sample_grids(tmp_path, [1], guidance_interval=interval)])
    module = run.module
    run.fit()
    B = ROWS * len(DIGITS)
    assert rows == ([2 * B] * 4 if interval is None else [B, 2 * B, B, B]) + [B] * 4  # t = 1, 3/4, 1/2, 1/4


def test_no_animation_where_none_is_wanted(tmp_path: Path) -> None:
    make_run(tmp_path, epochs=1, callbacks=[sample_grids(tmp_path, [1], animate=False, zero_class=False)]).fit()
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"samples_epoch_001.png", "samples_epoch_001_preview.png"}


def test_a_model_without_classes_has_columns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = TimeModule(UNet(4, "multiply"), RectifiedFlow(), "velocity", Optimizer(1e-3, "constant"), SEED)
    callback = sample_grids(tmp_path, [1], digits=None, columns=5, guidance_scale=None, zero_class=False)
    make_run(tmp_path, 1, module=module, callbacks=[callback]).fit()  # type: ignore[arg-type]
    assert len(cells(tmp_path / "figures" / "samples_epoch_001.png", 5)) == ROWS * 5
    for bad in ({"columns": None}, {"digits": DIGITS}):
        with pytest.raises(ValueError, match=r"one of columns .* digits and prompts"):
            sample_grids(tmp_path, [1], **{"digits": None, "columns": 5, **bad})


# --- the single-step denoiser


def one_step_run(directory: Path, path: Any, t: float, callback: Any, epochs: int = 2) -> Any:
    torch.manual_seed(0)
    module = OneStepModule(UNet(4), path, "x_0", Optimizer(1e-3, "constant"), SEED, t)
    run = make_run(directory, epochs, module=module, callbacks=[callback])  # type: ignore[arg-type]
    run.fit()
    module.eval()
    return run


def digits(data: Synthetic) -> Tensor:
    """The first test picture of each class; the classes come in turn."""
    return data.test_images[:10].float() / 255


def test_denoised_panels(tmp_path: Path) -> None:
    sigmas = [0.0, 0.5, 1.0]
    callback = DenoisedPanels(tmp_path, [2], PICTURE_SEED, sigmas, digits=2)
    run = one_step_run(tmp_path, Additive(), 0.5, callback)
    names = {path.name for path in (tmp_path / "figures").iterdir() if "preview" not in path.name}
    assert names == {"noising.png", "denoised_epoch_002.png", "out_of_distribution_epoch_002.png"}
    clean = digits(run.data)
    noise = ImageNoise(PICTURE_SEED, range(10), "panels")(clean)

    noising = cells(tmp_path / "figures" / "noising.png", len(sigmas)).reshape(10, len(sigmas), 1, 28, 28)
    for column, sigma in enumerate(sigmas):
        assert torch.equal(noising[:, column], as_bytes(clean + sigma * noise))

    panel = cells(tmp_path / "figures" / "denoised_epoch_002.png", 10).reshape(3, 10, 1, 28, 28)
    assert torch.equal(panel[0], as_bytes(clean)) and torch.equal(panel[1], as_bytes(clean + 0.5 * noise))
    with torch.no_grad():
        denoised = run.module.net(clean + 0.5 * noise)
        assert int((panel[2].int() - as_bytes(denoised).int()).abs().max()) <= 1
        panel = cells(tmp_path / "figures" / "out_of_distribution_epoch_002.png", len(sigmas))
        panel = panel.reshape(2, 2, 3, 1, 28, 28)  # digit, noisy or denoised, sigma
        for digit in range(2):
            for column, sigma in enumerate(sigmas):
                z = clean[:2] + sigma * noise[:2]
                assert torch.equal(panel[digit, 0, column], as_bytes(z[digit]))
                expected = as_bytes(run.module.net(z)[digit])
                assert int((panel[digit, 1, column].int() - expected.int()).abs().max()) <= 1
    for bad in ([], [0.5, -0.1]):
        with pytest.raises(ValueError, match=r"callbacks\.panels\.sigmas"):
            DenoisedPanels(tmp_path, [1], 0, bad)


def test_pure_noise_panels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = one_step_run(tmp_path, RectifiedFlow(), 1.0, PureNoisePanels(tmp_path, [1, 2], PICTURE_SEED, count=4))
    names = {path.name for path in (tmp_path / "figures").iterdir() if "preview" not in path.name}
    assert names == {"pure_noise_epoch_001.png", "pure_noise_epoch_002.png"}
    mean = run.data.train_images.float().mean(0, keepdim=True) / 255
    noise = ImageNoise(PICTURE_SEED, range(4), "panels")(torch.empty(4, 1, 28, 28))
    with torch.no_grad():
        output = run.module.net(noise)
    panel = cells(tmp_path / "figures" / "pure_noise_epoch_002.png", 4).reshape(3, 4, 1, 28, 28)
    assert torch.equal(panel[0], as_bytes(noise))
    assert int((panel[1].int() - as_bytes(output).int()).abs().max()) <= 1
    assert int((panel[2].int() - as_bytes(mean).int()).abs().max()) <= 1
    mse = f"{float((output - mean).square().mean()):.2e}"
    assert f"pure noise after epoch 2: MSE {mse} between" in capsys.readouterr().out
