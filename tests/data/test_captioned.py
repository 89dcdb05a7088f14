"""captioned.py: what a picture shows is what its captions say; what is held out is never trained on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from denoiselab.data import MNIST, CaptionedFolder, ColouredMNIST, DataError
from denoiselab.data.captioned import coloured
from denoiselab.data.words import COLOURS, digit_and_colour

# --- digits in colours -----------------------------------------------------------------------------------------------


def coloured_mnist(root: Path, resolution: int = 32, seed: int = 0) -> ColouredMNIST:
    data = ColouredMNIST(root, batch_size=64, seed=seed, val_size=1000, resolution=resolution, download=False)
    data.setup()
    return data


def test_the_images_are_mnists_and_the_captions_say_digit_and_colour(mnist: MNIST) -> None:
    data = coloured_mnist(mnist.root)
    assert torch.equal(data.train_images, mnist.train_images)
    assert torch.equal(data.test_images, mnist.test_images)
    assert data.num_classes == len(data.captions) == 50
    asked = [digit_and_colour(captions[0]) for captions in data.captions]
    digits = torch.tensor([digit for digit, _ in asked])
    assert torch.equal(digits[data.train_labels], mnist.train_labels)
    assert torch.equal(digits[data.test_labels], mnist.test_labels)
    # What is rendered is the very colour that the caption names.
    x = data.render(data.test_images[:200], data.test_labels[:200])
    for image, label in zip(x, data.test_labels[:200].tolist(), strict=True):
        brightest = image[:, image.amax(0) == image.max()][:, 0]
        colour = asked[label][1]
        assert colour is not None
        torch.testing.assert_close(brightest / image.max(), torch.tensor(COLOURS[colour]) / 255)


def test_colours_are_fixed_and_equally_often_for_each_digit(mnist: MNIST) -> None:
    one, other = coloured_mnist(mnist.root), coloured_mnist(mnist.root, resolution=64, seed=9)
    for split in ("train_labels", "test_labels"):
        labels = getattr(one, split)
        assert torch.equal(labels, getattr(other, split))
        assert (labels % 5).bincount().unique().tolist() == [len(labels) // 5]
        of_digits = labels.bincount(minlength=50).reshape(10, 5)
        assert (of_digits.amax(1) - of_digits.amin(1)).max() <= 1
    # The splits' colours are independent: the same digits would be coloured otherwise.
    digits = mnist.test_labels
    same = (coloured(digits, "test") == coloured(digits, "train")).double().mean()
    assert 0.17 < same < 0.23


def test_32_pixels_are_the_digit_in_a_black_frame(mnist: MNIST) -> None:
    data = coloured_mnist(mnist.root)
    images, labels = data.test_images[:50], data.test_labels[:50]
    x = data.render(images, labels)
    assert x.shape == (50, *data.image_shape) == (50, 3, 32, 32)
    assert x.dtype == torch.float32
    expected = torch.zeros(50, 3, 32, 32)
    table = torch.tensor(list(COLOURS.values())) / 255
    for i in range(50):
        for channel in range(3):
            expected[i, channel, 2:30, 2:30] = images[i, 0] / 255 * table[labels[i] % 5, channel]
    assert torch.equal(x, expected)
    assert torch.equal((x.amax(1, keepdim=True)[..., 2:30, 2:30] * 255).round().byte(), images)


def test_64_pixels_are_the_32_enlarged(mnist: MNIST) -> None:
    data, small = coloured_mnist(mnist.root, resolution=64), coloured_mnist(mnist.root)
    x = data.render(data.test_images[:50], data.test_labels[:50])
    assert x.shape == (50, *data.image_shape) == (50, 3, 64, 64)
    assert x.min() >= 0 and x.max() <= 1
    halved = torch.nn.functional.avg_pool2d(x, 2)
    assert (halved - small.render(data.test_images[:50], data.test_labels[:50])).abs().mean() < 0.01


def test_the_mean_image_is_of_what_is_rendered(mnist: MNIST, monkeypatch: pytest.MonkeyPatch) -> None:
    data = coloured_mnist(mnist.root)
    few = tuple(each[:3000] for each in data._data)
    monkeypatch.setattr(data, "_loaded", few)
    monkeypatch.setattr(data, "train_size", 3000)
    mean = data.mean_image()
    assert mean.shape == (1, *data.image_shape) and mean.dtype == torch.float32
    torch.testing.assert_close(mean, data.render(*few[:2]).mean(0, keepdim=True))


def test_another_resolution_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^data\.resolution=28: allowed is 32 or 64$"):
        ColouredMNIST(tmp_path, batch_size=64, seed=0, val_size=1000, resolution=28)


# --- pictures of one's own -------------------------------------------------------------------------------------------

N, SIDE = 12, 16


def level(i: int) -> int:
    """The red of picture i."""
    return 20 * i


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures of one colour, each of another size, kind or mode, whose captions say which."""
    rows = []
    for i in range(N):
        size = [(16, 16), (40, 24), (17, 90)][i % 3]
        name = f"{i:02d}.{'png' if i % 2 else 'bmp'}"
        Image.new("RGB", size, (level(i), 7, 200)).save(tmp_path / name)
        rows.append({"file_name": name, "text": f"picture {i}" if i % 4 else [f"picture {i}", f"number {i}"]})
    write(tmp_path, rows)
    return tmp_path


def write(folder: Path, rows: list[Any]) -> None:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def read(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def opened(folder: Path, **settings: Any) -> CaptionedFolder:
    return CaptionedFolder(folder, **{"batch_size": 4, "seed": 3, "val_size": 4, "resolution": SIDE, **settings})


def loaded(folder: Path, **settings: Any) -> CaptionedFolder:
    data = opened(folder, **settings)
    data.setup()
    return data


def reds(data: CaptionedFolder, images: Tensor) -> list[int]:
    """The number of each picture, as its pixels say."""
    assert torch.equal(images, images[:, :, :1, :1].expand_as(images))  # of one colour, and no frame
    assert (images[:, 1] == 7).all() and (images[:, 2] == 200).all()
    return [red // 20 for red in images[:, 0, 0, 0].tolist()]


def test_a_picture_shows_what_its_captions_say(folder: Path) -> None:
    data = loaded(folder)
    assert data.captions[4] == ["picture 4", "number 4"] and data.captions[5] == ["picture 5"]
    assert data.num_classes == len(data.captions) == N
    assert data.names == [row["file_name"] for row in read(folder)]
    assert data.train_images.dtype == torch.uint8 and data.train_images.shape == (8, 3, SIDE, SIDE)
    assert reds(data, data.train_images) == data.train_labels.tolist()
    assert reds(data, data.test_images) == data.test_labels.tolist()
    x = data.render(data.train_images, data.train_labels)
    assert torch.equal(x, data.train_images.float() / 255)
    assert torch.equal(data.mean_image(), x.double().mean(0, keepdim=True).float())


def test_every_rank_has_its_share_of_the_same_pictures(folder: Path) -> None:
    seen, shown = [], []
    for rank in range(2):
        data = loaded(folder)
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            accumulate_grad_batches=1,
            limit_train_batches=1.0,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
            global_rank=rank,
            world_size=2,
            global_step=0,
        )
        for x, labels in data.train_dataloader():
            assert reds(data, (255 * x).round().byte()) == labels.tolist()
            seen += labels.tolist()
        for x, labels, _ in data.val_dataloader():
            assert reds(data, (255 * x).round().byte()) == labels.tolist()
            shown += labels.tolist()
    assert sorted(seen) == data.train_labels.tolist()
    assert sorted(shown) == data.test_labels.tolist()


def test_what_is_held_out_is_not_trained_on_and_always_the_same(folder: Path) -> None:
    data, again = loaded(folder), loaded(folder, seed=77, batch_size=2, resolution=32)
    assert (data.train_size, data.test_size) == (8, 4)
    held_out = data.test_labels.tolist()
    assert sorted(data.train_labels.tolist() + held_out) == list(range(N))
    assert held_out != list(range(8, 12)) and held_out == sorted(held_out)
    assert torch.equal(data.train_labels, again.train_labels) and torch.equal(data.test_labels, again.test_labels)
    assert data.captions == again.captions
    assert {data.captions[label][0] for label in held_out} == {f"picture {label}" for label in held_out}
    # By name: it matters little what else there is, nor in which order.
    names = {read(folder)[label]["file_name"] for label in held_out}
    write(folder, read(folder)[::-1])
    fewer = loaded(folder, val_size=3)
    assert {fewer.captions[label][0] for label in fewer.test_labels.tolist()} < {f"picture {i}" for i in held_out}
    assert {fewer.rows.pictures[label].name for label in fewer.test_labels.tolist()} < names


def test_a_picture_that_two_rows_name_is_on_one_side(folder: Path) -> None:
    write(folder, [*read(folder), *({"file_name": f"./{row['file_name']}", "text": "again"} for row in read(folder))])
    data = loaded(folder)
    assert len(data.train_images) + len(data.test_images) == N
    assert data.captions[5] == ["picture 5", "again"]
    assert not set(reds(data, data.train_images)) & set(reds(data, data.test_images))


def test_pictures_are_cropped_turned_and_flattened(folder: Path) -> None:
    wide = Image.new("RGB", (48, 16), "blue")
    wide.paste("red", (16, 0, 32, 16))
    wide.save(folder / "wide.png")
    Image.new("LA", (8, 8), (0, 0)).save(folder / "clear.png")
    turned = Image.new("RGB", (16, 16), "black")
    turned.paste("white", (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    turned.save(folder / "turned.png", exif=exif)
    write(folder, [{"file_name": f"{name}.png", "text": name} for name in ("wide", "clear", "turned")])
    data = loaded(folder, batch_size=1, val_size=1)
    images = torch.empty(3, 3, SIDE, SIDE, dtype=torch.uint8)
    images[data.train_labels], images[data.test_labels] = data.train_images, data.test_images
    assert (images[0] == torch.tensor([255, 0, 0]).reshape(3, 1, 1)).all()
    assert (images[1] == 255).all()
    assert (images[2][:, :8] == 255).all() and (images[2][:, 8:] == 0).all()


def damage(folder: Path) -> None:
    """Cuts the second picture short, makes the third none; one row more names no picture, and one has no caption."""
    whole = (folder / "01.png").read_bytes()
    (folder / "01.png").write_bytes(whole[:-30])
    (folder / "02.bmp").write_text("no picture")
    rows = read(folder)
    write(folder, [*rows[:6], "{}", *rows[6:], {"file_name": "00.bmp", "text": ""}])


def test_bad_rows_are_refused_as_early_as_they_are_known(folder: Path) -> None:
    (folder / "01.png").write_bytes((folder / "01.png").read_bytes()[:-30])
    data = opened(folder)  # only who decodes it knows
    start = rf"^data\.captions={folder}/metadata\.jsonl: bad are "
    with pytest.raises(DataError, match=start + r"1 of 12 rows \(line 2 has file_name=\S+01\.png: .* damaged"):
        data.setup()
    damage(folder)
    with pytest.raises(DataError, match=start + r"2 of 14 rows \(line 7 has no file_name, .*; line 14 has an empty"):
        opened(folder)


def test_bad_rows_are_skipped_with_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(folder)
    data = opened(folder, bad_rows="skip")
    assert capsys.readouterr().err == ""
    data.setup()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {folder}/metadata.jsonl: skipped are 4 of 14 rows (line 2 has file_name=")
    assert "01.png: allowed is a picture file; it is damaged (" in line
    assert "02.bmp: allowed is a picture file; Pillow recognises no picture in it" in line
    assert "line 7 has no file_name" in line and "line 14 has an empty caption" in line
    kept = [0, *range(3, N)]
    assert [captions[0] for captions in data.captions] == [f"picture {i}" for i in kept]
    assert [int(Path(name).stem) for name in data.names] == kept
    assert (data.train_size, data.test_size, data.num_classes) == (6, 4, 10)
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert reds(data, images) == [kept[label] for label in labels.tolist()]


def test_too_little_is_left_by_the_bad_rows(folder: Path) -> None:
    for path in sorted(folder.glob("*.*p*"))[: N - 2]:
        if path.suffix != ".jsonl":
            path.write_text("no picture")
    with pytest.raises(ValueError, match=r"^data\.val_size=4: allowed is 1 to 1, of 2 pictures$"):
        loaded(folder, bad_rows="skip")
    with pytest.raises(ValueError, match=r"^data\.batch_size=4: allowed is 1 to 1, of 1 images$"):
        loaded(folder, bad_rows="skip", val_size=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 8}, "data.resolution=8: allowed is a multiple of 8, at least 16"),
        ({"resolution": 20}, "data.resolution=20: allowed is a multiple of 8, at least 16"),
        ({"bad_rows": "drop"}, "data.bad_rows=drop: allowed are refuse, skip"),
        ({"val_size": 12}, "data.val_size=12: allowed is 1 to 11, of 12 pictures"),
        ({"val_size": 0}, "data.val_size=0: allowed is 1 to 11, of 12 pictures"),
        ({"batch_size": 9}, "data.batch_size=9: allowed is 1 to 8, of 8 images"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        opened(folder, **settings)
