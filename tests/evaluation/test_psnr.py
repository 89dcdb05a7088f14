"""quality.py against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from denoiselab.evaluation import DigitClassifier, frechet_distance, psnr, recognised


def test_psnr_is_per_image() -> None:
    x = torch.zeros(3, 1, 28, 28)
    y = torch.stack([torch.full((1, 28, 28), value) for value in (0.0, 0.1, 1.0)])
    assert psnr(x, y).tolist() == pytest.approx([math.inf, 20, 0], abs=1e-5)
    with pytest.raises(ValueError, match="of one shape"):
        psnr(x, y[:2])


class FirstPixels(nn.Module):
    """Reads the first row's first ten pixels as the logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :10]


def test_recognised_is_per_sample() -> None:
    samples = torch.zeros(5, 1, 28, 28)
    samples[torch.arange(5), 0, 0, torch.arange(5)] = 1  # sample k reads as k
    asked = torch.tensor([0, 1, 9, 3, 0])
    assert recognised(FirstPixels(), samples, asked, batch_size=2).tolist() == [
        True,
        True,
        False,
        True,
        False,
    ]
    with pytest.raises(ValueError, match="one label"):
        recognised(FirstPixels(), samples, asked[:4])


class Corners(DigitClassifier):
    """Two features: the first two pixels."""

    num_features = 2

    def features(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :2]


def test_frechet_distance_of_known_gaussians() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(1000, 1, 28, 28, generator=generator)
    classifier = Corners()
    assert frechet_distance(classifier, real, real) == pytest.approx(0, abs=1e-5)
    # Moved by (0.3, 0.3): the squared distance of the means. Batches must not matter.
    assert frechet_distance(classifier, real, real + 0.3, batch_size=64) == pytest.approx(2 * 0.09, rel=1e-3)
    # Scaled by 2: the means move by the mean, and the standard deviations by themselves.
    features = real[:, 0, 0, :2].double()
    expected = features.mean(0).square().sum() + features.T.cov().trace()
    assert frechet_distance(classifier, real, 2 * real) == pytest.approx(float(expected), rel=1e-3)
    with pytest.raises(ValueError, match="generated has 1"):
        frechet_distance(classifier, real, real[:1])
