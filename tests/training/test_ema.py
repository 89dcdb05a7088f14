"""ema.py: the decay that warms up, and what is averaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from training_runs import STEPS, Hook, WithoutBatchNorm, class_module, load, make_run

from denoiselab.training import EMA


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
