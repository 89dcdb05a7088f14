"""The course's UNet (Berkeley CS180/CS280A, project 5B): plain, time-conditioned or class-conditioned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.nets.blocks import conv_block, down_block, fc_block, flatten, unflatten, up_block

TIME_MODES = ("none", "add", "multiply")
SIZE = 28  # two halvings and the 7x7 average pool leave no other choice


class UNet(nn.Module):
    """28x28 images in, 28x28 images out; time and class enter after Unflatten and after the first UpBlock.

    With h = Unflatten(...) and then h = Up1(...): h is multiplied by the class embedding, where there is one, and the
    time embedding is added to it or multiplies it: c1 * h + t1, c2 * up1 + t2 for the course's class model.

    Args:
        width: channels D at full resolution, any positive number. D = 64: 1.975 M parameters plain, 1.996 M with
            time, 2.019 M with ten classes.
        time: "none", "add" (the course's DDPM) or "multiply" (its flow matching, time only).
        num_classes: length K of the class vector; 0 for a model without classes.
        in_channels: image channels, in and out.

    Raises:
        ValueError: a width, channel or class number out of range, an unknown time mode, classes without time.
    """

    shares_branches = True  # t and c may be of several branches of the same images, see `forward`

    def __init__(self, width: int, time: str = "none", num_classes: int = 0, in_channels: int = 1) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width={width}: allowed is a positive number of channels")
        if in_channels < 1 or num_classes < 0:
            raise ValueError(f"in_channels={in_channels}, num_classes={num_classes}: allowed are > 0 and >= 0")
        if time not in TIME_MODES:
            raise ValueError(f"time={time!r}: allowed are {', '.join(TIME_MODES)}")
        if num_classes and time == "none":
            raise ValueError(f"num_classes={num_classes} with time=none: a class model needs time=add or multiply")
        D = width
        self.time, self.num_classes, self.in_channels = time, num_classes, in_channels
        self.enter = conv_block(in_channels, D)
        self.down1 = down_block(D, D)
        self.down2 = down_block(D, 2 * D)
        self.flatten = flatten()
        self.unflatten = unflatten(2 * D, 2 * D)
        self.up1 = up_block(4 * D, D)
        self.up2 = up_block(2 * D, D)
        self.leave = nn.Sequential(conv_block(2 * D, D), nn.Conv2d(D, in_channels, 3, padding=1))
        if time != "none":
            self.time1, self.time2 = fc_block(1, 2 * D), fc_block(1, D)
        if num_classes:
            self.class1, self.class2 = fc_block(num_classes, 2 * D), fc_block(num_classes, D)

    def forward(self, x: Tensor, t: Tensor | None = None, c: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (B, in_channels, 28, 28).
            t: (B,) in [0, 1]; only for a time-conditioned network.
            c: (B, K) class vectors, one-hot, or all zero where the class is dropped; only for a class network.

        t and c may be of V branches of the same images, (V B,) and (V B, K): time and class enter after Unflatten, so
        what comes before is computed once, and so is what the skips add to the convolutions after it. Two branches
        take 1.56 times the arithmetic of one.

        Returns:
            (B, in_channels, 28, 28), or (V B, in_channels, 28, 28).
        """
        if x.shape[1:] != (self.in_channels, SIZE, SIZE):
            raise ValueError(f"x of shape {tuple(x.shape)}: this network takes (B, {self.in_channels}, {SIZE}, {SIZE})")
        if (t is None) != (self.time == "none") or (c is None) != (self.num_classes == 0):
            raise ValueError(
                f"a network with time={self.time} and num_classes={self.num_classes} was called with "
                f"{'a' if t is not None else 'no'} time and {'a' if c is not None else 'no'} class vector"
            )
        branches = 1 if t is None or t.ndim != 1 else max(1, len(t) // len(x))
        if t is not None and t.shape != (branches * len(x),):
            raise ValueError(f"t of shape {tuple(t.shape)}: this batch takes ({len(x)},), or so many for each branch")
        if c is not None and c.shape != (branches * len(x), self.num_classes):
            allowed = f"({branches * len(x)}, {self.num_classes})"
            raise ValueError(f"c of shape {tuple(c.shape)}: this batch and t take {allowed}")
        h28 = self.enter(x)  # (B, D, 28, 28)
        h14 = self.down1(h28)  # (B, D, 14, 14)
        h7 = self.down2(h14)  # (B, 2D, 7, 7)
        h = self.unflatten(self.flatten(h7))  # (B, 2D, 7, 7)
        if branches > 1:
            h = torch.cat([h] * branches)  # (V B, 2D, 7, 7), and V B from here on
        if t is not None:
            h = self._condition(h, t, c, self.time1, self.class1 if self.num_classes else None)
        h = _beside(self.up1, h, h7)  # (B, D, 14, 14)
        if t is not None:
            h = self._condition(h, t, c, self.time2, self.class2 if self.num_classes else None)
        h = _beside(self.up2, h, h14)  # (B, D, 28, 28)
        return _beside(self.leave, h, h28)  # (B, in_channels, 28, 28)

    def _condition(
        self, h: Tensor, t: Tensor, c: Tensor | None, time_block: nn.Module, class_block: nn.Module | None
    ) -> Tensor:
        if c is not None and class_block is not None:
            h = _embedding(class_block, c, h) * h
        embedding = _embedding(time_block, t[:, None], h)
        return h + embedding if self.time == "add" else h * embedding


def _embedding(block: nn.Module, value: Tensor, h: Tensor) -> Tensor:
    """What an FCBlock makes of (B, K) in its own precision, as (B, C, 1, 1) in that of h (B, C, H, W)."""
    own = next(block.parameters()).dtype
    return block(value.to(own)).to(h.dtype)[:, :, None, None]  # type: ignore[no-any-return]


def _beside(block: nn.Module, h: Tensor, skip: Tensor) -> Tensor:
    """block(torch.cat([h, skip], dim=1)), where h (V B, C, H, W) may be of V branches of skip's images (B, c, H, W).

    A convolution of both is the sum of one of each, and skip's is the same in every branch.
    """
    if len(h) == len(skip):
        return block(torch.cat([h, skip], dim=1))  # type: ignore[no-any-return]
    if isinstance(block, nn.Sequential):
        return block[1:](_beside(block[0], h, skip))  # type: ignore[no-any-return]
    assert isinstance(block, nn.Conv2d | nn.ConvTranspose2d) and block.dilation == (1, 1) and block.groups == 1
    transposed = isinstance(block, nn.ConvTranspose2d)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    own, shared = block.weight.split([h.shape[1], skip.shape[1]], dim=0 if transposed else 1)
    answer = convolve(h, own, block.bias, block.stride, block.padding)  # type: ignore[arg-type, operator]
    of_skip = convolve(skip, shared, None, block.stride, block.padding)  # type: ignore[arg-type, operator]
    answer.unflatten(0, (-1, len(skip))).add_(of_skip)
    return answer
