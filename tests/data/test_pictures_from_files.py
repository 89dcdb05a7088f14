"""pictures.py: any file that a person may have, cropped and turned exactly; one line for what cannot be used."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from denoiselab import data
from denoiselab.data import pictures
from denoiselab.data.drawings import DRAWINGS, draw
from denoiselab.data.pictures import (
    SHAPES,
    check_mask,
    check_picture,
    load_picture,
    picture_size,
    read_mask,
    read_picture,
)

GREY, COLOUR = (1, 8, 8), (3, 8, 8)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def colour_of(path: Path, **options: str) -> list[int]:
    """The colour of a file of one colour, in bytes."""
    x = read_picture(path, COLOUR, **options)  # type: ignore[arg-type]
    assert x.shape == COLOUR and x.dtype == torch.float32
    assert torch.equal(x, x[:, :1, :1].expand_as(x))
    return (255 * x[:, 0, 0]).tolist()


# Modes


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("1", 0, "bmp", (0, 0, 0)),
        ("L", 100, "png", (100, 100, 100)),
        ("LA", (100, 255), "png", (100, 100, 100)),
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 255), "png", (10, 20, 30)),
        ("RGB", (10, 20, 30), "webp", (10, 20, 30)),
        ("CMYK", (255, 0, 0, 0), "tiff", (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "jpg", (0, 0, 0)),
        ("YCbCr", (100, 128, 128), "tiff", (100, 100, 100)),
        ("I;16", 65535, "png", (255, 255, 255)),
        ("I;16", 257 * 100, "png", (100, 100, 100)),
        ("I;16", 257 * 100 + 128, "png", (100, 100, 100)),
        ("I;16", 257 * 100 + 129, "png", (101, 101, 101)),
        ("I;16", 257 * 100, "tiff", (100, 100, 100)),
        ("I;16B", 257 * 100, "tiff", (100, 100, 100)),
        ("I", 257 * 100, "tiff", (100, 100, 100)),
    ],
)
def test_every_mode(tmp_path: Path, mode: str, colour: object, suffix: str, expected: tuple[int, ...]) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(Image.new(mode, (12, 12), colour), tmp_path / f"a.{suffix}", **options)  # type: ignore[arg-type]
    assert colour_of(path) == pytest.approx(expected, abs=2 if suffix == "jpg" or mode == "YCbCr" else 1e-4)


def test_a_palette(tmp_path: Path) -> None:
    image = Image.new("RGB", (12, 12), (0, 128, 255)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert image.mode == "P"
    assert colour_of(saved(image, tmp_path / "a.png")) == pytest.approx((0, 128, 255))


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "options"),
    [
        ("RGBA", (0, 0, 0, 0), "png", {}),
        ("LA", (0, 0), "png", {}),
        ("RGBA", (0, 0, 0, 0), "webp", {"lossless": True}),
        ("P", 0, "png", {"transparency": 0}),
        ("P", 0, "png", {"transparency": bytes([0])}),
        ("P", 0, "gif", {"transparency": 0}),
        ("RGB", (1, 2, 3), "png", {"transparency": (1, 2, 3)}),
        ("L", 7, "png", {"transparency": 7}),
        ("1", 1, "png", {"transparency": 255}),
        ("I;16", 40_000, "png", {"transparency": 40_000}),
    ],
)
def test_transparent_pixels_show_the_background(
    tmp_path: Path, mode: str, colour: object, suffix: str, options: dict[str, object]
) -> None:
    path = saved(Image.new(mode, (12, 12), colour), tmp_path / f"a.{suffix}", **options)  # type: ignore[arg-type]
    assert colour_of(path) == pytest.approx((255, 255, 255))
    assert colour_of(path, background="#0a141e") == pytest.approx((10, 20, 30))


def test_half_transparent_pixels_mix_with_the_background(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (12, 12), (0, 0, 255, 51)), tmp_path / "a.png")
    assert colour_of(path) == pytest.approx((204, 204, 255), abs=1)
    assert colour_of(path, background="black") == pytest.approx((0, 0, 51), abs=1)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (12, 12), colour) for colour in (RED, GREEN, BLUE)]
    path = saved(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    assert colour_of(path) == pytest.approx(RED)


def test_one_channel_is_the_luma(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (8, 8), (200, 100, 50)), tmp_path / "a.png")
    luma = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255
    x = read_picture(path, GREY)
    assert x.shape == GREY
    assert torch.allclose(x, torch.full_like(x, luma), atol=0.5 / 255)


def test_invert_turns_dark_ink_on_paper_into_light_on_black(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (8, 8), (200, 100, 50)), tmp_path / "a.png")
    x = read_picture(path, COLOUR)
    assert torch.equal(read_picture(path, COLOUR, invert=True), 1 - x)
    assert torch.equal(load_picture("five", (1, 28, 28), invert=True), 1 - load_picture("five", (1, 28, 28)))


# Geometry


def marked(width: int, height: int, x: int, y: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    image.putpixel((x, y), RED)
    return image


@pytest.mark.parametrize(
    ("size", "mark", "lands"),
    [
        ((8, 8), (3, 5), (3, 5)),
        ((20, 8), (6, 0), (0, 0)),  # 20 - 8 = 12, 6 of them on either side
        ((20, 8), (13, 7), (7, 7)),
        ((8, 20), (2, 9), (2, 3)),
        ((11, 8), (1, 4), (0, 4)),  # 1 left, 2 right
        ((8, 11), (4, 8), (4, 7)),  # 1 above, 2 below
    ],
)
def test_the_crop_is_central(
    tmp_path: Path, size: tuple[int, int], mark: tuple[int, int], lands: tuple[int, int]
) -> None:
    x = read_picture(saved(marked(*size, *mark), tmp_path / "a.png"), COLOUR)
    expected = torch.zeros(COLOUR)
    expected[0, lands[1], lands[0]] = 1
    assert torch.equal(x, expected)


def test_what_is_cropped_away_leaves_no_trace(tmp_path: Path) -> None:
    image = Image.new("RGB", (48, 16), RED)
    image.paste(GREEN, (16, 0, 32, 16))
    assert colour_of(saved(image, tmp_path / "a.png")) == list(GREEN)


def test_a_smaller_picture_is_antialiased(tmp_path: Path) -> None:
    checkers = Image.fromarray((np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8))
    x = read_picture(saved(checkers, tmp_path / "a.png"), GREY)
    assert (x - 0.5).abs().max() < 0.02


def test_a_larger_picture_is_interpolated(tmp_path: Path) -> None:
    x = read_picture(saved(marked(2, 2, 0, 0), tmp_path / "a.png"), (3, 32, 32))
    assert x[0, 0, 0] > 0.99 and x[0, 31, 31] < 0.01 and x[1:].max() == 0
    assert 0.1 < x[0, 15, 15] < 0.4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    """The eight ways in which a camera may be held: what is stored is turned so that this one comes out."""
    upright = Image.new("RGB", (64, 32))
    upright.paste(RED, (16, 0, 32, 16))  # the quarters of the central square
    upright.paste(GREEN, (32, 0, 48, 16))
    upright.paste(BLUE, (16, 16, 32, 32))
    turns = Image.Transpose
    undo = {
        1: None, 2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = upright.transpose(undo) if undo is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    path = saved(stored, tmp_path / f"a.{suffix}", exif=exif, **options)
    quarters = read_picture(path, (3, 32, 32))[:, 8::16, 8::16]  # (3, 2, 2)
    assert torch.allclose(quarters.flatten(1).T, torch.tensor([RED, GREEN, BLUE, (0, 0, 0)]) / 255, atol=0.02)
    assert picture_size(path) == (64, 32)


def test_the_size_of_a_picture_without_exif_data_and_of_a_drawing(tmp_path: Path) -> None:
    assert picture_size(saved(Image.new("L", (30, 20)), tmp_path / "a.png")) == (30, 20)
    assert picture_size("tower") is None


def test_the_size_is_known_without_decoding(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    path = cut(saved(noise, tmp_path / "a.jpg"))
    assert picture_size(path) == (300, 200)
    with pytest.raises(ValueError):
        check_picture(path)


# Drawn by code


@pytest.mark.parametrize("name", ["tower", "house", "seven"])
def test_a_drawing_by_its_name(name: str) -> None:
    check_picture(name)
    x = load_picture(name, (3, 64, 64))
    assert np.array_equal((x * 255).round().byte().permute(1, 2, 0).numpy(), np.asarray(draw(name, 64)))
    grey = load_picture(name, (1, 28, 28))
    assert np.array_equal((grey * 255).round().byte()[0].numpy(), np.asarray(draw(name, 28).convert("L")))


def test_a_file_by_its_path(tmp_path: Path) -> None:
    path = saved(draw("house", 40), tmp_path / "tower", format="png")  # with a folder in front it is a file
    x = read_picture(path, COLOUR)
    for source in (path, str(path)):
        assert torch.equal(load_picture(source, COLOUR), x)
    assert not torch.equal(load_picture("tower", COLOUR), x)


# What cannot be used


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def huge_png(path: Path, width: int, height: int) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))
    return path


def refusal(path: Path | str, key: str = "edit.image") -> str:
    """The one line, which must be the same from all that look at the file."""
    with pytest.raises(ValueError) as caught:
        check_picture(path, key)
    with pytest.raises(ValueError, match=f"^{re.escape(str(caught.value))}$"):
        load_picture(path, COLOUR, key)
    line = str(caught.value)
    assert line.startswith(f"{key}={path}: allowed is ") and "\n" not in line
    return line.removeprefix(f"{key}={path}: ")


@pytest.mark.parametrize(
    ("width", "height"), [(8001, 8000), (9000, 9000), (12_000, 12_000), (50_000, 50_000), (10**6, 65)]
)
def test_a_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below, between and above the two limits that Pillow has itself, at the second of which it raises, too."""
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    path = huge_png(tmp_path / "bomb.png", width, height)
    expected = f"allowed is at most 64 megapixels (64,000,000 pixels); it has {width * height:,}"
    assert refusal(path) == expected
    with pytest.raises(ValueError, match=re.escape(expected)):
        picture_size(path)
    with pytest.raises(ValueError, match=re.escape(expected)):
        read_mask(path, GREY, None)


def test_64_megapixels_are_no_bomb(tmp_path: Path) -> None:
    assert "damaged" in refusal(huge_png(tmp_path / "a.png", 8000, 8000))  # it has 100 bytes of pixels


def test_a_large_file_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(64_100_000)
    monkeypatch.setattr("PIL.Image.open", lambda path: pytest.fail("opened"))
    assert refusal(path) == "allowed is a file of at most 64 MB; it has 64.1 MB"


def test_no_file(tmp_path: Path) -> None:
    line = refusal(tmp_path / "none.png")
    assert line == f"allowed is a picture file that exists, or one of {', '.join(DRAWINGS)}"
    assert refusal("towr").endswith("seven, eight, nine (did you mean tower?)")
    assert "that exists" in refusal("x" * 5000)
    with pytest.raises(ValueError, match=r"none.png: allowed is a picture file; No such file or directory$"):
        read_picture(tmp_path / "none.png", COLOUR)


def test_a_folder_and_a_device(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "allowed is a picture file; this is a folder"
    assert refusal("/dev/zero") == "allowed is a picture file; this is no regular file"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert refusal(tmp_path / "a.png").startswith("allowed is a picture file; ")
    if content in (b"", b"hello"):
        assert refusal(tmp_path / "a.png") == "allowed is a picture file; Pillow recognises no picture in it"


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_a_truncated_picture(tmp_path: Path, suffix: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    assert "allowed is a picture file; " in refusal(cut(saved(noise, tmp_path / f"a.{suffix}")))


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1), ("LAB", (100, 0, 0))])
def test_colours_without_a_fixed_white(tmp_path: Path, mode: str, value: float) -> None:
    path = saved(Image.new(mode, (8, 8), value), tmp_path / "a.tiff")
    expected = "allowed is a picture of 8 or 16 bits a channel, grey or in colour; Pillow calls its mode "
    assert refusal(path) == expected + mode


def test_no_colour(tmp_path: Path) -> None:
    path = saved(Image.new("L", (8, 8)), tmp_path / "a.png")
    expected = r"^background=wite: allowed is a colour, by its name or as #rrggbb$"
    for source in (path, "tower"):
        with pytest.raises(ValueError, match=expected):
            check_picture(source, background="wite")
        with pytest.raises(ValueError, match=expected):
            load_picture(source, COLOUR, background="wite")


# Masks


MASK = (3, 8, 8)  # the model's shape; a mask has one channel


def drawn_mask(path: Path, size: tuple[int, int] = (8, 8), white: tuple[int, ...] = (0, 0, 4, 8)) -> Path:
    image = Image.new("L", size, 0)
    image.paste(255, white)
    return saved(image, path)


def mask_refusal(path: Path | str, photo: tuple[int, int] | None = None, new: str = "white") -> str:
    with pytest.raises(ValueError) as caught:
        check_mask(path, MASK, photo, new, "edit.mask")
    with pytest.raises(ValueError, match=f"^{re.escape(str(caught.value))}$"):
        read_mask(path, MASK, photo, new, "edit.mask")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"edit.mask={path}: ")


def test_shapes_by_name() -> None:
    for name in SHAPES:
        check_mask(name, MASK, None)
        mask = read_mask(name, MASK, (640, 480))
        assert mask.shape == (1, 8, 8) and mask.dtype == torch.float32
        assert set(mask.unique().tolist()) == {0, 1}
    half = torch.zeros(1, 8, 8)
    half[..., :4] = 1
    assert torch.equal(read_mask("left_half", MASK, None), half)
    assert torch.equal(read_mask("top_half", MASK, None), half.mT)
    centre = torch.zeros(1, 8, 8)
    centre[:, 2:6, 2:6] = 1
    assert torch.equal(read_mask("centre", MASK, None), centre)
    circle = read_mask("circle", (1, 64, 64), None)
    assert circle.mean() == pytest.approx(torch.pi * 0.35**2, abs=0.01)
    assert torch.equal(circle, circle.flip(1)) and torch.equal(circle, circle.mT)


@pytest.mark.parametrize("side", [8, 29])
@pytest.mark.parametrize(
    "pair",
    [("left_half", "right_half"), ("top_half", "bottom_half"), ("centre", "border"), ("circle", "outside_circle")],
)
def test_shapes_in_pairs_leave_nothing_out(pair: tuple[str, str], side: int) -> None:
    one, other = (read_mask(name, (1, side, side), None) for name in pair)
    assert torch.equal(one + other, torch.ones(1, side, side))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_from_a_file_in_both_polarities(tmp_path: Path, mode: str) -> None:
    image = Image.new("L", (8, 8), 0)
    image.paste(255, (0, 0, 4, 8))
    deep = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    stored = deep if mode == "I;16" else image.convert(mode)
    path = saved(stored, tmp_path / "m.png")
    left = read_mask("left_half", MASK, None)
    assert torch.equal(read_mask(path, MASK, None, "white"), left)
    assert torch.equal(read_mask(path, MASK, None, "black"), 1 - left)
    check_mask(path, MASK, None, "black")


def test_a_mask_is_cropped_as_its_photo_is(tmp_path: Path) -> None:
    photo = Image.new("RGB", (50, 16))
    photo.paste("white", (17, 0, 21, 16))
    path = saved(photo, tmp_path / "a.png")
    assert torch.equal(read_mask(path, MASK, picture_size(path)), (read_picture(path, MASK)[:1] > 0.5).float())
    assert read_mask(path, MASK, (50, 16)).nonzero()[:, 2].unique().tolist() == [0, 1]


def test_a_mask_of_the_models_size_goes_with_any_photo(tmp_path: Path) -> None:
    path = drawn_mask(tmp_path / "m.png")
    assert torch.equal(read_mask(path, MASK, (640, 480)), read_mask("left_half", MASK, None))


def test_a_mask_turned_by_exif_data(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(drawn_mask(tmp_path / "m.png", (20, 40), (0, 0, 20, 20)))
    path = saved(upright.transpose(Image.Transpose.ROTATE_90), tmp_path / "t.png", exif=exif)
    assert ImageOps.exif_transpose(Image.open(path)).size == picture_size(path) == (20, 40)
    assert torch.equal(read_mask(path, MASK, (20, 40)), read_mask("top_half", MASK, None))


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    path = drawn_mask(tmp_path / "m.png", (20, 10))
    expected = "allowed is 640 x 480, as the photo, or 8 x 8, as the model's images; it is 20 x 10"
    assert mask_refusal(path, (640, 480)) == expected
    assert mask_refusal(path) == "allowed is 8 x 8, as the model's images; it is 20 x 10"


@pytest.mark.parametrize(
    ("level", "new", "what"),
    [
        (255, "white", "everything"),
        (255, "black", "nothing"),
        (0, "white", "nothing"),
        (0, "black", "everything"),
    ],
)
def test_a_mask_of_one_value(tmp_path: Path, level: int, new: str, what: str) -> None:
    path = saved(Image.new("L", (8, 8), level), tmp_path / "m.png")
    expected = f"allowed is a mask with black and white in its central square; with new={new} {what} would be made new"
    assert mask_refusal(path, new=new) == expected


def test_a_mask_whose_white_is_cropped_away(tmp_path: Path) -> None:
    path = drawn_mask(tmp_path / "m.png", (40, 10), (0, 0, 10, 10))
    assert mask_refusal(path, (40, 10)).endswith("with new=white nothing would be made new")


def test_a_grey_mask(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L")
    path = saved(ramp, tmp_path / "m.png")
    expected = "allowed is a mask of black and white, at most 10% grey; 80% of its pixels are grey"
    assert mask_refusal(path, ramp.size) == expected


def test_a_soft_edge_is_no_grey_mask(tmp_path: Path) -> None:
    image = Image.open(drawn_mask(tmp_path / "m.png", (64, 64), (0, 0, 32, 64)))
    image.paste(140, (32, 0, 36, 64))
    path = saved(image, tmp_path / "soft.png")
    assert torch.equal(read_mask(path, MASK, (64, 64)), read_mask("left_half", MASK, None))


def test_a_mask_with_transparent_pixels(tmp_path: Path) -> None:
    image = Image.open(drawn_mask(tmp_path / "m.png")).convert("LA")
    image.putpixel((0, 0), (255, 0))
    path = saved(image, tmp_path / "a.png")
    assert mask_refusal(path) == "allowed is a mask of black and white; it has transparent pixels"


def test_an_unknown_mask_and_an_unknown_colour(tmp_path: Path) -> None:
    assert mask_refusal("left_haf") == (
        f"allowed is a mask file that exists, or one of {', '.join(SHAPES)} (did you mean left_half?)"
    )
    assert mask_refusal("circle", new="grey") == "new=grey: allowed are white, black"
    assert mask_refusal(tmp_path) == "allowed is a picture file; this is a folder"


# What the command line needs


def test_checks_import_no_torch(tmp_path: Path) -> None:
    photo = saved(Image.new("RGBA", (30, 20)), tmp_path / "a.png")
    mask = drawn_mask(tmp_path / "m.png", (30, 20), (0, 0, 15, 20))
    code = f"""
import sys
from denoiselab.data.pictures import check_mask, check_picture, picture_size
check_picture({str(photo)!r})
check_picture("tower")
check_mask({str(mask)!r}, (3, 8, 8), picture_size({str(photo)!r}))
check_mask("circle", (3, 8, 8), None)
for look in (lambda: check_picture("none"), lambda: check_mask({str(mask)!r}, (3, 8, 8), None)):
    try:
        look()
    except ValueError as error:
        print(error)
print(*sorted({{"torch", "torchvision", "numpy", "lightning"}} & set(sys.modules)), "end")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("image=none: allowed is ") and lines[1].startswith(f"mask={mask}: allowed is 8 x 8")
    assert lines[2:] == [" end"] or lines[2:] == ["end"]


def test_the_limits_are_below_those_of_pillow() -> None:
    """Otherwise what Pillow decodes later would warn, or fail in words of its own."""
    assert (Image.MAX_IMAGE_PIXELS or 0) > pictures.MAX_MEGAPIXELS * 10**6


def test_the_package_still_has_all_its_names() -> None:
    """They are imported when asked for, so that the checks above need no torch."""
    assert all(getattr(data, name) is not None for name in data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'mnist'"):
        _ = data.mnist


def test_a_format_that_starts_other_programs_is_no_picture(tmp_path: Path) -> None:
    """Pillow would hand it to Ghostscript."""
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.eps")
    with pytest.raises(ValueError, match=r"image=.*picture.eps: allowed is a picture file"):
        check_picture(tmp_path / "picture.eps")
