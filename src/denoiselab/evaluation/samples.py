"""The quality of generated digits: everything that is measured of a set of samples, and the floors beside it.

A floor is what real images reach where samples are measured: nothing tells a perfect model from it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from denoiselab.evaluation.digits import DigitClassifier, as_floats, features, load_digits, read_digits
from denoiselab.evaluation.fidelity import frechet_distance, nearest_distances, neighbourhood_scores
from denoiselab.evaluation.intervals import interval, mean_interval
from denoiselab.noise import key

FEWEST = 10  # samples: fewer have no neighbours
NEW = 2000  # test images that say how near a training image a new one is


class Evaluator:
    """Measures samples against the MNIST test set. Everything is a function of the images and the seed.

    Args:
        train_images, train_labels: (N, 1, 28, 28) uint8 and (N,): floors, and what a model may have remembered.
        test_images, test_labels: the reference.
        seed: of the bootstrap and of which training images make the floors.
        device: where the classifiers run.
    """

    def __init__(
        self,
        train_images: Tensor,
        train_labels: Tensor,
        test_images: Tensor,
        test_labels: Tensor,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.train_images, self.train_labels = train_images, train_labels
        self.test_images, self.test_labels, self.seed = test_images, test_labels, seed
        self.features: DigitClassifier = load_digits("features").to(device)
        self.judge: DigitClassifier = load_digits("judge").to(device)

    @cached_property
    def reference(self) -> Tensor:
        """Features of the test images, (N, F) float64."""
        return features(self.features, self.test_images)

    @cached_property
    def test_nearest(self) -> Tensor:
        """How near each of the first 2,000 test images is to a training image, (2000,)."""
        return nearest_distances(as_floats(self.test_images[:NEW]), as_floats(self.train_images))

    def measure(self, images: Tensor, labels: Tensor | None) -> dict[str, Any]:
        """What is measured of samples (B, 1, 28, 28), uint8 or float in [0, 1].

        Every number that has an interval is {"value", "low", "high"}, see `intervals`.

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
        remembered = (nearest < self.test_nearest.quantile(0.01)).double()
        return {
            **self._compare(images, labels),
            "nearest_training": float(nearest.median()),
            "memorised": mean_interval(remembered, self.seed),
        }

    def floors(self, samples: int) -> dict[str, dict[str, Any]]:
        """What real images reach: {"train_subset", "train_half", "test"}.

        "train_subset": as many training images as there are samples (all, where there are fewer) against the test set;
        the bias of their number is in it, so this is what samples can reach. "train_half": half of the training images,
        Fréchet distance only. "test": the nearest training image of test images.
        """
        subset, half = self.floor_images(samples)
        whole = features(self.features, self.train_images[half])
        return {
            "train_subset": self._compare(self.train_images[subset], self.train_labels[subset]),
            "train_half": {"samples": len(half), "frechet_distance": self._distance(whole)},
            "test": {
                "samples": len(self.test_nearest),
                "nearest_training": float(self.test_nearest.median()),
                "memorised": {"value": 0.01},
            },
        }

    def floor_images(self, samples: int) -> tuple[Tensor, Tensor]:
        """The numbers of the training images of the floors "train_subset" and "train_half"."""
        generator = torch.Generator().manual_seed(key(self.seed, "floors"))
        order = torch.randperm(len(self.train_images), generator=generator)
        return order[:samples], order[: len(order) // 2]

    def _distance(self, generated: Tensor) -> dict[str, float]:
        return interval(lambda drawn: frechet_distance(self.reference, drawn), generated, self.seed)

    def _compare(self, images: Tensor, labels: Tensor | None) -> dict[str, Any]:
        generated = features(self.features, images)
        scores = neighbourhood_scores(self.reference, generated)
        measured: dict[str, Any] = {
            "samples": len(images),
            "frechet_distance": self._distance(generated),
            **{name: mean_interval(values, self.seed) for name, values in scores.items()},
        }
        if labels is not None:
            right = (read_digits(self.judge, images) == labels).double()
            digits = sorted(set(labels.tolist()))
            measured["accuracy"] = mean_interval(right, self.seed)
            measured["accuracy_per_digit"] = {str(n): float(right[labels == n].mean()) for n in digits}
        return measured
