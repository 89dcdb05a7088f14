"""runs.py: metrics.json grows by keys, whole or not at all. What else it reads is tested with what writes it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from denoiselab.runs import read_measured, recipe, save_measured


def test_what_is_measured_is_added_and_replaced(tmp_path: Path) -> None:
    assert read_measured(tmp_path) == {}
    save_measured(tmp_path, {"a": [1.5, math.inf], "b": {"c": math.nan}})
    save_measured(tmp_path, {"a": [2.5]})
    assert json.loads((tmp_path / "metrics.json").read_text()) == read_measured(tmp_path)
    assert read_measured(tmp_path) == {"a": [2.5], "b": {"c": None}}
    before = (tmp_path / "metrics.json").read_bytes()
    with pytest.raises(TypeError):
        save_measured(tmp_path, {"d": object()})
    assert (tmp_path / "metrics.json").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_a_recipe_is_what_is_on() -> None:
    def digest(model: dict[str, Any], ema: dict[str, Any]) -> str:
        trainer = {"max_epochs": 5, "devices": 1, "num_nodes": 1, "precision": "32-true", "gradient_clip_val": None}
        node = {"model": model, "schedule": {}, "data": {"batch_size": 32, "root": "a"}, "trainer": trainer}
        return recipe(node | {"callbacks": {"ema": ema}})

    before = digest({"optimizer": {"lr": 0.01, "betas": [0.9, 0.99]}}, {"decay": 0.9})
    off = {"optimizer": {"lr": 0.01, "betas": [0.9, 0.99], "warmup_steps": 0}, "weight": "none", "law": {"scale": None}}
    assert digest(off, {"decay": 0.9, "warmup": False}) == before
    for key, value in (("warmup_steps", 70), ("lr", 0.02), ("betas", [0.99, 0.9])):
        changed = off | {"optimizer": off["optimizer"] | {key: value}}  # type: ignore[operator]
        assert digest(changed, {"decay": 0.9}) != before, key
    assert digest(off, {"decay": 0.9, "warmup": True}) != before
