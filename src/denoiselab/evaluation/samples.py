"""The quality of generated digits: everything that is measured of a set of samples, and the floors beside it.

A floor is what real images reach where samples are measured. Both classifiers have been trained on the training images,
which is in the floors' favour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from denoiselab.evaluation.cache import cached
from denoiselab.evaluation.digits import DigitClassifier, as_floats, features, load_digits, read_digits
from denoiselab.evaluation.fidelity import NEIGHBOURS, FrechetDistance, Neighbourhoods, kth_distances, nearest
from denoiselab.evaluation.intervals import (
    DRAWS,
    around,
    drawn_values,
    draws_digest,
    interval,
    jackknife,
    mean_interval,
    share_interval,
)
from denoiselab.noise import key

FEWEST = 10  # samples: fewer have no neighbours
BOUNDS = ("value", "low", "high")  # of an interval
VERSION = 3  # of what is measured, kept with it; raise it when it is measured otherwise
FLOORS = 5  # sets of training images that a floor is the median of


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
        dtype: that the network computed in, as the config has it.
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
    dtype: str
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
        they are to a training image, (N,), and "nearest_digit", its digit, (N,); "right", whether the judge reads them
        right, (N,); "half", the distance of half of the training images and its interval, (3,).
        """
        return self._kept("real_digits", self._measure_real)

    @cached_property
    def _distance(self) -> FrechetDistance:
        """To the test images."""
        return FrechetDistance(self.real["reference"])

    @cached_property
    def _radii(self) -> Tensor:
        """Of the balls around the test images, (N,)."""
        return kth_distances(self.real["reference"], NEIGHBOURS)

    def _kept(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What is measured of the real images alone, kept in the cache."""
        classifiers = [each for net in (self.features, self.judge) for each in net.state_dict().values()]
        inputs = [self.train_images, self.train_labels, self.test_images, self.test_labels, *classifiers]
        settings = f"version {VERSION} seed {self.seed} {self.device.type}"
        return cached(self.cache, name, [settings, *(each.cpu() for each in inputs)], make)

    def _measure_real(self) -> dict[str, Tensor]:
        reference = features(self.features, self.test_images).float()  # as the classifier gave them
        half = features(self.features, self.train_images[self._order()[: len(self.train_images) // 2]])
        to_reference = FrechetDistance(reference)
        distance = interval(lambda drawn: to_reference(half[drawn]), len(half), self.seed)
        distances, numbers = nearest(as_floats(self.test_images), as_floats(self.train_images))
        return {
            "reference": reference,
            "nearest": distances,
            "nearest_digit": self.train_labels[numbers],
            "right": read_digits(self.judge, self.test_images) == self.test_labels,
            "half": torch.tensor([distance[name] for name in BOUNDS], dtype=torch.float64),
        }

    def read(self, images: Tensor) -> Tensor:
        """The digits that the judge sees in images (B, 1, 28, 28), (B,)."""
        return read_digits(self.judge, images)

    def measure(self, images: Tensor, labels: Tensor | None, read: Tensor | None = None) -> dict[str, Any]:
        """What is measured of samples (B, 1, 28, 28), uint8 or float in [0, 1].

        Every measure is {"value", "low", "high"}: intervals are of the samples drawn, the test set being what it is.
        The distance has "drawn" too, the values of sets drawn from the samples, and "draws", see `draws_digest`.

        Args:
            labels: (B,) the digit that each was asked to show, or None where nothing was.
            read: what `read` says of the images, where it is known.

        Returns:
            "samples": B. "frechet_distance" to the test set. "accuracy": the share that the judge reads as asked for,
            and "accuracy_per_digit", by digit. "precision", "recall", "density", "coverage". "nearest_training": the
            median root mean squared difference to the nearest training image; "memorised": the share of samples nearer
            to one than 99 % of those test images are whose nearest is of the same digit, 0.01 for new images. (Ones are
            nearer to each other than other digits are.)

        Raises:
            ValueError: fewer than FEWEST samples, or not a label each.
        """
        if len(images) < FEWEST:
            raise ValueError(f"samples={len(images)}: allowed are {FEWEST} or more")
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"every sample needs one label, got {len(images)} samples and {len(labels)} labels")
        distances, numbers = nearest(as_floats(images), as_floats(self.train_images))
        known = self.real["nearest_digit"]
        least = torch.zeros(int(self.train_labels.max()) + 1)  # by digit
        for digit in known.unique():
            least[digit] = self.real["nearest"][known == digit].quantile(0.01)

        def middle(drawn: Tensor) -> float:
            return float(distances[drawn].median())

        return {
            **self._compare(images, labels, balanced=labels is not None, read=read),
            "nearest_training": interval(middle, len(images), self.seed, labels),
            "memorised": share_interval(distances < least[self.train_labels[numbers]]),
        }

    def floors(self, samples: int, balanced: bool) -> dict[str, dict[str, Any]]:
        """What real images reach: {"train_subset", "train_half", "test"}; measured once.

        "train_subset": as many training images as there are samples (all, where there are fewer) against the test set,
        "balanced" or not;
        the bias of their number is in it, so this is what samples can reach. One such set tells little (of 1,000 the
        distance varies by 7 %), so it is the median and the range of up to five that share no image, "subsets", or one
        and its interval where there are not two. "train_half": half of the training images, Fréchet distance only.
        "test": the judge's accuracy on the test images, which it has not seen, and how near they are to training
        images.

        Args:
            balanced: whether samples are of the digits in turn, and so are the subsets; else as the data are. The test
                set is not balanced, which costs a balanced set a little of its distance.
        """
        if (samples, balanced) not in self._floors:
            subsets = self.floor_images(samples, balanced)
            kept = f"floor_{samples}{'_balanced' if balanced else ''}"
            bounds = self._kept(kept, lambda: self._measure_subsets(subsets, balanced))
            measures = {name: dict(zip(BOUNDS, each.tolist(), strict=True)) for name, each in bounds.items()}
            half = dict(zip(BOUNDS, self.real["half"].tolist(), strict=True))
            self._floors[samples, balanced] = {
                "train_subset": {
                    "samples": len(subsets[0]),
                    "subsets": len(subsets),
                    "balanced": balanced,
                    **measures,
                },
                "train_half": {"samples": len(self.train_images) // 2, "frechet_distance": half},
                "test": {
                    "samples": len(self.test_images),
                    **accuracies(self.real["right"], self.test_labels),
                    "nearest_training": {"value": float(self.real["nearest"].median())},
                    "memorised": {"value": 0.01},
                },
            }
        return self._floors[samples, balanced]

    def _measure_subsets(self, subsets: Sequence[Tensor], balanced: bool) -> dict[str, Tensor]:
        """Of the training images of these numbers: `BOUNDS` of each measure, (3,), of several sets the range."""
        alone = len(subsets) == 1
        found = [
            self._compare(self.train_images[own], self.train_labels[own], balanced, bounds=alone) for own in subsets
        ]
        names = [name for name, each in found[0].items() if isinstance(each, dict) and "value" in each]
        several = {name: [each[name]["value"] for each in found] for name in names}
        return {
            name: torch.tensor(
                [found[0][name][bound] for bound in BOUNDS] if alone else [median(values), min(values), max(values)],
                dtype=torch.float64,
            )
            for name, values in several.items()
        }

    def floor_images(self, samples: int, balanced: bool) -> list[Tensor]:
        """The numbers of the training images of the sets that the floor "train_subset" is of."""
        order = self._order()
        fewest = len(order)
        if balanced:
            labels = self.train_labels[order]
            turns = torch.empty(len(order), dtype=torch.long)  # the how-manieth of its digit each is
            for digit in labels.unique():
                own = labels == digit
                turns[own] = torch.arange(int(own.sum()))
            order = order[turns.argsort(stable=True)]
            fewest = int(self.train_labels.bincount().min()) * len(self.train_labels.unique())  # beyond, one is used up
        return [order[n * samples : (n + 1) * samples] for n in range(max(1, min(FLOORS, fewest // samples)))]

    def _order(self) -> Tensor:
        """The training images shuffled: the first of them are a floor's."""
        return torch.randperm(len(self.train_images), generator=torch.Generator().manual_seed(key(self.seed, "floors")))

    def _compare(
        self,
        images: Tensor,
        labels: Tensor | None,
        balanced: bool,
        bounds: bool = True,
        read: Tensor | None = None,
    ) -> dict[str, Any]:
        """Everything but what is remembered, with intervals or, in a fraction of the time, without.

        Args:
            balanced: whether how many there are of each label was chosen and not drawn.
        """
        strata = labels if balanced else None
        generated = features(self.features, images)
        near = Neighbourhoods(self.real["reference"], generated, NEIGHBOURS, self._radii)

        def distance(numbers: Tensor) -> float:
            return self._distance(generated[numbers])

        def measured_distance() -> dict[str, Any]:
            if not bounds:
                return {"value": distance(torch.arange(len(images)))}
            how = (len(images), self.seed, strata, DRAWS)
            drawn = drawn_values(distance, *how)
            pairs = {"draws": draws_digest(*how), "drawn": drawn}
            return around(distance(torch.arange(len(images))), drawn) | pairs

        found: dict[str, Any] = {
            "samples": len(images),
            "frechet_distance": measured_distance(),
            "precision": share_interval(near.precision()),
            "recall": jackknife(*near.recall(), strata),
            "density": mean_interval(near.density(), self.seed, strata),
            "coverage": jackknife(*near.coverage(), strata),
        }
        if labels is not None:
            found |= accuracies((self.read(images) if read is None else read) == labels, labels)
        return found


def accuracies(right: Tensor, labels: Tensor) -> dict[str, Any]:
    """{"accuracy", "accuracy_per_digit"} with intervals: right (B,), whether images of the digits labels (B,) were read
    as such.
    """
    per_digit = {str(int(digit)): share_interval(right[labels == digit]) for digit in labels.unique()}
    return {"accuracy": share_interval(right), "accuracy_per_digit": per_digit}


def plain_values(measured: Mapping[str, Any]) -> dict[str, float]:
    """The values of what `Evaluator.measure` says, without their intervals, for loggers; accuracy_per_digit as
    accuracy_of_0 and so on.
    """
    values = {name: each["value"] for name, each in measured.items() if isinstance(each, dict) and "value" in each}
    per_digit = measured.get("accuracy_per_digit", {})
    return values | {f"accuracy_of_{digit}": each["value"] for digit, each in per_digit.items()}
