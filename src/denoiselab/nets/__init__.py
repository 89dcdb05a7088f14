"""Networks: architecture only. No loss, no schedule, no configuration."""

from denoiselab.nets.folding import folded
from denoiselab.nets.unet import UNet

__all__ = ["UNet", "folded"]
