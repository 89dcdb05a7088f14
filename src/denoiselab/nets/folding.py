"""BatchNorm folded into the convolution before it: the same network in fewer passes over its activations."""

from __future__ import annotations

from copy import deepcopy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def folded(net: nn.Module) -> nn.Module:
    """A copy of a network in eval mode, with each BatchNorm2d that follows a convolution in a Sequential folded in.

    Its answers are the network's up to rounding (about 1e-6 in float32). It cannot be trained as the network can.

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
    return net
