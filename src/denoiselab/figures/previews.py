"""A grid enlarged for people, with its labels and title in text around the images."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

LONGER_SIDE = 1300  # of the enlarged grid at most, in pixels, labels not counted
INK = (32, 32, 32)


def preview(
    native: Image.Image,
    cell: tuple[int, int],
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
    title: str | None,
    padding: int,
) -> Image.Image:
    """Enlarge a native grid of cells (H, W) by a whole number and draw the labels left of it and above it."""
    scale = max(1, LONGER_SIDE // max(native.size))
    size = (native.width * scale, native.height * scale)
    body = native.convert("RGB").resize(size, Image.Resampling.NEAREST)
    height, width = cell[0] * scale, cell[1] * scale
    margin, gap = 16, 10
    # Low rows have room for a line or two of text, so theirs may be long.
    rows, row_font = _fit(row_labels or [], 260 if height > 80 else 600, height)
    columns, column_font = _fit(column_labels or [], width, 160)
    left = margin + max((_text_size(label, row_font)[0] + gap for label in rows), default=0)
    title_font = _font(26, bold=True)
    heading = _wrap(title, title_font, max(left + body.width - margin, 640)) if title else ""
    heading_size = _text_size(heading, title_font) if title else (0, -gap)
    columns_top = margin + heading_size[1] + gap
    top = columns_top + max((_text_size(label, column_font)[1] + gap // 2 for label in columns), default=0)
    right = max(left + body.width, margin + heading_size[0]) + margin
    page = Image.new("RGB", (right, top + body.height + margin), "white")
    page.paste(body, (left, top))
    draw = ImageDraw.Draw(page)

    def write(text: str, x: float, y: float, anchor: str, font: ImageFont.FreeTypeFont) -> None:
        line_height = sum(font.getmetrics())
        for n, line in enumerate(text.split("\n")):  # takes the height that _text_size says
            draw.text((x, y + n * line_height), line, INK, font, anchor=anchor)

    write(heading, margin, margin, "la", title_font)
    for i, label in enumerate(rows):
        centre = top + (padding + i * (cell[0] + padding)) * scale + height / 2
        write(label, left - gap, centre - _text_size(label, row_font)[1] / 2, "ra", row_font)
    for i, label in enumerate(columns):
        centre = left + (padding + i * (cell[1] + padding)) * scale + width / 2
        write(label, centre, top - gap // 2 - _text_size(label, column_font)[1], "ma", column_font)
    return page


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    # Matplotlib's DejaVu is installed wherever we are and has Greek; Pillow's own font has not.
    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf", size)


def _text_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    line_height = sum(font.getmetrics())
    lines = text.split("\n")
    return round(max(font.getlength(line) for line in lines)), line_height * len(lines)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Break text at spaces to lines within width; a longer word is cut, since a label may not spill."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            joined = f"{line} {word}" if line else word
            if font.getlength(joined) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            while font.getlength(word) > width and len(word) > 1:
                cut = next((n for n in range(len(word) - 1, 1, -1) if font.getlength(word[:n]) <= width), 1)
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    return "\n".join(lines)


def _fit(
    labels: Sequence[str], width: float, height: float, largest: int = 22, smallest: int = 9
) -> tuple[list[str], ImageFont.FreeTypeFont]:
    """Wrap labels within width x height at the largest font that cuts no word; the smallest may."""
    for size in range(largest, smallest, -1):
        font = _font(size)
        wrapped = [_wrap(label, font, width) for label in labels]
        whole = all(font.getlength(word) <= width for label in labels for word in label.split())
        if whole and all(_text_size(label, font)[1] <= height for label in wrapped):
            return wrapped, font
    font = _font(smallest)
    return [_wrap(label, font, width) for label in labels], font
