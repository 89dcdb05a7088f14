"""Which noise a picture is trained with."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from denoiselab.noise import GaussianPath, RectifiedFlow

COUPLINGS = ("independent", "class")


def check_coupling(coupling: str, path: GaussianPath) -> None:
    """Raises ValueError for an unknown coupling, and for "class" unless the path is rectified flow."""
    if coupling not in COUPLINGS:
        raise ValueError(f"model.coupling={coupling!r}: allowed are {', '.join(COUPLINGS)}")
    if coupling == "class" and not isinstance(path, RectifiedFlow):
        raise ValueError(f"model.coupling={coupling!r}: allowed is independent on this path, class on rectified flow")


def couple(x_0: Tensor, eps: Tensor, labels: Tensor) -> Tensor:
    """eps (B, C, H, W), permuted within each class of labels (B,) so that sum |x_0 - eps|^2 is least.

    Minibatch optimal transport (Pooladian et al. 2023, section 3.2), class by class, so that the noise of a class is
    still the normal one. The assignment is scipy's, on the CPU: on a GPU every step waits for it.
    """
    gain = (x_0.flatten(1).double() @ eps.flatten(1).double().T).cpu().numpy()  # (B, B): the squares are constant
    order = np.arange(len(eps))
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0].cpu().numpy()
        _, columns = linear_sum_assignment(gain[rows][:, rows], maximize=True)
        order[rows] = rows[columns]
    return eps[torch.from_numpy(order).to(eps.device)]
