"""modules.py and optimizer.py: the draws, the losses, the learning rate, clipping."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from training_runs import SEED, STEPS, Hook, WithoutBatchNorm, class_module, make_run, rows

from denoiselab.data import Synthetic
from denoiselab.denoise import Guide, NetworkDenoiser
from denoiselab.nets import UNet
from denoiselab.noise import DDPM, Additive, Cosine, GaussianPath, RectifiedFlow, key
from denoiselab.training import ClassModule, OneStepModule, Optimizer, TimeModule
from denoiselab.training.modules import PixelModule

ADAM = Optimizer(1e-3, "constant")
B = 8


class Affine(nn.Module):
    """w x_t + t, and keeps what it was given."""

    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7))
        self.inputs: tuple[Tensor, ...] = ()

    def forward(self, *inputs: Tensor) -> Tensor:
        self.inputs = inputs
        t = inputs[1].reshape(-1, 1, 1, 1) if len(inputs) > 1 else 0
        return self.w * inputs[0] + t


class Recording(ClassModule):
    """Keeps what its loss was given."""

    draws: tuple[Any, ...] = ()

    def loss(self, *draws: Any) -> Tensor:
        self.draws = draws
        return super().loss(*draws)


def pictures(count: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 1, 28, 28, generator=generator), torch.arange(count) % 10


def step(module: PixelModule, number: int, batch: tuple[Tensor, Tensor], rank: int = 0, world_size: int = 1) -> Tensor:
    """training_step as a rank of a trainer at that global step."""
    place = SimpleNamespace(global_step=number, global_rank=rank, world_size=world_size)
    module._trainer = place  # type: ignore[assignment]
    return module.training_step(batch, 0)


def recording(class_dropout: float = 0.3, seed: int = SEED, path: GaussianPath | None = None) -> Recording:
    return Recording(Affine(), path or RectifiedFlow(), "velocity", ADAM, seed, class_dropout)


# --- class dropout


def test_class_is_dropped_sample_by_sample_at_its_rate() -> None:
    module, kept = recording(0.1), []
    batch = pictures(64)
    for number in range(60):
        step(module, number, batch)
        condition = module.draws[3]
        assert condition.shape == (64, 10)
        sums = condition.sum(1)
        assert set(sums.tolist()) <= {0.0, 1.0}  # a row is whole or zero
        assert torch.equal(condition[sums == 1].argmax(1), batch[1][sums == 1])
        kept.append(sums)
    n = 60 * 64
    dropped = n - float(torch.cat(kept).sum())
    assert abs(dropped - 0.1 * n) < 4 * math.sqrt(n * 0.1 * 0.9)
    per_step = torch.stack(kept).sum(1)
    assert len(per_step.unique()) > 3  # not the same samples, nor the batch as one
    assert per_step.min() > 0


@pytest.mark.parametrize(("class_dropout", "kept"), [(0.0, B), (1.0, 0)])
def test_dropout_of_nothing_and_of_everything(class_dropout: float, kept: int) -> None:
    module = recording(class_dropout)
    step(module, 0, pictures())
    assert module.draws[3].sum() == kept


def test_dropout_can_be_forced_through_u() -> None:
    module = recording(0.25)
    labels = torch.tensor([1, 2, 3, 4])
    dropped = module.training_condition(labels, torch.tensor([0.0, 0.2499, 0.25, 0.999]))
    assert torch.equal(dropped, module.condition(labels) * torch.tensor([[0.0], [0.0], [1.0], [1.0]]))


# --- one clock


def test_draws_are_a_function_of_seed_and_step() -> None:
    def draws(seed: int, number: int) -> tuple[Any, ...]:
        module = recording(seed=seed)
        torch.manual_seed(number)  # the global generator has no part in it
        state = torch.get_rng_state()
        step(module, number, pictures())
        assert torch.equal(torch.get_rng_state(), state)
        return module.draws

    first, again, other_step, other_seed = draws(3, 5), draws(3, 5), draws(3, 6), draws(4, 5)
    for place in (1, 2):  # t, eps
        assert torch.equal(first[place], again[place])
        assert not torch.isclose(first[place], other_step[place]).any()
        assert not torch.isclose(first[place], other_seed[place]).any()
    assert torch.equal(first[3], again[3])


@pytest.mark.parametrize("path", [RectifiedFlow(), DDPM(300, 1e-4, 0.02)])
def test_a_rank_takes_its_rows_of_the_global_draw(path: GaussianPath) -> None:
    module, (x_0, labels) = recording(0.5, path=path), pictures(2 * B)
    whole_loss = step(module, 9, (x_0, labels))
    whole = module.draws
    parts, part_losses = [], []
    for rank in (0, 1):
        own = slice(rank * B, (rank + 1) * B)
        part_losses.append(step(module, 9, (x_0[own], labels[own]), rank, world_size=2))
        parts.append(module.draws)
    for place in range(4):
        assert torch.equal(whole[place], torch.cat([part[place] for part in parts]))
    torch.testing.assert_close(whole_loss, sum(part_losses) / 2)


# --- losses, by hand


def test_a_step_is_that_of_its_draws_bit_for_bit() -> None:
    module, (x_0, labels) = recording(), pictures()
    loss = step(module, 3, (x_0, labels))
    generator = torch.Generator().manual_seed(key(SEED, 3, "training"))
    t = torch.rand(len(x_0), generator=generator)
    eps = torch.randn(x_0.shape, generator=generator)
    assert torch.equal(module.draws[1], t) and torch.equal(module.draws[2], eps)
    assert torch.equal((torch.rand(len(x_0), generator=generator) >= 0.3).float(), module.draws[3].sum(1))
    x_t = (1 - t.double()).float().reshape(-1, 1, 1, 1) * x_0 + t.reshape(-1, 1, 1, 1) * eps
    value = 0.7 * x_t + t.reshape(-1, 1, 1, 1)
    assert torch.equal(loss, torch.nn.functional.mse_loss(value, -x_0 + eps))


def coefficients(path: GaussianPath, t: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha_t, sigma_t), from the definitions."""
    if isinstance(path, RectifiedFlow):
        return 1 - t, t
    if isinstance(path, Additive):
        return torch.ones_like(t), t
    if isinstance(path, DDPM):
        betas = torch.linspace(1e-4, 0.02, 300, dtype=torch.float64)
    else:
        f = (((torch.arange(101, dtype=torch.float64) / 100) + 0.008) / 1.008 * math.pi / 2).cos() ** 2
        betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    abar = torch.stack([(1 - betas[:number]).prod() for number in t.tolist()])
    return abar.sqrt().float(), (1 - abar).sqrt().float()


@pytest.mark.parametrize(
    "path", [RectifiedFlow(), DDPM(300, 1e-4, 0.02), Cosine(100), Additive()], ids=lambda path: type(path).__name__
)
@pytest.mark.parametrize("prediction", ["eps", "x_0", "velocity"])
def test_the_loss_is_the_hand_computed_one(path: GaussianPath, prediction: str) -> None:
    module, (x_0, labels) = Recording(Affine(), path, prediction, ADAM, SEED, 0.5), pictures()
    loss = step(module, 2, (x_0, labels))
    _, t, eps, condition = module.draws
    alpha, sigma = (c.reshape(-1, 1, 1, 1) for c in coefficients(path, t))
    x_t = alpha * x_0 + sigma * eps
    if isinstance(path, RectifiedFlow | Additive):
        velocity = eps - x_0 if isinstance(path, RectifiedFlow) else eps
    else:
        velocity = alpha * eps - sigma * x_0
    target = {"eps": eps, "x_0": x_0, "velocity": velocity}[prediction]
    normalised = (t / path.T).float()
    torch.testing.assert_close(module.net.inputs[0], x_t)
    torch.testing.assert_close(module.net.inputs[1], normalised)
    assert torch.equal(module.net.inputs[2], condition)
    expected = ((0.7 * x_t + normalised.reshape(-1, 1, 1, 1) - target) ** 2).mean()
    torch.testing.assert_close(loss, expected)


def test_a_time_model_is_given_no_class() -> None:
    module = TimeModule(Affine(), RectifiedFlow(), "velocity", ADAM, SEED)
    step(module, 0, pictures())
    assert len(module.net.inputs) == 2 and module.condition(torch.arange(3)) is None


def test_the_single_step_denoiser_sees_sigma_one_half() -> None:
    module, (x_0, labels) = OneStepModule(Affine(), Additive(), "x_0", ADAM, SEED, t=0.5), pictures()
    loss = step(module, 0, (x_0, labels))
    (z,) = module.net.inputs
    noise = (z - x_0) / 0.5
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05
    torch.testing.assert_close(loss, ((0.7 * z - x_0) ** 2).mean())


def test_at_time_one_of_rectified_flow_nothing_of_the_picture_is_left() -> None:
    module, (x_0, labels) = OneStepModule(Affine(), RectifiedFlow(), "x_0", ADAM, SEED, t=1.0), pictures()
    step(module, 0, (x_0, labels))
    (z,) = module.net.inputs
    step(module, 0, (1 - x_0, labels))
    assert torch.equal(module.net.inputs[0], z)
    assert abs(float(z.std()) - 1) < 0.05


def test_the_single_step_denoiser_on_a_discrete_path() -> None:
    path = DDPM(300, 1e-4, 0.02)
    module, (x_0, labels) = OneStepModule(Affine(), path, "x_0", ADAM, SEED, t=200), pictures()
    assert torch.isfinite(step(module, 0, (x_0, labels)))
    with pytest.raises(ValueError, match=r"model\.t=0\.5: allowed are the integers 1 to 300"):
        OneStepModule(Affine(), path, "x_0", ADAM, SEED, t=0.5)


# --- validation


def validate(module: PixelModule, batch_size: int, directory: Path) -> float:
    run = make_run(directory, callbacks=[], batch_size=batch_size)
    run.trainer.validate(module, datamodule=Synthetic(batch_size, SEED, val_size=30, size=96), verbose=False)
    return float(run.trainer.callback_metrics["val_loss"])


def test_validation_loss_knows_neither_batch_size_nor_dropout_nor_seed(tmp_path: Path) -> None:
    module = class_module()
    first = validate(module, 16, tmp_path)
    assert validate(module, 16, tmp_path) == first
    assert validate(module, 7, tmp_path) == pytest.approx(first, rel=1e-6)
    module.class_dropout = 1.0
    assert validate(module, 16, tmp_path) == first
    module.seed += 1
    assert validate(module, 16, tmp_path) == first


# --- learning rate


def test_exponential_is_torchs_stepped_once_an_epoch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.1 ** (1 / 20))
    settings = Optimizer(1e-2, "exponential", final=0.1)
    for epoch in range(20):
        for place in (0, 4):
            ours = settings.learning_rate(epoch * 5 + place, 5, 20)
            assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()
    assert settings.learning_rate(100, 5, 20) == pytest.approx(1e-3)


def test_cosine_is_torchs_step_by_step() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=1e-4)
    settings = Optimizer(1e-2, "cosine", final=0.01)
    for number in range(100):
        assert settings.learning_rate(number, 5, 20) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        schedule.step()
    assert settings.learning_rate(100, 5, 20) == pytest.approx(1e-4)


def test_constant_and_warm_up() -> None:
    assert {Optimizer(2e-3, "constant").learning_rate(number, 5, 20) for number in range(100)} == {2e-3}
    warm = Optimizer(1.0, "constant", warmup_steps=3)
    assert [warm.learning_rate(number, 5, 20) for number in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_the_optimizer_runs_at_that_learning_rate(tmp_path: Path) -> None:
    run = make_run(tmp_path, epochs=2)
    run.fit()
    recorded = [float(row["lr"]) for row in rows(tmp_path) if row["loss"]]
    assert recorded == pytest.approx([1e-2] * STEPS + [1e-2 * 0.1**0.5] * STEPS)


# --- gradient clipping


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped(tmp_path: Path, precision: str) -> None:
    def norms(clip: float | None) -> list[float]:
        found: list[float] = []

        def after_step(trainer: L.Trainer, module: L.LightningModule) -> None:
            assert trainer.optimizers[0].param_groups[0]["fused"]
            gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
            found.append(float(nn.utils.get_total_norm(gradients)))

        module = class_module(WithoutBatchNorm)
        make_run(tmp_path, 1, module=module, callbacks=[Hook(after_step)], clip=clip, precision=precision).fit()
        return found

    free = norms(None)
    assert min(free) > 0.02
    assert norms(0.02) == pytest.approx([0.02] * STEPS, rel=1e-3)


# --- guidance and bad settings


def test_guidance_needs_classes() -> None:
    time_module = TimeModule(UNet(4, "add"), RectifiedFlow(), "velocity", ADAM, SEED)
    with pytest.raises(ValueError, match=r"guidance_scale=5\.0: .*no classes"):
        time_module.denoiser(5.0)
    assert isinstance(time_module.denoiser(), NetworkDenoiser)
    guided = class_module().denoiser(5.0)
    assert isinstance(guided, Guide) and guided.scale == 5 and torch.equal(guided.unconditional, torch.zeros(1, 10))
    assert guided.interval == (0.0, 1.0)
    within = class_module().denoiser(5.0, [0.2, 0.6])
    assert isinstance(within, Guide) and within.interval == (0.2, 0.6)


def test_bad_settings_are_named() -> None:
    def one_step(prediction: str, t: float) -> OneStepModule:
        return OneStepModule(Affine(), Additive(), prediction, ADAM, SEED, t)

    with pytest.raises(ValueError, match=r"prediction='eps': .*x_0 only"):
        one_step("eps", 0.5)
    for t in (0.0, 1.5):
        with pytest.raises(ValueError, match=rf"model\.t={t}: allowed"):
            one_step("x_0", t)
    with pytest.raises(ValueError, match=r"prediction='eps': allowed are x_0, velocity on a path with zero_terminal"):
        TimeModule(Affine(), DDPM(300, 1e-4, 0.02, zero_terminal_snr=True), "eps", ADAM, SEED)
    for class_dropout in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"class_dropout={class_dropout}: allowed"):
            recording(class_dropout)
    for settings, message in (
        ({"lr": 0.0}, "lr=0.0"),
        ({"schedule": "linear"}, "schedule='linear'.*constant, exponential, cosine"),
        ({"final": 0.0}, "final=0.0"),
        ({"final": 1.5}, "final=1.5"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            Optimizer(**{"lr": 1e-3, "schedule": "exponential", **settings})  # type: ignore[arg-type]
    assert Optimizer(1e-3, "cosine", final=0.0).final == 0
