"""Loss curves: every step's loss thin, every epoch's average bold, on a log axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from denoiselab.files import check_suffix, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Curve = tuple[Sequence[int], Sequence[float], Sequence[int]]  # steps, losses, epochs, of equal length
Points = tuple[Sequence[int], Sequence[float]]  # steps, losses
Style = dict[str, Any]  # keywords of matplotlib's plot
COLOURS = ("#1f5fa8", "#d1602b", "#2e8b57", "#8a4fa3", "#7a6a2f", "#c23b6b")
MAX_EPOCH_TICKS = 20


def loss_curve(
    path: str | Path,
    steps: Sequence[int],
    losses: Sequence[float],
    epochs: Sequence[int],
    *,
    title: str,
    validation: Points | None = None,
) -> None:
    """Write a PNG (1000 x 600) of the training loss: each step thin, each epoch's average bold, on a log axis.

    steps, losses and epochs are of equal length, one entry for each optimizer step: global step (increasing), loss and
    epoch (from 1, not decreasing). An epoch's average stands at its middle, under its number on the top axis.
    validation is (steps, losses), drawn as points; it may be empty. A loss that a log axis cannot show (NaN, infinite,
    zero or less) becomes a cross on the bottom edge and is counted in the legend; so does an average they spoil.

    Raises ValueError for a path that is not .png and for sequences that are empty or not as said above.
    """
    _save(path, {"": (steps, losses, epochs)}, title, validation)


def loss_curves(path: str | Path, curves: Mapping[str, Curve], *, title: str) -> None:
    """Write the losses of several runs, {label: (steps, losses, epochs)}, into one PNG like `loss_curve`'s.

    The top axis counts epochs only if they end at the same steps in every run; a run cut short may have fewer. Raises
    ValueError as `loss_curve` does, and if curves is empty.
    """
    if not curves:
        raise ValueError("curves is empty; allowed: one or more {label: (steps, losses, epochs)}")
    _save(path, curves, title, None)


def _save(path: str | Path, curves: Mapping[str, Curve], title: str, validation: Points | None) -> None:
    path = check_suffix(path, ".png")
    figure = draw(curves, title, validation)
    with write_atomically(path) as temporary:
        figure.savefig(temporary)


def draw(curves: Mapping[str, Curve], title: str, validation: Points | None = None) -> Figure:
    """The matplotlib figure behind `loss_curve` and `loss_curves`; a single curve may have the label ''."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    for label, curve in curves.items():
        _check(label, *curve)
    if validation is not None and len(validation[0]) == len(validation[1]) == 0:
        validation = None  # a run that has not validated yet
    if validation is not None:
        _check_steps("validation steps", validation[0], len(validation[1]))

    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # Agg whatever the user's backend, and no global state of pyplot
    axes = figure.add_subplot()
    axes.set_yscale("log")
    axes.set_title(title, fontsize=15, fontweight="bold", loc="left", pad=12)
    axes.set_xlabel("step", fontsize=12)
    axes.set_ylabel("loss", fontsize=12)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.015)
    axes.spines["right"].set_visible(False)

    several = len(curves) > 1
    drawn = []  # bold lines last, so that no run's steps hide another run's average
    for n, (label, (steps, losses, epochs)) in enumerate(curves.items()):
        colour, prefix = COLOURS[n % len(COLOURS)], f"{label}: " if label else ""
        # A few steps are seen one by one; thousands become a band, which has to stay light.
        thin: Style = {"linewidth": 0.6} if len(steps) > 200 else {"linewidth": 1.0, "marker": "."}
        thin |= {"color": colour, "alpha": 0.22 if several else 0.35, "zorder": 2}
        _series(axes, steps, losses, f"{prefix}each step", "x", thin)
        bold: Style = {"color": colour, "linewidth": 2.4, "marker": "o", "markersize": 5, "zorder": 4}
        drawn.append((epoch_averages(steps, losses, epochs), f"{prefix}epoch average", bold))
    for (middles, averages), label, bold in drawn:
        _series(axes, middles, averages, label, "X", bold)
    if validation is not None:
        dashed: Style = {"color": "#222222", "linewidth": 1.2, "linestyle": "--", "marker": "D", "zorder": 5}
        _series(axes, *validation, "validation", "X", dashed)
    plain_numbers(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
    _epoch_axis(axes, list(curves.values()))
    legend = axes.legend(loc="upper right", fontsize=11, framealpha=0.9, edgecolor="#dddddd")
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    legend.set_zorder(6)
    return figure


def epoch_averages(
    steps: Sequence[int], losses: Sequence[float], epochs: Sequence[int]
) -> tuple[list[float], list[float]]:
    """The middle step of each epoch in turn, and the mean of its losses: NaN or infinite if one of them is."""
    by_epoch: dict[int, list[tuple[float, float]]] = {}
    for step, loss, epoch in zip(steps, losses, epochs, strict=True):
        by_epoch.setdefault(int(epoch), []).append((float(step), float(loss)))
    middles = [(entries[0][0] + entries[-1][0]) / 2 for entries in by_epoch.values()]
    averages = [sum(loss for _, loss in entries) / len(entries) for entries in by_epoch.values()]
    return middles, averages


def _series(axes: Axes, x: Sequence[float], y: Sequence[float], label: str, cross: str, style: Style) -> None:
    """Draw y over x, with a gap and a cross on the bottom edge wherever a log axis cannot show the value.

    Matplotlib alone would clip zero to the edge and skip NaN without a word.
    """
    values = [float(value) for value in y]
    shown = [value if math.isfinite(value) and value > 0 else math.nan for value in values]
    axes.plot([float(at) for at in x], shown, label=label, **style)
    missing = [float(at) for at, value in zip(x, shown, strict=True) if math.isnan(value)]
    if missing:
        axes.plot(
            missing,
            [0.012] * len(missing),  # of the axis' height
            cross,
            color=style["color"],
            markersize=8,
            markeredgewidth=1.4,
            clip_on=False,
            zorder=7,
            transform=axes.get_xaxis_transform(),
            label=f"{label}: {len(missing)} NaN, infinite or not above 0",
        )


def plain_numbers(axis: Axis) -> None:
    """Numbers on a log axis as 0.05 and not as powers of ten: three to a decade where decades are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    subdivisions = (1.0, 2.0, 5.0) if high < 1e4 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subdivisions, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _epoch_axis(axes: Axes, curves: list[Curve]) -> None:
    """Number the epochs along the top, each at its middle, with a short line where one ends."""
    longest = max(curves, key=lambda curve: curve[2][-1])
    spans = [_spans(steps, epochs) for steps, _, epochs in curves]
    reference = _spans(longest[0], longest[2])
    for other in spans:
        whole = list(other)[:-1]  # the last epoch of a run that was cut short ends early
        if any(other[epoch] != reference.get(epoch) for epoch in whole):
            return
    numbers = list(reference)
    stride = _stride(len(numbers))
    labelled = [n for n in numbers if stride == 1 or n % stride == 0]
    top = axes.secondary_xaxis("top")
    top.set_xticks([sum(reference[n]) / 2 for n in labelled], [str(n) for n in labelled])
    top.set_xlabel("epoch", fontsize=12)
    top.tick_params(length=0)
    if len(numbers) <= 100:
        for n, following in pairwise(numbers):
            end = (reference[n][1] + reference[following][0]) / 2
            axes.axvline(end, ymin=0.975, color="#666666", linewidth=0.8)


def _spans(steps: Sequence[int], epochs: Sequence[int]) -> dict[int, tuple[float, float]]:
    spans: dict[int, tuple[float, float]] = {}
    for step, epoch in zip(steps, epochs, strict=True):
        first, _ = spans.get(int(epoch), (float(step), 0.0))
        spans[int(epoch)] = (first, float(step))
    return spans


def _stride(count: int) -> int:
    stride = 1
    while count / stride > MAX_EPOCH_TICKS:
        stride = stride * 5 // 2 if str(stride).startswith("2") else stride * 2  # 1, 2, 5, 10, 20, 50, ...
    return stride


def _check(label: str, steps: Sequence[int], losses: Sequence[float], epochs: Sequence[int]) -> None:
    where = f"of {label!r} " if label else ""
    if len(epochs) != len(steps):
        raise ValueError(f"epochs {where}has {len(epochs)} entries; allowed: {len(steps)}, as steps has")
    _check_steps(f"steps {where}".strip(), steps, len(losses))
    epoch = torch.as_tensor(epochs)
    if epoch[0] < 1 or (epoch.diff() < 0).any():
        raise ValueError(f"epochs {where}starts at {int(epoch[0])} or falls; allowed: 1 or more, rising")


def _check_steps(name: str, steps: Sequence[int], losses: int) -> None:
    if len(steps) != losses or losses == 0:
        raise ValueError(f"{name}: {len(steps)} for {losses} losses; allowed: one or more, as many as losses")
    falls = (torch.as_tensor(steps, dtype=torch.float64).diff() <= 0).nonzero()
    if len(falls):
        at = int(falls[0])
        raise ValueError(f"{name}: {steps[at]} is followed by {steps[at + 1]}; allowed: increasing steps")
