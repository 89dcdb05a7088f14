"""Measured quality: curves with their intervals, in panels side by side."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from denoiselab.figures.curves import COLOURS, plain_numbers
from denoiselab.files import check_suffix, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP"

# Of a study: what may be its axis, what is drawn, and what is in its table.
AXES = {"guidance_scale": "guidance scale", "evaluations": "network evaluations", "epoch": "epoch"}
PANELS = {"frechet_distance": "Fréchet distance", "accuracy": "accuracy", "coverage": "coverage"}
COLUMNS = (*PANELS, "precision", "recall", "density", "nearest_training", "memorised")


class Curve(NamedTuple):
    """Values y measured at x, of equal length, and the intervals [low, high] around them; None for values without."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


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

    A label has one colour in every panel. floors, {y label: {label: value}}, are dashed lines across a panel: what
    no curve can pass, or a reference. log_x and log_y (the labels of the panels meant) make axes logarithmic. A value
    that an axis cannot show (NaN, infinite, on a log axis zero or less) is left out and counted in the legend.

    Raises ValueError for a path that is not .png, without curves, for lengths that differ, and for a floor or log_y of
    no panel.
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

    _check(panels, floors, log_y)
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    lines = list(dict.fromkeys(label for values in floors.values() for label in values))
    figure = Figure(figsize=(10 if len(panels) == 1 else 6 * len(panels), 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # Agg whatever the user's backend, and no global state of pyplot
    figure.suptitle(title, fontsize=15, fontweight="bold", x=0.01, ha="left")
    handles: dict[str, Any] = {}
    left_out = dict.fromkeys(labels, 0)
    for number, (y_label, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        logarithmic = y_label in log_y
        axes.set_xlabel(x_label, fontsize=12)
        axes.set_ylabel(y_label, fontsize=12)
        axes.grid(which="major", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for label, value in floors.get(y_label, {}).items():
            grey = ("#222222", "#888888", "#bbbbbb")[lines.index(label) % 3]
            handles[label] = axes.axhline(value, color=grey, linewidth=1.4, linestyle="--", zorder=2)
        for label, curve in curves.items():
            style = labels.index(label)
            points = [point for point in _points(curve) if _shown(point[1], logarithmic) and _shown(point[0], log_x)]
            left_out[label] += len(curve.y) - len(points)
            x, y, low, high = zip(*points, strict=True) if points else ((), (), (), ())
            below = [value - bound if _shown(bound, logarithmic) else 0 for value, bound in zip(y, low, strict=True)]
            above = [bound - value if math.isfinite(bound) else 0 for value, bound in zip(y, high, strict=True)]
            handles[label] = axes.errorbar(
                x,
                y,
                yerr=(below, above),
                color=COLOURS[style % len(COLOURS)],
                marker=MARKERS[style % len(MARKERS)],
                markersize=6,
                linewidth=2,
                elinewidth=1.4,
                capsize=4,
                zorder=3 + len(labels) - style,  # the first label is what the picture is about
            )
        for axis, yes in ((axes.xaxis, log_x), (axes.yaxis, logarithmic)):
            if yes:
                (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
                plain_numbers(axis)
    names = [f"{label}: {left_out[label]} not drawn" if left_out.get(label) else label for label in handles]
    figure.legend(
        list(handles.values()), names, loc="outside lower left", ncols=3, fontsize=11, frameon=False, columnspacing=1.5
    )
    return figure


def _points(curve: Curve) -> list[tuple[float, float, float, float]]:
    """(x, y, low, high) of each value; without an interval, y itself is its bounds."""
    low, high = (curve.y if bounds is None else bounds for bounds in (curve.low, curve.high))
    return list(zip(curve.x, curve.y, low, high, strict=True))


def _shown(value: float, logarithmic: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not logarithmic)


def _check(
    panels: Mapping[str, Mapping[str, Curve]], floors: Mapping[str, Mapping[str, float]], log_y: Collection[str]
) -> None:
    if not panels or not all(panels.values()):
        raise ValueError("panels has a panel without curves, or none; allowed: {y label: {label: Curve}}")
    for name, given in (("floors", floors), ("log_y", log_y)):
        for y_label in given:
            if y_label not in panels:
                raise ValueError(f"{name} has {y_label!r}; allowed are the panels {', '.join(panels)}")
    for y_label, curves in panels.items():
        for label, curve in curves.items():
            lengths = {len(values) for values in curve if values is not None}
            if len(lengths) != 1 or lengths == {0}:
                raise ValueError(f"{y_label}, {label}: lengths {sorted(lengths)}; allowed: one length, 1 or more")


def study_figure(path: str | Path, study: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write a PNG of the Fréchet distance, accuracy and coverage of a study's rows and of those beside it, with floors.

    study: {"rows": settings and measures, as `evaluation.Evaluator.measure` gives them, "floors": its `floors`}. The
    axis is the setting of AXES in which the rows differ most; whatever else they differ in names the curves.
    """
    rows = [row for each in (study, *beside) for row in each["rows"]]
    axis, labels = _labelled(rows)
    floor = f"training images, n = {study['floors']['train_subset']['samples']:,}"
    panels: dict[str, dict[str, Curve]] = {}
    floors: dict[str, dict[str, float]] = {}
    for name, title in PANELS.items():
        curves = {}
        for label in dict.fromkeys(labels):
            # Where nothing was asked for, nothing can be read as asked.
            own = [row for row, each in zip(rows, labels, strict=True) if each == label and name in row]
            if not own:
                continue
            points = sorted((row[axis], *_interval(row[name])) for row in own)
            curves[label] = Curve(*(list(column) for column in zip(*points, strict=True)))
        if not curves:
            continue
        panels[title] = curves
        floors[title] = {floor: study["floors"]["train_subset"][name]["value"]}
    sizes = " and ".join(f"{size:,}" for size in sorted({row["samples"] for row in rows}))
    quality_figure(
        path,
        panels,
        x_label=AXES[axis],
        title=f"{rows[0]['model']}: n = {sizes} samples, 95 % intervals",
        floors=floors,
        log_x=axis == "evaluations",
        log_y=[PANELS["frechet_distance"]],
    )


def _labelled(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The setting of AXES in which rows differ most, and for each row whatever else they differ in, in words."""
    names = dict.fromkeys(name for row in rows for name in row if name not in (*COLUMNS, "accuracy_per_digit"))
    values = {name: [row.get(name, "-") for row in rows] for name in names}
    varying = [name for name in names if len(set(map(str, values[name]))) > 1]
    shared = [name for name in AXES if all(name in row for row in rows)]
    axis = max(shared, key=lambda name: len(set(values[name])))
    named = [name for name in varying if name != axis and not (name == "model" and "run" in varying)]
    labels = [", ".join(_word(name, values[name][n]) for name in named) for n in range(len(rows))]
    return axis, [label or str(row["model"]) for label, row in zip(labels, rows, strict=True)]


def _word(name: str, value: Any) -> str:
    if name in ("model", "solver", "run"):
        return str(value)
    number = f"{value:g}" if isinstance(value, float) else value
    return f"{AXES.get(name, name.replace('_', ' '))} {number}"


def _interval(measured: Mapping[str, float]) -> tuple[float, float, float]:
    return measured["value"], measured["low"], measured["high"]


def study_table(study: Mapping[str, Any]) -> str:
    """A study, as `study_figure` takes it, as text: a line for each row and each floor."""
    lines = [["", "samples", *(name.replace("_", " ") for name in COLUMNS)]]
    axis, labels = _labelled(study["rows"])
    words = [_word(axis, row[axis]) if len(study["rows"]) > 1 else str(row["model"]) for row in study["rows"]]
    several = len(set(labels)) > 1
    rows = [
        (f"{word}, {label}" if several else word, row)
        for word, label, row in zip(words, labels, study["rows"], strict=True)
    ]
    floors = [(f"floor: {name.replace('_', ' ')}", row) for name, row in study["floors"].items()]
    for label, row in rows + floors:
        lines.append([label, f"{row['samples']:,}", *(_cell(row.get(name)) for name in COLUMNS)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _cell(measured: Any) -> str:
    if measured is None:
        return "-"
    if isinstance(measured, Mapping):
        interval = f" ({measured['low']:.3g} to {measured['high']:.3g})" if "low" in measured else ""
        return f"{measured['value']:.4g}{interval}"
    return f"{measured:.4g}"
