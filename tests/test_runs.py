"""runs.py: metrics.json grows by keys, whole or not at all. What else it reads is tested with what writes it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from denoiselab.runs import read_measured, save_measured


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
