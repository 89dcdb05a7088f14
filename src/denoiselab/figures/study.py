"""Studies: the rows of metrics.json as a picture and as a table, runs of several seeds as one point."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median, stdev
from typing import Any

from denoiselab.figures.quality import Curve, quality_figure

# What may be a study's axis, the first of those that have as many values; what is drawn; and what is in its table.
AXES = {"epoch": "epoch", "guidance_scale": "guidance scale", "evaluations": "network evaluations", "lever": "lever"}
PANELS = {"frechet_distance": "Fréchet distance", "accuracy": "accuracy", "coverage": "coverage"}
ABOVE = "above_the_lowest"  # distance
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
SEEDS = ("training_seed", "seed")
TIES = ("run", *SEEDS)  # what tells rows apart that would have one name


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
            points = [(row[axis], *map(_number, (row[name][key] for key in ("value", "low", "high")))) for row in own]
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


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one recipe that differ in their seeds alone as one: of every measure the median and the range.

    Seeds are pairs, of the training and of the samples' noise. Such a row has "seeds", how many pairs, and their
    measures as {"value": median, "low": lowest, "high": highest, "by_seeds": {pair: value}}, of which one that is not
    finite is the highest. Rows with the same pair twice stay as they are.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in map(dict, rows):
        same = {name: value for name, value in _settings(row).items() if name not in TIES}
        groups.setdefault(repr(sorted(same.items())), []).append(row)
    merged: list[dict[str, Any]] = []
    for group in groups.values():
        pairs = {_pair(row) for row in group} if len(group) > 1 else {()}
        merged.extend([_spread(group)] if len(group) == len(pairs) > 1 else group)
    return merged


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row is no measure."""
    return {name: value for name, value in row.items() if not isinstance(value, Mapping)}


def _pair(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The seeds of a row."""
    return tuple(row.get(name) for name in SEEDS)


def _spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of several seeds as one."""
    same = {name: value for name, value in _settings(rows[0]).items() if name not in TIES}
    return {**same, "seeds": len(rows), **_spread_measures({_pair(row): row for row in rows})}


def _spread_measures(by_seeds: Mapping[tuple[Any, ...], Mapping[str, Any]]) -> dict[str, Any]:
    """Of measures that all seeds have, and of those in a measure, such as the accuracy's by digit."""
    first, measures = next(iter(by_seeds.values())), {}
    for name, measured in first.items():
        if not isinstance(measured, Mapping) or not all(name in each for each in by_seeds.values()):
            continue
        own = {pair: each[name] for pair, each in by_seeds.items()}
        if "value" in measured:
            found = {pair: math.inf if each["value"] is None else each["value"] for pair, each in own.items()}
            measures[name] = _median_and_range(found.values()) | {"by_seeds": found}
        else:
            measures[name] = _spread_measures(own)
    return measures


def _median_and_range(values: Collection[float]) -> dict[str, Any]:
    return {"value": median(values), "low": min(values), "high": max(values)}


def _number(value: float | None) -> float:
    """A measure, of which metrics.json says null where it is not finite."""
    return math.nan if value is None else value


def _bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the bars of a figure are."""
    seeds = {row.get("seeds", 1) for row in rows}
    several = " or ".join(map(str, sorted(seeds - {1})))
    if not several:
        return "95 % intervals"
    return f"median and range of {several} seeds" + ("; of one seed, 95 % intervals" if 1 in seeds else "")


def _labelled(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The setting of AXES in which rows differ most, and for each row whatever else they differ in, in words."""
    names = dict.fromkeys(name for row in rows for name in _settings(row))
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
    number = f"{value:g}" if isinstance(value, float) else value
    return f"{AXES.get(name, name.replace('_', ' '))} {number}"


def study_table(study: Mapping[str, Any], beside: Sequence[Mapping[str, Any]] = ()) -> str:
    """What `study_figure` draws as text: a line for each row and each floor, and the seeds behind it.

    Beside the distance it says how far above the lowest one it is, see `_above_the_lowest`. Below it a second table
    has the share of each digit that is read as asked for.
    """
    merged = _above_the_lowest(over_seeds([row for each in (study, *beside) for row in each["rows"]]))
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
    return "\n\n".join([_aligned(lines), *([_aligned([["read as asked", *digits], *read])] if read else [])])


def _percent(share: Mapping[str, Any] | None) -> str:
    return "-" if share is None else f"{share['value']:.1%}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many cells each, as text in columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _above_the_lowest(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of them that compare with the lowest Fréchet distance with ABOVE, the difference to it.

    Those of one seed compare for which the same numbers of samples were drawn, see `evaluation.intervals.draws_digest`:
    the interval is 1.96 standard deviations of the differences of the drawn sets to each side. The bias of their
    number, which drawn sets have more of, is in both and cancels. Those merged over seeds compare where the seeds are
    the same and all distances finite: the median of the seeds' differences, and their range. The lowest of many is a
    little lower than it would be on other samples.
    """
    found = [dict(row) for row in rows]
    measured = [row for row in found if math.isfinite(_number(row["frechet_distance"]["value"]))]
    lowest = min(measured, key=lambda row: float(row["frechet_distance"]["value"]), default=None)
    for row in found:
        if lowest is not None and row is not lowest:
            above = _difference(
                row["frechet_distance"], lowest["frechet_distance"], row["samples"] == lowest["samples"]
            )
            row |= {} if above is None else {ABOVE: above}
    return found


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], same_number: bool) -> dict[str, Any] | None:
    """Of two distances, see `_above_the_lowest`; None where they do not compare."""
    if "draws" in other and one.get("draws") == other["draws"]:
        difference = one["value"] - other["value"]
        half = 1.96 * stdev(a - b for a, b in zip(one["drawn"], other["drawn"], strict=True))
        return {"value": difference, "low": difference - half, "high": difference + half}
    ours, theirs = one.get("by_seeds", {}), other.get("by_seeds", {})
    if (
        same_number
        and ours
        and ours.keys() == theirs.keys()
        and all(map(math.isfinite, [*ours.values(), *theirs.values()]))
    ):
        return _median_and_range([value - theirs[pair] for pair, value in ours.items()])
    return None


def _cell(measured: Mapping[str, Any] | None) -> str:
    if measured is None or measured["value"] is None:
        return "-"
    interval = f" ({_number(measured['low']):.3g} to {_number(measured['high']):.3g})" if "low" in measured else ""
    return f"{measured['value']:.4g}{interval}"
