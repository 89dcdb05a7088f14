"""blocks.py: the layer lists of EXPERIMENTS.md, "The course's UNet, exactly", and the shapes they map."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from denoiselab.nets import blocks


def conv(cin: int, cout: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> str:
    return f"conv {cin}->{cout} {kernel}x{kernel} stride {stride} padding {padding}"


def transposed(cin: int, cout: int, kernel: int, stride: int, padding: int) -> str:
    return f"transposed {cin}->{cout} {kernel}x{kernel} stride {stride} padding {padding}"


def norm_gelu(first: str, channels: int) -> list[str]:
    return [first, f"norm {channels}", "gelu"]


def layers(module: nn.Module) -> list[str]:
    """The leaves of a module in the order in which they run, in words."""
    words = []
    for leaf in module.modules():
        if isinstance(leaf, nn.Conv2d | nn.ConvTranspose2d):
            assert leaf.bias is not None and leaf.groups == 1 and leaf.dilation == (1, 1)
            assert leaf.padding_mode == "zeros" and leaf.kernel_size[0] == leaf.kernel_size[1]
            word = conv if isinstance(leaf, nn.Conv2d) else transposed
            size = (leaf.kernel_size[0], leaf.stride[0], leaf.padding[0])
            words.append(word(leaf.in_channels, leaf.out_channels, *size))
        elif isinstance(leaf, nn.BatchNorm2d):
            assert leaf.affine and leaf.track_running_stats
            words.append(f"norm {leaf.num_features}")
        elif isinstance(leaf, nn.GELU):
            assert leaf.approximate == "none"
            words.append("gelu")
        elif isinstance(leaf, nn.AvgPool2d):
            words.append(f"average {leaf.kernel_size}")
        elif isinstance(leaf, nn.Linear):
            words.append(f"linear {leaf.in_features}->{leaf.out_features}")
        else:
            assert isinstance(leaf, nn.Sequential), f"unexpected {leaf}"
    return words


CONV_BLOCK = norm_gelu(conv(5, 5), 5) * 2
EXPECTED: list[tuple[Callable[[int, int], nn.Module], list[str]]] = [
    (blocks.conv, norm_gelu(conv(3, 5), 5)),
    (blocks.down_conv, norm_gelu(conv(3, 5, stride=2), 5)),
    (blocks.up_conv, norm_gelu(transposed(3, 5, 4, 2, 1), 5)),
    (blocks.conv_block, norm_gelu(conv(3, 5), 5) + norm_gelu(conv(5, 5), 5)),
    (blocks.down_block, norm_gelu(conv(3, 5, stride=2), 5) + CONV_BLOCK),
    (blocks.up_block, norm_gelu(transposed(3, 5, 4, 2, 1), 5) + CONV_BLOCK),
    (blocks.unflatten, norm_gelu(transposed(3, 5, 7, 7, 0), 5)),
    (blocks.fc_block, ["linear 3->5", "gelu", "linear 5->5"]),
]


@pytest.mark.parametrize(("block", "expected"), EXPECTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_block_is_its_layer_list(block: Callable[[int, int], nn.Module], expected: list[str]) -> None:
    assert layers(block(3, 5)) == expected


def test_flatten_is_its_layer_list() -> None:
    assert layers(blocks.flatten()) == ["average 7", "gelu"]


SCALES = [
    (blocks.conv, 1.0),
    (blocks.conv_block, 1.0),
    (blocks.down_conv, 0.5),
    (blocks.down_block, 0.5),
    (blocks.up_conv, 2.0),
    (blocks.up_block, 2.0),
    (blocks.unflatten, 7.0),
]


@pytest.mark.parametrize(("block", "scale"), SCALES, ids=lambda value: getattr(value, "__name__", ""))
@settings(max_examples=5)
@given(batch=st.integers(1, 3), cin=st.integers(1, 5), cout=st.integers(1, 5), half=st.integers(1, 4))
def test_a_block_maps_the_shape_it_says(
    block: Callable[[int, int], nn.Module], scale: float, batch: int, cin: int, cout: int, half: int
) -> None:
    out = block(cin, cout)(torch.zeros(batch, cin, 2 * half, 4 * half))
    assert out.shape == (batch, cout, int(2 * half * scale), int(4 * half * scale))


def test_flatten_is_the_gelu_of_the_mean() -> None:
    x = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.gelu(x.mean(dim=(2, 3), keepdim=True))
    torch.testing.assert_close(blocks.flatten()(x), expected)
    assert expected.shape == (2, 3, 1, 1)


def test_unflatten_does_not_overlap_its_tiles() -> None:
    """Kernel 7 at stride 7: the pixel (i, j) of the answer sees the kernel's entry (i, j) and nothing else."""
    block = blocks.unflatten(3, 5).eval()
    x = torch.randn(1, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    transpose = block[0]
    value = torch.einsum("c,cdij->dij", x[0, :, 0, 0], transpose.weight) + transpose.bias[:, None, None]
    torch.testing.assert_close(transpose(x)[0], value)


@given(cin=st.integers(1, 5), cout=st.integers(1, 5))
def test_an_fc_block_maps_vectors(cin: int, cout: int) -> None:
    assert blocks.fc_block(cin, cout)(torch.zeros(3, cin)).shape == (3, cout)
