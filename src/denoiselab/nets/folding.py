"""BatchNorm folded into the convolution before it: the same network in fewer passes over its activations."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def folded(net: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy of a network in eval mode, with each BatchNorm2d that follows a convolution in a Sequential folded in.

    Its answers are the network's up to rounding (about 1e-6 in float32). It cannot be trained as the network can.

    Args:
        dtype: of its convolutions, once folded; None: as they are. What reads time and class stays as it is: bf16 has
            only 128 times between a half and one.

    Raises ValueError for a network in training mode, whose statistics are those of each batch.
    """
    if net.training:
        raise ValueError("net is in training mode: allowed is eval mode, where BatchNorm is a scale and a shift")
    net = deepcopy(net)
    for block in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for n in range(len(block) - 1):
            conv, norm = block[n], block[n + 1]
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None and norm.running_var is not None
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight,
                    conv.bias,
                    norm.running_mean,
                    norm.running_var,
                    norm.eps,
                    norm.weight,
                    norm.bias,
                    transpose=isinstance(conv, nn.ConvTranspose2d),
                )
                block[n + 1] = nn.Identity()
    if dtype is not None:
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(dtype)
    return net
