"""Files that are whole or absent."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, with its suffix; on success it takes the place of
    `path`.

    The folder is made if it is missing. If the body fails, the temporary file is removed, an older `path` is
    left as it was, and the error goes on; for a full disk, or a file beyond the size allowed, it is an OSError of
    the same errno that names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming_full_disks(path):
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; on success it takes the place of `path`, which is there whole or not at all.

    If the body fails, the new folder is removed and an older `path` stays.
    """
    name = f".{path.name}.{secrets.token_hex(4)}"
    temporary, older = path.with_name(name), path.with_name(f"{name}.older")
    temporary.mkdir(parents=True)
    try:
        with naming_full_disks(path):
            yield temporary
            for each in [*temporary.rglob("*"), temporary]:
                _to_disk(each)
        if path.exists():
            os.replace(path, older)
        try:
            os.replace(temporary, path)
        except OSError:
            if older.exists():
                os.replace(older, path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Waits until what a file or a folder holds is on the disk: a rename may get there before it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming_full_disks(path: str | Path) -> Iterator[None]:
    """Makes an OSError of the body that is a full disk, or a file beyond the size allowed, name `path`: a write's own
    names nothing.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, "disk full, file not written", str(path)) from error
        if error.errno == errno.EFBIG:
            raise OSError(error.errno, "larger than the limit on files, not written", str(path)) from error
        raise


def check_suffix(path: str | Path, suffix: str) -> Path:
    """`path` as a Path; ValueError if it does not end in suffix, which decides the format."""
    path = Path(path)
    if path.suffix != suffix:
        raise ValueError(f"path is {str(path)!r}; allowed: a name that ends in {suffix}")
    return path
