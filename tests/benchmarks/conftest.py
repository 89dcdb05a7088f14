"""`pytest tests/benchmarks`: its options, and the table that the rows are put into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import torch
from table import Table

SETTINGS = Path(__file__).with_name("pytest.ini")
ORDER = ["test_training", "test_sampling", "test_start", "test_peers", "test_edits", "test_levers"]  # of the rows
os.environ["WANDB_MODE"] = "offline"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    group.addoption(
        "--device", choices=["cpu", "cuda"], default=default, help="what is measured: cuda where there is one"
    )
    group.addoption("--rounds", type=int, default=5, help="how often each way is timed, in turn")
    group.addoption("--json", type=Path, help="where the table is written: outputs/benchmarks/DATE_TIME.json")
    group.addoption("--quick", action="store_true", help="every row once, cut down: it runs, and measures nothing")


def pytest_configure(config: pytest.Config) -> None:
    # Other settings may run rows beside each other. pytest has taken them from another folder where a value is a file
    # that exists, as in `--json out.json`: it cannot know yet that the word before is an option.
    if config.inipath != SETTINGS:
        raise pytest.UsageError("allowed is pytest tests/benchmarks by itself, with --json=FILE in one word")
    if config.getoption("--device") == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device=cuda: allowed is cpu, torch sees no GPU here")
    path = config.getoption("--json")
    if path and path.is_dir():
        raise pytest.UsageError(f"--json={path}: allowed is a file, this is a folder")
    if config.getoption("--rounds") < 1:
        raise pytest.UsageError(f"--rounds={config.getoption('--rounds')}: allowed is 1 or more")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem))


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    option = request.config.getoption
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", end=" ", flush=True)  # pytest's line, the test's name with -v, has no end yet

    quick = option("--quick")
    path = option("--json") or Path(f"outputs/benchmarks/{datetime.now():%Y-%m-%d_%H-%M-%S}.json")
    rounds = 1 if quick else option("--rounds")
    table = Table(torch.device(option("--device")), rounds, quick, path, request.config.invocation_params.args, say)
    yield table
    if table.rows:
        say(f"\n{table.markdown()}\n\ntable: {path}\n")
