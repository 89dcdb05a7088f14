"""IDX, the file format of MNIST and its relatives: a big-endian header, then unsigned bytes in C order."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from denoiselab.data.collection import DataError

UNSIGNED_BYTE = 0x08


def encode(array: Tensor) -> bytes:
    """The IDX file of a uint8 tensor: two zeros, type, number of dimensions (1 to 255), sizes, bytes."""
    assert array.dtype == torch.uint8, array.dtype
    assert 1 <= array.ndim <= 255, array.shape
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, UNSIGNED_BYTE, array.ndim, *array.shape)
    return header + array.contiguous().numpy().tobytes()


def decode(content: bytes, name: str) -> Tensor:
    """The uint8 tensor in an IDX file's content; `name` is what errors call it.

    Raises DataError when the header is not that of unsigned bytes, or promises another length.
    """
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise DataError(f"{name} is not an IDX file of unsigned bytes (it starts with 0x{content[:4].hex()})")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{name} ends inside its header, after {len(content)} bytes")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    length = start + math.prod(shape)
    if len(content) != length:
        raise DataError(f"{name} has {len(content)} bytes where its header promises {length}")
    # A bytearray is a writable copy: torch warns about tensors over read-only memory.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].reshape(shape)


def read(path: Path) -> Tensor:
    """The uint8 tensor in an IDX file. Raises DataError when it is missing, unreadable or not IDX."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return decode(content, str(path))
