"""Measured quality: curves with their intervals, in panels side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from denoiselab.figures.curves import COLOURS, plain_numbers
from denoiselab.files import check_suffix, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP"
LINES = ("-", ":", "-.")


class Curve(NamedTuple):
    """Values y measured at x, of equal length, and the intervals [low, high] around them; None for values without.

    x are numbers, whose points are joined by a line, or the words of an axis in the order of their appearance.
    """

    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


class Style(NamedTuple):
    """How a label's curves are drawn, in matplotlib's terms."""

    colour: str
    marker: str
    line: str


def quality_figure(
    path: str | Path,
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    x_label: str,
    title: str,
    floors: Mapping[str, Mapping[str, float]] | None = None,
    log_x: bool = False,
    log_y: Collection[str] = (),
) -> None:
    """Write a PNG, 600 pixels high, of panels side by side that share x: {y label: {curve's label: Curve}}.

    A label has one colour in every panel; labels that are all pairs of two lists ("class_flow, guidance scale 1") share
    the colour of their second part and the line of their first. floors, {y label: {label: value}}, are dashed lines
    across a panel: what no curve can pass, or a reference. log_x and log_y (the labels of the panels meant) make axes
    logarithmic. A value that an axis cannot show (NaN, infinite, on a log axis zero or less) is left out and counted
    in the legend.

    Raises ValueError for a path that is not .png, without curves, for lengths that differ, for a floor or log_y of no
    panel, and for words on an axis of numbers.
    """
    path = check_suffix(path, ".png")
    figure = draw_quality(panels, x_label, title, floors or {}, log_x, log_y)
    with write_atomically(path) as temporary:
        figure.savefig(temporary)


def draw_quality(
    panels: Mapping[str, Mapping[str, Curve]],
    x_label: str,
    title: str,
    floors: Mapping[str, Mapping[str, float]],
    log_x: bool,
    log_y: Collection[str],
) -> Figure:
    """The matplotlib figure behind `quality_figure`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _check(panels, floors, log_x, log_y)
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    styles = _styles(labels)
    lines = list(dict.fromkeys(label for values in floors.values() for label in values))
    figure = Figure(figsize=(10 if len(panels) == 1 else 6 * len(panels), 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # Agg whatever the user's backend, and no global state of pyplot
    figure.suptitle(title, fontsize=15, fontweight="bold", x=0.01, ha="left")
    handles: dict[str, Any] = {}
    left_out = dict.fromkeys(labels, 0)
    everywhere = [x for curves in panels.values() for curve in curves.values() for x in curve.x]
    words = list(dict.fromkeys(x for x in everywhere if isinstance(x, str)))
    for number, (y_label, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        logarithmic = y_label in log_y
        axes.set_xlabel(x_label, fontsize=12)
        axes.set_ylabel(y_label, fontsize=12)
        axes.grid(which="major", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if words:
            axes.plot(words, [math.nan] * len(words))  # every panel has all of them, in one order
            axes.tick_params(axis="x", labelrotation=60)
        for label, value in floors.get(y_label, {}).items():
            grey = ("#222222", "#888888", "#bbbbbb")[lines.index(label) % 3]
            handles[label] = axes.axhline(value, color=grey, linewidth=1.4, linestyle="--", zorder=2)
        for label, curve in curves.items():
            points = [point for point in _points(curve) if _shown(point[1], logarithmic) and _shown(point[0], log_x)]
            left_out[label] += len(curve.y) - len(points)
            x, y, low, high = zip(*points, strict=True) if points else ((), (), (), ())
            below = [value - bound if _shown(bound, logarithmic) else 0 for value, bound in zip(y, low, strict=True)]
            above = [bound - value if math.isfinite(bound) else 0 for value, bound in zip(y, high, strict=True)]
            handles[label] = axes.errorbar(
                x,
                y,
                yerr=(below, above),
                color=styles[label].colour,
                marker=styles[label].marker,
                linestyle=styles[label].line,
                markersize=6,
                linewidth=0 if words else 2,
                elinewidth=1.4,
                capsize=4,
                zorder=3 + len(labels) - labels.index(label),  # the first label is what the picture is about
            )
        if not log_x and all(isinstance(x, int) for x in everywhere):
            axes.set_xticks(sorted(set(everywhere)))  # such as the epochs measured
        for axis, yes in ((axes.xaxis, log_x), (axes.yaxis, logarithmic)):
            if yes:
                (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
                plain_numbers(axis)
    names = [f"{label}: {left_out[label]} not drawn" if left_out.get(label) else label for label in handles]
    figure.legend(
        list(handles.values()), names, loc="outside lower left", ncols=3, fontsize=11, frameon=False, columnspacing=1.5
    )
    return figure


def _styles(labels: Sequence[str]) -> dict[str, Style]:
    """Colour, marker and line of each label; no two labels have the same colour and marker."""
    # Not inside "[0.2, 0.8]".
    parts = [(*re.split(r", (?![^\[]*\])", label, maxsplit=1), "")[:2] for label in labels]
    firsts, seconds = (list(dict.fromkeys(values)) for values in zip(*parts, strict=True))
    if len(labels) == len(firsts) * len(seconds) and 1 < len(firsts) <= len(LINES) and 1 < len(seconds) <= len(COLOURS):
        places = [(firsts.index(first), seconds.index(second)) for first, second in parts]
    else:
        places = [(0, number) for number in range(len(labels))]
    return {
        label: Style(
            COLOURS[second % len(COLOURS)],
            MARKERS[(first + second + second // len(COLOURS)) % len(MARKERS)],
            LINES[first],
        )
        for label, (first, second) in zip(labels, places, strict=True)
    }


def _points(curve: Curve) -> list[tuple[Any, float, float, float]]:
    """(x, y, low, high) of each value; without an interval, y itself is its bounds."""
    low, high = (curve.y if bounds is None else bounds for bounds in (curve.low, curve.high))
    return list(zip(curve.x, curve.y, low, high, strict=True))


def _shown(value: float | str, logarithmic: bool) -> bool:
    if isinstance(value, str):
        return True
    return math.isfinite(value) and (value > 0 or not logarithmic)


def _check(
    panels: Mapping[str, Mapping[str, Curve]],
    floors: Mapping[str, Mapping[str, float]],
    log_x: bool,
    log_y: Collection[str],
) -> None:
    if not panels or not all(panels.values()):
        raise ValueError("panels has a panel without curves, or none; allowed: {y label: {label: Curve}}")
    for name, given in (("floors", floors), ("log_y", log_y)):
        for y_label in given:
            if y_label not in panels:
                raise ValueError(f"{name} has {y_label!r}; allowed are the panels {', '.join(panels)}")
    kinds = {isinstance(x, str) for curves in panels.values() for curve in curves.values() for x in curve.x}
    if len(kinds) > 1 or (log_x and True in kinds):
        raise ValueError("x has words: allowed are words alone, on an axis that is not logarithmic")
    for y_label, curves in panels.items():
        for label, curve in curves.items():
            lengths = {len(values) for values in curve if values is not None}
            if len(lengths) != 1 or lengths == {0}:
                raise ValueError(f"{y_label}, {label}: lengths {sorted(lengths)}; allowed: one length, 1 or more")
