"""What is measured and read of digits in colours: real ones in place of made ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from composing import ROOT
from toy import Toy

from denoiselab.data import MNIST, ColouredMNIST
from denoiselab.data.words import COLOURS, DIGITS
from denoiselab.edit import Anagram, Evaluate, Sampler
from denoiselab.evaluation import load_digits
from denoiselab.jobs import image_path, save_image
from denoiselab.measurement import evaluator_of, measure, read_images
from denoiselab.noise import Cosine


def coloured(mnist: MNIST, digits: list[int], colours: list[int]) -> list[torch.Tensor]:
    """A test image of each digit in each colour, (3, 32, 32), none twice."""
    data = ColouredMNIST(ROOT / "data", batch_size=1, seed=0, val_size=1)
    of = {digit: iter(mnist.test_images[mnist.test_labels == digit]) for digit in set(digits)}
    images = torch.stack([next(of[digit]) for digit in digits])
    return list(data.render(images, torch.tensor([5 * d + c for d, c in zip(digits, colours, strict=True)])))


def test_digits_in_colours_are_measured_by_both(mnist: MNIST, tmp_path: Path) -> None:
    prompts = [f"a {colour} {digit}" for colour in ("red", "white") for digit in DIGITS]
    edit = Evaluate(prompts=prompts, samples=60, steps=[2], guidance_scales=[4.0])
    sampler = Sampler(Toy(Cosine(1000), channels=3))
    colours = [list(COLOURS).index("white" if n // 10 % 2 else "red") for n in range(60)]
    colours[:15] = [list(COLOURS).index("blue")] * 15  # a quarter is wrong
    (job,) = edit.jobs(sampler)
    for n, image in enumerate(coloured(mnist, [n % 10 for n in range(60)], colours)):
        save_image(image, image_path(tmp_path, job.name, n))
    about = {"model": "m", "lever": "none", "recipe": "r", "run": "a/b", "training_seed": 0, "epoch": 1}
    about |= {"solver": "ddpm", "seed": 0, "guidance_interval": [0, 1], "guidance_rescale": 0, "dtype": "fp32"}
    study = measure(edit, sampler, tmp_path, evaluator_of(str(ROOT / "data"), torch.device("cpu")), about)
    (row,) = study["rows"]
    assert row["colour_accuracy"]["value"] == 0.75
    assert row["accuracy"]["value"] >= 0.98 and row["levelled_accuracy"]["value"] >= 0.98
    assert row["frechet_distance"]["value"] < 100  # of random pictures it is hundreds


def test_the_jobs_of_a_sweep_share_an_evaluator(mnist: MNIST) -> None:
    first, second = (evaluator_of(str(ROOT / "data"), torch.device("cpu")) for _ in range(2))
    assert first is second
    assert first.floors(60, balanced=True) is second.floors(60, balanced=True)
    assert first.floors(60, balanced=True) is not first.floors(60, balanced=False)


def test_an_anagram_is_read_where_all_its_views_are(mnist: MNIST, tmp_path: Path) -> None:
    edit, sampler = Anagram(prompts=["a red six", "a red nine"], count=4), Sampler(Toy(Cosine(1000), channels=3))
    shown = {"view0": [6, 6, 6, 1], "view1": [9, 9, 1, 9]}
    for role, digits in shown.items():
        for n, image in enumerate(coloured(mnist, digits, [0] * 4)):
            save_image(image, image_path(tmp_path, "anagram", n, role))
    found = read_images(edit, sampler, tmp_path, load_digits("judge"))
    assert found == {"anagram": {"images": 4, "right": 0.5, "roles": {"view0": 0.75, "view1": 0.75}}}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"read": found}


def test_where_no_digit_is_asked_for_none_is_read(tmp_path: Path) -> None:
    edit, sampler = Anagram(prompts=["a red six", "a red dog"], count=1), Sampler(Toy(Cosine(1000), channels=3))
    assert read_images(edit, sampler, tmp_path, load_digits("judge")) == {}
    assert not (tmp_path / "metrics.json").exists()
