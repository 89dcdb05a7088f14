"""coloured.py: the judges read a coloured digit as they read the grey one, and every colour is told."""

from __future__ import annotations

import pytest
import torch

from denoiselab.data import MNIST, ColouredMNIST
from denoiselab.data.words import COLOURS
from denoiselab.evaluation import grey, levelled, load_digits, read_colours, read_digits

N = 1000  # test images


@pytest.fixture(scope="module", params=[32, 64])
def data(mnist: MNIST, request: pytest.FixtureRequest) -> ColouredMNIST:
    data = ColouredMNIST(mnist.root, batch_size=64, seed=0, val_size=N, resolution=request.param, download=False)
    data.setup()
    return data


@pytest.fixture(scope="module")
def rendered(data: ColouredMNIST) -> torch.Tensor:
    return data.render(data.test_images[:N], data.test_labels[:N])


def test_the_grey_digit_is_mnists(data: ColouredMNIST, rendered: torch.Tensor) -> None:
    found, real = grey(rendered), data.test_images[:N].float() / 255
    assert found.shape == (N, 1, 28, 28)
    if data.resolution == 32:
        assert torch.equal(found, real)
    else:
        assert (found - real).abs().mean() < 0.02


def test_digits_are_read_as_on_the_originals(data: ColouredMNIST, rendered: torch.Tensor) -> None:
    judge = load_digits("judge")
    read = read_digits(judge, grey(rendered))
    if data.resolution == 32:
        assert torch.equal(read, read_digits(judge, data.test_images[:N]))
    assert (read == data.test_labels[:N] // len(COLOURS)).double().mean() >= 0.99


def test_every_colour_is_told(data: ColouredMNIST, rendered: torch.Tensor) -> None:
    colours = data.test_labels[:N] % len(COLOURS)
    found = read_colours(rendered)
    assert found.dtype == torch.int64
    assert torch.equal(found, colours)
    noise = 0.1 * torch.randn(rendered.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(read_colours((0.7 * rendered + noise).clamp(0, 1)), colours)  # dim and grainy


def test_pictures_of_other_sizes() -> None:
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    means = x.amax(1, keepdim=True).reshape(2, 1, 32, 4, 32, 4).mean((3, 5))
    torch.testing.assert_close(grey(x), means[..., 2:30, 2:30])
    assert torch.equal(grey(x[..., :28, :28]), x[..., :28, :28].amax(1, keepdim=True))


def test_a_black_picture_is_of_some_colour() -> None:
    assert read_colours(torch.zeros(1, 3, 32, 32)).item() in range(len(COLOURS))


def test_a_dark_background_and_a_dim_digit_are_brought_to_mnists() -> None:
    digits = torch.zeros(2, 1, 28, 28)
    digits[:, :, 10:14, 10:20] = 1
    dim = 0.1 + 0.6 * digits
    torch.testing.assert_close(levelled(dim), digits)
    torch.testing.assert_close(levelled(digits), digits)
    assert levelled(torch.full((1, 1, 28, 28), 0.3)).abs().max() == 0  # nothing is made of nothing
