"""What every test shares: reproducible property tests, no contest for the cores of a busy machine, and DeepFloyd IF in
miniature, built once a session where it is asked for.
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


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection fails the test."""

    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
