"""folding.py: the same answers without BatchNorm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from denoiselab.nets import UNet, folded


def trained_like(**settings: object) -> UNet:
    """A network whose BatchNorms are not the identity."""
    torch.manual_seed(0)
    net = UNet(8, **settings)  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 3)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.eval()


@pytest.mark.parametrize("settings", [{}, {"time": "multiply"}, {"time": "add", "num_classes": 10}])
def test_a_folded_network_answers_as_the_network_does(settings: dict[str, object]) -> None:
    net = trained_like(**settings)
    fast = folded(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 17  # the network is left as it was
    inputs = [torch.rand(3, 1, 28, 28)]
    inputs += [torch.rand(3)] if "time" in settings else []
    inputs += [torch.eye(10)[:3]] if "num_classes" in settings else []
    with torch.no_grad():
        torch.testing.assert_close(fast(*inputs), net(*inputs), rtol=1e-4, atol=1e-5)


def test_convolutions_in_bf16_and_time_and_class_as_they_were() -> None:
    net = trained_like(time="add", num_classes=10)
    fast = folded(net, torch.bfloat16)
    assert {name.split(".")[0] for name, each in fast.named_parameters() if each.dtype == torch.float32} == {
        *("time1", "time2", "class1", "class2")
    }
    x, c = torch.rand(2, 1, 28, 28), torch.eye(10)[:2]
    with torch.no_grad():
        for V in (1, 2):  # branches
            t, each = torch.rand(2 * V), c.repeat(V, 1)
            wide, half = net(x, t, each), fast(x.bfloat16(), t, each)
            assert half.dtype == torch.bfloat16
            torch.testing.assert_close(half.float(), wide, rtol=0, atol=0.05 * float(wide.std()))


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed is eval mode"):
        folded(UNet(4))
