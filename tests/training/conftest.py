"""train.py in the tests' own process."""

from __future__ import annotations

from typing import Any

import pytest
from training_runs import REPOSITORY


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Any:
    """train.train(config, directory, sweep)."""
    monkeypatch.syspath_prepend(str(REPOSITORY))
    import train

    return train.train
