"""Views of a visual anagram (Geng et al. 2024, "Visual Anagrams"): one picture that is something else when turned.

A denoiser that is shown a view of x_t must see a clean image plus Gaussian noise, of the level it is told. So a view
has to be orthogonal (the paper's statistical consistency). All views here are signed permutations of the pixels, which
are orthogonal exactly, not up to rounding, and which also say what a view does to a variance: the permutation without
the sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from denoiselab.edit.names import check_view
from denoiselab.noise import key as generator_key

ImageFunction = Callable[[Tensor], Tensor]  # (B, C, H, W) -> (B, C, H, W)

# The jigsaw's knobs are discs, in units of a piece's side: the radius, and how far the centre is beyond the edge.
KNOB_RADIUS, KNOB_CENTRE = 0.17, 0.13


class View:
    """A signed permutation of the pixels of square images, the same in every channel.

    Attributes:
        name: for titles and records, with its parameters: "patches (n=4, seed=0)".
        size: the side of the images it takes, in pixels.
        permutation: (size^2,) int64; pixel i of the output is pixel permutation[i] of the input, row by row.
        sign: 1, or -1 for a negative.

    Args:
        permutation: (size^2,), of any numeric type.
        key: what a message calls the view.

    Raises:
        ValueError: in one line, where `permutation` is none of all the pixels, or sign is another.
    """

    def __init__(self, name: str, permutation: Tensor, size: int, sign: int = 1, key: str = "views") -> None:
        pixels = torch.arange(size * size).to(permutation)
        if not torch.equal(permutation.sort().values, pixels):
            allowed = "a permutation of the pixels"
            raise ValueError(f"{key}={name}: allowed is {allowed}, this view is not orthogonal at size {size}")
        if sign not in (1, -1):
            raise ValueError(f"{key}={name}: allowed is sign 1 or -1, this view has {sign}")
        self.name, self.size, self.sign = name, size, sign
        self.permutation = permutation.long()
        self._moves_pixels = not torch.equal(permutation, pixels)
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @classmethod
    def from_function(cls, name: str, function: ImageFunction, size: int, sign: int = 1, key: str = "views") -> View:
        """The view that moves pixels as a function on images (1, 3, size, size) does, times `sign`.

        The function is called once, on an image whose pixels (float64) are all different. Raises ValueError, in one
        line, where it does anything but permute the pixels of each channel alike: crops, resamples, blurs, mixes
        colours.
        """
        count = size * size
        channels = torch.arange(3, dtype=torch.float64).reshape(1, 3, 1, 1) * count
        seen = function(torch.arange(count, dtype=torch.float64).reshape(1, 1, size, size) + channels)
        alike = seen.shape == (1, 3, size, size) and bool((seen == seen[:, :1] + channels).all())
        return cls(name, seen[0, 0].flatten() if alike else torch.empty(0), size, sign, key)

    def __call__(self, x: Tensor) -> Tensor:
        """The view of images or noise (B, C, H, W), centred at 0: images in [-1, 1]. Identity returns x itself.

        Where black is 0, centre first: x_t - alpha_t / 2.
        """
        return self._signed(self._move(x, 0))

    def inverse(self, x: Tensor) -> Tensor:
        """The image or noise (B, C, H, W) whose view is x: the transpose, exact to the bit."""
        return self._signed(self._move(x, 1))

    def variance(self, v: Tensor) -> Tensor:
        """The variance, or its weight, of a view's pixels, (B, C, H, W), where v is that of the image's."""
        return self._move(v, 0)

    def inverse_variance(self, v: Tensor) -> Tensor:
        """The variance, or its weight, of an image's pixels, (B, C, H, W), where v is that of its view's."""
        return self._move(v, 1)

    def displayed(self, pictures: Tensor) -> Tensor:
        """The view of pictures (B, C, H, W) in [0, 1], as people see it: a negative is 1 - x."""
        moved = self._move(pictures, 0)
        return moved if self.sign == 1 else 1 - moved

    def _signed(self, x: Tensor) -> Tensor:
        return x if self.sign == 1 else -x

    def _move(self, x: Tensor, direction: int) -> Tensor:
        """The permutation (direction 0) or its inverse (1)."""
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(f"x of shape {tuple(x.shape)}: this view takes (B, C, {self.size}, {self.size})")
        if not self._moves_pixels:
            return x
        if x.device not in self._on_device:
            index = self.permutation.to(x.device)
            self._on_device[x.device] = index, index.argsort()
        pixels = x.flatten(-2)
        index = self._on_device[x.device][direction].expand_as(pixels)
        return pixels.gather(-1, index).reshape(x.shape)  # on a CPU at 1024 px in a sixth of index_select's time


def make_view(spec: Any, size: int, key: str = "views") -> View:
    """The view of a spec (see `denoiselab.edit.names`) at a size in pixels.

    The parameters mean the same at every size, and so does the view, except that `pixels` draws as many pixels as
    there are ({patches: {n: 64}} moves the pixels of a 64 px picture, and blocks of larger ones).

    Raises ValueError, in one line that begins with `key`, as `check_view` does.
    """
    name, values = check_view(spec, size, key)
    words = ", ".join(f"{word}={value}" for word, value in values.items())
    title, sign = f"{name} ({words})" if words else name, -1 if name == "negate" else 1
    return View.from_function(title, _FUNCTIONS[name](size, **values), size, sign, key)


def _same(size: int) -> ImageFunction:
    return lambda x: x


def _flip(dim: int) -> Callable[[int], ImageFunction]:
    return lambda size: lambda x: x.flip(dim)


def _rotate(turns: int) -> Callable[[int], ImageFunction]:
    return lambda size: lambda x: x.rot90(turns, (-2, -1))


def _skew(size: int, shift: float) -> ImageFunction:
    """Columns rolled down by an amount that grows by `shift` sides from the left to the right, 0 in the middle."""
    down = (shift * size * (torch.arange(size) / (size - 1) - 0.5)).round().long()
    rows = (torch.arange(size)[:, None] - down) % size  # (H, W)
    return lambda x: x.gather(-2, rows.expand_as(x))


def _patches(size: int, n: int, seed: int) -> ImageFunction:
    order = _shuffle(n * n, seed, "patches")
    return lambda x: _join(_split(x, n)[:, :, order])


def _pixels(size: int, seed: int) -> ImageFunction:
    order = _shuffle(size * size, seed, "pixels")
    return lambda x: x.flatten(-2)[..., order].reshape(x.shape)


def _inner_circle(size: int, turns: int, radius: float) -> ImageFunction:
    """A disc about the middle, of a radius in sides, turned by quarter turns anticlockwise."""
    squares = (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) ** 2
    inside = squares[:, None] + squares <= (radius * size) ** 2
    return lambda x: x.rot90(turns, (-2, -1)).where(inside, x)


def _square_hinge(size: int, squares: int) -> ImageFunction:
    """Each square of a chequerboard a quarter turn about its own centre: anticlockwise where x + y is even."""
    rows, columns = torch.arange(squares)[:, None], torch.arange(squares)
    even = ((rows + columns) % 2 == 0).reshape(-1, 1, 1)

    def turn(x: Tensor) -> Tensor:
        tiles = _split(x, squares)
        return _join(tiles.rot90(1, (-2, -1)).where(even, tiles.rot90(-1, (-2, -1))))

    return turn


def _split(x: Tensor, n: int) -> Tensor:
    """x (B, C, H, W) in n x n tiles, row by row: (B, C, n^2, H / n, W / n)."""
    return x.unflatten(-1, (n, -1)).unflatten(-3, (n, -1)).transpose(-2, -3).flatten(2, 3)


def _join(tiles: Tensor) -> Tensor:
    """(B, C, H, W) of tiles (B, C, n^2, H / n, W / n)."""
    n = round(tiles.shape[2] ** 0.5)
    return tiles.unflatten(2, (n, n)).transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _jigsaw(size: int, seed: int) -> ImageFunction:
    """4 x 4 pieces; in each of the four orbits (see `jigsaw_pieces`) the four pieces change places at random.

    A piece that goes from place i to place j is turned with the whole picture, by j - i quarter turns. As the pieces
    of an orbit are each other's quarter turns, to the pixel, it fits exactly.
    """
    orbits, places = jigsaw_pieces(size)
    sources = torch.stack([_shuffle(4, seed, f"jigsaw {orbit}") for orbit in range(4)])  # (orbit, place) -> place
    turns = (places - sources[orbits, places]) % 4  # (H, W), clockwise

    def move(x: Tensor) -> Tensor:
        moved = x
        for k in (1, 2, 3):
            moved = x.rot90(-k, (-2, -1)).where(turns == k, moved)
        return moved

    return move


def jigsaw_pieces(size: int) -> tuple[Tensor, Tensor]:
    """(orbit, place) of every pixel, each (size, size) int64 in 0..3, for an even size.

    The pieces (row, column) = (0, 0), (0, 1), (1, 0), (1, 1) of the upper left quarter are place 0 of an orbit each
    (corner, two kinds of edge, inner); the quarters follow clockwise. The geometry is only worked out for the pixels
    of the upper left quarter, and the others are turned copies: a clockwise quarter turn of the picture takes
    (orbit, place) to (orbit, place + 1) by construction, whatever rounding did to a knob's outline.
    """
    half = size // 2
    centres = (torch.arange(half, dtype=torch.float64) + 0.5) * 4 / size  # (half,) in pieces, 0 to 2
    y, x = centres[:, None], centres
    orbit = (2 * (y >= 1) + (x >= 1)).long()  # (half, half)
    place = torch.zeros_like(orbit)
    # Knobs that reach into this quarter: the middle of an edge (y, x), which way is out of the piece that has the knob,
    # and that piece (orbit, place). The part of a disc on the near side of the edge is that piece's anyway.
    # The last two come out of the quarter below (place 3): the turned copies of the knobs that this quarter's pieces
    # (0, 1) and (1, 1) push through the right-hand edge into the next.
    for middle, out, owner in (
        ((0.5, 1.0), (0, 1), (0, 0)),  # corner into the upper edge piece
        ((1.0, 0.5), (-1, 0), (2, 0)),  # left edge piece into the corner
        ((1.0, 1.5), (1, 0), (1, 0)),  # upper edge piece into the inner one
        ((1.5, 1.0), (0, -1), (3, 0)),  # inner piece into the left edge one
        ((2.0, 0.5), (-1, 0), (1, 3)),
        ((2.0, 1.5), (-1, 0), (3, 3)),
    ):
        dy, dx = (m + KNOB_CENTRE * o for m, o in zip(middle, out, strict=True))
        disc = (y - dy) ** 2 + (x - dx) ** 2 <= KNOB_RADIUS**2
        orbit[disc], place[disc] = owner
    top = torch.cat([orbit, orbit.rot90(-1)], 1)
    places = torch.cat([place, (place.rot90(-1) + 1) % 4], 1)
    return torch.cat([top, top.rot90(2)]), torch.cat([places, (places.rot90(2) + 2) % 4])


def _shuffle(count: int, seed: int, purpose: str) -> Tensor:
    """A random order (count,) of 0..count - 1."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(generator_key(seed, purpose)))


_FUNCTIONS: dict[str, Callable[..., ImageFunction]] = {
    "identity": _same,
    "flip_horizontal": _flip(-1),
    "flip_vertical": _flip(-2),
    "rotate_90": _rotate(1),
    "rotate_180": _rotate(2),
    "rotate_270": _rotate(3),
    "negate": _same,
    "skew": _skew,
    "patches": _patches,
    "pixels": _pixels,
    "jigsaw": _jigsaw,
    "inner_circle": _inner_circle,
    "square_hinge": _square_hinge,
}
