"""What takes long to measure and never changes, kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from denoiselab.files import write_atomically


def cached(
    folder: Path | None, name: str, inputs: Iterable[Tensor | str], make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What `make` says of the inputs, from folder/NAME_DIGEST.safetensors if it is there, else made and kept there.

    A folder that cannot be written, or a file that cannot be read, is done without; None keeps nothing.

    Args:
        inputs: all that the answer depends on, the version of what makes it too; tensors are on the CPU.
    """
    if folder is None:
        return make()
    digest = hashlib.sha256()
    for each in inputs:
        about, data = (
            (each, b"") if isinstance(each, str) else (f"{each.dtype} {[*each.shape]}", each.numpy().tobytes())
        )
        digest.update(f"{len(about)} {about}".encode() + data)
    path = folder / f"{name}_{digest.hexdigest()[:16]}.safetensors"
    with suppress(OSError, SafetensorError):
        return load_file(path)
    made = make()
    # From memory: safetensors' own way to a file makes of every OSError an error of its own.
    with suppress(OSError), write_atomically(path) as temporary:
        temporary.write_bytes(save(made))
    return made
