"""The evaluator, itself tested on what is known: real digits, disturbed more and more."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from denoiselab.data import MNIST
from denoiselab.evaluation import Evaluator, FrechetDistance, features

N = 600


@pytest.fixture(scope="module")
def evaluator(mnist: MNIST) -> Evaluator:
    """Against a tenth of the data: quick, and as good for what is tested."""
    return Evaluator(
        mnist.train_images[:6000], mnist.train_labels[:6000], mnist.test_images[:2000], mnist.test_labels[:2000]
    )


@pytest.fixture(scope="module")
def real(mnist: MNIST) -> tuple[Tensor, Tensor]:
    """Training images that the evaluator has not: what a perfect model would draw. Neighbours are of one writer."""
    chosen = 6000 + torch.randperm(54_000, generator=torch.Generator().manual_seed(0))[:N]
    return mnist.train_images[chosen].float() / 255, mnist.train_labels[chosen]


def disturbed(images: Tensor, kind: str, strength: float) -> Tensor:
    if strength == 0:
        return images
    if kind == "noise":
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return (images + strength * noise).clamp(0, 1)
    return gaussian_blur(images, [9, 9], [strength, strength])


@pytest.mark.parametrize(("kind", "strengths"), [("noise", (0, 0.1, 0.2, 0.4, 0.8)), ("blur", (0, 0.6, 1.0, 1.5, 2.5))])
def test_the_more_images_are_disturbed_the_worse_they_measure(
    evaluator: Evaluator, real: tuple[Tensor, Tensor], kind: str, strengths: tuple[float, ...]
) -> None:
    images, labels = real
    found = [evaluator.measure(disturbed(images, kind, strength), labels) for strength in strengths]
    distances = [each["frechet_distance"]["value"] for each in found]
    assert distances == sorted(distances) and distances[1] > 1.1 * distances[0]
    for name in ("accuracy", "coverage", "density"):
        values = [each[name]["value"] for each in found]
        assert all(later <= earlier + 0.01 for earlier, later in pairwise(values)), (name, values)
        assert values[-1] < values[0] - 0.1
    assert found[0]["accuracy"]["value"] > 0.98


def test_the_order_of_images_does_not_matter(evaluator: Evaluator, real: tuple[Tensor, Tensor]) -> None:
    images, labels = real
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    one, other = evaluator.measure(images, labels), evaluator.measure(images[order], labels[order])
    for name, measured in one.items():
        if isinstance(measured, dict) and "value" in measured:
            assert other[name]["value"] == pytest.approx(measured["value"], abs=1e-6), name
    assert one["accuracy_per_digit"] == other["accuracy_per_digit"]


def test_numbers_are_a_function_of_images_and_seed(evaluator: Evaluator, real: tuple[Tensor, Tensor]) -> None:
    images, labels = real
    assert evaluator.measure(images, labels) == evaluator.measure(images, labels)
    as_bytes = evaluator.measure((images * 255).round().to(torch.uint8), labels)
    assert as_bytes["frechet_distance"]["value"] == pytest.approx(
        evaluator.measure(images, labels)["frechet_distance"]["value"], abs=1e-4
    )


def test_remembered_images_are_found_out(evaluator: Evaluator, real: tuple[Tensor, Tensor], mnist: MNIST) -> None:
    new = evaluator.measure(real[0], real[1])
    assert new["memorised"]["value"] < 0.05
    copied = evaluator.measure(torch.cat([real[0][:300], mnist.train_images[:300].float() / 255]), None)
    assert copied["memorised"]["value"] > 0.49
    assert "accuracy" not in copied


def test_no_digit_is_taken_for_remembered_because_it_varies_little(evaluator: Evaluator, mnist: MNIST) -> None:
    """Ones that are new are not, though they are nearer to each other than any other digits; noisy copies are."""
    images, labels = mnist.train_images[6000:].float() / 255, mnist.train_labels[6000:]
    assert evaluator.measure(images[labels == 1][:1000], None)["memorised"]["value"] < 0.03
    eights = mnist.train_images[:6000][mnist.train_labels[:6000] == 8][:100].float() / 255
    assert evaluator.measure(disturbed(eights, "noise", 0.08), None)["memorised"]["value"] > 0.95


def test_the_interval_is_that_of_other_samples_of_the_digits_in_turn(evaluator: Evaluator, mnist: MNIST) -> None:
    """Ten balanced sets of real digits: how much their measures vary, against what is said of each."""
    order = 6000 + torch.randperm(54_000, generator=torch.Generator().manual_seed(1))
    by_digit = [order[mnist.train_labels[order] == digit] for digit in range(10)]
    sets = [torch.cat([own[50 * n : 50 * (n + 1)] for own in by_digit]) for n in range(10)]
    found = [evaluator.measure(mnist.train_images[chosen], mnist.train_labels[chosen]) for chosen in sets]
    for name in ("frechet_distance", "precision", "recall", "density", "coverage", "nearest_training"):
        measured = [each[name] for each in found]
        spread = 1.96 * float(torch.tensor([each["value"] for each in measured]).std())
        half = sum(each["high"] - each["low"] for each in measured) / 20
        assert 0.6 * spread < half < 1.8 * spread, (name, half / spread)


def test_floors_are_what_real_images_measure(evaluator: Evaluator, real: tuple[Tensor, Tensor]) -> None:
    floors, found = evaluator.floors(N, balanced=False), evaluator.measure(*real)
    assert floors["train_subset"]["samples"] == N and floors["train_half"]["samples"] == 3000
    floor = floors["train_subset"]
    assert found["frechet_distance"]["value"] == pytest.approx(floor["frechet_distance"]["value"], rel=0.3)
    assert floors["train_half"]["frechet_distance"]["value"] < floor["frechet_distance"]["value"]
    assert floor["accuracy"]["value"] > 0.99
    assert floor["coverage"]["value"] == pytest.approx(found["coverage"]["value"], abs=0.06)


def test_a_balanced_floor_has_the_digits_in_turn(evaluator: Evaluator) -> None:
    subsets = evaluator.floor_images(200, balanced=True)
    assert [evaluator.train_labels[subset].bincount().tolist() for subset in subsets] == [[20] * 10] * 5
    assert len(set(torch.cat(subsets).tolist())) == 1000
    (whole,) = evaluator.floor_images(6000, balanced=True)
    assert sorted(whole.tolist()) == list(range(6000))


def test_a_floor_is_the_median_of_several_sets(evaluator: Evaluator, mnist: MNIST) -> None:
    found = evaluator.floors(200, balanced=True)["train_subset"]
    reference = features(evaluator.features, mnist.test_images[:2000])
    distances = [
        FrechetDistance(reference)(features(evaluator.features, evaluator.train_images[subset]))
        for subset in evaluator.floor_images(200, balanced=True)
    ]
    assert (found["samples"], found["subsets"]) == (200, 5)
    expected = {"value": sorted(distances)[2], "low": min(distances), "high": max(distances)}
    assert found["frechet_distance"] == pytest.approx(expected, rel=1e-4)
    alone = evaluator.floors(3500, balanced=True)["train_subset"]
    assert alone["subsets"] == 1 and alone["frechet_distance"]["low"] < alone["frechet_distance"]["value"]


@pytest.mark.parametrize("samples", [1000, 10_000])
def test_the_floor_hardly_depends_on_the_seed(mnist: MNIST, samples: int) -> None:
    """Training images against the whole test set: which they are moves the floor by less than 10 %."""
    splits = (mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels)
    evaluators = [Evaluator(*splits, seed=seed) for seed in range(3)]
    reference = features(evaluators[0].features, mnist.test_images)
    floors = []
    for each in evaluators:
        subsets = each.floor_images(samples, balanced=True)[: 10_000 // samples]  # of many images one is enough
        chosen = [features(each.features, each.train_images[subset]) for subset in subsets]
        floors.append(median(FrechetDistance(reference)(one) for one in chosen))
    assert floors == pytest.approx([sum(floors) / 3] * 3, rel=0.1)


def test_too_few_samples_and_labels_are_refused(evaluator: Evaluator) -> None:
    with pytest.raises(ValueError, match="samples=9: allowed are 10 or more"):
        evaluator.measure(torch.rand(9, 1, 28, 28), None)
    with pytest.raises(ValueError, match="every sample needs one label, got 120 samples and 7 labels"):
        evaluator.measure(torch.rand(120, 1, 28, 28), torch.zeros(7, dtype=torch.long))
