"""The quality of generated digits: everything that is measured of a set of samples, and the floors beside it.

A floor is what real images reach where samples are measured. Both classifiers have been trained on the training images,
which is in the floors' favour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denoiselab.evaluation.cache import cached
from denoiselab.evaluation.digits import DigitClassifier, as_floats, features, load_digits, read_digits
from denoiselab.evaluation.fidelity import Neighbourhoods, frechet_distance, nearest_distances
from denoiselab.evaluation.intervals import interval, mean_interval
from denoiselab.noise import key

FEWEST = 10  # samples: fewer have no neighbours
BOUNDS = ("value", "low", "high")  # of an interval
REAL = 1  # version of what `Evaluator.real` holds; raise it when it is measured otherwise
NEW = 2000  # test images that say how near a training image a new one is


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How samples were made: what a row of metrics.json says beside what was measured of them.

    Attributes:
        model, lever, training_seed, epoch: of the run that trained the model, and how far.
        recipe: a digest of what that run learns by, see `runs.recipe`.
        run: where that run lies, in short.
        solver: name and options.
        guidance_interval, guidance_rescale: as `denoise.Guide` takes them.
        evaluations: of the network, counted once where guidance evaluates two branches.
        shift: of the solver's times, see `edit.times.shares`.
        seed: of the samples' noise.
    """

    model: str
    lever: str
    recipe: str
    run: str
    training_seed: int
    epoch: int
    solver: str
    guidance_scale: float
    guidance_interval: Sequence[float]
    guidance_rescale: float
    evaluations: int
    shift: float
    seed: int


class Evaluator:
    """Measures samples against the MNIST test set. Everything is a function of the images and the seed.

    Args:
        train_images, train_labels: (N, 1, 28, 28) uint8 and (N,): floors, and what a model may have remembered.
        test_images, test_labels: the reference.
        seed: of the bootstrap and of which training images make the floors.
        device: where the classifiers run.
        cache: folder for what is measured of the real images alone; None keeps nothing.
    """

    def __init__(
        self,
        train_images: Tensor,
        train_labels: Tensor,
        test_images: Tensor,
        test_labels: Tensor,
        seed: int = 0,
        device: torch.device | str = "cpu",
        cache: Path | None = None,
    ) -> None:
        self.train_images, self.train_labels = train_images, train_labels
        self.test_images, self.test_labels, self.seed = test_images, test_labels, seed
        self.device, self.cache = torch.device(device), cache
        self.features: DigitClassifier = load_digits("features").to(device)
        self.judge: DigitClassifier = load_digits("judge").to(device)
        self._floors: dict[tuple[int, bool], dict[str, dict[str, Any]]] = {}

    @cached_property
    def real(self) -> dict[str, Tensor]:
        """What the real images alone say: "reference", features of the test images, (N, F) float32; "nearest", how near
        2,000 of them are to a training image, (2000,); "right", whether the judge reads them right, (N,); "half", the
        distance of half of the training images and its interval, (3,).
        """
        classifiers = [each for net in (self.features, self.judge) for each in net.state_dict().values()]
        inputs = [self.train_images, self.train_labels, self.test_images, self.test_labels, *classifiers]
        settings = f"version {REAL} new {NEW} seed {self.seed} {self.device.type}"
        return cached(self.cache, "real_digits", [settings, *(each.cpu() for each in inputs)], self._measure_real)

    def _measure_real(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(key(self.seed, "new"))
        chosen = torch.randperm(len(self.test_images), generator=generator)[:NEW]
        reference = features(self.features, self.test_images).float()  # as the classifier gave them
        half = features(self.features, self.train_images[self._order()[: len(self.train_images) // 2]])
        distance = self._distance(reference, half)
        return {
            "reference": reference,
            "nearest": nearest_distances(as_floats(self.test_images[chosen]), as_floats(self.train_images)),
            "right": (read_digits(self.judge, self.test_images) == self.test_labels).double(),
            "half": torch.tensor([distance[name] for name in BOUNDS], dtype=torch.float64),
        }

    def measure(self, images: Tensor, labels: Tensor | None) -> dict[str, Any]:
        """What is measured of samples (B, 1, 28, 28), uint8 or float in [0, 1].

        Every measure is {"value", "low", "high"}: intervals are of the samples drawn, the test set being what it is.

        Args:
            labels: (B,) the digit that each was asked to show, or None where nothing was.

        Returns:
            "samples": B. "frechet_distance" to the test set. "accuracy": the share that the judge reads as asked for,
            and "accuracy_per_digit", by digit. "precision", "recall", "density", "coverage". "nearest_training": the
            median root mean squared difference to the nearest training image; "memorised": the share of samples nearer
            to one than 99 % of test images are, 0.01 for new images.

        Raises:
            ValueError: fewer than FEWEST samples, or not a label each.
        """
        if len(images) < FEWEST:
            raise ValueError(f"samples={len(images)}: allowed are {FEWEST} or more")
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"every sample needs one label, got {len(images)} samples and {len(labels)} labels")
        nearest = nearest_distances(as_floats(images), as_floats(self.train_images))
        remembered = (nearest < self.real["nearest"].quantile(0.01)).double()
        return {
            **self._compare(images, labels),
            "nearest_training": interval(lambda drawn: float(drawn.median()), nearest, self.seed),
            "memorised": mean_interval(remembered, self.seed),
        }

    def floors(self, samples: int, balanced: bool) -> dict[str, dict[str, Any]]:
        """What real images reach: {"train_subset", "train_half", "test"}; measured once.

        "train_subset": as many training images as there are samples (all, where there are fewer) against the test set;
        the bias of their number is in it, so this is what samples can reach. "train_half": half of the training images,
        Fréchet distance only. "test": the judge's accuracy on the test images, which it has not seen, and how near they
        are to training images.

        Args:
            balanced: whether samples are of the digits in turn, and so is the subset; else as the data are. The test
                set is not balanced, which costs a balanced set a little of its distance.
        """
        if (samples, balanced) not in self._floors:
            subset = self.floor_images(samples, balanced)
            half = dict(zip(BOUNDS, self.real["half"].tolist(), strict=True))
            self._floors[samples, balanced] = {
                "train_subset": self._compare(self.train_images[subset], self.train_labels[subset]),
                "train_half": {"samples": len(self.train_images) // 2, "frechet_distance": half},
                "test": {
                    "samples": len(self.test_images),
                    "accuracy": mean_interval(self.real["right"], self.seed),
                    "nearest_training": {"value": float(self.real["nearest"].median())},
                    "memorised": {"value": 0.01},
                },
            }
        return self._floors[samples, balanced]

    def floor_images(self, samples: int, balanced: bool) -> Tensor:
        """The numbers of the training images of the floor "train_subset"."""
        order = self._order()
        if not balanced:
            return order[:samples]
        labels = self.train_labels[order]
        turns = torch.empty(len(order), dtype=torch.long)  # the how-manieth of its digit each is
        for digit in labels.unique():
            own = labels == digit
            turns[own] = torch.arange(int(own.sum()))
        return order[turns.argsort(stable=True)][:samples]

    def _order(self) -> Tensor:
        """The training images shuffled: the first of them are a floor's."""
        return torch.randperm(len(self.train_images), generator=torch.Generator().manual_seed(key(self.seed, "floors")))

    def _distance(self, reference: Tensor, generated: Tensor) -> dict[str, float]:
        return interval(lambda drawn: frechet_distance(reference, drawn), generated, self.seed)

    def _compare(self, images: Tensor, labels: Tensor | None) -> dict[str, Any]:
        generated = features(self.features, images)
        reference = self.real["reference"]
        near, numbers = Neighbourhoods(reference, generated), torch.arange(len(images))
        measured: dict[str, Any] = {
            "samples": len(images),
            "frechet_distance": self._distance(reference, generated),
            "precision": mean_interval(near.precision(), self.seed),
            "recall": interval(near.recall, numbers, self.seed),
            "density": mean_interval(near.density(), self.seed),
            "coverage": interval(near.coverage, numbers, self.seed),
        }
        if labels is not None:
            right = (read_digits(self.judge, images) == labels).double()
            digits = sorted(set(labels.tolist()))
            measured["accuracy"] = mean_interval(right, self.seed)
            measured["accuracy_per_digit"] = {str(n): mean_interval(right[labels == n], self.seed) for n in digits}
        return measured


def plain_values(measured: Mapping[str, Any]) -> dict[str, float]:
    """The values of what `Evaluator.measure` says, without their intervals, for loggers."""
    return {name: each["value"] for name, each in measured.items() if isinstance(each, dict) and "value" in each}
