"""Studies: the rows of metrics.json as a picture and as a table, runs of several seeds as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from denoiselab.figures.quality import Curve, quality_figure

# What may be a study's axis, what is drawn, and what is in its table.
AXES = {
    "guidance_scale": "guidance scale",
    "evaluations": "network evaluations",
    "epoch": "epoch",
    "lever": "what is changed of the recipe",
}
PANELS = {"frechet_distance": "Fréchet distance", "accuracy": "accuracy", "coverage": "coverage"}
COLUMNS = (*PANELS, "precision", "recall", "density", "nearest_training", "memorised")
MEASURES = (*COLUMNS, "accuracy_per_digit")
SEEDS = ("training_seed", "seed")


def study_figure(path: str | Path, study: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write a PNG of the Fréchet distance, accuracy and coverage of a study's rows and of those beside it, with floors.

    study: {"rows": settings and measures, as `evaluation.Evaluator.measure` gives them, "floors": its `floors`}. The
    axis is the setting of AXES in which the rows differ most; whatever else they differ in names the curves. Rows that
    differ in their seeds alone are one point, their median, and its bar is their range.
    """
    rows = over_seeds([row for each in (study, *beside) for row in each["rows"]])
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
            points = [(_place(axis, row), *_interval(row[name])) for row in own]
            points = points if axis == "lever" else sorted(points)
            curves[label] = Curve(*(list(column) for column in zip(*points, strict=True)))
        if not curves:
            continue
        panels[title] = curves
        floors[title] = {floor: study["floors"]["train_subset"][name]["value"]}
    sizes = " and ".join(f"{size:,}" for size in sorted({row["samples"] for row in rows}))
    models = " and ".join(dict.fromkeys(row["model"] for row in rows))
    quality_figure(
        path,
        panels,
        x_label=AXES[axis],
        title=f"{models}: n = {sizes} samples, {_bars(rows)}",
        floors=floors,
        log_x=axis == "evaluations",
        log_y=[PANELS["frechet_distance"]],
    )


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows that differ in their seeds alone as one: of every measure the median, from the lowest to the highest.

    Such a row has "seeds", their number. Where there are rows of several runs with the same seeds, they differ in
    something that no row says, and all stay as they are.
    """
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        alike.setdefault(repr(sorted(_without_seeds(row, *MEASURES).items())), []).append(row)
    groups = list(alike.values())
    seeds = [len({tuple(row.get(name) for name in SEEDS) for row in group}) for group in groups]
    if max(seeds) == 1 or any(len(group) > count for group, count in zip(groups, seeds, strict=True)):
        return [dict(row) for row in rows]
    return [_spread(group) if len(group) > 1 else _without_seeds(group[0]) for group in groups]


def _without_seeds(row: Mapping[str, Any], *but: str) -> dict[str, Any]:
    """A row without its seeds and what goes with them."""
    return {name: value for name, value in row.items() if name not in (*SEEDS, "run", *but)}


def _spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of several seeds as one."""
    measures = {}
    for name in COLUMNS:
        if name in rows[0]:
            values = [row[name]["value"] for row in rows]
            measures[name] = {"value": median(values), "low": min(values), "high": max(values)}
    return {**_without_seeds(rows[0], *MEASURES), "seeds": len(rows), **measures}


def _bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the bars of a figure are."""
    seeds = sorted({row.get("seeds", 1) for row in rows})
    several = f"median and range of {' or '.join(str(n) for n in seeds if n > 1)} seeds"
    return "95 % intervals" if seeds == [1] else f"{several}, else 95 % intervals" if seeds[0] == 1 else several


def _labelled(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The setting of AXES in which rows differ most, and for each row whatever else they differ in, in words."""
    names = dict.fromkeys(name for row in rows for name in row if name not in (*MEASURES, "seeds"))
    values = {name: [row.get(name, "-") for row in rows] for name in names}
    varying = [name for name in names if len(set(map(str, values[name]))) > 1]
    shared = [name for name in AXES if all(name in row for row in rows)]
    axis = max(shared, key=lambda name: len(set(values[name])))
    named = [name for name in varying if name != axis and not (name == "model" and "run" in varying)]
    labels = [", ".join(_word(name, values[name][n]) for name in named) for n in range(len(rows))]
    return axis, [label or str(row["model"]) for label, row in zip(labels, rows, strict=True)]


def _place(axis: str, row: Mapping[str, Any]) -> Any:
    """Where a row stands on the axis; a word on an axis of words."""
    return _lever(row[axis]) if axis == "lever" else row[axis]


def _lever(name: str | None) -> str:
    return "nothing" if name is None else name


def _word(name: str, value: Any) -> str:
    if name == "lever":
        return _lever(value)
    if name in ("model", "solver", "run"):
        return str(value)
    number = f"{value:g}" if isinstance(value, float) else value
    return f"{AXES.get(name, name.replace('_', ' '))} {number}"


def _interval(measured: Mapping[str, float]) -> tuple[float, float, float]:
    return measured["value"], measured["low"], measured["high"]


def study_table(study: Mapping[str, Any]) -> str:
    """A study, as `study_figure` takes it, as text: a line for each row and each floor."""
    lines = [["", "samples", *(name.replace("_", " ") for name in COLUMNS)]]
    merged = over_seeds(study["rows"])
    axis, labels = _labelled(merged)
    words = [_word(axis, row[axis]) if len(merged) > 1 else str(row["model"]) for row in merged]
    several = len(set(labels)) > 1
    rows = [
        (f"{word}, {label}" if several else word, row) for word, label, row in zip(words, labels, merged, strict=True)
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
