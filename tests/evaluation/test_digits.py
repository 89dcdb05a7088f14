"""digits.py on two kinds of bars instead of ten digits, so that a few steps suffice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from denoiselab.evaluation import (
    DigitClassifier,
    accuracy,
    digit_classifier,
    load_classifier,
    save_classifier,
    train_classifier,
)


def bars(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) uint8 and labels (n,) 0 or 1: a horizontal or a vertical bar in noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (n, 1, 28, 28), generator=generator)
    labels = torch.arange(n) % 2
    images[labels == 0, :, 12:16] = 250
    images[labels == 1, :, :, 12:16] = 250
    return images.to(torch.uint8), labels


def test_shapes() -> None:
    classifier = DigitClassifier().eval()
    x = torch.rand(3, 1, 28, 28)
    assert classifier(x).shape == (3, 10)
    assert classifier.features(x).shape == (3, classifier.num_features)


def test_it_learns_and_the_seed_decides_alone() -> None:
    images, labels = bars(0, 640)
    before = torch.get_rng_state()
    first = train_classifier(images, labels, seed=3, epochs=2, batch_size=32)
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    torch.manual_seed(99)
    second = train_classifier(images, labels, seed=3, epochs=2, batch_size=32)
    assert not first.training
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, msg=name)
    test_images, test_labels = bars(1, 100)
    assert accuracy(first, test_images, test_labels, batch_size=33) == 1
    assert accuracy(first, test_images.float() / 255, 1 - test_labels) == 0


def test_images_must_be_bytes_with_labels() -> None:
    images, labels = bars(0, 200)
    for wrong in ((images.float(), labels), (images, labels[1:]), (images[:5], labels[:5])):
        with pytest.raises(ValueError, match="images must be uint8, one per label"):
            train_classifier(*wrong, seed=0, epochs=1)


def test_a_kept_classifier_is_the_same_one(tmp_path: Path) -> None:
    classifier = DigitClassifier().eval()
    save_classifier(classifier, tmp_path / "new" / "digits.pt")
    x = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(load_classifier(tmp_path / "new" / "digits.pt")(x), classifier(x))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["digits.pt"]


def test_the_cache_is_trained_once_and_read_afterwards(tmp_path: Path) -> None:
    cache, data = tmp_path / "digits.pt", (*bars(0, 1280), *bars(1, 200))
    trained = digit_classifier(cache, *data, epochs=2)
    written = cache.stat().st_mtime_ns
    read = digit_classifier(cache, *data)
    assert cache.stat().st_mtime_ns == written
    x = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(read(x), trained(x))


def test_a_weak_classifier_is_refused(tmp_path: Path) -> None:
    images, labels = bars(0, 256)
    cache = tmp_path / "digits.pt"
    with pytest.raises(ValueError, match="at least 99%"):
        digit_classifier(cache, images, labels, images, labels + 5, epochs=1)
    assert not cache.exists()
    save_classifier(DigitClassifier(), cache)
    with pytest.raises(ValueError, match=r"digits\.pt recognises"):
        digit_classifier(cache, images, labels, images, labels + 5)
