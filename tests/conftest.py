"""What every test shares: reproducible property tests, no contest for the cores of a busy machine, and backbones made
once a session where they are asked for: DeepFloyd IF in miniature, and digit models of a few steps.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from denoiselab.backbones.embeddings import EmbeddingCache
    from denoiselab.data import MNIST

settings.register_profile("denoiselab", deadline=None, derandomize=True, max_examples=20)
settings.load_profile("denoiselab")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_if(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `build_tiny_if`, with stage_1 and stage_2."""
    from denoiselab.backbones.tiny_if import build_tiny_if

    return build_tiny_if(tmp_path_factory.mktemp("tiny") / "if")


@pytest.fixture(scope="session")
def cache(tiny_if: Path, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingCache:
    """tiny_if's embeddings of "", "an oil painting of a snowy village" and "A photo of a dog!"."""
    from denoiselab.backbones.embeddings import EmbeddingCache, encode

    cache = EmbeddingCache(tmp_path_factory.mktemp("embeddings"), tiny_if / "stage_1")
    encode(["", "an oil painting of a snowy village", "A photo of a dog!"], cache, device="cpu")
    return cache


def trained(directory: Path, experiment: str) -> Path:
    """The directory of a digit model of three steps."""
    from composing import TINY, checked, load_script

    from denoiselab.config import save_config

    few = ("logger=none", "data.batch_size=16", "data.val_size=16", "callbacks.samples=null")
    config = checked(f"experiment={experiment}", *TINY, *few)
    save_config(config, directory)
    load_script("train").train(config, directory, None)
    return directory


@pytest.fixture(scope="session")
def class_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of train.py: a class-conditioned model of a continuous path."""
    return trained(tmp_path_factory.mktemp("trained") / "class", "class_flow")


@pytest.fixture(scope="session")
def time_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of train.py: a time-conditioned model of a path of 300 steps."""
    return trained(tmp_path_factory.mktemp("trained") / "time", "time_ddpm")


@pytest.fixture(scope="session")
def one_step_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of train.py: a single-step denoiser."""
    directory = tmp_path_factory.mktemp("trained") / "one_step"
    return trained(directory, "denoiser")


@pytest.fixture(scope="session")
def mnist() -> MNIST:
    """The real data set, where the README's commands put it: fetched and verified on the first run."""
    from denoiselab.data import MNIST, DataError

    data = MNIST(Path(__file__).parents[1] / "data", batch_size=64, seed=0, val_size=1000)
    try:
        data.prepare_data()
    except DataError as error:
        pytest.skip(f"MNIST is not here and no source has it: {error}")
    data.setup()
    return data


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection fails the test."""

    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
