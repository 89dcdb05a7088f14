"""The blocks of the course's UNet (Berkeley CS180/CS280A, project 5B), each a function from shapes to a module.

Every convolution is 3x3 with padding 1 unless said otherwise, and is followed by BatchNorm and GELU.
"""

from __future__ import annotations

from torch import nn


def _norm_gelu(conv: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.GELU())


def conv(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, H, W)."""
    return _norm_gelu(nn.Conv2d(cin, cout, 3, padding=1))


def down_conv(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, H/2, W/2)."""
    return _norm_gelu(nn.Conv2d(cin, cout, 3, stride=2, padding=1))


def up_conv(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, 2H, 2W), transposed 4x4."""
    return _norm_gelu(nn.ConvTranspose2d(cin, cout, 4, stride=2, padding=1))


def conv_block(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, H, W)."""
    return nn.Sequential(conv(cin, cout), conv(cout, cout))


def down_block(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, H/2, W/2)."""
    return nn.Sequential(down_conv(cin, cout), conv_block(cout, cout))


def up_block(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, H, W) -> (B, cout, 2H, 2W)."""
    return nn.Sequential(up_conv(cin, cout), conv_block(cout, cout))


def flatten() -> nn.Sequential:
    """(B, C, 7, 7) -> (B, C, 1, 1)."""
    return nn.Sequential(nn.AvgPool2d(7), nn.GELU())


def unflatten(cin: int, cout: int) -> nn.Sequential:
    """(B, cin, 1, 1) -> (B, cout, 7, 7), transposed 7x7 with stride 7."""
    return _norm_gelu(nn.ConvTranspose2d(cin, cout, 7, stride=7))


def fc_block(cin: int, cout: int) -> nn.Sequential:
    """(B, cin) -> (B, cout)."""
    return nn.Sequential(nn.Linear(cin, cout), nn.GELU(), nn.Linear(cout, cout))
