"""How alike two sets of images are, in the features of a classifier: (N, F) each, as `digits.features` gives.

None of it depends on the order of the images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

CHUNK = 1000  # rows of a distance matrix held at once
NEIGHBOURS = 5  # whose distance a ball reaches


class _Given(nn.Module):
    """What torchmetrics takes for its feature network: the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class FrechetDistance:
    """The squared Fréchet distance of the Gaussians fitted to two sets (Heusel et al. 2017, equation 6).

    Computed by torchmetrics in double precision, which keeps the sums of the first set. A covariance of few images is
    biased and the distance with it, upwards: compare sets of one size.

    Args:
        real: the first set, (N, F), N at least 2.
    """

    def __init__(self, real: Tensor) -> None:
        # One rank measures what all have made: there is nothing to synchronise.
        self._metric = FrechetInceptionDistance(
            feature=_Given(real.shape[1]), reset_real_features=False, sync_on_compute=False
        ).set_dtype(torch.float64)
        self._update(real, real=True)

    def _update(self, x: Tensor, real: bool) -> None:
        if len(x) < 2:
            raise ValueError(f"a covariance needs at least two images, {'real' if real else 'generated'} has {len(x)}")
        self._metric.update(x.double(), real=real)

    def __call__(self, generated: Tensor) -> float:
        """To the second set, (M, F), M at least 2; >= 0."""
        self._metric.reset()  # of the second set before
        self._update(generated, real=False)
        return max(float(self._metric.compute()), 0.0)  # of equal sets rounding leaves -1e-13


def kth_distances(x: Tensor, k: int) -> Tensor:
    """The distance of each row of x (N, F) to its k-th nearest other row, (N,) float32.

    Raises ValueError unless there are more than k rows.
    """
    if not 1 <= k < len(x):
        raise ValueError(f"k={k}: allowed is 1 to {len(x) - 1}, the other images of a set of {len(x)}")
    x = x.float()
    # The nearest of all is the row itself.
    # topk takes a tenth of kthvalue's time.
    nearest = [torch.cdist(rows, x).topk(k + 1, dim=1, largest=False).values for rows in x.split(CHUNK)]
    return torch.cat([each[:, -1] for each in nearest])


class Neighbourhoods:
    """Precision, recall, density and coverage of generated images, by balls around images.

    Every image has a ball that reaches its k-th nearest neighbour in its own set. Precision: how many of the generated
    images are in a real one's ball; recall: how many real images are in a generated one's (Kynkäänniemi et al. 2019,
    arXiv:1904.06991, equation 2). Density: how many real balls a generated image is in, over k, about 1 for real
    images; coverage: how many real images have a generated one in their ball (Naeem et al. 2020, arXiv:2002.09797,
    equations 3 and 4). Recall rewards outliers among the generated; coverage does not.

    Args:
        real: (N, F).
        generated: (M, F).
        k: neighbours.
        real_radii: `kth_distances(real, k)` where it is known, (N,).
    """

    def __init__(self, real: Tensor, generated: Tensor, k: int = NEIGHBOURS, real_radii: Tensor | None = None) -> None:
        real, generated, self.k = real.float(), generated.float(), k
        real_radii = kth_distances(real, k) if real_radii is None else real_radii
        assert len(real_radii) == len(real), real_radii.shape
        generated_radii = kth_distances(generated, k)
        in_real, in_generated = [], []
        for rows, radii in zip(real.split(CHUNK), real_radii.split(CHUNK), strict=True):
            distances = torch.cdist(rows, generated)  # (CHUNK, M)
            in_real.append(distances <= radii[:, None])
            in_generated.append(distances <= generated_radii)
        self.in_real, self.in_generated = torch.cat(in_real), torch.cat(in_generated)  # (N, M) bool

    def precision(self) -> Tensor:
        """Of each generated image, (M,) float64."""
        return self.in_real.any(0).double()

    def density(self) -> Tensor:
        """Of each generated image, (M,) float64."""
        return self.in_real.sum(0).double() / self.k

    def recall(self) -> tuple[float, Tensor]:
        """The share of the real images, and what it would be without each generated one's ball, (M,) float64.

        The other balls are left as they are, though those that reached it would reach a little farther.
        """
        return _share_met(self.in_generated)

    def coverage(self) -> tuple[float, Tensor]:
        """The share of the real images, and what it would be without each generated one, (M,) float64."""
        return _share_met(self.in_real)


def _share_met(met: Tensor) -> tuple[float, Tensor]:
    """The share of the rows of met (N, M) bool that are true in some column, and that without each column, (M,)."""
    columns = met.sum(1)
    share = float((columns > 0).double().mean())
    return share, share - met[columns == 1].sum(0).double() / len(met)


def nearest(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The root mean squared difference of each image to the most similar of the others, (N,) float32, and its number.

    images: (N, C, H, W) and others: (M, C, H, W), float in [0, 1]. Of samples and training images it tells how far a
    model has only remembered, beside the same of test images.
    """
    flat = others.flatten(1).float()
    found = [torch.cdist(rows, flat).min(1) for rows in images.flatten(1).float().split(CHUNK)]
    distances, numbers = torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
    return distances / flat.shape[1] ** 0.5, numbers
