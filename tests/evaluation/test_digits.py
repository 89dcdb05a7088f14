"""digits.py: the classifier, its file, and the two that are shipped."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from composing import checked

from denoiselab.data import MNIST
from denoiselab.evaluation import DigitClassifier, about_digits, features, load_digits, read_digits, save_digits

NAMES = ("features", "judge")


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_shapes(depth: int, pooling: str) -> None:
    classifier = DigitClassifier(4, depth, pooling).eval()
    x = torch.rand(3, 1, 28, 28)
    assert classifier(x).shape == (3, 10)
    assert classifier.features(x).shape == (3, classifier.num_features) == (3, 16)


def test_unknown_pooling_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="max or average"):
        DigitClassifier(4, 1, "median")


def test_a_kept_classifier_is_the_same_but_for_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = DigitClassifier(4, 2, "average").eval()
    save_digits(classifier, tmp_path / "kept.safetensors", {"right": 7})
    kept = load_digits(tmp_path / "kept.safetensors")
    assert kept.settings == classifier.settings and not kept.training
    x = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(kept(x), classifier(x), rtol=1e-2, atol=1e-2)


def test_bytes_and_floats_are_read_alike() -> None:
    classifier = load_digits("features")
    images = torch.randint(0, 256, (7, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = features(classifier, images)
    torch.testing.assert_close(found, features(classifier, images.float() / 255, batch_size=3), rtol=1e-4, atol=1e-4)
    assert found.dtype == torch.float64
    assert read_digits(classifier, images).shape == (7,)


def test_a_classifier_that_is_not_there_is_answered_in_a_line() -> None:
    with pytest.raises(ValueError, match="allowed are features, judge, or a file"):
        load_digits("nowhere.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_classifier_is_small_and_reads_the_test_set(name: str, mnist: MNIST) -> None:
    file = files("denoiselab.evaluation") / f"digit_{name}.safetensors"
    assert len(file.read_bytes()) <= 300 * 1024
    right = int((read_digits(load_digits(name), mnist.test_images) == mnist.test_labels).sum())
    assert right >= 9950
    assert abs(right - about_digits(name)["right"]) <= 3  # half precision, and other machines' rounding


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_classifier_is_of_the_experiment_that_is_shipped(name: str) -> None:
    about, config = about_digits(name), checked(f"experiment=digit_{name}")
    net = {key: value for key, value in config["model"]["net"].items() if key != "_target_"}
    assert load_digits(name).settings == net
    said = about["experiment"], about["seed"], about["epochs"]
    assert said == (config["name"], config["seed"], config["trainer"]["max_epochs"])


def test_the_two_are_different() -> None:
    ours, judge = load_digits("features"), load_digits("judge")
    assert ours.settings["depth"] != judge.settings["depth"] and ours.settings["pooling"] != judge.settings["pooling"]
