"""Pictures and tables of studies: what is the axis, what names a curve, which runs are one point."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from denoiselab.figures import Curve, quality_figure, study_figure, study_table
from denoiselab.figures.quality import draw_quality


def measured_row(scale: float, evaluations: int, distance: float, **settings: Any) -> dict[str, Any]:
    interval = {"value": distance, "low": distance - 1, "high": distance + 1}
    asked = {"model": "m", "guidance_scale": scale, "evaluations": evaluations, "epoch": 5, "solver": "euler"}
    return (
        asked | {"samples": 1000, "frechet_distance": interval, "accuracy": interval, "coverage": interval} | settings
    )


def study(*rows: dict[str, Any]) -> dict[str, Any]:
    one = {name: {"value": 0.5} for name in ("frechet_distance", "accuracy", "coverage")}
    floors = {
        "train_subset": {"samples": 1000, "balanced": True, **one},
        "test": {"samples": 10_000, "accuracy": {"value": 0.997}},
    }
    return {"rows": list(rows), "floors": floors}


def drawn(monkeypatch: pytest.MonkeyPatch, *studies: dict[str, Any]) -> dict[str, Any]:
    """What `study_figure` has drawn."""
    seen: dict[str, Any] = {}

    def draw(path: Path, panels: Any, **options: Any) -> None:
        seen.update(options, panels=panels)

    monkeypatch.setattr("denoiselab.figures.study.quality_figure", draw)
    study_figure("study.png", studies[0], studies[1:])
    return seen


def test_a_study_is_drawn_along_the_setting_that_differs_most(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch, study(measured_row(5, 20, 9), measured_row(1, 20, 3), measured_row(2, 20, 4)))
    assert seen["x_label"] == "guidance scale" and not seen["log_x"]
    assert seen["panels"]["Fréchet distance"] == {"m": Curve([1, 2, 5], [3, 4, 9], [2, 3, 8], [4, 5, 10])}
    assert seen["floors"]["coverage"] == {"training images, n = 1,000": 0.5}
    assert seen["floors"]["accuracy"] == {"test images": 0.997}
    assert "n = 1,000 samples" in seen["title"]


def test_what_else_differs_names_the_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [measured_row(2, n, 9, solver=solver) for solver in ("euler", "heun") for n in (5, 20)]
    seen = drawn(monkeypatch, study(*steps[:2]), study(*steps[2:]))
    assert seen["x_label"] == "network evaluations" and seen["log_x"]
    assert set(seen["panels"]["accuracy"]) == {"euler", "heun"}
    seen = drawn(monkeypatch, study(measured_row(2, 20, 9, epoch=1), measured_row(2, 20, 8, epoch=5)))
    assert seen["x_label"] == "epoch"
    seen = drawn(monkeypatch, study(*steps[:2]), study(measured_row(2, 5, 9, samples=400)))
    assert set(seen["panels"]["coverage"]) == {"samples 1000", "samples 400"}
    assert "n = 400 and 1,000 samples" in seen["title"]


def test_guidance_that_is_off_goes_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {"guidance_interval": [0.0, 1.0], "guidance_rescale": 0.0}
    others = [plain, plain | {"guidance_interval": [0.1, 0.8]}, plain | {"guidance_rescale": 0.7}]
    rows = [measured_row(scale, 20, 3, **other) for scale in (1, 2) for other in others]
    names = ["plain guidance", "guidance interval [0.1, 0.8]", "guidance rescale 0.7"]
    assert list(drawn(monkeypatch, study(*rows))["panels"]["coverage"]) == names
    rows += [row | {"solver": "ddpm"} for row in rows]
    with_solver = [word for solver in ("euler", "ddpm") for word in (solver, *(f"{solver}, {n}" for n in names[1:]))]
    assert list(drawn(monkeypatch, study(*rows))["panels"]["coverage"]) == with_solver


def test_floors_of_digits_in_turn_and_as_they_come_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    studies = [study(measured_row(scale, 20, 3)) for scale in (1, 2)]
    for each, balanced in zip(studies, (True, False), strict=True):
        each["floors"]["train_subset"]["balanced"] = balanced
    words = ["digits in turn", "digits as they come"]
    floors = drawn(monkeypatch, *studies)["floors"]["coverage"]
    assert list(floors) == [f"training images, n = 1,000, {word}" for word in words]
    table = study_table(*studies[:1], studies[1:])
    assert all(f"floor: train subset, {word}" in table for word in words)


def test_a_study_without_labels_has_no_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {name: value for name, value in measured_row(1, 20, 3).items() if name != "accuracy"}
    assert set(drawn(monkeypatch, study(row))["panels"]) == {"Fréchet distance", "coverage"}
    lines = study_table(study(row)).splitlines()
    assert lines[1].split()[:2] == ["m", "1,000"] and "3 (2 to 4)" in lines[1]
    epochs = study_table(study(measured_row(2, 20, 9, epoch=1), measured_row(2, 20, 8, epoch=5))).splitlines()
    assert [line.split()[:2] for line in epochs[1:3]] == [["epoch", "1"], ["epoch", "5"]]
    assert lines[2].startswith("floor: train subset")


def test_studies_of_other_runs_may_know_less(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {name: value for name, value in measured_row(1, 20, 3).items() if name not in ("accuracy", "epoch")}
    for order in (1, -1):
        both = [study(measured_row(1, 20, 3, run="a/1")), study(without | {"run": "b/2"})][::order]
        panels = drawn(monkeypatch, *both)["panels"]
        assert len(panels["accuracy"]) == 1 and len(panels["coverage"]) == 2


def trained_row(scale: float, distance: float, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """A row with all that says which run it is of."""
    run = {"lever": "none", "recipe": "r", "run": f"s/{seed}", "training_seed": seed, "seed": seed}
    return measured_row(scale, 20, distance, **run | settings)


def test_runs_of_several_seeds_are_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [trained_row(1, distance, seed) for seed, distance in enumerate((3, 9, 4))]
    seen = drawn(monkeypatch, study(*seeds, trained_row(2, 5)))
    assert seen["panels"]["Fréchet distance"]["m"] == Curve([1, 2], [4, 5], [3, 4], [9, 6])
    assert "median and range of 3 seeds; of one seed, 95 % intervals" in seen["title"]
    lines = study_table(study(*seeds, trained_row(2, 5))).splitlines()
    assert [line.split()[:5] for line in lines[1:3]] == [
        ["guidance", "scale", str(scale), "1,000", str(count)] for scale, count in ((1, 3), (2, 1))
    ]
    assert "4 (3 to 9)" in lines[1]
    assert drawn(monkeypatch, study(*seeds[:2]))["panels"]["coverage"]["m"].y == [6]  # between the two
    unknown = {"value": None, "low": None, "high": None}  # what metrics.json says of what is not finite
    broken = [*seeds[:2], seeds[2] | {"frechet_distance": unknown}]
    assert drawn(monkeypatch, study(*broken))["panels"]["Fréchet distance"]["m"].y == [9]  # beyond all others
    assert "-" in study_table(study(seeds[0] | {"frechet_distance": unknown})).splitlines()[1].split()


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": "another"},  # another width, say: the seeds are not what differs
        {"seed": 0, "training_seed": 0},  # the same seeds again: something else differs
    ],
)
def test_runs_of_other_recipes_are_never_taken_for_seeds(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    rows = [trained_row(scale, 3) for scale in (1, 2)] + [
        trained_row(scale, 9, **{"seed": 1, "training_seed": 1, "run": "s/9"} | other) for scale in (1, 2)
    ]
    curves = drawn(monkeypatch, study(*rows))["panels"]["Fréchet distance"]
    assert curves == {
        "m, s/0": Curve([1, 2], [3, 3], [2, 2], [4, 4]),
        "m, s/9": Curve([1, 2], [9, 9], [8, 8], [10, 10]),
    }
    assert drawn(monkeypatch, study(*rows[:2]), study(*rows[2:]))["panels"]["Fréchet distance"] == curves


def test_models_are_named_and_runs_only_where_they_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [trained_row(scale, 3, model=m, recipe=m, run=f"s/{m}") for m in "ab" for scale in (1, 2, 3)]
    assert list(drawn(monkeypatch, study(*rows))["panels"]["coverage"]) == ["a", "b"]


def test_every_number_of_samples_has_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = study(trained_row(1, 9, samples=100)), study(trained_row(1, 3))
    few["floors"]["train_subset"] |= {"samples": 100, "frechet_distance": {"value": 7}}
    floors = drawn(monkeypatch, few, many)["floors"]["Fréchet distance"]
    assert floors == {"training images, n = 100": 7, "training images, n = 1,000": 0.5}
    assert study_table(few, [many]).count("floor: train subset") == 2


def test_levers_are_words_on_an_axis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    levers = ("none", "coupling", "weight")
    rows = [
        trained_row(scale, 3 + n, lever=name, recipe=name, run=f"s/{n}")
        for n, name in enumerate(levers)
        for scale in (0, 1)
    ]
    del rows[0]["accuracy"]
    seen = drawn(monkeypatch, study(*rows))
    assert seen["x_label"] == "lever"
    curves = seen["panels"]["Fréchet distance"]
    assert list(curves) == ["guidance scale 0", "guidance scale 1"]
    assert curves["guidance scale 1"].x == list(levers)
    monkeypatch.undo()
    panels = {"distance": curves, "accuracy": seen["panels"]["accuracy"]}
    figure = draw_quality(panels, "lever", "", {}, False, [])
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == list(levers)
    for log_x, other in ((True, curves), (False, {"numbers": Curve([1], [2])})):
        with pytest.raises(ValueError, match="x has words: allowed are words alone"):
            quality_figure(tmp_path / "quality.png", {"a": other, "b": curves}, x_label="", title="", log_x=log_x)


def test_whole_numbers_are_their_own_ticks() -> None:
    def ticks(x: list[float]) -> list[float]:
        return list(
            draw_quality({"a": {"b": Curve(x, [3.0] * len(x))}}, "epoch", "", {}, False, []).axes[0].get_xticks()
        )

    assert ticks([20, 1, 5]) == [1, 5, 20]
    assert len(ticks([1.0, 1.5, 8.0])) > 3


def test_a_study_is_a_picture(tmp_path: Path) -> None:
    study_figure(tmp_path / "quality.png", study(measured_row(1, 20, 3), measured_row(2, 20, 4)))
    with Image.open(tmp_path / "quality.png") as picture:
        assert picture.size == (1800, 600)


def test_the_table_says_how_far_above_the_lowest_distance_each_is() -> None:
    def row(evaluations: int, value: float, drawn: list[float], **settings: Any) -> dict[str, Any]:
        made = measured_row(1, evaluations, value, **settings)
        made["frechet_distance"] = made["frechet_distance"] | {"drawn": drawn, "draws": "abc"}
        return made

    # The second is two more than the first in every set drawn, which vary; the third's vary on their own.
    rows = [row(5, 3.0, [2.0, 4.0]), row(10, 5.0, [4.0, 6.0]), row(20, 5.0, [6.0, 4.0])]
    rows[2]["frechet_distance"]["value"] = 5.5
    other = measured_row(1, 300, 9)
    lines = study_table(study(*rows), [study(other)]).splitlines()
    above = [re.split("  +", line)[4] for line in lines[:5]]
    assert above == ["above the lowest", "-", "2 (2 to 2)", "2.5 (-3.04 to 8.04)", "-"]  # 1.96 * stdev of 4 and 0
    for lowest in (measured_row(1, 300, 1), row(300, 1.0, [1.0, 1.0]) | {"seeds": 3}):
        lowest["frechet_distance"].pop("draws", None)
        assert "above the lowest" not in study_table(study(*rows, lowest))


def test_distances_of_the_same_seeds_are_compared_seed_by_seed() -> None:
    def rows(scale: float, distances: tuple[float, ...], **settings: Any) -> list[dict[str, Any]]:
        return [trained_row(scale, distance, seed, **settings) for seed, distance in enumerate(distances)]

    def above(*others: dict[str, Any]) -> list[str]:
        lines = study_table(study(*rows(1, (3, 9, 4)), *others)).splitlines()
        return [re.split("  +", line)[4] for line in lines[: 2 + len(others) // 2]]

    # Of the medians the difference is 1, of the seeds it is 2, -2 and 1.
    assert above(*rows(2, (5, 7, 5))) == ["above the lowest", "-", "1 (-2 to 2)"]
    broken = rows(2, (5, 7, 5))
    broken[1]["frechet_distance"] = {"value": None, "low": None, "high": None}
    for others in (rows(2, (5, 7)), rows(2, (5, 7, 5), samples=400), broken):
        assert "above the lowest" not in study_table(study(*rows(1, (3, 9, 4)), *others))


def test_the_table_says_which_digits_are_read_as_asked() -> None:
    def shares(one: float, two: float) -> dict[str, Any]:
        return {"1": {"value": one, "low": 0, "high": 1}, "2": {"value": two, "low": 0, "high": 1}}

    seeds = [trained_row(1, 3, n, accuracy_per_digit=shares(*each)) for n, each in enumerate(((1.0, 0.9), (0.98, 0.8)))]
    made = study(*seeds, trained_row(0, 5))
    made["floors"]["test"]["accuracy_per_digit"] = shares(0.997, 1.0)
    table = study_table(made).split("\n\n")[1].splitlines()
    assert [re.split("  +", line) for line in table] == [
        ["read as asked", "1", "2"],
        ["guidance scale 1", "99.0%", "85.0%"],  # medians; without guidance nothing was asked for
        ["floor: test", "99.7%", "100.0%"],
    ]
    assert "read as asked" not in study_table(study(trained_row(1, 3)))


def test_recipes_that_differ_in_no_name_are_told_apart_by_their_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two widths, say, of two seeds each: nothing in a row says the width."""
    rows = [
        trained_row(scale, 3 + 2 * n + seed, seed, recipe=recipe, run=f"s/{2 * n + seed}")
        for n, recipe in enumerate("ab")
        for seed in (0, 1)
        for scale in (1, 2)
    ]
    curves = drawn(monkeypatch, study(*rows))["panels"]["Fréchet distance"]
    assert {label: (curve.x, curve.y) for label, curve in curves.items()} == {
        "m, s/0 and its seeds": ([1, 2], [3.5, 3.5]),
        "m, s/2 and its seeds": ([1, 2], [5.5, 5.5]),
    }


def test_a_comma_inside_an_interval_parts_no_label() -> None:
    labels = [f"guidance interval {interval}, euler" for interval in ("[0.2, 0.8]", "[0.4, 0.8]")]
    labels += [label.replace("euler", "ddpm") for label in labels]
    figure = draw_quality({"a": {label: Curve([1.0], [2.0]) for label in labels}}, "x", "", {}, False, [])
    lines = [container.lines[0] for container in figure.axes[0].containers]
    assert [line.get_linestyle() for line in lines] == ["-", ":", "-", ":"]
    assert [lines[n].get_color() == lines[0].get_color() for n in range(4)] == [True, True, False, False]


def test_the_table_says_what_all_rows_have_in_common() -> None:
    rows = [trained_row(scale, 3, lever="none", shift=1, guidance_interval=[0.0, 1.0]) for scale in (1, 2)]
    shared = study_table(study(*rows)).splitlines()[-1]
    assert shared == "all of: m, network evaluations 20, epoch 5, euler, s/0, training seed 0, seed 0"
    shared = study_table(study(rows[0]), [study(rows[1] | {"solver": "ddpm", "shift": 2})]).splitlines()[-1]
    assert "euler" not in shared and "shift" not in shared and "epoch 5" in shared
