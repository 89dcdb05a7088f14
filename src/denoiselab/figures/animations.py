"""Animations: the steps of a sampler as a GIF that loops and rests on the result."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from denoiselab.figures.grids import check_images, grid, to_bytes
from denoiselab.files import check_suffix, write_atomically

# Noise hardly compresses: 60 frames of a 4 x 10 grid of digits under DDPM are 6.4 MB in 256 greys and 1.4 MB by this.
GREYS = 16  # of the last frame
COARSE = 3  # while in motion every third of them, six
DEAD_BAND = 0.75  # of a coarse step: a pixel that moved less keeps its grey. Below 1, so that black can clear
COLOURS = 64
SHORTEST_DELAY = 2  # hundredths of a second; browsers play anything shorter five times slower


def animation(
    frames: Sequence[Tensor],
    path: str | Path,
    columns: int,
    *,
    seconds: float = 4.0,
    hold: float = 1.5,
    scale: int = 3,
) -> None:
    """Write frames (B, C, H, W) in [0, 1], in the order of time, as a GIF of grids that loops for ever.

    The frames share `seconds`; the last, the result, rests for `hold` seconds more. Each pixel becomes scale x scale.
    Greys are few, six while in motion and sixteen at rest, and colours 64: the PNG grid is the exact picture. Equal
    frames in a row are stored as one that lasts as long.

    Raises ValueError as `grid` does, for a path that is not .gif, for no frames, frames of different shapes, scale
    below 1, negative times, and more than 50 frames a second, which no browser plays.
    """
    path = check_suffix(path, ".gif")
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) != 1:
        raise ValueError(f"frames has shapes {sorted(shapes)}; allowed: tensors of one shape (B, C, H, W)")
    check_images(frames[0])
    if scale < 1:
        raise ValueError(f"scale is {scale}; allowed: 1 or more")
    if hold < 0:
        raise ValueError(f"hold is {hold}; allowed: 0 or more seconds")
    shortest = len(frames) * SHORTEST_DELAY / 100
    if seconds < shortest:
        raise ValueError(f"seconds is {seconds} for {len(frames)} frames; allowed: {shortest} or more, 50 a second")
    # A GIF counts in hundredths of a second; rounding the ends and not the delays keeps the total exact.
    ends = [round(100 * seconds * n / len(frames)) for n in range(len(frames) + 1)]
    delays = [10 * (end - start) for start, end in pairwise(ends)]  # milliseconds
    delays[-1] += round(100 * hold) * 10
    pictures = _grey(frames, columns) if frames[0].shape[1] == 1 else _coloured(frames, columns)
    size = (pictures[0].width * scale, pictures[0].height * scale)
    pictures = [picture.resize(size, Image.Resampling.NEAREST) for picture in pictures]
    with write_atomically(path) as temporary:
        # optimize stores only the pixels that changed.
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], duration=delays, loop=0, optimize=True)


def _grey(frames: Sequence[Tensor], columns: int) -> list[Image.Image]:
    palette = [grey * 255 // (GREYS - 1) for grey in range(GREYS) for _ in range(3)]
    pictures = []
    shown: Tensor | None = None
    for n, frame in enumerate(frames):
        exact = to_bytes(grid(frame, columns))[0].float() * (GREYS - 1) / 255  # (H', W'), 0 ... GREYS - 1
        if n == len(frames) - 1:
            shown = exact.round()
        else:
            coarse = (exact / COARSE).round() * COARSE
            if shown is None:
                shown = coarse
            shown = torch.where((exact - shown).abs() > DEAD_BAND * COARSE, coarse, shown)
        picture = Image.fromarray(shown.byte().numpy())
        picture.putpalette(palette)  # makes it mode P
        pictures.append(picture)
    return pictures


def _coloured(frames: Sequence[Tensor], columns: int) -> list[Image.Image]:
    natives = [to_pil_image(to_bytes(grid(frame, columns))) for frame in frames]
    return [native.quantize(COLOURS, dither=Image.Dither.NONE) for native in natives]
