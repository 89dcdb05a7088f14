"""synthetic.py: ten classes that anyone can tell apart, the same ones each time."""

from __future__ import annotations

import torch

from denoiselab.data import synthetic


def test_it_draws_the_same_pictures_each_time() -> None:
    first = synthetic.draw(20, "train")
    torch.rand(1)
    images, labels = synthetic.draw(20, "train")
    assert torch.equal(first[0], images)
    assert torch.equal(labels, torch.arange(20) % 10)
    assert images.shape == (20, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert (images.min(), images.max()) == (0, 255)


def test_no_two_pictures_are_the_same() -> None:
    train, test = synthetic.draw(200, "train")[0], synthetic.draw(200, "test")[0]
    assert len(torch.cat([train, test]).flatten(1).unique(dim=0)) == 400


def test_the_nearest_class_mean_knows_every_test_picture() -> None:
    (train, train_labels), (test, test_labels) = synthetic.draw(500, "train"), synthetic.draw(500, "test")
    means = torch.stack([train[train_labels == c].float().mean(0) for c in range(10)])
    nearest = torch.cdist(test.float().flatten(1), means.flatten(1)).argmin(1)
    assert torch.equal(nearest, test_labels)
