"""psnr.py against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from denoiselab.evaluation import psnr


def test_psnr_is_per_image() -> None:
    x = torch.zeros(3, 1, 28, 28)
    y = torch.stack([torch.full((1, 28, 28), value) for value in (0.0, 0.1, 1.0)])
    assert psnr(x, y).tolist() == pytest.approx([math.inf, 20, 0], abs=1e-5)
    with pytest.raises(ValueError, match="of one shape"):
        psnr(x, y[:2])
