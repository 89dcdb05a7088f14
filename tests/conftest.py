"""What every test shares: reproducible property tests, no contest for the cores of a busy machine, and backbones made
once a session where they are asked for: DeepFloyd IF in miniature, and digit models of a few steps.
"""

from __future__ import annotations

import json
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


@pytest.fixture(scope="session")
def captioned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn digits of 32 x 32, each in every colour, with their captions: data=captioned_folder."""
    from torchvision.utils import save_image

    from denoiselab.data.pictures import load_picture
    from denoiselab.data.words import COLOURS, DIGITS, captions

    folder, lines = tmp_path_factory.mktemp("captioned"), []
    for n, colour in enumerate([*COLOURS] * 10):
        colours = torch.tensor(COLOURS[colour]) / 255
        save_image(load_picture(DIGITS[n // 5], (3, 32, 32)) * colours[:, None, None], folder / f"{n}.png")
        lines.append(json.dumps({"file_name": f"{n}.png", "text": captions(n // 5, colour)}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def trained(directory: Path, experiment: str, folder: Path = Path(), batch: int = 16) -> Path:
    """The directory of a model of three steps; one of text is trained on the pictures in `folder`."""
    from composing import checked, load_script, tiny

    from denoiselab.config import save_config

    words = [f"experiment={experiment}", "logger=none"]
    few = [f"data.batch_size={batch}", f"data.val_size={batch}"]
    few.append(f"callbacks.{'upscaled' if experiment.endswith('upscaler') else 'samples'}=null")
    config = checked(*words, *tiny(words, folder), *few)
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
def text_run(tmp_path_factory: pytest.TempPathFactory, captioned_folder: Path) -> Path:
    """A run directory of train.py: a text-to-image model of 32 x 32 pixels."""
    return trained(tmp_path_factory.mktemp("trained") / "text", "text_digits", captioned_folder, batch=4)


@pytest.fixture(scope="session")
def upscaler_run(tmp_path_factory: pytest.TempPathFactory, captioned_folder: Path) -> Path:
    """A run directory of train.py: a stage II of 32 to 64 pixels."""
    return trained(tmp_path_factory.mktemp("trained") / "upscaler", "text_digits_upscaler", captioned_folder, batch=4)


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
