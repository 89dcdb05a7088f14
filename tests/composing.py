"""What the tests of the command line share: train.py's config composed in process, and train.py as a process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from denoiselab.config import register, train_config
from denoiselab.config.errors import explain

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
TINY = ("data=synthetic", "model.net.width=4", "trainer=smoke", "trainer.accelerator=cpu", "trainer.progress_bar=false")

register()


def load_train() -> ModuleType:
    """train.py as a module."""
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def composed(*overrides: str, hydra: bool = False) -> DictConfig:
    """What Hydra hands to train.py for these words of the command line."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=hydra)


def checked(*overrides: str) -> dict[str, Any]:
    """The config that train.py runs."""
    return train_config(composed(*overrides), overrides)


def answer(*overrides: str) -> str:
    """The line that train.py answers to a mistake in these words."""
    with pytest.raises(Exception) as caught:
        checked(*overrides)
    line = explain(caught.value)
    assert line is not None, f"{overrides} ends in a traceback: {caught.value!r}"
    return line


def clean_environment(**extra: str) -> dict[str, str]:
    """Ours without what configures wandb, Hydra and launchers; importing denoiselab.config has set some of it here."""
    strange = ("WANDB_", "HYDRA_", "DENOISELAB", "RANK", "LOCAL_RANK", "SLURM_")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)} | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"} | extra


def run_train(*words: str, folder: Path = ROOT, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`python train.py WORDS` in a folder, with nothing to be typed in."""
    return subprocess.run(
        [sys.executable, *python, str(ROOT / "train.py"), *words],
        cwd=folder,
        env=clean_environment(NETRC=str(folder / "no_netrc")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
