"""Pictures drawn by code, so that every recipe runs with nothing at hand. Imports no torch.

`tower` and `landscape` are painted, `house`, `boat`, `tree` and `face` are coloured sketches on white paper, `zero` to
`nine` are written white on black as in MNIST. All is measured in sides of the picture, (0, 0) being its top left
corner, so that a drawing is the same at every size. It is painted at least four times larger and then averaged down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from denoiselab.nearest import nearest

Point = tuple[float, float]
Colour = str | tuple[int, int, int]


def draw(name: str, size: int) -> Image.Image:
    """The drawing of that name, RGB, size x size pixels; always the same one, to the byte.

    Raises ValueError for an unknown name, with the known ones.
    """
    if name not in DRAWINGS:
        raise ValueError(f"drawing={name}: allowed are {', '.join(DRAWINGS)}{nearest(name, DRAWINGS)}")
    canvas = Canvas(size)
    DRAWINGS[name](canvas)
    return canvas.picture()


class Canvas:
    """White paper to paint on, in units of its side."""

    def __init__(self, size: int) -> None:
        self.factor = max(4, -(-512 // size))  # a thin line needs pixels to survive, whatever the size
        self.side = size * self.factor
        self.image = Image.new("RGB", (self.side, self.side), "white")

    def picture(self) -> Image.Image:
        return self.image.reduce(self.factor)

    def area(
        self,
        outline: Sequence[Point],
        first: Colour,
        last: Colour | None = None,
        *,
        across: bool = False,
        blur: float = 0.0,
        alpha: float = 1.0,
    ) -> None:
        """Fill an outline, from the colour `first` at its top (left if across) to `last` at its bottom (right).

        The edge is blurred by a Gaussian of standard deviation `blur`; alpha in (0, 1], 1 being opaque.
        """
        margin = math.ceil(3 * blur * self.side) + 1
        low, high = (tuple(bound(p[i] for p in outline) * self.side for i in (0, 1)) for bound in (min, max))
        left, top = math.floor(low[0]) - margin, math.floor(low[1]) - margin
        size = math.ceil(high[0]) + margin - left, math.ceil(high[1]) + margin - top
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon(
            [(x * self.side - left, y * self.side - top) for x, y in outline], round(255 * alpha)
        )
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(blur * self.side))
        paint = Image.new("RGB", size, first)
        if last is not None:
            ramp = Image.linear_gradient("L")  # black at the top, white at the bottom
            ramp = (ramp.transpose(Image.Transpose.TRANSPOSE) if across else ramp).resize(size)
            paint.paste(Image.new("RGB", size, last), mask=ramp)
        self.image.paste(paint, (left, top), mask)

    def stroke(
        self, points: Sequence[Point], width: float, colour: Colour, *, pressure: float = 0.0, shake: float = 0.0
    ) -> None:
        """A round brush along the smooth curve through the points.

        Args:
            pressure: how much thinner the two ends are, as a share of the width.
            shake: how far the hand strays from the curve; the same way for the same points.
        """
        pen = ImageDraw.Draw(self.image)
        path = curve(points, step=width / 6)
        hand = Random(repr(points))
        start = [hand.uniform(0, 2 * math.pi) for _ in range(4)]
        for i, (x, y) in enumerate(path):
            way = i * width / 6
            x += shake * (math.sin(21 * way + start[0]) + 0.5 * math.sin(53 * way + start[1]))
            y += shake * (math.sin(19 * way + start[2]) + 0.5 * math.sin(47 * way + start[3]))
            end = abs(2 * i / (len(path) - 1) - 1)  # 1 at both ends, 0 in the middle
            r = width / 2 * (1 - pressure * end**2)
            pen.ellipse([each * self.side for each in (x - r, y - r, x + r, y + r)], colour)

    def crayon(self, box: tuple[float, float, float, float], colour: Colour, width: float = 0.03) -> None:
        """Fill a box (left, top, right, bottom) with a crayon that goes to and fro."""
        left, top, right, bottom = box
        hand = Random(repr(box))
        rows = max(2, round((bottom - top) / (0.75 * width)))
        turns = [
            (right if i % 2 else left, top + (bottom - top) * i / rows + hand.uniform(-0.15, 0.15) * width)
            for i in range(rows + 1)
        ]
        for here, there in pairwise(turns):
            self.stroke([here, there], width, colour, shake=0.002)


def curve(points: Sequence[Point], step: float) -> list[Point]:
    """Points about `step` apart on the Catmull-Rom spline through two points or more, both ends included."""
    padded = [points[0], *points, points[-1]]
    dense = [points[0]]
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        count = max(1, math.ceil(4 * math.dist(p1, p2) / step))
        for i in range(1, count + 1):
            t = i / count
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            x, y = (sum(w * p[axis] for w, p in zip(weights, (p0, p1, p2, p3), strict=True)) / 2 for axis in (0, 1))
            dense.append((x, y))
    even, gone = [dense[0]], 0.0
    for here, there in pairwise(dense):
        gone += math.dist(here, there)
        if gone >= step:
            even.append(there)
            gone = 0.0
    return [*even, dense[-1]]


def box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def oval(x: float, y: float, across: float, down: float | None = None) -> list[Point]:
    """An ellipse around (x, y) with the half axes `across` and `down`: a circle where `down` is left out."""
    angles = [2 * math.pi * i / 96 for i in range(97)]
    return [(x + across * math.cos(a), y + (across if down is None else down) * math.sin(a)) for a in angles]


def ridge(y: float, waves: Iterable[tuple[float, float, float]], bottom: float = 1.02) -> list[Point]:
    """The outline of hills whose crest is at y plus waves (height, periods in a side, phase)."""
    waves = list(waves)
    crest = [
        (x / 200, y + sum(h * math.sin(2 * math.pi * n * x / 200 + phase) for h, n, phase in waves))
        for x in range(-4, 205)
    ]
    return [*crest, (1.02, bottom), (-0.02, bottom)]


def tower(canvas: Canvas) -> None:
    """A campanile in the evening sun, in front of a bay and hills."""
    canvas.area(box(-0.02, -0.02, 1.02, 0.34), "#3f74b8", "#8fb6dc")
    canvas.area(box(-0.02, 0.34, 1.02, 0.62), "#8fb6dc", "#ffe2ae")
    for x, y, across, down, alpha in [
        (0.12, 0.20, 0.17, 0.030, 0.85),
        (0.22, 0.165, 0.10, 0.028, 0.8),
        (0.84, 0.11, 0.15, 0.024, 0.75),
        (0.93, 0.085, 0.09, 0.02, 0.7),
        (0.80, 0.38, 0.20, 0.018, 0.7),
        (0.16, 0.43, 0.18, 0.014, 0.65),
    ]:
        canvas.area(oval(x, y + 0.014, across, down), "#c99f9f", blur=0.014, alpha=0.45 * alpha)
        canvas.area(oval(x, y, across, down), "#fffaf0", "#f3d9c6", blur=0.012, alpha=alpha)
    canvas.area(ridge(0.575, [(0.020, 1.1, 0.6), (0.008, 3.1, 2.0)]), "#8a9dbd", "#c3b6b8")  # hills across the bay
    canvas.area(box(-0.02, 0.635, 1.02, 0.72), "#e6cfae", "#89a3b8")  # the bay, bright under the low sun
    for y, left, right in [(0.652, 0.05, 0.33), (0.668, 0.70, 0.97), (0.682, 0.15, 0.40)]:
        canvas.area(oval((left + right) / 2, y, (right - left) / 2, 0.003), "#fff3d2", blur=0.002, alpha=0.8)
    canvas.area(ridge(0.705, [(0.016, 0.9, 3.6), (0.006, 4.3, 1.0)]), "#5e7a58", "#4e6b40")  # wooded near hills
    for left, top, right, roof in [(0.03, 0.735, 0.20, "#b5583a"), (0.77, 0.725, 0.99, "#a94f36")]:  # low halls
        middle = (left + right) / 2
        canvas.area(box(left, top, right, 0.86), "#f0dcb6", "#cbb08a")
        canvas.area([(left - 0.015, top), (middle, top - 0.05), (right + 0.015, top)], roof, "#7d3626")
        for i in range(4):
            x = left + (right - left) * (i + 0.5) / 4
            canvas.area(box(x - 0.010, top + 0.030, x + 0.010, top + 0.075), "#54606e")
    canvas.area(ridge(0.845, [(0.006, 1.3, 1.0)]), "#86a655", "#4c7437")  # the lawn
    canvas.area([(0.455, 0.845), (0.575, 0.845), (0.72, 1.02), (0.27, 1.02)], "#ecdcb9", "#c9b189")  # the path
    canvas.area([(0.60, 0.85), (1.02, 0.90), (1.02, 0.945), (0.60, 0.872)], "#2c4a2a", blur=0.01, alpha=0.55)  # shadow
    campanile(canvas)
    hand = Random(7)
    for x, y, size in [
        (0.055, 0.865, 0.085), (0.20, 0.855, 0.060), (0.315, 0.850, 0.050), (0.375, 0.862, 0.036),
        (0.675, 0.858, 0.044), (0.755, 0.853, 0.058), (0.865, 0.860, 0.066), (0.965, 0.875, 0.090),
    ]:  # fmt: skip
        canvas.area(oval(x + 0.03, y + 0.045, size, 0.014), "#24401f", blur=0.008, alpha=0.6)
        canvas.area(box(x - 0.006, y, x + 0.006, y + 0.05), "#4a3524")
        for tone, lift in (("#23431f", 0.0), ("#3c6a2c", 0.22), ("#79a043", 0.5)):  # from the shade up into the light
            for _ in range(9):
                angle, far = hand.uniform(0, 2 * math.pi), hand.uniform(0, 0.62 - 0.6 * lift)
                leaf = (x + size * (far * math.cos(angle) - 0.5 * lift), y + size * (far * math.sin(angle) - lift))
                canvas.area(oval(*leaf, size * hand.uniform(0.26, 0.42) * (1 - 0.5 * lift)), tone, blur=0.003)


def campanile(canvas: Canvas) -> None:
    """The tower itself: a shaft, a belfry of open arches, a pyramid and a lantern, lit from the left."""
    left, corner, right = 0.425, 0.535, 0.605  # the lit face ends and the shaded face begins at the corner
    light, glow, shade, dark = "#fbeed3", "#e8cfa4", "#a08f8c", "#7d7078"
    canvas.area(box(left, 0.30, corner, 0.855), light, glow)
    canvas.area(box(corner, 0.30, right, 0.855), shade, dark)
    for start, stop, count, tone in ((left, corner, 3, "#cdb389"), (corner, right, 2, "#6b6069")):  # long grooves
        for i in range(count):
            x = start + (stop - start) * (i + 0.75) / (count + 0.5)
            canvas.area(box(x - 0.007, 0.37, x + 0.007, 0.79), tone, alpha=0.85)
            for y in (0.44, 0.54, 0.64, 0.74):
                canvas.area(box(x - 0.005, y, x + 0.005, y + 0.03), "#4d4a5a", alpha=0.9)
    canvas.area(box(left - 0.012, 0.80, corner, 0.858), "#f0ddb7", "#d6ba8c")  # the base
    canvas.area(box(corner, 0.80, right + 0.012, 0.858), "#94848a", "#6c6068")
    canvas.area(box(left + 0.037, 0.818, corner - 0.037, 0.858), "#4a3b3a")  # the door
    for top, bottom, out in ((0.292, 0.306, 0.014), (0.178, 0.190, 0.012), (0.372, 0.378, 0.004)):
        canvas.area(box(left - out, top, corner, bottom), "#fff6e2", "#dcc096")  # the cornices
        canvas.area(box(corner, top, right + out, bottom), "#b09e99", "#766a72")
    for x, across, rim, dial in ((0.480, 1.0, "#4b4a63", "#fdf3dc"), (0.570, 0.67, "#5a5360", "#b3a6a1")):  # clocks
        canvas.area(oval(x, 0.338, 0.024 * across, 0.024), rim)
        canvas.area(oval(x, 0.338, 0.0185 * across, 0.0185), dial)
        canvas.stroke([(x, 0.322), (x, 0.338), (x + 0.012 * across, 0.341)], 0.004, "#33334d")
    canvas.area(box(left, 0.188, corner, 0.294), light, "#efd9b0")  # the belfry
    canvas.area(box(corner, 0.188, right, 0.294), "#a99793", "#85777c")
    for x, half, tone in ((0.451, 0.0115, "#5b6f97"), (0.480, 0.0115, "#5b6f97"), (0.509, 0.0115, "#5b6f97"),
                          (0.556, 0.0085, "#3d4462"), (0.585, 0.0085, "#3d4462")):  # fmt: skip
        canvas.area([*oval(x, 0.216, half)[48:97], (x + half, 0.286), (x - half, 0.286)], tone, "#2d3352")
        canvas.area(oval(x, 0.252, half * 0.6, 0.012), "#b98d3e")  # a bell
    tip, eaves = (0.516, 0.052), 0.180
    canvas.area([tip, (left + 0.008, eaves), (corner, eaves)], "#f4e3c3", "#d8bd93")  # the pyramid
    canvas.area([tip, (corner, eaves), (right - 0.006, eaves)], "#97888a", "#6f646e")
    for x, tone in ((left - 0.002, "#fff2d8"), (corner, "#d9c4a6"), (right + 0.002, "#9a8a8c")):  # obelisks
        canvas.area([(x, 0.118), (x + 0.010, 0.182), (x - 0.010, 0.182)], tone)
    canvas.area(box(0.508, 0.042, 0.524, 0.070), "#e9d7b6", "#a4917f", across=True)  # the lantern
    canvas.area([(0.516, 0.008), (0.525, 0.044), (0.507, 0.044)], "#7d8f86")


def landscape(canvas: Canvas) -> None:
    """A low sun over mountains and a lake."""
    canvas.area(box(-0.02, -0.02, 1.02, 0.30), "#2c4a86", "#d98a7d")
    canvas.area(box(-0.02, 0.30, 1.02, 0.60), "#d98a7d", "#ffd98a")
    for reach, alpha in ((0.22, 0.35), (0.13, 0.5)):
        canvas.area(oval(0.66, 0.40, reach), "#ffe9a8", blur=0.05, alpha=alpha)
    canvas.area(oval(0.66, 0.40, 0.062), "#fffbe0", "#ffd75e")
    for x, y, across in ((0.22, 0.14, 0.20), (0.80, 0.20, 0.16), (0.42, 0.25, 0.14)):
        canvas.area(oval(x, y, across, 0.016), "#ffc9a8", "#b5627a", blur=0.010, alpha=0.8)
    for peaks, sunny, shaded, snow in (
        ([(0.12, 0.36, 0.25), (0.42, 0.30, 0.27), (0.93, 0.33, 0.26)], "#8d7fa5", "#665f8f", "#f6e3e4"),
        ([(-0.02, 0.44, 0.24), (0.27, 0.42, 0.20), (0.80, 0.47, 0.20)], "#6a6390", "#464673", "#d9cfe2"),
    ):
        for x, y, half in peaks:  # lit from the right, where the sun is
            middle = (x + 0.05 * half, 0.62)
            canvas.area([(x, y), (x + half, 0.62), middle], sunny, "#a28aa0")
            canvas.area([(x, y), middle, (x - half, 0.62)], shaded, "#7a6f96")
            cap, slope = 0.28 * (0.62 - y), 0.28 * half
            edge = [(x - slope, y + cap), (x - 0.45 * slope, y + 0.75 * cap), (x, y + 1.25 * cap)]
            canvas.area([(x, y), *edge, (x + 0.5 * slope, y + 0.8 * cap), (x + slope, y + cap)], snow)
    canvas.area(box(-0.02, 0.60, 1.02, 0.86), "#f3b888", "#2f4f84")  # the lake
    for i in range(11):  # the sun's way over the water
        y = 0.612 + 0.021 * i
        reach = 0.030 + 0.007 * i
        canvas.area(oval(0.66 + 0.012 * math.sin(5 * i), y, reach, 0.0055), "#fff0b8", blur=0.002, alpha=0.9 - 0.06 * i)
    for y, left, right in ((0.66, 0.05, 0.34), (0.72, 0.18, 0.50), (0.78, 0.04, 0.30), (0.75, 0.80, 0.98)):
        canvas.area(oval((left + right) / 2, y, (right - left) / 2, 0.004), "#c9d3ea", blur=0.003, alpha=0.5)
    canvas.area(ridge(0.86, [(0.020, 0.8, 2.4), (0.006, 3.7, 0.0)]), "#3f5b38", "#1b2d20")  # the near shore
    for x, foot, height in (
        (0.06, 0.93, 0.36), (0.15, 0.97, 0.30), (0.25, 0.92, 0.19), (0.86, 0.92, 0.22), (0.95, 0.97, 0.33),
    ):  # fmt: skip
        canvas.area(box(x - 0.008, foot - 0.03, x + 0.008, foot + 0.02), "#33231c")
        for i in range(4):  # firs, in four storeys
            top = foot - height + 0.2 * height * i
            half, low = height * (0.09 + 0.055 * i), top + 0.36 * height
            canvas.area([(x, top), (x + half, low), (x - half, low)], "#1f4030", "#12261f")
            canvas.area([(x, top), (x + half, low), (x + 0.35 * half, low)], "#4a6b44", alpha=0.8)


def house(canvas: Canvas) -> None:
    """A child's house with a smoking chimney, a tree and a sun."""
    canvas.crayon((0.03, 0.86, 0.97, 0.95), "#6fb24d", 0.045)
    canvas.crayon((0.26, 0.50, 0.70, 0.84), "#f6d68a", 0.04)
    canvas.area([(0.20, 0.50), (0.48, 0.24), (0.76, 0.50)], "#d9553f")
    canvas.crayon((0.60, 0.24, 0.655, 0.36), "#a8492f", 0.03)
    canvas.crayon((0.42, 0.66, 0.53, 0.84), "#8a5a33", 0.03)
    for x in (0.30, 0.59):
        canvas.crayon((x, 0.58, x + 0.08, 0.66), "#8fc7ea", 0.025)
    for points in (
        [(0.24, 0.50), (0.245, 0.68), (0.24, 0.86)], [(0.72, 0.50), (0.715, 0.68), (0.72, 0.86)],
        [(0.22, 0.86), (0.48, 0.865), (0.74, 0.86)], [(0.17, 0.52), (0.32, 0.375), (0.485, 0.225)],
        [(0.47, 0.225), (0.63, 0.37), (0.79, 0.52)], [(0.18, 0.505), (0.48, 0.50), (0.78, 0.505)],
        [(0.585, 0.30), (0.585, 0.22), (0.67, 0.22), (0.67, 0.38)], [(0.405, 0.86), (0.405, 0.645)],
        [(0.395, 0.645), (0.545, 0.645)], [(0.545, 0.645), (0.545, 0.86)],
    ):  # fmt: skip
        canvas.stroke(points, 0.016, "#2b2430", shake=0.003)
    for x in (0.29, 0.58):
        for line in (
            [(x, 0.57), (x + 0.10, 0.57)], [(x + 0.10, 0.57), (x + 0.10, 0.67)], [(x + 0.10, 0.67), (x, 0.67)],
            [(x, 0.67), (x, 0.57)], [(x + 0.05, 0.57), (x + 0.05, 0.67)], [(x, 0.62), (x + 0.10, 0.62)],
        ):  # fmt: skip
            canvas.stroke(line, 0.011, "#2b2430", shake=0.002)
    smoke = [(0.63, 0.185), (0.67, 0.14), (0.63, 0.10), (0.69, 0.06), (0.77, 0.035)]
    canvas.stroke(smoke, 0.016, "#8b8f99")
    sun(canvas, 0.16, 0.16)
    canvas.crayon((0.865, 0.66, 0.885, 0.86), "#8a5a33", 0.03)
    for x, y in ((0.83, 0.60), (0.92, 0.60), (0.875, 0.53), (0.875, 0.62)):
        canvas.area(oval(x, y, 0.065), "#4f9a45")
    crown = [(0.80, 0.67), (0.76, 0.59), (0.80, 0.52), (0.875, 0.455), (0.95, 0.52), (0.985, 0.60), (0.94, 0.67)]
    canvas.stroke([*crown, (0.875, 0.685), (0.80, 0.67)], 0.013, "#235c2a", shake=0.004)


def sun(canvas: Canvas, x: float, y: float) -> None:
    """A crayon sun with rays, 0.12 in radius."""
    canvas.area(oval(x, y, 0.068), "#ffd94a")
    canvas.stroke(oval(x, y, 0.068)[::6], 0.014, "#f0a020", shake=0.002)
    for i in range(10):
        dx, dy = math.cos(2 * math.pi * i / 10), math.sin(2 * math.pi * i / 10)
        canvas.stroke([(x + 0.09 * dx, y + 0.09 * dy), (x + 0.13 * dx, y + 0.13 * dy)], 0.014, "#f0a020")


def boat(canvas: Canvas) -> None:
    """A sailing boat on the waves."""
    sun(canvas, 0.82, 0.17)
    for x, y in ((0.12, 0.26), (0.20, 0.13)):
        for wing in (-1, 1):
            canvas.stroke([(x, y), (x + 0.035 * wing, y - 0.04), (x + 0.085 * wing, y - 0.03)], 0.014, "#555b66")
    canvas.crayon((0.04, 0.79, 0.96, 0.94), "#5fa8dc", 0.05)
    canvas.area([(0.49, 0.12), (0.49, 0.62), (0.82, 0.62)], "#f2625a")
    canvas.area([(0.44, 0.20), (0.44, 0.62), (0.20, 0.62)], "#ffd35c")
    hull = [(0.13, 0.67), (0.86, 0.67), (0.74, 0.83), (0.25, 0.83)]
    canvas.area(hull, "#a8663a", "#7c4526")
    for line in (
        [(0.465, 0.07), (0.467, 0.40), (0.465, 0.67)], [(0.49, 0.12), (0.49, 0.62)],
        [(0.49, 0.12), (0.64, 0.39), (0.82, 0.62)], [(0.82, 0.62), (0.65, 0.628), (0.49, 0.62)],
        [(0.44, 0.20), (0.44, 0.62)], [(0.44, 0.20), (0.31, 0.43), (0.20, 0.62)], [(0.20, 0.62), (0.44, 0.62)],
        *([a, b] for a, b in zip(hull, [*hull[1:], hull[0]], strict=True)),
        [(0.17, 0.72), (0.50, 0.725), (0.82, 0.72)],
    ):  # fmt: skip
        canvas.stroke(line, 0.015, "#2b2430", shake=0.0025)
    canvas.area([(0.467, 0.07), (0.36, 0.10), (0.467, 0.135)], "#3f74c4")
    for x in (0.33, 0.50, 0.67):
        canvas.area(oval(x, 0.768, 0.021), "#fdf6e3")
        canvas.stroke(oval(x, 0.768, 0.021)[::6], 0.010, "#2b2430")
    for y, phase in ((0.82, 0.0), (0.875, 2.1), (0.93, 4.0)):
        wave = [(0.04 + 0.92 * i / 24, y + 0.014 * math.sin(i * math.pi / 2 + phase)) for i in range(25)]
        canvas.stroke(wave, 0.015, "#1f5c9c")


def tree(canvas: Canvas) -> None:
    """An apple tree."""
    canvas.crayon((0.05, 0.90, 0.95, 0.96), "#7dbb55", 0.045)
    trunk = [(0.42, 0.92), (0.455, 0.75), (0.445, 0.55), (0.555, 0.55), (0.545, 0.75), (0.60, 0.92)]
    canvas.area(trunk, "#9a6a40", "#7a4c2a")
    for x, y, r in (
        (0.33, 0.44, 0.17), (0.67, 0.44, 0.17), (0.50, 0.29, 0.20), (0.36, 0.28, 0.13), (0.64, 0.28, 0.13),
        (0.50, 0.48, 0.17),
    ):  # fmt: skip
        canvas.area(oval(x, y, r), "#5aa848")
    for i in range(9):  # crayon over the crown
        y = 0.17 + 0.05 * i
        half = 0.30 * math.sqrt(1 - ((y - 0.38) / 0.28) ** 2)
        canvas.stroke([(0.5 - half, y + 0.03), (0.5 + half, y - 0.02)], 0.012, "#83c466", shake=0.004)
    crown = [
        (0.36, 0.60), (0.22, 0.58), (0.155, 0.46), (0.20, 0.33), (0.25, 0.20), (0.36, 0.14), (0.50, 0.085),
        (0.64, 0.14), (0.75, 0.20), (0.80, 0.33), (0.845, 0.46), (0.78, 0.58), (0.64, 0.60), (0.50, 0.65),
        (0.36, 0.60),
    ]  # fmt: skip
    canvas.stroke(crown, 0.018, "#1f5a2a", shake=0.006)
    canvas.stroke(trunk[:3], 0.016, "#3d2817", shake=0.003)
    canvas.stroke(trunk[3:], 0.016, "#3d2817", shake=0.003)
    for line in ([(0.49, 0.90), (0.495, 0.78), (0.485, 0.68)], [(0.52, 0.84), (0.525, 0.74)]):
        canvas.stroke(line, 0.010, "#3d2817", shake=0.002)
    for x, y in ((0.30, 0.42), (0.44, 0.23), (0.50, 0.47), (0.66, 0.30), (0.70, 0.49), (0.37, 0.54), (0.57, 0.36)):
        canvas.area(oval(x, y, 0.036), "#e0403a")
        canvas.stroke(oval(x, y, 0.036)[::6], 0.009, "#8c1f24")


def face(canvas: Canvas) -> None:
    """A smiling face with brown hair."""
    canvas.area(oval(0.50, 0.46, 0.37, 0.38), "#7a4a2a", "#5c351d")
    canvas.area(oval(0.50, 0.53, 0.29, 0.36), "#f9d3b0", "#f0bd96")
    fringe = [(0.20, 0.46), (0.24, 0.24), (0.50, 0.12), (0.76, 0.24), (0.80, 0.46), (0.68, 0.33), (0.42, 0.30)]
    canvas.area(fringe, "#7a4a2a", "#6b3f22")
    for side in (-1, 1):
        eye = 0.50 + 0.125 * side
        canvas.area(oval(0.50 + 0.175 * side, 0.63, 0.06, 0.045), "#f39a8d", blur=0.015, alpha=0.8)
        canvas.area(oval(eye, 0.49, 0.058, 0.040), "#ffffff")
        canvas.area(oval(eye, 0.49, 0.034), "#3d6fa8")
        canvas.area(oval(eye, 0.49, 0.017), "#16161f")
        canvas.stroke(oval(eye, 0.49, 0.058, 0.040)[48::6], 0.013, "#2b2430")
        canvas.stroke([(eye - 0.07, 0.415), (eye, 0.395), (eye + 0.07, 0.415)], 0.017, "#4d2c17", pressure=0.4)
    canvas.stroke([(0.505, 0.52), (0.475, 0.61), (0.495, 0.635), (0.53, 0.625)], 0.013, "#b06a4c", pressure=0.3)
    lips = [(0.38, 0.715), (0.44, 0.765), (0.50, 0.78), (0.56, 0.765), (0.62, 0.715)]
    canvas.area([*lips, (0.50, 0.735)], "#fffaf5")
    canvas.stroke(lips, 0.020, "#c23b44", pressure=0.4)
    canvas.stroke([lips[0], (0.50, 0.735), lips[-1]], 0.012, "#c23b44")
    canvas.stroke(oval(0.50, 0.53, 0.29, 0.36)[2:47:4], 0.014, "#6b3a24", shake=0.003)
    for start in (0.30, 0.40, 0.50, 0.60, 0.70):
        lock = [(start, 0.20 + 0.8 * (start - 0.5) ** 2), (start - 0.03, 0.25), (start - 0.04, 0.30)]
        canvas.stroke(lock, 0.010, "#a06a3e", pressure=0.5)


# The strokes of a right-handed writer, in any units: `digit` scales and centres them.
STROKES: dict[str, list[list[Point]]] = {
    "zero": [[(0.60, 0.05), (0.42, 0.03), (0.24, 0.19), (0.15, 0.50), (0.20, 0.80), (0.40, 0.97), (0.63, 0.89),
              (0.79, 0.61), (0.78, 0.29), (0.64, 0.09), (0.50, 0.06)]],
    "one": [[(0.58, 0.02), (0.52, 0.35), (0.46, 0.68), (0.41, 0.98)]],
    "two": [[(0.16, 0.26), (0.28, 0.09), (0.52, 0.03), (0.72, 0.15), (0.72, 0.37), (0.54, 0.62), (0.32, 0.82),
             (0.14, 0.94)],
            [(0.14, 0.94), (0.40, 0.90), (0.64, 0.93), (0.88, 0.92)]],
    "three": [[(0.18, 0.13), (0.42, 0.02), (0.68, 0.09), (0.72, 0.27), (0.58, 0.41), (0.38, 0.47)],
              [(0.38, 0.47), (0.62, 0.50), (0.80, 0.66), (0.75, 0.86), (0.50, 0.98), (0.18, 0.90)]],
    "four": [[(0.22, 0.05), (0.17, 0.28), (0.13, 0.52)], [(0.13, 0.52), (0.42, 0.54), (0.80, 0.49)],
             [(0.74, 0.02), (0.70, 0.38), (0.66, 0.72), (0.64, 0.99)]],
    "five": [[(0.30, 0.05), (0.26, 0.24), (0.22, 0.43)],
             [(0.22, 0.43), (0.46, 0.38), (0.70, 0.49), (0.76, 0.70), (0.63, 0.90), (0.38, 0.98), (0.14, 0.90)],
             [(0.30, 0.05), (0.52, 0.06), (0.82, 0.02)]],
    "six": [[(0.62, 0.03), (0.40, 0.20), (0.23, 0.46), (0.18, 0.72), (0.30, 0.93), (0.53, 0.97), (0.72, 0.84),
             (0.71, 0.66), (0.53, 0.56), (0.33, 0.63), (0.20, 0.78)]],
    "seven": [[(0.25, 0.10), (0.50, 0.09), (0.80, 0.05)], [(0.80, 0.05), (0.68, 0.34), (0.57, 0.62), (0.49, 0.92)]],
    "eight": [[(0.71, 0.14), (0.52, 0.03), (0.29, 0.11), (0.30, 0.31), (0.52, 0.48), (0.72, 0.67), (0.68, 0.89),
               (0.45, 0.98), (0.24, 0.87), (0.28, 0.67), (0.50, 0.48), (0.70, 0.31), (0.72, 0.15)]],
    "nine": [[(0.71, 0.17), (0.50, 0.04), (0.27, 0.13), (0.20, 0.34), (0.36, 0.49), (0.58, 0.42), (0.71, 0.19)],
             [(0.72, 0.16), (0.72, 0.40), (0.66, 0.70), (0.57, 0.99)]],
}  # fmt: skip
STROKE_WIDTH = 2.8 / 28


def digit(canvas: Canvas, name: str) -> None:
    """A digit as MNIST has it: its longer side 20 of 28 pixels, ink included, its centre of mass in the middle."""
    canvas.image.paste("black", (0, 0, canvas.side, canvas.side))
    ink = [point for stroke in STROKES[name] for point in curve(stroke, step=0.01)]
    spans = [max(p[axis] for p in ink) - min(p[axis] for p in ink) for axis in (0, 1)]
    scale = (20 / 28 - STROKE_WIDTH) / max(spans)
    x, y = (sum(p[axis] for p in ink) / len(ink) for axis in (0, 1))
    for stroke in STROKES[name]:
        points = [(0.5 + scale * (px - x), 0.5 + scale * (py - y)) for px, py in stroke]
        canvas.stroke(points, STROKE_WIDTH, "white", pressure=0.15)


DRAWINGS: dict[str, Callable[[Canvas], None]] = {
    "tower": tower,
    "landscape": landscape,
    "house": house,
    "boat": boat,
    "tree": tree,
    "face": face,
    **{name: partial(digit, name=name) for name in STROKES},
}
