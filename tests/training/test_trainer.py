"""trainer.py: what the hardware decides, and what train.py makes of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from training_runs import compose_config, load, losses, make_run

from denoiselab.config import one_line_errors
from denoiselab.hardware import cpu_multiplies_bf16_fast
from denoiselab.training import check_devices, make_trainer
from denoiselab.training.trainer import default_precision

SAPPHIRE_RAPIDS = "vendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8"
COOPER_LAKE = "vendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16 avx512_vnni"
ZEN_5 = "vendor_id : AuthenticAMD\nflags : fpu avx512f avx512_bf16 avx512_vnni"
ZEN_3 = "vendor_id : AuthenticAMD\nflags : fpu avx2 fma"
FAST = {SAPPHIRE_RAPIDS: True, COOPER_LAKE: False, ZEN_5: True, ZEN_3: False, "": False}


@pytest.mark.parametrize(("cpuinfo", "fast"), FAST.items(), ids=["amx", "intel avx512", "zen 5", "zen 3", "unknown"])
def test_bf16_where_the_cpu_is_faster_with_it(cpuinfo: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_multiplies_bf16_fast(cpuinfo) is fast
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(Path, "exists", lambda self: True)
    monkeypatch.setattr(Path, "read_text", lambda self: cpuinfo)
    expected = "bf16-mixed" if fast else "32-true"
    assert default_precision("auto") == default_precision("cpu") == expected
    assert default_precision("mps") == default_precision("gpu") == "32-true"
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert default_precision("auto") == "32-true"


@pytest.mark.parametrize("native", [True, False])
def test_bf16_where_the_gpu_has_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: native or including_emulation)
    for accelerator in ("auto", "gpu", "cuda"):
        assert default_precision(accelerator) == ("bf16-mixed" if native else "32-true")


def test_ranks_wait_for_the_first_as_long_as_it_measures(tmp_path: Path) -> None:
    for devices, strategy in ((2, "auto"), (1, "ddp")):
        trainer = make_trainer(tmp_path, 1, [], False, "cpu", devices, 1, strategy, "32-true", None, False)
        assert isinstance(trainer.strategy, DDPStrategy) and trainer.world_size == devices
        assert trainer.strategy._timeout == timedelta(weeks=1)
    alone = make_trainer(tmp_path, 1, [], False, "cpu", 1, 1, "auto", "32-true", None, False)
    assert not isinstance(alone.strategy, DDPStrategy)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    for accelerator in ("auto", "cpu"):
        for devices in ("auto", 1, 4):
            check_devices(accelerator, devices)
        with pytest.raises(ValueError, match=r"^trainer\.devices=5: allowed is auto or 1 to 4, the CPU cores here$"):
            check_devices(accelerator, 5)
    with pytest.raises(
        ValueError, match=r"^trainer\.accelerator=gpu: allowed is auto or cpu, torch finds no GPU here$"
    ):
        check_devices("gpu", 1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    check_devices("auto", 8)
    with pytest.raises(ValueError, match=r"^trainer\.devices=9: allowed is auto or 1 to 8, the GPUs here$"):
        check_devices("auto", 9)


def test_the_bar_shows_the_loss_that_was_read_last(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train(smoke("trainer.progress_bar=true", "callbacks.metrics.every=1"), tmp_path, None)
    shown = "".join(capsys.readouterr())
    assert f"loss={losses(tmp_path)[-1]:.4f}" in shown
    assert "epoch 1/1" in shown and "sampling" not in shown  # no bars within bars where there is no terminal


@pytest.mark.parametrize("fast", [True, False])
def test_precision_can_be_named(tmp_path: Path, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "denoiselab.training.trainer.default_precision", lambda accelerator: "bf16-mixed" if fast else "32-true"
    )

    def precision(asked: str) -> str:
        trainer = make_trainer(tmp_path, 1, [], False, "cpu", 1, 1, "auto", asked, None, False)
        return str(trainer.precision)

    assert precision("auto") == ("bf16-mixed" if fast else "32-true")
    assert precision("32-true") == "32-true"
    assert precision("bf16-mixed") == "bf16-mixed"


def test_torch_has_no_synchronised_batchnorm_for_the_cpu(tmp_path: Path) -> None:
    """Why make_trainer asks for it on GPUs only. A torch that has one fails this test, and may be asked."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="SyncBatchNorm expected input tensor to be on GPU"):
            nn.SyncBatchNorm(4)(torch.zeros(2, 4, 3, 3))
    finally:
        torch.distributed.destroy_process_group()
    with pytest.raises(NotImplementedError):
        torch.batch_norm_stats(torch.zeros(2, 4, 3, 3), 1e-5)


# --- train.py in this process


def smoke(*overrides: str) -> dict[str, Any]:
    return compose_config("data=synthetic", "trainer=smoke", "model.net.width=4", "trainer.accelerator=cpu", *overrides)


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_are_laid_out_as_asked_and_fit_is_called_for_good(
    tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, channels_last: bool
) -> None:
    calls = []
    monkeypatch.setattr(L.Trainer, "fit", lambda self, module, **options: calls.append((module, options)))
    train(smoke(f"trainer.channels_last={channels_last}"), tmp_path, None)
    (module, options) = calls[0]
    weights = [parameter for parameter in module.parameters() if parameter.ndim == 4 and min(parameter.shape) > 1]
    assert len(weights) > 10
    assert all(weight.is_contiguous(memory_format=torch.channels_last) == channels_last for weight in weights)
    assert options["ckpt_path"] is None and options["weights_only"] is True


def test_a_run_in_bf16_with_all_its_pictures(tmp_path: Path, train: Any) -> None:
    value = train(smoke("trainer.precision=bf16-mixed"), tmp_path, None)
    assert value is not None and 0 < value < 5
    assert len(losses(tmp_path)) == 3 and all(0 < loss < 5 for loss in losses(tmp_path))
    state = load(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"loss.png", "samples_epoch_001.png", "zero_class_epoch_001.png", "samples.gif"} <= names


def test_bf16_and_fp32_train_alike(tmp_path: Path) -> None:
    for precision in ("32-true", "bf16-mixed"):
        make_run(tmp_path / precision, epochs=2, precision=precision).fit()
    exact, rounded = losses(tmp_path / "32-true"), losses(tmp_path / "bf16-mixed")
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)  # bf16 has 8 bits
    assert exact[-1] < exact[0]


def test_a_loss_that_is_not_finite_is_one_line_and_in_a_sweep_the_worst_value(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = smoke("model.optimizer.lr=1e30")
    with pytest.raises(SystemExit) as caught, one_line_errors():
        train(config, tmp_path, None)
    message = str(caught.value.code)
    assert message.startswith("error: loss=nan at step 2: allowed are finite numbers; try a smaller model.optimizer.lr")
    assert "\n" not in message
    assert not (tmp_path / "checkpoints").exists()
    assert train(config, tmp_path, "outputs/sweep/name/date") == float("inf")
    assert message in capsys.readouterr().out
