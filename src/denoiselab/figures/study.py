"""Studies: the rows of metrics.json as a picture and as a table, runs of several seeds as one point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from denoiselab.comparison import ABOVE, TIES, above_the_lowest, number, over_seeds, settings_of
from denoiselab.figures.quality import Curve, quality_figure

# What may be a study's axis, the first of those that have as many values; what is drawn; and what is in its table.
AXES = {"epoch": "epoch", "guidance_scale": "guidance scale", "evaluations": "network evaluations", "lever": "lever"}
PANELS = {"frechet_distance": "Fréchet distance", "accuracy": "accuracy", "coverage": "coverage"}
COLUMNS = (
    "frechet_distance",
    ABOVE,
    "accuracy",
    "coverage",
    "levelled_accuracy",
    "colour_accuracy",
    "precision",
    "recall",
    "density",
    "nearest_training",
    "memorised",
)

PLAIN_GUIDANCE: dict[str, Any] = {"guidance_interval": [0, 1], "guidance_rescale": 0}  # goes unsaid
USUAL: dict[str, Any] = PLAIN_GUIDANCE | {"lever": "none", "shift": 1}  # where all rows have it


def study_figure(path: str | Path, study: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write a PNG of the Fréchet distance, accuracy and coverage of a study's rows and of those beside it, with floors.

    study: {"rows": settings and measures, as `evaluation.Evaluator.measure` gives them, "floors": its `floors`}. The
    axis is the setting of AXES in which the rows differ most; whatever else they differ in names the curves. Rows of
    one recipe that differ in their seeds alone are one point, see `over_seeds`. There is a floor for each number of
    samples, and for digits in turn or as they come; that of accuracy is what the judge reads of the test images, as it
    has been trained on the others.
    """
    studies = [study, *beside]
    rows = over_seeds([row for each in studies for row in each["rows"]])
    axis, labels = _labelled(rows)
    subsets = _subsets(studies)
    panels: dict[str, dict[str, Curve]] = {}
    floors: dict[str, dict[str, float]] = {}
    for name, title in PANELS.items():
        curves = {}
        for label in dict.fromkeys(labels):
            # Where nothing was asked for, nothing can be read as asked.
            own = [row for row, each in zip(rows, labels, strict=True) if each == label and name in row]
            if not own:
                continue
            points = [(row[axis], *map(number, (row[name][key] for key in ("value", "low", "high")))) for row in own]
            points = points if axis == "lever" else sorted(points)
            curves[label] = Curve(*(list(column) for column in zip(*points, strict=True)))
        if not curves:
            continue
        panels[title] = curves
        floors[title] = {
            f"training images, n = {n:,}{turns}": subset[name]["value"] for (n, turns), subset in subsets.items()
        }
        if name == "accuracy":
            floors[title] = {"test images": study["floors"]["test"]["accuracy"]["value"]}
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


def _subsets(studies: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str], Mapping[str, Any]]:
    """The floors "train_subset" of studies, by the number of images and, where two differ in nothing else, whether
    they are of the digits in turn.
    """
    found: dict[tuple[int, bool], Mapping[str, Any]] = {}
    for each in studies:
        subset = each["floors"]["train_subset"]
        in_turn = subset["balanced"]
        found[subset["samples"], in_turn] = subset
    kinds = Counter(samples for samples, _ in found)
    words = {True: ", digits in turn", False: ", digits as they come"}
    return {(n, words[in_turn] if kinds[n] > 1 else ""): subset for (n, in_turn), subset in found.items()}


def _bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the bars of a figure are."""
    seeds = {row.get("seeds", 1) for row in rows}
    several = " or ".join(map(str, sorted(seeds - {1})))
    if not several:
        return "95 % intervals"
    return f"median and range of {several} seeds" + ("; of one seed, 95 % intervals" if 1 in seeds else "")


def _labelled(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The setting of AXES in which rows differ most, and for each row whatever else they differ in, in words."""
    names = dict.fromkeys(name for row in rows for name in settings_of(row))
    values = {name: [str(row.get(name, "-")) for row in rows] for name in names}
    shared = [name for name in AXES if all(name in row for row in rows)]
    axis = max(shared, key=lambda name: len(set(values[name])))
    named = [name for name in names if len(set(values[name])) > 1 and name not in (axis, "recipe", "seeds", *TIES)]
    plain = "plain guidance" if PLAIN_GUIDANCE.keys() & set(named) else None
    labels = [
        ", ".join(
            _word(name, row.get(name, "-"))
            for name in named
            if name not in PLAIN_GUIDANCE or row.get(name) != PLAIN_GUIDANCE[name]
        )
        or plain
        or str(row["model"])
        for row in rows
    ]
    for tie in TIES:  # where two rows would be one point of one curve
        places = list(zip(labels, values[axis], strict=True))
        twice = {place for place, count in Counter(places).items() if count > 1}
        for n, (row, place) in enumerate(zip(rows, places, strict=True)):
            others = {str(other.get(tie)) for other, there in zip(rows, places, strict=True) if there == place}
            if place in twice and len(others) > 1 and tie in row:
                labels[n] += f", {_word(tie, row[tie])}"
    return axis, labels


def _word(name: str, value: Any) -> str:
    if name in ("model", "solver", "run"):
        return str(value)
    shown = f"{value:g}" if isinstance(value, float) else value
    return f"{AXES.get(name, name.replace('_', ' '))} {shown}"


def study_table(study: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()) -> str:
    """What `study_figure` draws as text: a line for each row and each floor, and the seeds behind it.

    Beside the distance it says how far above the lowest one it is, see `above_the_lowest`. Below it a second table
    has the share of each digit that is read as asked for, and the last line what all rows have in common.
    """
    merged = above_the_lowest(over_seeds([row for each in (study, *beside) for row in each["rows"]]))
    columns = [name for name in COLUMNS if any(name in row for row in merged)]
    lines = [["", "samples", "seeds", *(name.replace("_", " ") for name in columns)]]
    axis, labels = _labelled(merged)
    words = [_word(axis, row[axis]) if len(merged) > 1 else str(row["model"]) for row in merged]
    several = len(set(labels)) > 1
    rows = [
        (f"{word}, {label}" if several else word, row) for word, label, row in zip(words, labels, merged, strict=True)
    ]
    floors = [(f"floor: train subset{turns}", row) for (_, turns), row in _subsets((study, *beside)).items()]
    others = {name: row for name, row in study["floors"].items() if name != "train_subset"}
    floors += [(f"floor: {name.replace('_', ' ')}", row) for name, row in others.items()]
    for label, row in rows + floors:
        seeds = str(row.get("seeds", 1)) if "model" in row else "-"
        lines.append([label, f"{row['samples']:,}", seeds, *(_cell(row.get(name)) for name in columns)])
    per_digit = [(label, row["accuracy_per_digit"]) for label, row in rows + floors if "accuracy_per_digit" in row]
    digits = sorted({digit for _, shares in per_digit for digit in shares})
    read = [[label, *(_percent(shares.get(digit)) for digit in digits)] for label, shares in per_digit]
    tables = [lines, *([[["read as asked", *digits], *read]] if read else [])]
    return "\n\n".join([*map(_aligned, tables), f"all of: {_shared(merged)}"])


def _shared(rows: Sequence[Mapping[str, Any]]) -> str:
    """The settings that all rows have, in words, but for what is usual."""
    first, *others = (settings_of(row) for row in rows)
    return ", ".join(
        _word(name, value)
        for name, value in first.items()
        if name not in ("recipe", "samples", "seeds") and value != USUAL.get(name)
        if all(name in row and row[name] == value for row in others)
    )


def _percent(share: Mapping[str, Any] | None) -> str:
    return "-" if share is None else f"{share['value']:.1%}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many cells each, as text in columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _cell(measured: Mapping[str, Any] | None) -> str:
    if measured is None or measured["value"] is None:
        return "-"
    interval = f" ({number(measured['low']):.3g} to {number(measured['high']):.3g})" if "low" in measured else ""
    return f"{measured['value']:.4g}{interval}"
