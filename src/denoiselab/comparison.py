"""Rows of metrics.json compared: those of several seeds as one, and distances beside the lowest."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import median, stdev
from typing import Any

SEEDS = ("training_seed", "seed")
TIES = ("run", *SEEDS)  # what tells rows apart that would have one name
ABOVE = "above_the_lowest"  # distance
NORMAL = 1.96  # standard deviations to each side, of an interval of 95 %


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one recipe that differ in their seeds alone as one: of every measure the median and the range.

    Seeds are pairs, of the training and of the samples' noise. Such a row has "seeds", how many pairs, and their
    measures as {"value": median, "low": lowest, "high": highest, "by_seeds": {pair: value}}, of which one that is not
    finite is the highest. "run" is the first of all runs of the recipe. Rows with the same pair twice stay as they are.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    first: dict[Any, Any] = {}
    for row in map(dict, rows):
        first.setdefault(row.get("recipe"), row.get("run"))
        same = {name: value for name, value in settings_of(row).items() if name not in TIES}
        groups.setdefault(repr(sorted(same.items())), []).append(row)
    merged: list[dict[str, Any]] = []
    for group in groups.values():
        pairs = {_pair(row) for row in group} if len(group) > 1 else {()}
        if len(group) == len(pairs) > 1:
            merged.append(_spread(group) | {"run": f"{first[group[0].get('recipe')]} and its seeds"})
        else:
            merged.extend(group)
    return merged


def settings_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row is no measure."""
    return {name: value for name, value in row.items() if not isinstance(value, Mapping)}


def _pair(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The seeds of a row."""
    return tuple(row.get(name) for name in SEEDS)


def _spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of several seeds as one."""
    same = {name: value for name, value in settings_of(rows[0]).items() if name not in TIES}
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


def number(value: float | None) -> float:
    """A measure, of which metrics.json says null where it is not finite."""
    return math.nan if value is None else value


def above_the_lowest(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows, those of them that compare with the lowest Fréchet distance with ABOVE, the difference to it.

    Those of one seed compare for which the same numbers of samples were drawn, see `evaluation.intervals.draws_digest`:
    the interval is 1.96 standard deviations of the differences of the drawn sets to each side. The bias of their
    number, which drawn sets have more of, is in both and cancels. Those merged over seeds compare where the seeds are
    the same and all distances finite: the median of the seeds' differences, and their range. The lowest of many is a
    little lower than it would be on other samples.
    """
    found = [dict(row) for row in rows]
    measured = [row for row in found if math.isfinite(number(row["frechet_distance"]["value"]))]
    lowest = min(measured, key=lambda row: float(row["frechet_distance"]["value"]), default=None)
    for row in found:
        if lowest is not None and row is not lowest:
            above = _difference(
                row["frechet_distance"], lowest["frechet_distance"], row["samples"] == lowest["samples"]
            )
            row |= {} if above is None else {ABOVE: above}
    return found


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], same_number: bool) -> dict[str, Any] | None:
    """Of two distances, see `above_the_lowest`; None where they do not compare."""
    if "draws" in other and one.get("draws") == other["draws"]:
        difference = one["value"] - other["value"]
        half = NORMAL * stdev(a - b for a, b in zip(one["drawn"], other["drawn"], strict=True))
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
