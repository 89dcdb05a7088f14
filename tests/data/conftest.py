"""MNIST once for all tests, and a small collection of files to fetch without a network."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from local_mirror import Mirror

from denoiselab.data import MNIST_FILES, Collection, collection, fetch, idx, mirrors
from denoiselab.data.collection import FILES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A data folder with the real MNIST: DENOISELAB_DATA or the repository's, so that it is fetched only once."""
    root = Path(os.environ.get("DENOISELAB_DATA", ROOT / "data"))
    fetch(MNIST_FILES, root)
    return root


def digits(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random bytes for images (n, 28, 28), and labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 28, 28), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (n,), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="session")
def contents() -> dict[str, bytes]:
    """The four files of a small collection: five training images and two test images."""
    return {name: idx.encode(array) for name, array in zip(FILES, (*digits(5, 0), *digits(2, 1)), strict=True)}


@pytest.fixture(scope="session")
def small(contents: dict[str, bytes]) -> Collection:
    return Collection("MNIST", {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})


@pytest.fixture
def mirror(tmp_path: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The small collection's archives on a web server."""
    folder = tmp_path / "www"
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked.requests.append(f"{self.command} {self.path.removeprefix('/')}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    asked = Mirror(folder, f"http://127.0.0.1:{server.server_port}/")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def publish(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """publish(address, ...) stands in for the mirrors and the MD5s that torchvision lists."""

    def publish(*addresses: str) -> None:
        md5 = {name: hashlib.md5(gzip.compress(content, mtime=0)).hexdigest() for name, content in contents.items()}
        for module in (collection, mirrors):
            monkeypatch.setattr(module, "published", lambda _: (list(addresses), md5))

    return publish
