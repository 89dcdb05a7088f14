"""ema.py: the decay that warms up, and BatchNorm's statistics of the average."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from training_runs import SEED, STEPS, Hook, WithoutBatchNorm, class_module, load, make_run, rows

from denoiselab.data import Synthetic
from denoiselab.data.loader import StepLoader
from denoiselab.noise import key
from denoiselab.training import EMA, ClassModule

BATCHES = 3


def test_the_decay_of_an_update() -> None:
    assert [EMA(0.99, warmup=True).decay_of(n) for n in (0, 1, 8, 10**6)] == pytest.approx([0.1, 2 / 11, 0.5, 0.99])
    assert {EMA(0.99).decay_of(n) for n in (0, 1, 8, 10**6)} == {0.99}


def test_the_average_is_the_recursion_with_that_decay(tmp_path: Path) -> None:
    """The first update takes the weights as they are: the average never saw those before training."""
    seen: list[Tensor] = []
    hook = Hook(lambda trainer, module: seen.append(module.net.leave.weight.detach().clone()))
    make_run(tmp_path, 2, module=class_module(WithoutBatchNorm), callbacks=[hook], ema=0.6, warmup=True).fit()
    average = seen[0]
    for n, weight in list(enumerate(seen))[1:]:
        decay = min(0.6, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weight
    assert len(seen) == 2 * STEPS
    saved = load(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]["net.leave.weight"]
    torch.testing.assert_close(saved, average)


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_is_torchs_bit_for_bit(tmp_path: Path, warmup: bool) -> None:
    """Of weights, running statistics and counts."""
    seen: list[dict[str, Tensor]] = []
    hook = Hook(lambda trainer, module: seen.append({n: v.clone() for n, v in module.state_dict().items()}))
    make_run(tmp_path, 2, callbacks=[hook], ema=0.6, warmup=warmup).fit()

    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        if averaged[0].is_floating_point():
            get_ema_multi_avg_fn(EMA(0.6, warmup).decay_of(int(updates)))(averaged, current, updates)
        else:
            torch._foreach_copy_(averaged, current)

    model = class_module()
    average = AveragedModel(model, multi_avg_fn=torch.no_grad()(update), use_buffers=True)
    for state in seen:
        model.load_state_dict(state)
        average.update_parameters(model)
    saved = load(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    assert any("num_batches_tracked" in name for name in saved)
    assert all(torch.equal(value, saved[name]) for name, value in average.module.state_dict().items())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One run with averaged statistics, and the same with estimated ones."""
    directories = {}
    for count in (0, BATCHES):
        directories[count] = tmp_path_factory.mktemp("ema")
        make_run(directories[count], 2, ema=0.8, bn_batches=count).fit()
    return directories


class Noised(torch.nn.Module):
    """What update_bn calls, on (x_0, labels) as training noises them in the run's second epoch."""

    def __init__(self, module: ClassModule) -> None:
        super().__init__()
        self.module = module
        self.generator = torch.Generator().manual_seed(key(SEED, 1, "batchnorm"))

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        x_0, labels = pair
        t = torch.rand(len(x_0), generator=self.generator)
        eps = torch.randn(x_0.shape, generator=self.generator)
        kept = (torch.rand(len(x_0), generator=self.generator) >= 0.3)[:, None]
        m = self.module
        return m.net(m.path.add_noise(x_0, t, eps), t, torch.nn.functional.one_hot(labels, 10) * kept.float())


def test_statistics_are_those_that_torch_finds_for_the_averaged_weights(runs: dict[int, Path]) -> None:
    saved = load(runs[BATCHES] / "checkpoints" / "last.ckpt")["state_dict"]
    module = class_module()
    module.load_state_dict(saved)
    data = Synthetic(16, SEED, val_size=32, size=96)
    data.prepare_data()
    data.setup("fit")
    loader = StepLoader(data.train_images, data.train_labels, 16, SEED, clock=lambda: 0)
    update_bn([(loader.batch(STEPS + n),) for n in range(BATCHES)], Noised(module))
    for name, value in module.state_dict().items():
        torch.testing.assert_close(saved[name], value, msg=name)
    mean = "net.enter.0.1.running_mean"
    averaged = load(runs[0] / "checkpoints" / "last.ckpt")["state_dict"][mean]
    assert not torch.isclose(saved[mean], averaged, rtol=1e-2).all()


def test_training_does_not_know_of_the_statistics_and_validation_does(runs: dict[int, Path]) -> None:
    plain, ours = (load(directory / "checkpoints" / "last.ckpt") for directory in runs.values())
    for name, value in plain["current_model_state"].items():
        assert torch.equal(ours["current_model_state"][name], value), name
    losses = [[(row["loss"], row["val_loss"]) for row in rows(directory)] for directory in runs.values()]
    assert [loss for loss, _ in losses[0]] == [loss for loss, _ in losses[1]]
    assert all(mine != theirs for (_, theirs), (_, mine) in zip(*losses, strict=True) if theirs)
    for name in ("weight", "bias"):  # the average's weights are the same
        assert torch.equal(ours["state_dict"][f"net.enter.0.1.{name}"], plain["state_dict"][f"net.enter.0.1.{name}"])


def test_validation_runs_on_the_statistics_of_the_checkpoint(tmp_path: Path) -> None:
    found: list[Tensor] = []

    class Looks(L.Callback):
        def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            found.append(pl_module.net.enter[0][1].running_var.clone())

    make_run(tmp_path, 1, callbacks=[Looks()], ema=0.8, bn_batches=BATCHES).fit()
    saved = load(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]["net.enter.0.1.running_var"]
    assert torch.equal(found[0], saved)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"^callbacks\.ema\.bn_batches=-1: allowed is 0 "):
        EMA(0.9, bn_batches=-1)
