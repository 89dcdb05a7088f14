"""The rows of a captions file, checked before a picture is decoded. Imports no torch.

A line is a JSON object, {"file_name": "a.png", "text": "a red seven"}, as in the Hugging Face hub's imagefolder; the
text may be a list of captions. Other keys are ignored, as are blank lines.
"""

from __future__ import annotations

import json
import os
import posixpath
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoiselab.data.collection import DataError
from denoiselab.nearest import nearest

BAD_ROWS = ("refuse", "skip")
TOLD = 10  # bad rows, by line
FEWEST = 2  # pictures: one to train on, one to hold out


@dataclass(frozen=True)
class Picture:
    """A picture's name in the folder, its captions, and the lines that name it, counted from 1."""

    name: str
    captions: list[str]
    lines: list[int]


class BadRow(Exception):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Rows:
    """What a captions file holds.

    Attributes:
        pictures: in the order of their first lines; a picture that several rows name has the captions of all.
        bad: why each bad row is, by its line.
        count: of all rows, good and bad.
    """

    file: Path
    pictures: list[Picture]
    bad: dict[int, str]
    count: int

    def told(self) -> str:
        """How many rows are bad, and which are the first; one line."""
        lines = [f"line {line} {why}" for line, why in sorted(self.bad.items())[:TOLD]]
        more = [f"{len(self.bad) - TOLD} more"] if len(self.bad) > TOLD else []
        return " ".join(f"{len(self.bad)} of {self.count} rows ({'; '.join([*lines, *more])})".split())

    def accept(self, bad_rows: str) -> None:
        """Raises DataError for bad rows where they are refused, and where fewer than two pictures are left."""
        if len(self.pictures) < FEWEST:
            found = f"; bad are {self.told()}" if self.bad else ""
            few = f"allowed is good rows for {FEWEST} pictures or more; it has {len(self.pictures)}"
            raise DataError(f"data.captions={self.file}: {few}{found}")
        if self.bad and bad_rows == "refuse":
            raise DataError(f"data.captions={self.file}: bad are {self.told()}; data.bad_rows=skip leaves them out")


def read_rows(folder: str | Path, captions: str | Path) -> Rows:
    """The rows of a captions file.

    Args:
        folder: where the pictures are.
        captions: the file; a relative path starts from the folder.

    Raises DataError, one line long, for a folder or a file that is not there, cannot be read or is empty.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"data.folder={folder}: allowed is a folder of pictures, and there is none")
    file = folder / captions
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"data.captions={file}: allowed is a captions file; {error.strerror}") from error
    pictures: dict[str, Picture] = {}
    bad: dict[int, str] = {}
    # Not splitlines: a caption may hold other separators of lines. The first bytes of some are UTF-8's mark.
    lines = {n: line for n, line in enumerate(content.removeprefix(BOM_UTF8).split(b"\n"), 1) if line.strip()}
    for n, line in lines.items():
        try:
            name, captions_of_row = _row(line, folder)
        except BadRow as why:
            bad[n] = str(why)
        else:
            picture = pictures.setdefault(name, Picture(name, [], []))
            picture.captions.extend(captions_of_row)
            picture.lines.append(n)
    if not lines:
        raise DataError(f"data.captions={file}: allowed is a captions file; this is empty")
    return Rows(file, list(pictures.values()), bad, len(lines))


def _row(line: bytes, folder: Path) -> tuple[str, list[str]]:
    """(name of the picture, captions). Raises BadRow."""
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadRow("is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise BadRow(f"is not JSON ({error.msg} at column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets by the thousand
        raise BadRow("is not JSON that can be read") from error
    if not isinstance(row, dict):
        raise BadRow('is no JSON object {"file_name": ..., "text": ...}')
    for key in ("file_name", "text"):
        if key not in row:
            raise BadRow(f"has no {key}, but {_short(', '.join(row))}{nearest(key, row)}")
    return _name(row["file_name"], folder), _captions(row["text"])


def _name(name: Any, folder: Path) -> str:
    """The normal form of a picture's name."""
    if not isinstance(name, str) or not name:
        raise BadRow(f"has file_name={_short(name)}, which is no name")
    normal = posixpath.normpath(name)
    if posixpath.isabs(normal) or normal.split("/")[0] == "..":
        raise BadRow(f"has file_name={_short(name)}, which leaves the folder")
    if not os.path.isfile(folder / normal):  # False too for names that no file can have
        raise BadRow(f"has file_name={_short(name)}, and there is no such file")
    return normal


def _captions(text: Any) -> list[str]:
    said = text if isinstance(text, list) else [text]
    if not all(isinstance(caption, str) for caption in said):
        raise BadRow(f"has text={_short(text)}, which is no caption and no list of captions")
    said = [" ".join(caption.split()) for caption in said]
    try:
        "".join(said).encode()
    except UnicodeEncodeError as error:  # half of a pair of surrogates, which JSON can escape
        raise BadRow("has a caption that is not Unicode text") from error
    if not (said and all(said)):
        raise BadRow("has an empty caption")
    return said


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
