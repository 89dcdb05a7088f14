"""Combine: one estimate of several, each of a view of the image or of one of its factors, in one batched call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from denoiselab.denoise import Denoiser, Estimate
from denoiselab.edit.filters import Factor
from denoiselab.edit.views import View
from denoiselab.noise import expand, per_image


class Combine(Denoiser):
    """eps = sum_i F_i A_i^-1 eps(A_i x_t, condition_i), with views A_i and factors F_i that sum to the identity.

    With F_i = w_i it is a visual anagram (Geng et al. 2024), with A_i = I a hybrid image of the factors F_i
    (Geng et al. 2024b, "Factorized Diffusion"). x_0 follows suit, since it is linear in eps. A learned
    variance is turned back by each view, never negated, and averaged.

    Calls take a condition (B, V, ...), a row of V for each image, or None. All B V go through the wrapped denoiser at
    once, those of an image side by side.

    Args:
        denoiser: what estimates; guidance stays inside, so that each view is guided by itself.
        views: the A_i, orthogonal, on images centred at `grey`.
        factors: the F_i, linear, with sum F_i = I.
        grey: the pixel value that a negation leaves alone: 0 for pixels in [-1, 1], 1/2 for [0, 1].
    """

    def __init__(self, denoiser: Denoiser, views: Sequence[View], factors: Sequence[Factor], grey: float) -> None:
        if len(views) != len(factors) or not views:
            raise ValueError(f"{len(views)} views and {len(factors)} factors: allowed are equally many, 1 or more")
        self.denoiser, self.views, self.factors, self.grey = denoiser, list(views), list(factors), grey
        self.path = denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        if condition is not None and condition.shape[1] != len(self.views):
            raise ValueError(
                f"{condition.shape[1]} conditions an image: allowed are {len(self.views)}, one for each view"
            )
        t = per_image(t, x_t)  # (B,)
        grey = expand(self.path.alpha(t), x_t) * self.grey  # the path takes x_0 = grey to this
        seen = torch.stack([view(x_t - grey) for view in self.views], dim=1) + grey.unsqueeze(1)  # (B, V, C, H, W)
        each = self.denoiser(
            seen.flatten(0, 1),
            t.repeat_interleave(len(self.views)),
            None if condition is None else condition.flatten(0, 1),
        )
        weight = each.log_variance_weight
        return Estimate(
            x_0=self._mixed(each.x_0 - self.grey) + self.grey,
            eps=self._mixed(each.eps),
            log_variance_weight=None if weight is None else self._mean_variance(weight),
        )

    def _mixed(self, each: Tensor) -> Tensor:
        """sum_i F_i A_i^-1 of (B V, C, H, W), as (B, C, H, W)."""
        columns = each.unflatten(0, (-1, len(self.views))).unbind(1)
        parts = [
            factor(view.inverse(column)) for view, factor, column in zip(self.views, self.factors, columns, strict=True)
        ]
        return torch.stack(parts).sum(0)

    def _mean_variance(self, each: Tensor) -> Tensor:
        columns = each.unflatten(0, (-1, len(self.views))).unbind(1)
        turned = [view.inverse_variance(column) for view, column in zip(self.views, columns, strict=True)]
        return torch.stack(turned).mean(0)


def combined_views(
    denoiser: Denoiser,
    views: Sequence[View],
    grey: float,
    times: Tensor,
    reduction: str = "mean",
    weights: Sequence[float] | None = None,
) -> Denoiser:
    """The denoiser of an anagram: the weighted mean of the views, or one a step in turn.

    Args:
        grey, times: as `Combine` and `Alternate` take them.
        reduction: "mean" or "alternating".
        weights: of the mean, positive; they are divided by their sum. None: equal.
    """
    if reduction == "alternating":
        return Alternate(denoiser, views, grey, times)
    weights = weights or [1.0] * len(views)
    return Combine(denoiser, views, [_scaled(weight / sum(weights)) for weight in weights], grey)


def _scaled(weight: float) -> Factor:
    return lambda x: weight * x


class Alternate(Denoiser):
    """One view a step, in turn, in place of their mean (Tancik 2023, "Illusion Diffusion"): step k sees view k mod V.

    Calls take a condition (B, V, ...) or None.

    Args:
        denoiser: what estimates.
        views: the A_i, as in `Combine`.
        grey: as in `Combine`.
        times: of the run, (steps + 1,): the place of t among them is the number of the step.
    """

    def __init__(self, denoiser: Denoiser, views: Sequence[View], grey: float, times: Tensor) -> None:
        self.single = [Combine(denoiser, [view], [lambda x: x], grey) for view in views]
        self.times, self.path = times, denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        step = int((self.times.double() - t.flatten()[0].double().cpu()).abs().argmin())
        view = step % len(self.single)
        return self.single[view](x_t, t, None if condition is None else condition[:, view : view + 1])


class Given(Denoiser):
    """Adds a photo's factor F to a Combine of the others: F x_0 = F photo, F eps = F (x_t - alpha_t photo) / sigma_t.

    An inverse hybrid (Geng et al. 2024b), with the known part put into the estimate of x_0, as in DDNM (Wang et al.
    2023), and not into x_t: the sum of the factors is then exact, also for a low pass, which is no projection. (Dynamic
    thresholding, around it, scales the photo's factor with the rest where the sum leaves [-1, 1].)

    Args:
        denoiser: a Combine of all the other factors.
        factor: F.
        photo: (1 or B, C, H, W), the model's pixels.
        grey: as in `Combine`.
    """

    def __init__(self, denoiser: Denoiser, factor: Factor, photo: Tensor, grey: float) -> None:
        self.denoiser, self.factor, self.photo, self.grey = denoiser, factor, photo, grey
        self.path = denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        estimate = self.denoiser(x_t, t, condition)
        t = per_image(t, x_t)  # (B,)
        alpha, sigma = expand(self.path.alpha(t), x_t), expand(self.path.sigma(t), x_t)
        return Estimate(
            x_0=estimate.x_0 + self.factor(self.photo - self.grey),
            eps=estimate.eps + self.factor((x_t - alpha * self.photo) / sigma),
            log_variance_weight=estimate.log_variance_weight,
        )
