"""captioned.py: what a picture shows is what its captions say; what is held out is never trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from denoiselab.data import MNIST, ColouredMNIST
from denoiselab.data.captioned import coloured
from denoiselab.data.words import COLOURS, digit_and_colour

# --- digits in colours -----------------------------------------------------------------------------------------------


def coloured_mnist(root: Path, resolution: int = 32, seed: int = 0) -> ColouredMNIST:
    data = ColouredMNIST(root, batch_size=64, seed=seed, val_size=1000, resolution=resolution, download=False)
    data.setup()
    return data


def test_the_images_are_mnists_and_the_captions_say_digit_and_colour(mnist: MNIST) -> None:
    data = coloured_mnist(mnist.root)
    assert torch.equal(data.train_images, mnist.train_images)
    assert torch.equal(data.test_images, mnist.test_images)
    assert data.num_classes == len(data.captions) == 50
    asked = [digit_and_colour(captions[0]) for captions in data.captions]
    digits = torch.tensor([digit for digit, _ in asked])
    assert torch.equal(digits[data.train_labels], mnist.train_labels)
    assert torch.equal(digits[data.test_labels], mnist.test_labels)
    # What is rendered is the very colour that the caption names.
    x = data.render(data.test_images[:200], data.test_labels[:200])
    for image, label in zip(x, data.test_labels[:200].tolist(), strict=True):
        brightest = image[:, image.amax(0) == image.max()][:, 0]
        colour = asked[label][1]
        assert colour is not None
        torch.testing.assert_close(brightest / image.max(), torch.tensor(COLOURS[colour]) / 255)


def test_colours_are_fixed_and_equally_often_for_each_digit(mnist: MNIST) -> None:
    one, other = coloured_mnist(mnist.root), coloured_mnist(mnist.root, resolution=64, seed=9)
    for split in ("train_labels", "test_labels"):
        labels = getattr(one, split)
        assert torch.equal(labels, getattr(other, split))
        assert (labels % 5).bincount().unique().tolist() == [len(labels) // 5]
        of_digits = labels.bincount(minlength=50).reshape(10, 5)
        assert (of_digits.amax(1) - of_digits.amin(1)).max() <= 1
    # The splits' colours are independent: the same digits would be coloured otherwise.
    digits = mnist.test_labels
    same = (coloured(digits, "test") == coloured(digits, "train")).double().mean()
    assert 0.17 < same < 0.23


def test_32_pixels_are_the_digit_in_a_black_frame(mnist: MNIST) -> None:
    data = coloured_mnist(mnist.root)
    images, labels = data.test_images[:50], data.test_labels[:50]
    x = data.render(images, labels)
    assert x.shape == (50, *data.image_shape) == (50, 3, 32, 32)
    assert x.dtype == torch.float32
    expected = torch.zeros(50, 3, 32, 32)
    table = torch.tensor(list(COLOURS.values())) / 255
    for i in range(50):
        for channel in range(3):
            expected[i, channel, 2:30, 2:30] = images[i, 0] / 255 * table[labels[i] % 5, channel]
    assert torch.equal(x, expected)
    assert torch.equal((x.amax(1, keepdim=True)[..., 2:30, 2:30] * 255).round().byte(), images)


def test_64_pixels_are_the_32_enlarged(mnist: MNIST) -> None:
    data, small = coloured_mnist(mnist.root, resolution=64), coloured_mnist(mnist.root)
    x = data.render(data.test_images[:50], data.test_labels[:50])
    assert x.shape == (50, *data.image_shape) == (50, 3, 64, 64)
    assert x.min() >= 0 and x.max() <= 1
    halved = torch.nn.functional.avg_pool2d(x, 2)
    assert (halved - small.render(data.test_images[:50], data.test_labels[:50])).abs().mean() < 0.01


def test_the_mean_image_is_of_what_is_rendered(mnist: MNIST, monkeypatch: pytest.MonkeyPatch) -> None:
    data = coloured_mnist(mnist.root)
    few = tuple(each[:3000] for each in data._data)
    monkeypatch.setattr(data, "_loaded", few)
    monkeypatch.setattr(data, "train_size", 3000)
    mean = data.mean_image()
    assert mean.shape == (1, *data.image_shape) and mean.dtype == torch.float32
    torch.testing.assert_close(mean, data.render(*few[:2]).mean(0, keepdim=True))


def test_another_resolution_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.resolution=28: allowed is 32 or 64$"):
        ColouredMNIST(tmp_path, batch_size=64, seed=0, val_size=1000, resolution=28)
