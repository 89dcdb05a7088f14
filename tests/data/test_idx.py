"""idx.py: what is written is read, and what is no IDX file of bytes is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets.mnist import read_image_file

from denoiselab.data import DataError, idx


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_decode_undoes_encode(shape: list[int], seed: int) -> None:
    array = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    decoded = idx.decode(idx.encode(array), "a file")
    assert decoded.dtype == torch.uint8
    assert decoded.shape == array.shape
    assert torch.equal(decoded, array)


def test_the_header_is_the_formats_own() -> None:
    assert idx.encode(torch.tensor([[1, 2, 3]], dtype=torch.uint8)) == bytes.fromhex(
        "00000802 00000001 00000003 010203"
    )


def test_a_transposed_tensor_is_written_in_its_own_order() -> None:
    array = torch.arange(6, dtype=torch.uint8).reshape(2, 3).T
    assert torch.equal(idx.decode(idx.encode(array), "a file"), array)


def test_torchvision_reads_it(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    (tmp_path / "images").write_bytes(idx.encode(images))
    assert torch.equal(read_image_file(str(tmp_path / "images")), images)


def test_what_is_read_may_be_written_to() -> None:
    decoded = idx.decode(idx.encode(torch.zeros(3, dtype=torch.uint8)), "a file")
    decoded += 1
    assert decoded.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not an IDX file"),
        (b"\x00\x00\x08", "is not an IDX file"),
        (b"<html>", "is not an IDX file"),
        (bytes.fromhex("00000d01 00000001 00000000"), "is not an IDX file"),  # floats
        (bytes.fromhex("00000803 00000001"), "ends inside its header"),
        (bytes.fromhex("00000801 00000003 0102"), "has 10 bytes where its header promises 11"),
        (bytes.fromhex("00000801 00000001 0102"), "has 10 bytes where its header promises 9"),
    ],
)
def test_other_files_are_refused_by_name(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "train-labels"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"train-labels {why}") as caught:
        idx.read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nowhere: No such file"):
        idx.read(tmp_path / "nowhere")
