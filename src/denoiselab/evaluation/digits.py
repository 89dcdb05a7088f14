"""A digit classifier: the independent judge of generated MNIST digits.

It says which digit a generated image shows (`quality.recognised`) and gives the features in which two sets
of images are compared (`quality.frechet_distance`). It is trained in about a minute on two cores (99.5 %
on the MNIST test set), and kept in a file; it never sees a generated image.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.files import write_atomically

MINIMUM_ACCURACY = 0.99


class DigitClassifier(nn.Module):
    """Three convolutions and a linear layer, 90 thousand parameters.

    Takes images x: (B, 1, 28, 28) float in [0, 1] and returns logits: (B, 10).
    """

    num_features = 128  # the name under which torchmetrics looks for the width of `features`

    def __init__(self) -> None:
        super().__init__()
        # Pooling comes before BatchNorm and ReLU because they then run on a quarter of the pixels.
        width = self.num_features
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, 64, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.classify = nn.Linear(self.num_features, 10)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate features, (B, 1, 28, 28) in [0, 1] -> (B, 128), non-negative."""
        x = (x - 0.1307) / 0.3081  # mean and standard deviation of the MNIST training pixels
        return self.convolutions(x).amax((2, 3))  # (B, 128, 7, 7) -> (B, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))  # (B, 10)


def _shifted_and_turned(
    x: Tensor, generator: torch.Generator, *, pixels: float = 2.0, degrees: float = 12.0, zoom: float = 0.1
) -> Tensor:
    """x: (B, 1, H, W), each image moved, turned and scaled by its own random amount; black outside."""
    u = 2 * torch.rand(4, len(x), generator=generator) - 1
    angle, scale = math.radians(degrees) * u[0], 1 + zoom * u[1]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    shift = u[2:] * 2 * pixels / x.shape[-1]  # the grid of affine_grid spans [-1, 1]
    theta = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def train_classifier(
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    epochs: int = 3,
    batch_size: int = 128,
    max_lr: float = 1e-2,
) -> DigitClassifier:
    """Train on images: (N, 1, 28, 28) uint8 with labels: (N,) in 0..9, and return the network in eval mode.

    AdamW under the one-cycle schedule (Smith and Topin, 2018, arXiv:1708.07120), with small random shifts,
    turns and zooms. Initialisation, order and augmentation are functions of `seed`; the global generator is left
    as it was. Raises ValueError where the images are not bytes, not one per label or fewer than a batch.
    """
    if images.dtype != torch.uint8 or len(images) != len(labels) or len(images) < batch_size:
        raise ValueError(
            f"images must be uint8, one per label and at least batch_size={batch_size}: "
            f"got {len(images)} of {images.dtype} and {len(labels)} labels"
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = DigitClassifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=max_lr, weight_decay=1e-2, fused=True)
    steps_per_epoch = len(images) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr, total_steps=epochs * steps_per_epoch, pct_start=0.2
    )
    classifier.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)[: steps_per_epoch * batch_size]
        for index in order.split(batch_size):
            x = _shifted_and_turned(images[index].float() / 255, generator)
            loss = F.cross_entropy(classifier(x.contiguous(memory_format=torch.channels_last)), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return classifier.eval()


@torch.inference_mode()
def accuracy(classifier: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share in [0, 1] of images whose largest logit is their label.

    images: (N, 1, 28, 28), uint8 or float in [0, 1]; labels: (N,) in 0..9.
    """
    correct = 0
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        correct += int((classifier(x).argmax(1) == y).sum())
    return correct / len(labels)


def save_classifier(classifier: DigitClassifier, path: Path) -> None:
    """Write the weights to `path`, whole or not at all; its folder is made if it is missing."""
    with write_atomically(path) as temporary:
        torch.save(classifier.state_dict(), temporary)


def load_classifier(path: Path) -> DigitClassifier:
    """Read what `save_classifier` wrote; the network comes back on the CPU in eval mode."""
    classifier = DigitClassifier()
    classifier.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return classifier.to(memory_format=torch.channels_last).eval()


def digit_classifier(
    cache: Path,
    train_images: Tensor,
    train_labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    seed: int = 0,
    epochs: int = 3,
) -> DigitClassifier:
    """The classifier kept in the file `cache`, or, where there is none, one trained now and kept there.

    Images are (N, 1, 28, 28) uint8, labels (N,). Raises ValueError where the accuracy on the test images is
    under 0.99, kept file or not: a weak judge would pass a weak generator. A weak network is not written.
    """
    cache = Path(cache)
    kept = cache.exists()
    if kept:
        classifier = load_classifier(cache)
    else:
        classifier = train_classifier(train_images, train_labels, seed=seed, epochs=epochs)
    reached = accuracy(classifier, test_images, test_labels)
    if reached < MINIMUM_ACCURACY:
        what = f"the digit classifier in {cache}" if kept else f"a classifier trained for {epochs} epochs"
        raise ValueError(
            f"{what} recognises {reached:.2%} of the test images; at least {MINIMUM_ACCURACY:.0%} is needed"
        )
    if not kept:
        save_classifier(classifier, cache)
    return classifier
