"""Numbers for pictures: PSNR of denoised images, recognition of generated digits, distance between sets."""

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from denoiselab.evaluation.digits import DigitClassifier


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels of each image, 10 log10(1 / mean (x - y)^2).

    x, y: (B, C, H, W) float in [0, 1] -> (B,). Equal images have an infinite ratio.
    """
    if x.shape != y.shape or x.ndim != 4:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"psnr compares two batches (B, C, H, W) of one shape, got {shapes}")
    return -10 * (x.double() - y.double()).square().mean((1, 2, 3)).log10()  # (B,)


@torch.inference_mode()
def recognised(classifier: nn.Module, samples: Tensor, labels: Tensor, batch_size: int = 500) -> Tensor:
    """Whether the classifier reads each sample as the digit that was asked for.

    samples: (B, 1, 28, 28) float in [0, 1], labels: (B,) in 0..9 -> (B,) bool.
    """
    if len(samples) != len(labels):
        raise ValueError(f"every sample needs one label, got {len(samples)} samples and {len(labels)} labels")
    read = torch.cat([classifier(x).argmax(1) for x in samples.split(batch_size)])  # (B,)
    return read == labels


class _Features(nn.Module):
    """The classifier's features as the module that torchmetrics calls."""

    def __init__(self, classifier: DigitClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.num_features = classifier.num_features

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier.features(x)  # (B, num_features)


@torch.inference_mode()
def frechet_distance(classifier: DigitClassifier, real: Tensor, generated: Tensor, batch_size: int = 500) -> float:
    """The squared Fréchet distance (as FID) between two sets of digits in the classifier's features, 0 for equal sets.

    real, generated: (N, 1, 28, 28) float in [0, 1]; the two N may differ. Gaussians are fitted to the features
    of each set (Heusel et al., 2017, arXiv:1706.08500, equation 6) by torchmetrics, in double precision. The
    features are not Inception's, so the numbers compare with one another under the same classifier and with
    nothing published; small sets are biased upwards, so compare sets of one size.
    """
    for name, x in (("real", real), ("generated", generated)):
        if len(x) < 2:
            raise ValueError(f"a covariance needs at least two images, {name} has {len(x)}")
    distance = FrechetInceptionDistance(feature=_Features(classifier), normalize=True)
    for x in real.split(batch_size):
        distance.update(x, real=True)
    for x in generated.split(batch_size):
        distance.update(x, real=False)
    return float(distance.compute())
