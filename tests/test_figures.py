"""Pictures: where the pixels of a grid lie, what is seen of a loss, how a GIF plays, and files whole or absent."""

import ast
import errno
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

import denoiselab.figures as figures
from denoiselab.figures import (
    Curve,
    animation,
    grid,
    loss_curve,
    loss_curves,
    panel,
    quality_figure,
    save_grid,
)
from denoiselab.figures.curves import draw, epoch_averages
from denoiselab.figures.quality import draw_quality
from denoiselab.files import write_atomically


def images(count: int, channels: int = 1, size: int = 28) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(count))


def pixels(path: Path) -> Tensor:
    with Image.open(path) as image:
        return pil_to_tensor(image)


def leftovers(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


# Grids


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_is_row_major_with_padding_around_every_cell(channels: int) -> None:
    batch = images(40, channels) + 0.01
    laid = grid(batch, columns=10)
    assert laid.shape == (channels, 4 * 30 + 2, 10 * 30 + 2)
    rest = laid.clone()
    for i, image in enumerate(batch.clamp(0, 1)):
        top, left = 2 + 30 * (i // 10), 2 + 30 * (i % 10)
        assert torch.equal(laid[:, top : top + 28, left : left + 28], image)
        rest[:, top : top + 28, left : left + 28] = 0
    assert not rest.any()


def test_grid_of_one_image_is_padded_and_an_incomplete_row_is_black() -> None:
    assert grid(images(1), columns=10).shape == (1, 32, 32)
    laid = grid(images(5, size=4), columns=3, padding=1)
    assert laid.shape == (1, 11, 16)
    assert not laid[:, 6:10, 11:15].any()


def test_grid_clamps_and_leaves_its_input_alone() -> None:
    batch = torch.tensor([-3.0, 0.5, 7.0, 1.0]).reshape(1, 1, 2, 2)
    assert grid(batch, 1, padding=0).flatten().tolist() == [0, 0.5, 1, 1]
    assert batch.flatten().tolist() == [-3, 0.5, 7, 1]


@pytest.mark.parametrize(
    ("batch", "columns", "message"),
    [
        (torch.zeros(0, 1, 4, 4), 1, "images has shape"),
        (torch.zeros(1, 4, 4), 1, "images has shape"),
        (torch.zeros(1, 2, 4, 4), 1, "images has shape"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 1, "images is torch.uint8"),
        (torch.full((1, 1, 4, 4), math.nan), 1, "16 NaN or infinite values of 16"),
        (torch.zeros(1, 1, 4, 4), 0, "columns is 0"),
    ],
)
def test_grid_refuses_in_one_line(batch: Tensor, columns: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        grid(batch, columns)
    assert "\n" not in str(caught.value)
    assert "allowed" in str(caught.value)


def test_saved_grid_is_native_and_eight_bit(tmp_path: Path) -> None:
    batch = images(40)
    save_grid(batch, tmp_path / "new" / "samples_epoch_001.png", 10, title="never in the native file")
    saved = pixels(tmp_path / "new" / "samples_epoch_001.png")
    assert saved.shape == (1, 122, 302)
    assert saved.dtype == torch.uint8
    assert torch.equal(saved, (grid(batch, 10) * 255).round().byte())


@pytest.mark.parametrize("channels", [1, 3])
def test_preview_holds_the_grid_enlarged_by_a_whole_number(tmp_path: Path, channels: int) -> None:
    batch = images(40, channels)
    preview = save_grid(batch, tmp_path / "a.png", 10)
    assert preview == tmp_path / "a_preview.png"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png", "a_preview.png"]
    shown = pixels(preview)
    assert 900 <= shown.shape[2] <= 1400
    body = (grid(batch, 10) * 255).round().byte().repeat_interleave(4, 1).repeat_interleave(4, 2).expand(3, -1, -1)
    margin = (shown.shape[2] - body.shape[2]) // 2
    assert margin >= 0
    assert torch.equal(shown[:, margin : margin + body.shape[1], margin : margin + body.shape[2]], body)


def test_labels_and_title_lie_outside_of_the_images(tmp_path: Path) -> None:
    batch, columns = torch.ones(6, 1, 28, 28), 3
    bare = pixels(save_grid(batch, tmp_path / "bare.png", columns))
    long = "an extraordinarily long title " * 8
    labelled = pixels(
        save_grid(
            batch,
            tmp_path / "labelled.png",
            columns,
            row_labels=["clean", "a photo of a man in a hat beside a very tall tower"],
            column_labels=["σ = 0.2", "an oil painting of people around a campfire", "unbreakable" * 20],
            title=long,
        )
    )
    assert labelled.shape[1] > bare.shape[1]
    assert labelled.shape[2] > bare.shape[2]
    # The enlarged grid is whole, to the right of the row labels and below the others.
    height, width = bare.shape[1] - 32, bare.shape[2] - 32
    body = bare[:, 16 : 16 + height, 16 : 16 + width]
    left = int((labelled[0, -17] == 0).nonzero()[0])  # the padding is black, ink and antialiasing are not
    top = labelled.shape[1] - 16 - height
    assert torch.equal(labelled[:, top : top + height, left : left + width], body)
    assert (labelled[:, top : top + height // 2, :left] < 128).any()  # first row's label
    assert (labelled[:, top + height // 2 : -16, :left] < 128).any()  # second row's
    for i in range(columns):  # each column's label, above its own cell
        cell = slice(left + width * i // columns, left + width * (i + 1) // columns)
        assert (labelled[:, top - 24 : top, cell] < 128).any()
    border = torch.cat([labelled[:, :8].flatten(), labelled[:, :, :8].flatten(), labelled[:, :, -8:].flatten()])
    assert (border == 255).all()  # no text is cut off at the edge


def test_labels_must_match_the_grid(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column_labels has 2 entries; allowed: 3"):
        save_grid(images(6), tmp_path / "a.png", 3, column_labels=["a", "b"])
    with pytest.raises(ValueError, match="row_labels has 3 entries; allowed: 2"):
        save_grid(images(6), tmp_path / "a.png", 3, row_labels=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"ends in \.png"):
        save_grid(images(6), tmp_path / "a.jpg", 3)
    assert not list(tmp_path.iterdir())


def test_panel_has_one_row_for_each_tensor(tmp_path: Path) -> None:
    rows = [images(7), 1 - images(7), images(7) / 2]
    panel(rows, tmp_path / "p.png", row_labels=["clean", "noisy", "denoised"])
    assert torch.equal(pixels(tmp_path / "p.png"), (grid(torch.cat(rows), 7) * 255).round().byte())
    with pytest.raises(ValueError, match="rows has shapes"):
        panel([images(7), images(6)], tmp_path / "q.png")
    with pytest.raises(ValueError, match="rows has shapes"):
        panel([], tmp_path / "q.png")


# Files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")

    def fail() -> None:
        with write_atomically(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".ckpt"
            assert temporary != path
            temporary.write_bytes(b"half of the n")
            assert path.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with write_atomically(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_in_one_line_with_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "a.png"
    save_grid(images(1), old, 1)
    before = old.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match=r"disk full.*a\.png") as caught:
        save_grid(images(2), old, 1)
    assert caught.value.errno == errno.ENOSPC
    assert "\n" not in str(caught.value)
    assert old.read_bytes() == before
    assert not leftovers(tmp_path)


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "a"):
        pass


# Curves


def lines(label: str, *args: object, **kwargs: object) -> tuple[list[float], list[float]]:
    """The points of the line so labelled."""
    axes = draw(*args, **kwargs).axes[0]  # type: ignore[arg-type]
    found = {str(line.get_label()): line for line in axes.get_lines()}[label]
    points: list[list[float]] = found.get_xydata().tolist()  # type: ignore[union-attr]
    return [x for x, _ in points], [y for _, y in points]


def test_every_step_and_every_epoch_average_is_drawn() -> None:
    steps = list(range(1, 20_001))
    losses = [10.0 ** (3 - 6 * s / 20_000) for s in steps]
    epochs = [(s - 1) // 1000 + 1 for s in steps]
    curve = {"": (steps, losses, epochs)}
    assert lines("each step", curve, "t") == (steps, losses)
    x, y = lines("epoch average", curve, "t")
    assert x == [1000 * n + 500.5 for n in range(20)]
    assert y == pytest.approx([sum(losses[1000 * n : 1000 * n + 1000]) / 1000 for n in range(20)])
    low, high = draw(curve, "t").axes[0].get_ylim()
    assert low < min(losses)
    assert high > max(losses)


def test_epoch_averages_stand_in_the_middle_of_what_was_seen() -> None:
    # A resumed run begins within an epoch, and a last epoch may be cut short.
    assert epoch_averages([8, 9, 10, 11], [4.0, 2.0, 1.0, 5.0], [3, 3, 4, 5]) == ([8.5, 10, 11], [3, 1, 5])


def test_losses_a_log_axis_cannot_show_are_marked_and_counted() -> None:
    losses = [1.0, math.nan, 0.5, math.inf, 0.0, 0.25]
    curve = {"": (list(range(1, 7)), losses, [1, 1, 2, 2, 3, 3])}
    at, _ = lines("each step: 3 NaN, infinite or not above 0", curve, "t")
    assert at == [2, 4, 5]
    at, _ = lines("epoch average: 2 NaN, infinite or not above 0", curve, "t")
    assert at == [1.5, 3.5]
    legend = draw(curve, "t").axes[0].get_legend()
    assert legend is not None
    assert "each step: 3 NaN, infinite or not above 0" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("losses", [[0.5], [0.9, 0.1, 0.01], [math.nan] * 3, [0.3] * 3])
def test_loss_curve_of_a_few_steps(tmp_path: Path, losses: list[float]) -> None:
    path = tmp_path / "figures" / "loss.png"
    loss_curve(path, list(range(1, len(losses) + 1)), losses, [1] * len(losses), title="few")
    with Image.open(path) as image:
        assert image.size == (1000, 600)
        assert len(set(image.convert("RGB").get_flattened_data())) > 20
    assert not leftovers(path.parent)


def test_validation_is_drawn() -> None:
    curve = {"": ([1, 2, 3], [3.0, 2.0, 1.0], [1, 2, 3])}
    assert lines("validation", curve, "t", ([1, 3], [0.4, 0.2])) == ([1, 3], [0.4, 0.2])
    drawn = draw(curve, "t", ([], [])).axes[0].get_lines()
    assert "validation" not in [line.get_label() for line in drawn]


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    whole = (list(range(1, 101)), [1 / s for s in range(1, 101)], [(s - 1) // 20 + 1 for s in range(1, 101)])
    short = (whole[0][:50], [2.0] * 50, whole[2][:50])
    other = (whole[0], whole[1], [(s - 1) // 25 + 1 for s in range(1, 101)])
    loss_curves(tmp_path / "two.png", {"decay": whole, "constant": short}, title="schedules")
    assert (tmp_path / "two.png").stat().st_size > 10_000
    assert lines("constant: each step", {"decay": whole, "constant": short}, "t") == (short[0], short[1])
    assert lines("decay: epoch average", {"decay": whole, "constant": short}, "t")[0] == [10.5, 30.5, 50.5, 70.5, 90.5]

    def epoch_ticks(curves: dict[str, tuple[list[int], list[float], list[int]]]) -> list[str]:
        tops = draw(curves, "t").axes[0].child_axes
        return [label.get_text() for top in tops for label in top.get_xticklabels()]

    assert epoch_ticks({"decay": whole, "constant": short}) == ["1", "2", "3", "4", "5"]
    assert epoch_ticks({"decay": whole, "other": other}) == []  # one axis of epochs would be wrong for one of them


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (([], [], []), "allowed: one or more"),
        (([1, 2], [0.1], [1, 1]), "2 for 1 losses"),
        (([1, 2], [0.1, 0.2], [1]), "epochs has 1 entries; allowed: 2"),
        (([1, 1], [0.1, 0.2], [1, 1]), "1 is followed by 1"),
        (([1, 2], [0.1, 0.2], [0, 1]), "starts at 0"),
        (([1, 2], [0.1, 0.2], [2, 1]), "falls"),
    ],
)
def test_loss_curve_refuses(tmp_path: Path, curve: tuple[list[int], list[float], list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_curve(tmp_path / "loss.png", *curve, title="t")
    assert not list(tmp_path.iterdir())


def test_loss_curves_refuses_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="curves is empty"):
        loss_curves(tmp_path / "loss.png", {}, title="t")


# Quality


DECIBELS = {
    "a": Curve([0, 0.5, 1], [math.inf, 20, 10], [math.nan, 19, 9.5], [math.nan, 22, 11]),
    "b": Curve([0.5, 1], [15, 12]),
}
ERRORS = {"b": Curve([0.5, 1], [0.1, 0.2]), "a": Curve([0.5, 1], [0.01, 0], [0.002, 0], [0.02, 0.1])}


def test_values_and_intervals_are_drawn() -> None:
    figure = draw_quality(
        {"PSNR": DECIBELS, "MSE": ERRORS}, "sigma", "title", {"MSE": {"floor": 0.005}}, False, ["MSE"]
    )
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel(), right.get_yscale()) == ("PSNR", "MSE", "log")
    (a, b), (other_b, other_a) = (list(axes.containers) for axes in (left, right))
    assert a.lines[0].get_xydata().tolist() == [[0.5, 20], [1, 10]]
    (bars,) = a.lines[2]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[19, 22], [9.5, 11]]
    assert a.lines[0].get_color() == other_a.lines[0].get_color() != b.lines[0].get_color()
    assert b.lines[0].get_color() == other_b.lines[0].get_color()
    assert other_a.lines[0].get_xydata().tolist() == [[0.5, 0.01]]
    floor = next(line for line in right.lines if line.get_linestyle() == "--")
    assert list(floor.get_ydata()) == [0.005, 0.005]
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert texts == {"a: 2 not drawn", "b", "floor"}


def test_labels_in_pairs_share_colours_and_lines() -> None:
    def drawn(labels: list[str]) -> list[tuple[Any, Any, Any]]:
        figure = draw_quality({"y": {label: Curve([1, 2], [1, 2]) for label in labels}}, "x", "", {}, False, [])
        lines = [container.lines[0] for container in figure.axes[0].containers]
        return [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines]

    pairs = drawn([f"{name}, guidance {scale}" for name in ("flow", "ddpm") for scale in (1, 1.5, 2, 5)])
    assert [color for color, _, _ in pairs[:4]] == [color for color, _, _ in pairs[4:]]
    assert len({color for color, _, _ in pairs}) == 4
    assert [line for _, line, _ in pairs] == ["-"] * 4 + [":"] * 4
    others = drawn(["flow, guidance 1", "flow, guidance 2", "ddpm, guidance 2", *map(str, range(20))])
    assert {line for _, line, _ in others} == {"-"}
    for styles in (pairs, others):
        assert len({(color, marker) for color, _, marker in styles}) == len(styles)


def test_quality_figure_is_written_whole(tmp_path: Path) -> None:
    quality_figure(tmp_path / "a.png", {"PSNR": DECIBELS}, x_label="sigma", title="one")
    quality_figure(tmp_path / "b.png", {"PSNR": DECIBELS, "MSE": ERRORS}, x_label="sigma", title="two", log_x=True)
    sizes = [Image.open(tmp_path / name).size for name in ("a.png", "b.png")]
    assert sizes == [(1000, 600), (1200, 600)]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("panels", "options", "message"),
    [
        ({}, {}, "panels has a panel without curves, or none"),
        ({"PSNR": {}}, {}, "panels has a panel without curves, or none"),
        ({"PSNR": {"a": Curve([1, 2], [3])}}, {}, "PSNR, a: lengths"),
        ({"PSNR": {"a": Curve([], [])}}, {}, "PSNR, a: lengths"),
        ({"PSNR": DECIBELS}, {"log_y": ["MSE"]}, "log_y has 'MSE'; allowed are the panels PSNR"),
        ({"PSNR": DECIBELS}, {"floors": {"MSE": {"floor": 1.0}}}, "floors has 'MSE'"),
    ],
)
def test_quality_figure_refuses(
    tmp_path: Path, panels: dict[str, dict[str, Curve]], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quality_figure(tmp_path / "a.png", panels, x_label="x", title="t", **options)  # type: ignore[arg-type]


# Animations


def test_gif_loops_for_ever_and_rests_on_the_last_frame(tmp_path: Path) -> None:
    final = images(4)
    frames = [final + (1 - n / 6) * torch.randn(final.shape) for n in range(7)]
    animation(frames, tmp_path / "a.gif", columns=2, seconds=1.0, hold=2.0, scale=3)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["loop"] == 0
        assert gif.size == (3 * 62, 3 * 62)
        delays, shown = [], []
        for frame in ImageSequence.Iterator(gif):
            delays.append(frame.info["duration"])
            shown.append(pil_to_tensor(frame.convert("L")))
    assert len(shown) == 7
    assert sum(delays) == 3000
    assert 2130 <= delays[-1] <= 2150
    assert set(delays[:-1]) <= {140, 150}
    for frame, exact in zip(shown, frames, strict=True):  # six greys and their dead band in motion, sixteen at rest
        wanted = 255 * grid(exact, 2).repeat_interleave(3, 1).repeat_interleave(3, 2)
        assert (frame - wanted).abs().max() <= (9.0 if frame is shown[-1] else 0.76 * 51 + 0.5)
    assert not leftovers(tmp_path)


def test_gif_of_sixty_ddpm_frames_is_small(tmp_path: Path) -> None:
    # The worst case: new noise at every step, on the path of T = 300, beta 1e-4 ... 0.02.
    generator = torch.Generator().manual_seed(0)
    digits = torch.zeros(40, 1, 28, 28)
    digits[:, :, 6:22, 12:16] = 1
    abar = (1 - torch.linspace(1e-4, 0.02, 300)).cumprod(0).flip(0)[::5]
    eps, frames = torch.randn(digits.shape, generator=generator), [digits]
    for now, after in pairwise(abar):
        kept = (now / after).sqrt()
        eps = kept * eps + (1 - kept**2).sqrt() * torch.randn(digits.shape, generator=generator)
        frames.append(after.sqrt() * digits + (1 - after).sqrt() * eps)
    frames = frames[1:] + frames[:1]
    animation(frames, tmp_path / "a.gif", columns=10)
    assert (tmp_path / "a.gif").stat().st_size < 1_500_000
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 60  # type: ignore[attr-defined]


def test_gif_of_one_frame_and_in_colour(tmp_path: Path) -> None:
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    animation([red, red.flip(1)], tmp_path / "a.gif", 1, seconds=1, hold=0, scale=1)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
        gif.seek(1)
        assert gif.convert("RGB").getpixel((5, 5)) == (0, 0, 255)
    animation([images(1)], tmp_path / "b.gif", 1)
    assert pixels(tmp_path / "b.gif").shape[1:] == (96, 96)


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([], {}, "frames has shapes"),
        ([torch.zeros(1, 1, 4, 4), torch.zeros(2, 1, 4, 4)], {}, "frames has shapes"),
        ([torch.zeros(4)], {}, "images has shape"),
        ([torch.zeros(1, 1, 4, 4)], {"scale": 0}, "scale is 0"),
        ([torch.zeros(1, 1, 4, 4)], {"hold": -1.0}, "hold is -1"),
        ([torch.zeros(1, 1, 4, 4)] * 60, {"seconds": 1.0}, r"60 frames; allowed: 1\.2 or more"),
    ],
)
def test_animation_refuses(tmp_path: Path, frames: list[Tensor], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        animation(frames, tmp_path / "a.gif", 1, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


# The package


def test_matplotlib_is_imported_only_when_used_and_pyplot_never() -> None:
    for file in Path(figures.__path__[0]).glob("*.py"):
        tree = ast.parse(file.read_text())
        assert "pyplot" not in file.read_text().replace("of pyplot", "")
        for node in tree.body:  # module level, where TYPE_CHECKING's block is not an import
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "matplotlib" not in ast.unparse(node), file.name
