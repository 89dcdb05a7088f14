from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from torch import Tensor

from denoiselab.data import MNIST
from denoiselab.evaluation import Evaluator
from denoiselab.evaluation.cache import cached


def counted(made: list[int]) -> dict[str, Tensor]:
    made.append(1)
    return {"x": torch.arange(3.0, dtype=torch.float64), "right": torch.tensor([True, False])}


def test_what_was_made_of_the_same_inputs_is_read_again(tmp_path: Path) -> None:
    made: list[int] = []
    for seed in ("0", "0", "1"):
        found = cached(tmp_path / "data", "name", [seed, torch.ones(2)], lambda: counted(made))
        assert torch.equal(found["x"], torch.arange(3.0, dtype=torch.float64)) and found["right"].tolist() == [
            True,
            False,
        ]
    cached(tmp_path / "data", "name", ["0", torch.zeros(2)], lambda: counted(made))
    assert len(made) == 3 and len(list((tmp_path / "data").iterdir())) == 3


def test_without_a_folder_or_with_one_that_cannot_be_used_it_is_made(tmp_path: Path) -> None:
    made: list[int] = []
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file", tmp_path / "file"):
        assert "x" in cached(folder, "name", ["0"], lambda: counted(made))
    assert len(made) == 3


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    made: list[int] = []
    monkeypatch.setattr(Path, "write_bytes", full)
    for _ in range(2):
        assert "x" in cached(tmp_path, "name", ["0"], lambda: counted(made))
    assert len(made) == 2 and list(tmp_path.iterdir()) == []


def test_inputs_of_the_same_bytes_differ(tmp_path: Path) -> None:
    made: list[int] = []
    for inputs in (["a", "b"], ["ab"], [torch.zeros(2, 3)], [torch.zeros(3, 2)], [torch.zeros(6, dtype=torch.int32)]):
        cached(tmp_path, "name", inputs, lambda: counted(made))
    assert len(made) == 5


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    made: list[int] = []
    cached(tmp_path, "name", ["0"], lambda: counted(made))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:20])
    for _ in range(2):
        assert "x" in cached(tmp_path, "name", ["0"], lambda: counted(made))
    assert len(made) == 2


def test_an_evaluator_says_the_same_from_the_cache(
    mnist: MNIST, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = (mnist.train_images[:300], mnist.train_labels[:300], mnist.test_images[:200], mnist.test_labels[:200])
    plain, first = Evaluator(*splits), Evaluator(*splits, cache=tmp_path)
    images, labels = mnist.test_images[200:260], mnist.test_labels[200:260]
    expected = plain.measure(images, labels), plain.floors(60, balanced=True)
    assert (first.measure(images, labels), first.floors(60, balanced=True)) == expected
    monkeypatch.setattr(Evaluator, "_measure_real", lambda self: pytest.fail("measured again"))
    again = Evaluator(*splits, cache=tmp_path)
    assert (again.measure(images, labels), again.floors(60, balanced=True)) == expected


@pytest.mark.parametrize("change", ["train_images", "train_labels", "test_images", "test_labels", "judge", "seed"])
def test_what_an_evaluator_keeps_is_of_these_images_and_classifiers(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    splits = {name: torch.zeros(4, *((1, 28, 28) if "images" in name else ()), dtype=torch.uint8) for name in names}
    made: list[int] = []
    monkeypatch.setattr(Evaluator, "_measure_real", lambda self: counted(made))
    for _ in range(2):
        assert "x" in Evaluator(**splits, cache=tmp_path).real
    assert len(made) == 1
    if change in splits:
        splits[change] = splits[change] + 1
    other = Evaluator(**splits, seed=int(change == "seed"), cache=tmp_path)
    if change == "judge":
        next(other.judge.parameters()).data += 1
    assert "x" in other.real and len(made) == 2
