"""A person's own pictures, photos, sketches and masks, as the tensors that an edit takes: from files, or drawn by code.

The command line answers a mistake before torch is imported. So `check_picture`, `check_mask` and `picture_size` need
Pillow only and import no torch; `load_picture`, `read_picture` and `read_mask` import it when they are called. These
raise the very ValueErrors of the former, for the work is the same up to the last step: `KEY=VALUE: allowed is ...`.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, ImageColor, ImageOps, UnidentifiedImageError

from denoiselab.data.drawings import DRAWINGS, draw
from denoiselab.nearest import nearest

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, int, int]  # (C, H, W) of a model's images: C is 1 or 3, H == W
# Not every plugin of Pillow: some start other programs (EPS), and a picture may come from anywhere.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_MEGAPIXELS = 64  # of a picture, known from its header: a bomb is refused before it is decoded
MAX_MEGABYTES = 64  # of a file
GREY_SHARE = 0.1  # of a mask's pixels that may lie between 0.1 and 0.9: the soft edge of a brush

# Masks by name: whether the pixel at (x, y) is made new, in sides of the picture from its top left corner.
SHAPES: dict[str, Callable[[float, float], bool]] = {
    "left_half": lambda x, y: x < 0.5,
    "right_half": lambda x, y: x >= 0.5,
    "top_half": lambda x, y: y < 0.5,
    "bottom_half": lambda x, y: y >= 0.5,
    "centre": lambda x, y: max(abs(x - 0.5), abs(y - 0.5)) < 0.25,
    "border": lambda x, y: max(abs(x - 0.5), abs(y - 0.5)) >= 0.25,
    "circle": lambda x, y: (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.35**2,
    "outside_circle": lambda x, y: (x - 0.5) ** 2 + (y - 0.5) ** 2 >= 0.35**2,
}


def load_picture(
    source: str | Path, shape: Shape, key: str = "image", *, background: str = "white", invert: bool = False
) -> Tensor:
    """The picture (C, H, W) in [0, 1] of that name in `DRAWINGS`, or else in that file, as `read_picture` reads it.

    Raises ValueError as `read_picture` does; for what is neither a name nor a file it lists the names.
    """
    _check_colour(background)
    if _is_drawn(source, key):
        return _tensor(draw(str(source), shape[2]), shape, invert)
    return read_picture(source, shape, key, background=background, invert=invert)


def read_picture(
    path: str | Path, shape: Shape, key: str = "image", *, background: str = "white", invert: bool = False
) -> Tensor:
    """The picture in a file, (C, H, W) float32 in [0, 1], for a model whose images have that shape.

    It is turned as its EXIF data say, cropped to its central square and resized with antialiasing. One channel is the
    luma (ITU-R 601). Of an animation it is the first frame. 8 and 16 bits a channel are read, to a precision of 8.

    Args:
        key: what the errors call it.
        background: the colour under transparent pixels, a name or #rrggbb.
        invert: light becomes dark: for dark ink on white paper and a model that knows white on black, as of MNIST.

    Raises ValueError, one line long: no such file, a folder, not a picture, damaged, over 64 megapixels or 64 MB
    (found before decoding), of floats or another colour space that has no fixed white; or background is no colour.
    """
    return _tensor(_flat(path, key, background), shape, invert)


def read_mask(
    source: str | Path, shape: Shape, picture_size: tuple[int, int] | None, new: str = "white", key: str = "mask"
) -> Tensor:
    """What an inpainting makes new: (1, H, W) float32, 1 where the picture is made new and 0 where it is kept.

    A file is cropped as the photo is, resized with antialiasing and cut at the middle grey.

    Args:
        source: a name in `SHAPES`, which says what is made new, or a file.
        shape: of the model's images.
        picture_size: (width, height) of the photo that the mask was made for, as `picture_size` says; None for a
            drawing. The file has that size, or W x H.
        new: the colour of the file, "white" or "black", that is made new.
        key: what the errors call it.

    Raises ValueError, one line long, as `read_picture` does, and for a file of another size, with transparent pixels,
    with more than 10 % greys, or that would make nothing new, or everything; and for another `new`.
    """
    from torchvision.transforms.functional import pil_to_tensor

    return (pil_to_tensor(_mask(source, shape, picture_size, new, key)) > 0).float()  # (1, H, W)


def check_picture(source: str | Path, key: str = "image", background: str = "white") -> None:
    """Raise the ValueError, if any, that `load_picture` would. The file is decoded, for its end may be missing."""
    _check_colour(background)
    if not _is_drawn(source, key):
        _flat(source, key, background)


def check_mask(
    source: str | Path, shape: Shape, picture_size: tuple[int, int] | None, new: str = "white", key: str = "mask"
) -> None:
    """Raise the ValueError, if any, that `read_mask` would."""
    _mask(source, shape, picture_size, new, key)


def picture_size(source: str | Path, key: str = "image") -> tuple[int, int] | None:
    """(width, height) of the photo in a file, turned as its EXIF data say; None for a drawing, which has any size.

    It reads the header and decodes no pixels (of a PNG it does: its EXIF data may come after them). Raises ValueError
    as `load_picture` does, as far as the header shows.
    """
    if _is_drawn(source, key):
        return None
    with _opened(source, key) as image:
        width, height = image.size
        quarter_turn = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return (height, width) if quarter_turn and image.format != "TIFF" else (width, height)  # Pillow turns a TIFF


def _is_drawn(source: str | Path, key: str = "image") -> bool:
    """Whether it names a drawing. Raises ValueError if it names no file either."""
    if str(source) in DRAWINGS:
        return True
    _check_exists(source, key, "a picture file", DRAWINGS)
    return False


def _check_colour(background: str) -> None:
    try:
        ImageColor.getrgb(background)
    except ValueError as error:
        raise ValueError(f"background={background}: allowed is a colour, by its name or as #rrggbb") from error


def _check_exists(source: str | Path, key: str, file: str, names: dict[str, Callable]) -> None:
    if not os.path.exists(source):  # Path.exists would raise for a name that is too long
        hint = nearest(str(source), names)
        raise ValueError(f"{key}={source}: allowed is {file} that exists, or one of {', '.join(names)}{hint}")


@contextmanager
def _opened(path: str | Path, key: str) -> Iterator[Image.Image]:
    """The picture in a file, of which Pillow has read the header alone. An error in the block is laid to the file."""
    named = f"{key}={path}: allowed is a picture file"
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise ValueError(f"{named}; {error.strerror}") from error
    if not Path(path).is_file():
        raise ValueError(f"{named}; this is {'a folder' if Path(path).is_dir() else 'no regular file'}")
    if size > MAX_MEGABYTES * 10**6:
        raise ValueError(f"{key}={path}: allowed is a file of at most {MAX_MEGABYTES} MB; it has {size / 1e6:.1f} MB")
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(path, formats=FORMATS) as image,
        ):
            pixels = image.width * image.height
            if pixels > MAX_MEGAPIXELS * 10**6:
                raise Image.DecompressionBombError(f"{pixels} pixels")
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow has limits of its own
        count = re.search(r"\d+", str(error))
        assert count is not None
        limit = f"{MAX_MEGAPIXELS} megapixels ({MAX_MEGAPIXELS * 10**6:,} pixels)"
        raise ValueError(f"{key}={path}: allowed is at most {limit}; it has {int(count[0]):,}") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{named}; Pillow recognises no picture in it") from error
    except Exception as error:  # Pillow's many readers raise whatever the damage makes them stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{named}; it is damaged ({reason})") from error


def _decoded(path: str | Path, key: str) -> Image.Image:
    """The picture in a file, upright, with 8 bits a channel."""
    with _opened(path, key) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode in ("F", "LAB") or (image.mode == "I" and _beyond_16_bits(image)):
        allowed = "a picture of 8 or 16 bits a channel, grey or in colour"
        raise ValueError(f"{key}={path}: allowed is {allowed}; Pillow calls its mode {image.mode}")
    if not image.mode.startswith("I"):
        return image
    grey = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")  # 65535 = 255 x 257
    if "transparency" in image.info:  # the one grey of a PNG that stands for none
        grey.info["transparency"] = round(image.info["transparency"] / 257)
    return grey


def _beyond_16_bits(image: Image.Image) -> bool:
    low, high = image.getextrema()
    return low < 0 or high >= 2**16  # type: ignore[operator]


def _flat(path: str | Path, key: str, background: str) -> Image.Image:
    """The picture in a file, RGB, upright."""
    _check_colour(background)
    image = _decoded(path, key)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image.convert("RGB")


def _square(image: Image.Image) -> Image.Image:
    """The central square; where it cannot be in the middle, half a pixel to the left or top of it."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _tensor(image: Image.Image, shape: Shape, invert: bool) -> Tensor:
    """An RGB picture as (C, H, W) float32 in [0, 1]."""
    from torchvision.transforms.functional import pil_to_tensor

    channels, height, width = shape
    assert channels in (1, 3) and height == width, shape
    image = _square(image).convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.LANCZOS)
    x = pil_to_tensor(image).float() / 255  # (C, H, W)
    return 1 - x if invert else x


def _mask(source: str | Path, shape: Shape, picture_size: tuple[int, int] | None, new: str, key: str) -> Image.Image:
    """L, W x H: 255 where the picture is made new, 0 where it is kept."""
    width, height = shape[2], shape[1]
    if new not in ("white", "black"):
        raise ValueError(f"new={new}: allowed are white, black{nearest(new, ('white', 'black'))}")
    if str(source) in SHAPES:
        inside = SHAPES[str(source)]
        pixels = [inside((j + 0.5) / width, (i + 0.5) / height) for i in range(height) for j in range(width)]
        return Image.frombytes("L", (width, height), bytes(255 * each for each in pixels))
    _check_exists(source, key, "a mask file", SHAPES)
    image = _decoded(source, key)
    if image.size not in (picture_size, (width, height)):
        photo = f"{picture_size[0]} x {picture_size[1]}, as the photo, or " if picture_size else ""
        allowed = f"{photo}{width} x {height}, as the model's images"
        raise ValueError(f"{key}={source}: allowed is {allowed}; it is {image.width} x {image.height}")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise ValueError(f"{key}={source}: allowed is a mask of black and white; it has transparent pixels")
    image = image.convert("L")
    grey = sum(image.histogram()[26:230]) / (image.width * image.height)  # 0.1 to 0.9 of 255
    if grey > GREY_SHARE:
        allowed = f"a mask of black and white, at most {GREY_SHARE:.0%} grey"
        raise ValueError(f"{key}={source}: allowed is {allowed}; {grey:.0%} of its pixels are grey")
    small = _square(image).resize((width, height), Image.Resampling.BOX)
    mask = small.point([255 if (level > 127) == (new == "white") else 0 for level in range(256)])
    low, high = mask.getextrema()
    if low == high:
        what = "everything" if high else "nothing"
        allowed = f"a mask with black and white in its central square; with new={new} {what} would be made new"
        raise ValueError(f"{key}={source}: allowed is {allowed}")
    return mask
