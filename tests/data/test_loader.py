"""loader.py: a batch is a function of (seed, step, rank) and of nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from denoiselab.data import IndexedLoader, StepLoader

N = 53


def numbered(n: int = N) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 2, 3) whose every pixel is the image's number, as its label is."""
    labels = torch.arange(n)
    return labels.byte().reshape(n, 1, 1, 1).expand(n, 1, 2, 3).contiguous(), labels


def loader(batch_size: int = 4, seed: int = 0, clock: int = 0, n: int = N, **kwargs: Any) -> StepLoader:
    return StepLoader(*numbered(n), batch_size, seed, clock=lambda: clock, **kwargs)


sizes = {"batch_size": st.integers(1, 8), "seed": st.integers(0, 2**31), "step": st.integers(0, 200)}


@given(**sizes)
def test_a_batch_is_pixels_in_0_1_with_their_labels(batch_size: int, seed: int, step: int) -> None:
    x, labels = loader(batch_size, seed).batch(step)
    assert x.shape == (batch_size, 1, 2, 3)
    assert x.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert torch.equal(x, (labels.float() / 255).reshape(-1, 1, 1, 1).expand_as(x))


def test_white_is_one_and_black_is_zero() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    x, labels = StepLoader(images, torch.tensor([0, 1]), 2, 0, clock=lambda: 0).batch(0)
    assert torch.equal(x.flatten(), labels.float())


def test_loaders_show_what_is_rendered_of_images_and_labels() -> None:
    def render(images: Tensor, labels: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        return (images[:, :, :1] * 100 + labels.reshape(-1, 1, 1, 1)).float()

    x, labels = loader(render=render).batch(5)
    assert x.shape == (4, 1, 1, 3)
    assert torch.equal(x, render(*(each[labels] for each in numbered())))
    for x, labels, _ in IndexedLoader(*numbered(), 8, render=render):
        assert torch.equal(x, render(*(each[labels] for each in numbered())))


@given(**sizes, history=st.lists(st.integers(0, 200), max_size=5))
def test_a_batch_does_not_depend_on_what_was_asked_before(
    batch_size: int, seed: int, step: int, history: list[int]
) -> None:
    used = loader(batch_size, seed)
    for earlier in history:
        used.batch(earlier)
    torch.rand(3)  # nor on torch's own generator, nor does it move it
    state = torch.get_rng_state()
    assert torch.equal(used.batch(step)[1], loader(batch_size, seed).batch(step)[1])
    assert torch.equal(torch.get_rng_state(), state)


@given(**sizes, world=st.integers(2, 4))
def test_the_ranks_batches_together_are_one_ranks_larger_batch(
    batch_size: int, seed: int, step: int, world: int
) -> None:
    shards = [loader(batch_size, seed, rank=rank, world_size=world) for rank in range(world)]
    one = loader(batch_size * world, seed)
    assert [len(shard) for shard in shards] == [len(one)] * world
    for together, alone in zip(
        zip(*(shard.batch(step) for shard in shards), strict=True), one.batch(step), strict=True
    ):
        assert torch.equal(torch.cat(together), alone)


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 50))
def test_an_epoch_is_a_permutation_of_its_own(seed: int, epoch: int) -> None:
    order = loader(seed=seed).permutation(epoch)
    assert torch.equal(order.sort().values, torch.arange(N))
    assert not torch.equal(order, loader(seed=seed).permutation(epoch + 1))
    assert not torch.equal(order, loader(seed=seed + 1).permutation(epoch))


def test_an_epoch_shows_no_image_twice_and_drops_the_incomplete_batch() -> None:
    data = loader(batch_size=4)
    assert len(data) == 13
    seen = torch.cat([labels for _, labels in data])
    assert len(seen) == 52
    assert len(seen.unique()) == 52


@given(clock=st.integers(0, 60), limit=st.sampled_from([None, 1, 5, 13]))
def test_iteration_goes_on_at_the_clock_until_the_end_of_its_epoch(clock: int, limit: int | None) -> None:
    data = loader(clock=clock, steps_per_epoch=limit)
    length = limit or 13
    steps = range(clock, clock - clock % length + length)
    assert len(data) == length
    assert [labels.tolist() for _, labels in data] == [data.batch(step)[1].tolist() for step in steps]


def test_the_clock_is_asked_when_an_iteration_begins() -> None:
    step = 0
    data = StepLoader(*numbered(), 4, 0, clock=lambda: step)
    iterator = iter(data)  # Lightning makes it long before it restores the step
    step = 7
    assert torch.equal(next(iterator)[1], data.batch(7)[1])
    step = 13  # the end of an epoch: the next one begins
    assert sum(1 for _ in data) == 13


def test_a_shorter_epoch_is_the_beginning_of_a_whole_one() -> None:
    short, whole = loader(steps_per_epoch=5), loader()
    assert [labels.tolist() for _, labels in short] == [labels.tolist() for _, labels in itertools.islice(whole, 5)]
    assert torch.equal(short.batch(5)[1], whole.batch(13)[1])  # both are the first of epoch 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "data.batch_size=0: allowed is 1 to 53, of 53 images"),
        ({"batch_size": 54}, "data.batch_size=54: allowed is 1 to 53, of 53 images"),
        ({"batch_size": 27, "world_size": 2}, "data.batch_size=27 on 2 ranks: allowed is 1 to 26, of 53 images"),
        ({"steps_per_epoch": 14}, "data.steps_per_epoch=14 with data.batch_size=4: allowed is 1 to 13, or null"),
        ({"steps_per_epoch": 0}, "data.steps_per_epoch=0 with data.batch_size=4: allowed is 1 to 13, or null"),
    ],
)
def test_impossible_numbers_are_refused_by_name(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        loader(**settings)


@given(n=st.integers(4, 60), batch_size=st.integers(1, 20), world=st.integers(1, 4))
@example(n=5, batch_size=1, world=2)
def test_validation_shows_every_image_once_in_equally_many_batches(n: int, batch_size: int, world: int) -> None:
    ranks = [IndexedLoader(*numbered(n), batch_size, rank, world) for rank in range(world)]
    batches = [list(rank) for rank in ranks]
    assert len({len(of_rank) for of_rank in batches}) == 1
    assert [len(rank) for rank in ranks] == [len(of_rank) for of_rank in batches]
    # rank r has batches r, r + world, ...: taking turns, the ranks go through the images in order
    in_turn = [batch for turn in zip(*batches, strict=True) for batch in turn]
    assert torch.cat([indices for _, _, indices in in_turn]).tolist() == list(range(n))
    for x, labels, indices in in_turn:
        assert 1 <= len(x) <= max(batch_size, 2 if world > 1 else 1)
        assert torch.equal(labels, indices)
        assert torch.equal(x[:, 0, 0, 0], indices.float() / 255)
    assert len(in_turn) < n / batch_size + world  # no more batches than needed


def test_validation_with_more_ranks_than_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^data\.val_size=3 on 4 ranks: allowed is 4 or more$"):
        IndexedLoader(*numbered(3), 8, 0, 4)
