"""The images of a run: which files there are, that nothing but their number decides them, and what a failure leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from composing import clean_environment
from PIL import Image
from torch import Tensor
from toy import SIZE, Toy, picture

from denoiselab.config.sampling import prompted_images
from denoiselab.edit import Anagram, Edit, Encode, Forward, Generate, Hybrid, Iterative, Job, Sampler, SDEdit, times
from denoiselab.jobs import describe, load_image, make_images, missing_images, save_figures, save_record, source_images
from denoiselab.noise import RectifiedFlow

PHOTO = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
GENERATE = Generate(prompts=["a", "b"], count=2, guidance_scales=[1, 1.5])


def sampler(**settings: object) -> Sampler:
    """Ten steps of a toy whose pictures differ from image to image, by the noise of its solver."""
    settings = {"times": times.linspace(10), "solver": {"name": "ddpm"}, "seed": 4} | settings
    return Sampler(Toy(RectifiedFlow()), **settings)  # type: ignore[arg-type]


def files(directory: Path) -> dict[str, bytes]:
    """What is under the directory, by path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@dataclass(kw_only=True)
class Careful(Generate):
    """Keeps the numbers of the images that it makes, and fails where one of them is bad."""

    made: list[tuple[str, int]] = field(default_factory=list)
    bad: tuple[tuple[str, int], ...] = ()
    error: type[Exception] = ValueError

    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        self.made += [(job.name, image) for image in images]
        if set(self.bad) & {(job.name, image) for image in images}:
            raise self.error("bad luck")
        return super().make(sampler, job, images)


def test_every_image_and_what_is_shown_beside_it_has_its_name(tmp_path: Path) -> None:
    assert make_images(GENERATE, sampler(), tmp_path) == []
    numbers = [f"g{scale}_s10_{n:03d}.png" for scale in ("1", "1.5") for n in range(4)]
    assert files(tmp_path).keys() == {f"{folder}/{name}" for folder in ("images", "frames") for name in numbers}
    with Image.open(tmp_path / "images" / numbers[0]) as image, Image.open(tmp_path / "frames" / numbers[0]) as frames:
        assert (image.mode, image.size) == ("L", (SIZE, SIZE))
        assert frames.size == (SIZE, 11 * SIZE)  # the start and ten steps
    make_images(Iterative(image=PHOTO, start=0, every=5, prompt="a"), sampler(record=False), tmp_path / "b")
    roles = ["blur", "one_step", "original", "t444", "t999"]
    assert set(files(tmp_path / "b")) == {
        "images/iterative_000.png",
        *(f"images/iterative_{role}_000.png" for role in roles),
    }


@pytest.mark.parametrize(
    "edit",
    [
        GENERATE,
        Anagram(prompts=["a", "b"], count=3),
        SDEdit(image=PHOTO, prompts=["a", "b"], starts=[2, 6], count=2),
        Forward(image=PHOTO),
    ],
    ids=lambda edit: type(edit).__name__,
)
def test_ranks_and_batches_do_not_change_a_byte(edit: Edit, tmp_path: Path) -> None:
    make_images(edit, sampler(), tmp_path / "one")
    made = files(tmp_path / "one")
    todo = missing_images(edit, sampler(), tmp_path / "two")
    for rank in (1, 0):
        assert make_images(edit, sampler(), tmp_path / "two", todo[rank::2]) == []
    assert files(tmp_path / "two") == made
    make_images(edit, sampler(), tmp_path / "single", batch_size=1)
    assert files(tmp_path / "single") == made
    make_images(edit, sampler(seed=5), tmp_path / "other")
    assert files(tmp_path / "other") != made


def test_a_rank_makes_its_share_alone(tmp_path: Path) -> None:
    shares = []
    for rank in range(3):
        edit = Careful(prompts=["a", "b"], count=4)
        make_images(edit, sampler(), tmp_path, missing_images(edit, sampler(), tmp_path / "none")[rank::3])
        shares.append(edit.made)
    assert sorted(image for share in shares for image in share) == [("g1_s10", n) for n in range(8)]
    assert {len(share) for share in shares} == {2, 3}


def test_batches_are_as_large_as_asked_and_of_one_job(tmp_path: Path) -> None:
    sizes = []

    class Watched(Generate):
        def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
            sizes.append((job.name, len(images)))
            return super().make(sampler, job, images)

    make_images(Watched(prompts=["a"], count=5, guidance_scales=[1, 2]), sampler(), tmp_path, batch_size=3)
    assert sizes == [("g1_s10", 3), ("g1_s10", 2), ("g2_s10", 3), ("g2_s10", 2)]


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    make_images(GENERATE, sampler(), tmp_path)
    whole = files(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    again = Careful(prompts=["a", "b"], count=2, guidance_scales=[1, 1.5])
    make_images(again, sampler(), tmp_path)
    assert again.made == []
    lost = [("g1.5_s10", 0), ("g1.5_s10", 3)]
    for job, n in lost:
        (tmp_path / "images" / f"{job}_{n:03d}.png").unlink()
    assert missing_images(again, sampler(), tmp_path) == [("g1.5_s10", 0), ("g1.5_s10", 3)]
    make_images(again, sampler(), tmp_path)
    assert again.made == lost
    assert files(tmp_path) == whole
    new = {path for path in times if path.stat().st_mtime_ns != times[path]}
    assert {path.name for path in new} == {"g1.5_s10_000.png", "g1.5_s10_003.png"}
    assert missing_images(again, sampler(), tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_a_failing_image_is_reported_and_the_others_of_its_batch_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    """The traceback of what is nobody's mistake is shown too."""
    edit = Careful(prompts=["a", "b"], count=2, guidance_scales=[1, 1.5], bad=(("g1_s10", 2),), error=error)
    failures = make_images(edit, sampler(), tmp_path, batch_size=2)
    assert failures == [f"g1_s10_002.png: {error.__name__}: bad luck"]
    printed = capsys.readouterr().err
    assert printed.splitlines()[0] == f"failed: {failures[0]}"
    assert ("Traceback" in printed) == (error is RuntimeError)
    assert missing_images(edit, sampler(), tmp_path) == [("g1_s10", 2)]
    assert len(list((tmp_path / "images").iterdir())) == 7
    edit.bad = ()
    make_images(edit, sampler(), tmp_path, batch_size=2)
    make_images(GENERATE, sampler(), tmp_path / "unharmed")
    assert files(tmp_path / "unharmed") == {
        name: data for name, data in files(tmp_path).items() if "unharmed" not in name
    }


def test_an_error_in_the_middle_of_writing_leaves_whole_files_and_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beside a result is written before it, so a result that is there is complete."""
    saved = Image.Image.save
    left = [5]

    def save(image: Image.Image, *words: object, **options: object) -> None:
        left[0] -= 1
        saved(image, *words, **options)  # type: ignore[arg-type]
        if left[0] < 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    edit = Anagram(prompts=["a", "b"], count=2)
    failures = make_images(edit, sampler(), tmp_path)
    assert len(failures) == 2 and all("disk full" in failure for failure in failures)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or load_image(path).shape[-1] == SIZE
    assert missing_images(edit, sampler(), tmp_path) == [("anagram", 0), ("anagram", 1)]
    assert len(list(tmp_path.rglob("*.png"))) == 5


KILLED = """
import sys, time
from pathlib import Path
from denoiselab.edit import Generate, Sampler, times
from denoiselab.jobs import make_images
from denoiselab.noise import RectifiedFlow
from toy import Toy

sampler = Sampler(Toy(RectifiedFlow()), times.linspace(10), {"name": "ddpm"}, seed=4)
make_images(Generate(prompts=["a", "b"], count=2000), sampler, Path(sys.argv[1]), batch_size=8)
"""


def test_kill_9_leaves_no_half_file(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parent, env=clean_environment()
    )
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "images").glob("g1*.png"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    images = [path for path in (tmp_path / "images").iterdir() if not path.name.startswith(".")]
    assert 10 <= len(images) < 4000
    for path in images:
        assert load_image(path).shape == (1, SIZE, SIZE)
        assert load_image(tmp_path / "frames" / path.name).shape == (1, 11 * SIZE, SIZE)
    edit = Generate(prompts=["a", "b"], count=6)
    assert make_images(edit, sampler(), tmp_path) == []  # the image of a number is the same, however many there are
    make_images(edit, sampler(), tmp_path / "whole")
    for name, data in files(tmp_path / "whole").items():
        assert (tmp_path / name).read_bytes() == data, name


def cells(path: Path, columns: int) -> list[Tensor]:
    """The pictures of the first row of a figure."""
    figure = load_image(path)
    return [figure[:, 2 : 2 + SIZE, 2 + n * (SIZE + 2) :][:, :, :SIZE] for n in range(columns)]


def test_a_figure_has_a_grey_cell_for_a_missing_image(tmp_path: Path) -> None:
    edit = Generate(prompts=["a", "b", "c"])
    make_images(edit, sampler(record=False), tmp_path)
    (tmp_path / "images" / "g1_s10_001.png").unlink()
    written = save_figures(edit, sampler(), tmp_path, "generate")
    assert [path.name for path in written] == ["generate.png", "generate_preview.png"]
    first, missing, last = cells(written[0], 3)
    assert torch.equal(first, load_image(tmp_path / "images" / "g1_s10_000.png"))
    assert torch.equal(last, load_image(tmp_path / "images" / "g1_s10_002.png"))
    assert missing.unique().tolist() == [pytest.approx(0.5, abs=1 / 255)]


def test_a_figure_of_nothing_is_grey(tmp_path: Path) -> None:
    for edit in (GENERATE, Anagram(prompts=["a", "b"]), SDEdit(image=PHOTO, prompts=["a"], starts=[2])):
        path, _ = save_figures(edit, sampler(), tmp_path, "nothing")
        assert cells(path, 1)[0].unique().tolist() == [pytest.approx(0.5, abs=1 / 255)]


def test_a_missing_cell_has_the_shape_of_its_neighbours(tmp_path: Path) -> None:
    """The pictures of `encode` are not of the backbone's shape."""
    edit = Encode(prompts=["", "a", "b"])
    make_images(edit, sampler(), tmp_path)
    (tmp_path / "images" / "similarity_000.png").unlink()
    path, _ = save_figures(edit, sampler(), tmp_path, "encode")
    assert load_image(path).shape == (1, 3 * (8 + 2) + 2, 3 * 8 + 4)


def test_an_animation_of_ways_of_different_lengths_ends_together(tmp_path: Path) -> None:
    """The shorter way waits at its start."""
    edit = SDEdit(image=PHOTO, prompts=["a"], starts=[1, 7])
    make_images(edit, sampler(), tmp_path)
    lengths = [load_image(path).shape[1] // SIZE for path in sorted((tmp_path / "frames").iterdir())]
    assert lengths == [10, 4]
    *_, gif = save_figures(edit, sampler(), tmp_path, "sdedit")
    with Image.open(gif) as film:
        assert gif.name == "sdedit.gif" and film.n_frames == 10  # type: ignore[attr-defined]
        side = film.height
        shown = []
        for n in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(n)
            shown.append(film.convert("L").crop((film.width // 2, 0, film.width, side)).tobytes())
    assert len(set(shown[:7])) == 1 and len(set(shown[6:])) > 1


def test_a_long_way_is_kept_in_sixty_frames_from_the_first_to_the_last(tmp_path: Path) -> None:
    edit, long = Generate(prompts=["a"]), sampler(times=times.linspace(200))
    make_images(edit, long, tmp_path)
    (strip,) = (tmp_path / "frames").iterdir()
    frames = load_image(strip).unflatten(1, (-1, SIZE))[0]
    assert len(frames) == 60
    assert torch.equal(frames[-1], load_image(tmp_path / "images" / strip.name)[0])
    torch.testing.assert_close(frames[-1], picture("a")[0], atol=1 / 255, rtol=0)
    make_images(edit, sampler(times=times.linspace(5)), tmp_path / "short")
    torch.testing.assert_close(
        load_image(tmp_path / "short" / "frames" / "g1_s5_000.png")[0, :SIZE], frames[0], atol=0, rtol=0
    )


def test_every_image_is_described() -> None:
    told = describe(SDEdit(image=PHOTO, prompts=["a", ""], starts=[3]), sampler())
    settings = {"start": 3, "t": 666, "guidance_scale": 1.0}
    assert told == {
        "start03_000.png": {"job": "start03", "index": 0, "prompts": ["a"], **settings},
        "start03_001.png": {"job": "start03", "index": 1, "prompts": [""], **settings},
        "original_000.png": {"job": "original", "index": 0, "prompts": []},
    }
    assert json.loads(json.dumps(told)) == told


def recorded(edit: Edit, directory: Path) -> Path:
    make_images(edit, sampler(), directory)
    save_record(
        directory / "run.json", {"config": {"edit": {"name": "any"}}, "inputs": {}, "images": describe(edit, sampler())}
    )
    return directory


def test_the_images_of_an_anagram_come_with_a_prompt_for_each_view(tmp_path: Path) -> None:
    views = ["identity", {"patches": 4}]
    directory = recorded(Anagram(prompts=["a", "b"], views=views, count=3), tmp_path)
    (directory / "images" / "anagram_001.png").unlink()
    found = source_images(prompted_images(directory))
    pictures = found.pop("pictures")
    assert found == {"prompts": [["a", "b"]] * 2, "views": views, "reduction": "mean", "weights": None}
    assert pictures.shape == (2, 1, SIZE, SIZE)
    assert torch.equal(pictures[1], load_image(directory / "images" / "anagram_002.png"))


def test_the_images_of_another_edit_come_with_their_prompt(tmp_path: Path) -> None:
    found = source_images(prompted_images(recorded(SDEdit(image=PHOTO, prompts=["a", "b"], starts=[2]), tmp_path)))
    assert len(found.pop("pictures")) == 2 and found == {"prompts": [["a"], ["b"]]}


@pytest.mark.parametrize(
    ("image", "expected"), [(None, {"factors": "low_high"}), (PHOTO, {})], ids=["plain", "inverse"]
)
def test_the_images_of_a_hybrid_come_with_its_factors(
    tmp_path: Path, image: Tensor | None, expected: dict[str, str]
) -> None:
    """An inverse one's photo is of the first stage's size, so that the second has the made factor's prompt alone."""
    found = source_images(prompted_images(recorded(Hybrid(prompts=["a", "b"], image=image, count=2), tmp_path)))
    assert len(found.pop("pictures")) == 2
    assert found == {"prompts": [["a", "b"]] * 2 if image is None else [["b"]] * 2} | expected


def test_a_run_without_prompts_has_no_images_to_go_on_with(tmp_path: Path) -> None:
    directory = recorded(Forward(image=PHOTO), tmp_path)
    assert prompted_images(directory) == {}  # which tests/config/test_sampling.py sees refused
