"""files.py: a file is whole or absent, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import resource
import secrets
from pathlib import Path

import pytest

from denoiselab.files import check_suffix, replace_folder, write_atomically


def test_the_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with write_atomically(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".txt" and temporary.name.startswith(".")
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"), write_atomically(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(secrets, "token_hex", lambda size: "token")
    (tmp_path / ".a.token.txt").symlink_to("/dev/full")  # the kernel's own full disk
    with pytest.raises(OSError, match=r"disk full, file not written.*a\.txt") as caught, write_atomically(path) as to:
        to.write_text("new")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_over_the_limit_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match=r"limit on files.*a\.bin") as caught, write_atomically(path) as temporary:
            temporary.write_bytes(bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_other_errors_go_on_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError), write_atomically(tmp_path / "file" / "a.txt"):
        pass
    error = OSError(errno.EACCES, "no", "elsewhere")
    with pytest.raises(PermissionError) as caught, write_atomically(tmp_path / "a.txt"):
        raise error
    assert caught.value is error


def test_the_suffix_decides() -> None:
    assert check_suffix("a/b.png", ".png") == Path("a/b.png")
    with pytest.raises(ValueError, match=r"b\.jpg.*\.png"):
        check_suffix("a/b.jpg", ".png")


def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with replace_folder(tmp_path / "a") as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / f"{content}.txt").write_text(content)
    assert os.listdir(tmp_path) == ["a"] and os.listdir(tmp_path / "a" / "inner") == ["new.txt"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    with pytest.raises(FileNotFoundError), replace_folder(folder) as temporary:
        (temporary / "none" / "new.txt").write_text("new")
    assert os.listdir(tmp_path) == ["a"] and os.listdir(folder) == ["old.txt"]
    replace, calls = os.replace, []

    def once(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:  # the old one is aside, and the new one cannot be renamed
            raise OSError(errno.EIO, "I/O error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(OSError, match="I/O error"), replace_folder(folder) as temporary:
        (temporary / "new.txt").write_text("new")
    assert os.listdir(tmp_path) == ["a"] and os.listdir(folder) == ["old.txt"]
