"""Images side by side: native PNG grids, which tools cut back into images, and enlarged previews for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from denoiselab.figures.previews import preview
from denoiselab.files import check_suffix, write_atomically

PADDING = 2  # pixels around and between the images of every grid on disk


def grid(images: Tensor, columns: int, padding: int = PADDING) -> Tensor:
    """Lay images (B, C, H, W) out row by row, `columns` to a row: (C, rows (H + p) + p, columns (W + p) + p).

    Values are clamped to [0, 1]; padding, and the cells that an incomplete last row leaves over, are 0. Fewer images
    than `columns` make one row of B. (torchvision's make_grid turns grey into RGB and gives one image no padding.)

    Raises ValueError if images is not (B, C, H, W) with B >= 1 and C 1 or 3, is not a finite float, or columns < 1.
    """
    check_images(images)
    if columns < 1:
        raise ValueError(f"columns is {columns}; allowed: 1 or more")
    b, c, h, w = images.shape
    columns = min(columns, b)
    rows = -(-b // columns)
    canvas = images.new_zeros(c, rows * (h + padding) + padding, columns * (w + padding) + padding)
    for i, image in enumerate(images.clamp(0, 1)):
        top, left = padding + (i // columns) * (h + padding), padding + (i % columns) * (w + padding)
        canvas[:, top : top + h, left : left + w] = image
    return canvas  # (C, H', W')


def save_grid(
    images: Tensor,
    path: str | Path,
    columns: int,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write images (B, C, H, W) in [0, 1] as an 8-bit PNG grid, and a preview for people beside it.

    `path` gets the grid at native resolution, padding 2, without text; `<stem>_preview.png`, whose path is returned,
    gets it enlarged without smoothing, with labels and title drawn around the images.

    Raises ValueError as `grid` does, for a path that is not .png, and if a list of labels does not match the grid.
    """
    path = check_suffix(path, ".png")
    check_images(images)
    native = to_pil_image(to_bytes(grid(images, columns)))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    for name, labels, count in (("row_labels", row_labels, rows), ("column_labels", column_labels, columns)):
        if labels is not None and len(labels) != count:
            raise ValueError(f"{name} has {len(labels)} entries; allowed: {count}")
    page = preview(native, (images.shape[2], images.shape[3]), row_labels, column_labels, title, PADDING)
    preview_path = path.with_name(f"{path.stem}_preview.png")
    for image, target in ((native, path), (page, preview_path)):
        with write_atomically(target) as temporary:
            image.save(temporary, optimize=True)
    return preview_path


def panel(
    rows: Sequence[Tensor],
    path: str | Path,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write a grid as `save_grid` does, one row for each tensor (N, C, H, W) of `rows`: clean, noisy, denoised.

    Raises ValueError as `save_grid` does, and if rows is empty or its tensors are not all of one shape.
    """
    shapes = {tuple(row.shape) for row in rows}
    if len(shapes) != 1:
        raise ValueError(f"rows has shapes {sorted(shapes)}; allowed: tensors of one shape (N, C, H, W)")
    return save_grid(
        torch.cat([row.detach().cpu() for row in rows]),
        path,
        columns=len(rows[0]),
        row_labels=row_labels,
        column_labels=column_labels,
        title=title,
    )


def stack(grids: Mapping[str, Tensor], path: str | Path, *, title: str | None = None) -> Path:
    """Write grids {label: (C, H, W)} in [0, 1], each as `grid` makes it, one under the other, as `save_grid` does.

    Smaller grids are black on the right and below. Raises ValueError as `save_grid` does, and if grids is empty.
    """
    if not grids:
        raise ValueError("grids is empty; allowed: one or more {label: (C, H, W)}")
    height, width = (max(each.shape[side] for each in grids.values()) for side in (1, 2))
    padded = [F.pad(each, (0, width - each.shape[2], 0, height - each.shape[1])) for each in grids.values()]
    return save_grid(torch.stack(padded), path, columns=1, row_labels=list(grids), title=title)


def check_images(images: Tensor) -> None:
    """Raise ValueError unless images is a finite float tensor (B, C, H, W), B >= 1, C 1 or 3."""
    if images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3):
        raise ValueError(f"images has shape {tuple(images.shape)}; allowed: (B, C, H, W), B >= 1, C 1 or 3")
    if not images.is_floating_point():
        raise ValueError(f"images is {images.dtype}; allowed: a floating-point type with values in [0, 1]")
    bad = int((~images.isfinite()).sum())
    if bad:  # as bytes they would pass for black or white
        raise ValueError(f"images has {bad} NaN or infinite values of {images.numel()}; allowed: finite values")


def to_bytes(image: Tensor) -> Tensor:
    """[0, 1] to 0 ... 255 on the CPU, rounded to the nearest."""
    return (image.detach().float() * 255).round().to("cpu", torch.uint8)
