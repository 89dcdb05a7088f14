"""module.py: under Lightning's Trainer, whole or resumed, the data is what the global step says."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from denoiselab.data import MNIST, DataError, FashionMNIST, ImageDataModule, Synthetic


class Recorder(lightning.LightningModule):
    """Trains one number, and notes what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: dict[int, Tensor] = {}
        self.validated: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.trained[self.global_step] = batch[0]
        return (batch[0].mean() - self.weight) ** 2

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        self.validated.append(batch[2])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**settings: Any) -> lightning.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lightning.Trainer(use_distributed_sampler=False, **{"enable_checkpointing": False, **quiet, **settings})


def small(**settings: Any) -> Synthetic:
    return Synthetic(**{"batch_size": 8, "seed": 3, "val_size": 20, "size": 40, **settings})  # 5 steps an epoch


def train(data: ImageDataModule, ckpt_path: str | None = None, **settings: Any) -> Recorder:
    model = Recorder()
    trainer(**settings).fit(model, data, ckpt_path=ckpt_path)
    return model


def test_lightning_shows_the_batches_of_the_clock_and_does_not_complain() -> None:
    data = small()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # Lightning's own affairs
        warnings.filterwarnings("ignore", category=FutureWarning)
        model = train(data, max_epochs=3, num_sanity_val_steps=0)
    loader = data.train_dataloader()
    assert len(loader) == 5
    assert list(model.trained) == list(range(15))
    for step, x in model.trained.items():
        assert torch.equal(x, loader.batch(step)[0])
    assert torch.cat(model.validated).tolist() == [*range(20)] * 3


@pytest.mark.parametrize("stop", [7, 10, 3])  # in the second epoch, at its end, in the first
@pytest.mark.parametrize("steps_per_epoch", [None, 4])
@pytest.mark.filterwarnings("error:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_run_sees_what_an_uninterrupted_one_does(
    stop: int, steps_per_epoch: int | None, tmp_path: Path
) -> None:
    whole = train(small(steps_per_epoch=steps_per_epoch), max_steps=14)
    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    train(small(steps_per_epoch=steps_per_epoch), max_steps=stop, callbacks=[checkpoint], enable_checkpointing=True)
    rest = train(small(steps_per_epoch=steps_per_epoch), ckpt_path=str(tmp_path / f"step={stop}.ckpt"), max_steps=14)
    assert list(rest.trained) == list(range(stop, 14))
    for step, x in rest.trained.items():
        assert torch.equal(x, whole.trained[step])
    assert torch.equal(rest.weight, whole.weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2: allowed is 1; raise data.batch_size"),
        ({"limit_train_batches": 3}, "trainer.limit_train_batches=3: allowed is 1.0; set data.steps_per_epoch"),
        ({"limit_train_batches": 1}, "trainer.limit_train_batches=1: allowed is 1.0; set data.steps_per_epoch"),
        ({"limit_train_batches": 0.5}, "trainer.limit_train_batches=0.5: allowed is 1.0; set data.steps_per_epoch"),
    ],
)
def test_trainer_settings_that_break_the_clock_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        train(small(), max_epochs=1, **settings)


def test_a_fast_run_for_developers_is_one_batch() -> None:
    assert list(train(small(), fast_dev_run=True).trained) == [0]


def test_the_ranks_of_a_trainer_share_the_data() -> None:
    ranks = []
    for rank in range(2):
        data = small(val_size=19)
        data.setup("fit")
        device = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            accumulate_grad_batches=1,
            limit_train_batches=1.0,
            strategy=device,
            global_rank=rank,
            world_size=2,
            global_step=1,
        )
        ranks.append((data.train_dataloader(), data.val_dataloader()))
    alone = small(batch_size=16)
    alone.setup()
    trainer().validate(Recorder(), alone, verbose=False)
    assert torch.equal(torch.cat([next(iter(train))[0] for train, _ in ranks]), alone.train_dataloader().batch(1)[0])
    shown = [torch.cat([indices for _, _, indices in val]) for _, val in ranks]
    assert sorted(torch.cat(shown).tolist()) == list(range(19))


def test_a_batch_is_handed_on_as_it_is() -> None:
    batch = (torch.zeros(1), torch.zeros(1))
    assert small().transfer_batch_to_device(batch, torch.device("meta"), 0) is batch


def test_setup_loads_once_and_the_mean_image_is_the_mean() -> None:
    data = small()
    data.setup("fit")
    images = data.train_images
    data.setup("validate")
    assert data.train_images is images
    mean = data.mean_image()
    assert mean.shape == (1, *data.image_shape)
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, (images.float() / 255).mean(0, keepdim=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "data.batch_size=0: allowed is 1 to 40, of 40 images"),
        ({"batch_size": 41}, "data.batch_size=41: allowed is 1 to 40, of 40 images"),
        ({"val_size": 0}, "data.val_size=0: allowed is 1 to 40, all test images"),
        ({"val_size": 41}, "data.val_size=41: allowed is 1 to 40, all test images"),
        ({"size": 9}, "data.size=9: allowed is 10 or more, one image of each class"),
        ({"steps_per_epoch": 6}, "data.steps_per_epoch=6 with data.batch_size=8: allowed is 1 to 5, or null"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_loaded(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        small(**settings)


def test_mnist_is_mnist(mnist_root: Path) -> None:
    data = MNIST(mnist_root, batch_size=64, seed=0, val_size=1000, download=False)
    data.prepare_data()
    data.setup()
    assert data.train_images.shape == (60_000, *data.image_shape)
    assert data.test_images.shape == (10_000, *data.image_shape)
    assert data.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert round(data.mean_image().mean().item(), 4) == 0.1307  # the constant of every MNIST tutorial


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_without_files_and_download_the_folder_is_named(kind: Any, tmp_path: Path) -> None:
    data = kind(tmp_path, batch_size=64, seed=0, val_size=1000, download=False)
    with pytest.raises(DataError, match=rf"^{kind.__name__} in {tmp_path}/{kind.__name__}/raw: train-images"):
        data.prepare_data()
