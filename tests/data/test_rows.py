"""rows.py: what a captions file says, and why a row of it cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from denoiselab.data import DataError
from denoiselab.data.rows import TOLD, Rows, read_rows


def written(folder: Path, *rows: Any) -> Rows:
    """The rows of a file with these lines, which are bytes or to be made JSON; a.png to d.png are there."""
    for name in "abcd":
        (folder / f"{name}.png").touch()
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / "metadata.jsonl").write_bytes(b"\n".join(lines))
    return read_rows(folder, "metadata.jsonl")


def row(name: Any, text: Any = "a dog") -> dict[str, Any]:
    return {"file_name": name, "text": text}


A, B = row("a.png", "a cat"), row("b.png")
NAMES = '{"file_name": "a.png", "text": '


def test_pictures_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = written(tmp_path, row("c.png", ["red", "  a red\tdot "]), A | {"artist": "me"}, B)
    assert [(each.name, each.captions, each.lines) for each in rows.pictures] == [
        ("c.png", ["red", "a red dot"], [1]),
        ("a.png", ["a cat"], [2]),
        ("b.png", ["a dog"], [3]),
    ]
    assert rows.bad == {} and rows.count == 3
    rows.accept("refuse")


def test_a_picture_in_several_rows_is_one(tmp_path: Path) -> None:
    rows = written(tmp_path, A, B, row("./a.png", ["a pet", "a cat"]))
    assert [(each.name, each.captions, each.lines) for each in rows.pictures] == [
        ("a.png", ["a cat", "a pet", "a cat"], [1, 3]),
        ("b.png", ["a dog"], [2]),
    ]


def test_marks_blank_lines_and_other_ends_of_lines(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    unicode = '{"file_name": "b.png", "text": "caf\u00e9\u2028au lait"}\r'.encode()
    rows = written(tmp_path, mark + json.dumps(A).encode() + b"\r", b"  ", unicode, b"")
    assert [each.captions for each in rows.pictures] == [["a cat"], ["café au lait"]]
    assert rows.count == 2 and not rows.bad


def test_a_captions_file_may_be_elsewhere_and_pictures_below(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "animals").mkdir(parents=True)
    (tmp_path / "pictures" / "animals" / "a.png").touch()
    (tmp_path / "said.jsonl").write_text(json.dumps(row("animals/a.png")))
    assert [each.name for each in read_rows(tmp_path / "pictures", tmp_path / "said.jsonl").pictures] == [
        "animals/a.png"
    ]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (NAMES.encode() + b'"a cat}', "is not JSON (Unterminated string starting at at column 32)"),
        (b'{"file_name": "a.png" "text": "a"}', "is not JSON (Expecting ',' delimiter at column 23)"),
        (b"a.png: a cat", "is not JSON (Expecting value at column 1)"),
        (b"[" * 100_000, "is not JSON that can be read"),
        (b'{"file_name": "a.png", "text": ' + b"9" * 10_000 + b"}", "is not JSON that can be read"),
        (b'{"file_name": "a.png", "text": "caf\xe9"}', "is not UTF-8"),
        (b"[]", 'is no JSON object {"file_name": ..., "text": ...}'),
        (b'"a.png"', 'is no JSON object {"file_name": ..., "text": ...}'),
        ({"text": "a cat"}, "has no file_name, but text"),
        ({"filename": "a.png", "text": "a"}, "has no file_name, but filename, text (did you mean filename?)"),
        ({"file_name": "a.png", "caption": "a"}, "has no text, but file_name, caption"),
        ({"file_name": "a.png"}, "has no text, but file_name"),
        (row(None), "has file_name=None, which is no name"),
        (row(""), "has file_name=, which is no name"),
        (row("a.png", ""), "has an empty caption"),
        (row("a.png", " \n"), "has an empty caption"),
        (row("a.png", []), "has an empty caption"),
        (row("a.png", ["a cat", ""]), "has an empty caption"),
        (row("a.png", None), "has text=None, which is no caption and no list of captions"),
        (row("a.png", ["a", 3]), "has text=['a', 3], which is no caption and no list of captions"),
        (row("a.png", "nice \ud83d"), "has a caption that is not Unicode text"),
        (row("a.png", ["a cat", "\ude00"]), "has a caption that is not Unicode text"),
        (row("z.png"), "has file_name=z.png, and there is no such file"),
        (row("sub"), "has file_name=sub, and there is no such file"),
        (row("a\x00.png"), "has file_name=a\x00.png, and there is no such file"),
        (row("long" * 100), f"has file_name={'long' * 15}..., and there is no such file"),
        (row("../a.png"), "has file_name=../a.png, which leaves the folder"),
        (row("sub/../../a.png"), "has file_name=sub/../../a.png, which leaves the folder"),
        (row("/etc/passwd"), "has file_name=/etc/passwd, which leaves the folder"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_row_is_named(bad: Any, why: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    rows = written(tmp_path, A, bad, B)
    assert rows.bad == {2: why}
    assert [each.name for each in rows.pictures] == ["a.png", "b.png"]
    assert rows.count == 3
    rows.accept("skip")
    with pytest.raises(DataError) as caught:
        rows.accept("refuse")
    line = str(caught.value)
    assert line.startswith(f"data.captions={tmp_path}/metadata.jsonl: bad are 1 of 3 rows (line 2 ")
    assert line.endswith("); data.bad_rows=skip leaves them out")
    assert "\n" not in line


def test_the_first_of_many_bad_rows_are_told(tmp_path: Path) -> None:
    rows = written(tmp_path, A, B, *[row("z.png")] * (TOLD + 2))
    told = [f"line {n} has file_name=z.png, and there is no such file" for n in range(3, TOLD + 3)]
    assert rows.told() == f"{TOLD + 2} of {TOLD + 4} rows ({'; '.join(told)}; 2 more)"


@pytest.mark.parametrize("policy", ["refuse", "skip"])
def test_too_few_good_rows(policy: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"jsonl: allowed is good rows for 2 pictures or more; it has 0; bad are 2 of 2"
    ):
        written(tmp_path, b"a", b"b").accept(policy)
    with pytest.raises(DataError, match=r"jsonl: allowed is good rows for 2 pictures or more; it has 1$"):
        written(tmp_path, A).accept(policy)


def test_files_that_are_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^data\.folder={tmp_path}/no: allowed is a folder of pictures, and"):
        read_rows(tmp_path / "no", "metadata.jsonl")
    start = rf"^data\.captions={tmp_path}/metadata\.jsonl: allowed is a captions file; "
    with pytest.raises(DataError, match=start + "No such file or directory$"):
        read_rows(tmp_path, "metadata.jsonl")
    for content in ("", "\n \n"):
        (tmp_path / "metadata.jsonl").write_text(content)
        with pytest.raises(DataError, match=start + "this is empty$"):
            read_rows(tmp_path, "metadata.jsonl")
    with pytest.raises(DataError, match=rf"^data\.captions={tmp_path}: allowed is a captions file; Is a directory$"):
        read_rows(tmp_path, ".")
