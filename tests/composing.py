"""What the tests of the command line share: a script's config composed in process, and the script as a process."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from wandb.proto.wandb_internal_pb2 import Record

from denoiselab.config import register, train_config
from denoiselab.config.errors import explain
from denoiselab.config.sample_schema import SAMPLE_SCHEMAS, SampleConfig
from denoiselab.config.sampling import sample_config

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
SMOKE = ("trainer=smoke", "trainer.accelerator=cpu", "trainer.progress_bar=false")
TINY = ("data=synthetic", "model.net.width=4", *SMOKE)
TINY_NET = ("model.net.widths=[8,8]", "model.net.groups=4", "model.net.head_width=8", "model.net.text_width=16")

register()
register("sample", SampleConfig, SAMPLE_SCHEMAS)


def tiny(words: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The words that make the training that others ask for tiny; `folder` has pictures with captions (conftest)."""
    if not any(word.startswith("experiment=text") for word in words):
        return TINY
    resolution = 64 if "experiment=text_digits_upscaler" in words else 32
    return ("data=captioned_folder", f"data.folder={folder}", f"data.resolution={resolution}", *TINY_NET, *SMOKE)


def load_script(name: str) -> ModuleType:
    """train.py or sample.py as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_train() -> ModuleType:
    return load_script("train")


def composed(*overrides: str, script: str = "train", hydra: bool = False) -> DictConfig:
    """What Hydra hands to a script for these words of the command line."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(script, list(overrides), return_hydra_config=hydra)


def checked(*overrides: str, script: str = "train") -> dict[str, Any]:
    """The config that a script runs."""
    check = {"train": train_config, "sample": sample_config}[script]
    with initialize_config_dir(str(CONF), version_base="1.3"):  # a lever is composed with and without
        return check(compose(script, list(overrides)), overrides)


def answer(*overrides: str, script: str = "train") -> str:
    """The line that a script answers to a mistake in these words."""
    return line_of(lambda: checked(*overrides, script=script))


def line_of(mistake: Callable[[], object]) -> str:
    """The line that a script answers where this call fails."""
    with pytest.raises(Exception) as caught:
        mistake()
    line = explain(caught.value)
    assert line is not None, f"ends in a traceback: {caught.value!r}"
    return line


def clean_environment(**extra: str) -> dict[str, str]:
    """Ours without what configures wandb, Hydra and launchers; importing denoiselab.config has set some of it here."""
    strange = ("WANDB_", "HYDRA_", "DENOISELAB", "RANK", "LOCAL_RANK", "SLURM_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return ours | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"} | extra


def run_train(*words: str, folder: Path = ROOT, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return run_script(*words, script="train", folder=folder, python=python)


def run_script(
    *words: str, script: str, folder: Path = ROOT, python: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """`python SCRIPT.py WORDS` in a folder, with nothing to be typed in."""
    return subprocess.run(
        [sys.executable, *python, str(ROOT / f"{script}.py"), *words],
        cwd=folder,
        env=clean_environment(NETRC=str(folder / "no_netrc")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def records(path: Path) -> Iterator[Record]:
    """The entries of a .wandb file: LevelDB's log format, blocks of 32 KiB of (checksum, length, kind, bytes)."""
    data, position, held = path.read_bytes(), 7, b""  # ":W&B", a magic number, a version
    while position + 7 <= len(data):
        _, length, kind = struct.unpack_from("<IHB", data, position)
        if position + 7 + length > len(data):  # the writer is not there yet
            return
        held += data[position + 7 : position + 7 + length]
        position += 7 + length
        if 32768 - position % 32768 < 7:  # no room for a header: the block's rest is padding
            position += 32768 - position % 32768
        if kind in (1, 4):  # whole, or the last part
            entry = Record()
            entry.ParseFromString(held)
            yield entry
            held = b""


def wandb_record(directory: Path) -> dict[str, Any]:
    """What the offline record of the run in `directory` holds: config, group, name, history rows, exit status."""
    (path,) = directory.glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 30
    entries = list(records(path))
    while "exit" not in [entry.WhichOneof("record_type") for entry in entries]:
        assert time.monotonic() < deadline, f"{path} has no end"
        time.sleep(0.05)  # wandb's own process writes on after finish() has returned
        entries = list(records(path))
    found: dict[str, Any] = {"config": {}, "history": [], "exit": None, "folder": path.parent}
    for entry in entries:
        kind = entry.WhichOneof("record_type")
        if kind == "run":
            found |= {"group": entry.run.run_group, "name": entry.run.display_name, "project": entry.run.project}
            found |= {"tags": list(entry.run.tags)}
            found["config"] |= {item.key: json.loads(item.value_json) for item in entry.run.config.update}
        elif kind == "config":
            found["config"] |= {item.key: json.loads(item.value_json) for item in entry.config.update}
        elif kind == "history":
            row = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in entry.history.item}
            found["history"].append(row)
        elif kind == "exit":
            found["exit"] = entry.exit.exit_code
    return found
