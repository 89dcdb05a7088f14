"""Denoise: a Denoiser maps (x_t, t, condition) to an Estimate of the clean image, the noise and their uncertainty.

Whatever changes an estimate (guidance, thresholding, a view) is a Denoiser around a Denoiser; the solvers and edits
see nothing else.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from denoiselab.noise import GaussianPath, check_prediction, expand, per_image

EVERYWHERE = (0.0, 1.0)  # a guidance interval that leaves nothing out


@dataclass(frozen=True)
class Estimate:
    """What a denoiser believes of x_t = alpha_t x_0 + sigma_t eps. All tensors are (B, C, H, W) float32 or wider.

    Attributes:
        x_0: the clean image, E[x_0 | x_t].
        eps: the noise, with x_t = alpha_t x_0 + sigma_t eps.
        log_variance_weight: v in [0, 1] of the reverse step's log variance v log beta + (1 - v) log btilde, where the
            network has learned one (Nichol & Dhariwal 2021, equation 15), else None. The two bounds depend on where
            the step goes, which only the solver knows.
    """

    x_0: Tensor
    eps: Tensor
    log_variance_weight: Tensor | None = None


class Denoiser(ABC):
    """(x_t, t, condition) -> Estimate, on a Gaussian path.

    Calls take x_t (B, C, H, W), t of shape () or (B,) on the path's scale, and a condition whose first dimension is
    B, or None where the model takes none.
    """

    path: GaussianPath

    @abstractmethod
    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate: ...

    def branches(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Estimate:
        """The estimates (V B, C, H, W) at the same x_t (B, C, H, W) under V conditions of each, (V B, ...).

        One call; a denoiser that can computes once what the branches have in common.
        """
        V = len(conditions) // len(x_t)
        t = per_image(t, x_t)
        return self(x_t.repeat(V, 1, 1, 1), t.repeat(V), conditions)


class NetworkDenoiser(Denoiser):
    """A network that predicts eps, x_0 or velocity, as a Denoiser.

    The network runs in its own precision, and in the memory format and mode (train/eval) that it was left in. Around it
    all is float32, or wider where x_t is, so that coefficients are never rounded to half precision.

    Args:
        net: called as net(x_t, t / T) or, given a condition, net(x_t, t / T, condition); t / T is (B,) in [0, 1]. x_t
            comes in the type of its first parameter, the others in float32 or wider, for it to round or not.
        path: the Gaussian path it was trained on.
        prediction: "eps", "x_0" or "velocity".
    """

    def __init__(self, net: nn.Module, path: GaussianPath, prediction: str) -> None:
        check_prediction(prediction)
        self.net, self.path, self.prediction = net, path, prediction

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        x_t = self._prepared(x_t)
        return self._estimate(self._value(x_t, per_image(t, x_t), condition), x_t, t)

    def branches(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Estimate:
        if not getattr(self.net, "shares_branches", False):
            return super().branches(x_t, t, conditions)
        V = len(conditions) // len(x_t)
        x_t, t = self._prepared(x_t), torch.as_tensor(t)
        value = self._value(x_t, per_image(t, x_t).repeat(V), conditions)  # (V B, C, H, W)
        return self._estimate(value, x_t.repeat(V, 1, 1, 1), t.repeat(V) if t.ndim else t)

    def _prepared(self, x_t: Tensor) -> Tensor:
        """x_t in float32 or wider."""
        return x_t.to(torch.promote_types(x_t.dtype, torch.float32))

    def _value(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """The network's answer in x_t's type."""
        inputs = (self.path.normalise(t),) + (() if condition is None else (condition,))
        own = next((parameter.dtype for parameter in self.net.parameters()), x_t.dtype)
        wide = torch.promote_types(own, torch.float32)
        return self.net(x_t.to(own), *(tensor.to(wide) for tensor in inputs)).to(x_t.dtype)  # type: ignore[no-any-return]

    def _estimate(self, value: Tensor, x_t: Tensor, t: Tensor) -> Estimate:
        """The estimate of the network's answer. One time for all, (), has its coefficients on the CPU, and a GPU no
        kernel to launch for them.
        """
        return Estimate(*self.path.estimate(self.prediction, value, x_t, torch.as_tensor(t)))


class Guide(Denoiser):
    """Classifier-free guidance (Ho & Salimans 2022): u = u_uncond + scale (u_cond - u_uncond).

    Both branches go through the wrapped denoiser in one call, of 2B where it does not share what they have in common.
    Scale 0 is the unconditional and scale 1 the conditional model, each evaluated alone, on B. x_0 and eps are both
    linear in u, so either may be mixed; a learned variance is taken from the conditional branch.

    Args:
        denoiser: what is guided.
        scale: the guidance scale gamma, any real number.
        unconditional: the condition of the unconditional branch for one image, (1, ...); for a class model the zero
            vector (1, K).
        interval: (low, high), where guidance acts: low <= t / T <= high (Kynkäänniemi et al. 2024, arXiv:2404.07724,
            there in sigma). Outside of it the scale is 1, and the conditional branch is evaluated alone, on B; a batch
            whose times lie on both sides is evaluated on 2B. Scale 0 stays unconditional at every time.
        rescale: phi in [0, 1], how far the guided x_0 is brought to the standard deviation over (C, H, W) of the
            conditional one (Lin et al. 2023, arXiv:2305.08891, equations 15 and 16); eps follows, so that x_t = alpha
            x_0 + sigma eps stays. The paper multiplies the network's raw answer. Here x_0's deviations from its own
            mean over (C, H, W) are multiplied and that mean stays the guided one, so that pixels in [0, 1] and in
            [-1, 1] give the same picture, and a negated view the negated one. 0 is off.

    Raises:
        ValueError: an interval or a rescale out of range.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        unconditional: Tensor,
        *,
        interval: Sequence[float] = EVERYWHERE,
        rescale: float = 0.0,
    ) -> None:
        check_guidance(interval, rescale)
        self.denoiser, self.scale, self.unconditional = denoiser, scale, unconditional
        self.interval, self.rescale, self.path = tuple(interval), rescale, denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        if condition is None:
            raise ValueError("guidance needs a condition: this call, or this model, has none")
        if self.scale == 1:
            return self.denoiser(x_t, t, condition)
        self.unconditional = self.unconditional.to(condition)  # once, not at every step
        unconditional = self.unconditional.expand_as(condition)  # (B, ...)
        if self.scale == 0:
            return self.denoiser(x_t, t, unconditional)
        inside = self._inside(t)
        if inside is not None and not inside.any():
            return self.denoiser(x_t, t, condition)
        t = torch.as_tensor(t)
        both = self.denoiser.branches(x_t, t, torch.cat([unconditional, condition]))  # (2B, C, H, W)
        x_0, eps = _mix(both.x_0, self.scale), _mix(both.eps, self.scale)
        if self.rescale:
            rescaled = _rescaled(x_0, both.x_0.chunk(2)[1], self.rescale)
            eps = eps + expand(self.path.alpha(t) / self.path.sigma(t), eps) * (x_0 - rescaled)
            x_0 = rescaled
        if inside is not None and inside.ndim:  # one time for all is inside, as seen above
            rows = inside.to(x_t.device).reshape(-1, 1, 1, 1)
            x_0, eps = (
                torch.where(rows, guided, each.chunk(2)[1]) for guided, each in ((x_0, both.x_0), (eps, both.eps))
            )
        weight = both.log_variance_weight
        return Estimate(x_0, eps, None if weight is None else weight.chunk(2)[1])

    def _inside(self, t: Tensor) -> Tensor | None:
        """Whether each of the times is in the interval, () or (B,); None where all are, which costs no look at t.

        Compared in float32, as the path's times are, so that the ends are inside whatever their last bit.
        """
        if self.interval == EVERYWHERE:
            return None
        share = self.path.normalise(torch.as_tensor(t))
        low, high = self.interval
        return (low <= share) & (share <= high)


def check_guidance(interval: Sequence[float], rescale: float) -> None:
    """Raises ValueError unless `Guide` takes them."""
    if len(interval) != 2 or not 0 <= interval[0] < interval[1] <= 1:
        raise ValueError(f"guidance_interval={list(interval)}: allowed is [low, high] with 0 <= low < high <= 1")
    if not 0 <= rescale <= 1:
        raise ValueError(f"guidance_rescale={rescale}: allowed is 0 to 1")


def _mix(both: Tensor, scale: float) -> Tensor:
    """u_uncond + scale (u_cond - u_uncond), (B, C, H, W), of the two halves of a (2B, C, H, W)."""
    unconditional, conditional = both.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def _rescaled(x_0: Tensor, conditional: Tensor, rescale: float) -> Tensor:
    """x_0 (B, C, H, W) with (1 - rescale) of its own standard deviation and `rescale` of the conditional one's."""
    mean, own, wanted = (
        x_0.mean((1, 2, 3), keepdim=True),
        x_0.std((1, 2, 3), keepdim=True),
        conditional.std((1, 2, 3), keepdim=True),
    )
    ratio = wanted / own.clamp(min=torch.finfo(own.dtype).eps)  # a picture of one grey has nothing to scale
    return mean + (1 - rescale + rescale * ratio) * (x_0 - mean)


class Threshold(Denoiser):
    """Dynamic thresholding (Saharia et al. 2022, Imagen, section 2.3): x_0 <- clip(x_0, -s, s) / s, image by image.

    s is the `ratio` quantile of |x_0|, at least 1 and at most `most`. For pixels in [-1, 1]. eps stays as it was, as in
    diffusers' schedulers.

    Args:
        denoiser: what is thresholded; the outermost, so that the mixed estimate is.
        ratio: in (0, 1); DeepFloyd IF: 0.95.
        most: 1 or more; DeepFloyd IF: 1.5 in stage I, 1 in stage II.
    """

    def __init__(self, denoiser: Denoiser, ratio: float, most: float) -> None:
        if not 0 < ratio < 1 or most < 1:
            raise ValueError(f"ratio={ratio}, most={most}: allowed are a ratio between 0 and 1 and most >= 1")
        self.denoiser, self.ratio, self.most, self.path = denoiser, ratio, most, denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        estimate = self.denoiser(x_t, t, condition)
        s = torch.quantile(estimate.x_0.abs().flatten(1), self.ratio, dim=1).clamp(1, self.most)  # (B,)
        s = s.reshape(-1, *[1] * (x_t.ndim - 1))
        return Estimate(estimate.x_0.clamp(-s, s) / s, estimate.eps, estimate.log_variance_weight)


class Beside(Denoiser):
    """A second stage with what it enlarges beside x_t: (B, C, H, W) and a context (B, C, H, W) as (B, 2 C, H, W).

    Outermost among what changes an estimate, so that a view moves both.
    """

    def __init__(self, denoiser: Denoiser, context: Tensor) -> None:
        self.denoiser, self.context, self.path = denoiser, context, denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        return self.denoiser(torch.cat([x_t, self.context], dim=1), t, condition)


class Split(Denoiser):
    """Calls the wrapped denoiser on at most `max_batch` images at a time, and on half as many when memory runs out.

    Args:
        denoiser: the network's, so that all that is batched around it (guidance, views) is split.
        max_batch: images a call, or None for all at once. Halved, with a warning, by torch.OutOfMemoryError.
    """

    def __init__(self, denoiser: Denoiser, max_batch: int | None = None) -> None:
        if max_batch is not None and max_batch < 1:
            raise ValueError(f"max_batch={max_batch}: allowed is a positive number of images, or None")
        self.denoiser, self.max_batch, self.path = denoiser, max_batch, denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
        t = torch.as_tensor(t)

        def call(rows: slice) -> Estimate:
            return self.denoiser(x_t[rows], t[rows] if t.ndim else t, None if condition is None else condition[rows])

        while True:
            estimate = self._attempt(call, x_t, 1)
            if estimate is not None:
                return estimate

    def branches(self, x_t: Tensor, t: Tensor, conditions: Tensor) -> Estimate:
        V = len(conditions) // len(x_t)
        t = torch.as_tensor(t)
        each = conditions.unflatten(0, (V, -1))  # (V, B, ...)

        def call(rows: slice) -> Estimate:
            return self.denoiser.branches(x_t[rows], t[rows] if t.ndim else t, each[:, rows].flatten(0, 1))

        while self.max_batch is None or self.max_batch >= V:
            estimate = self._attempt(call, x_t, V)
            if estimate is not None:
                return estimate
        return super().branches(x_t, t, conditions)

    def _attempt(self, call: Callable[[slice], Estimate], x_t: Tensor, V: int) -> Estimate | None:
        """What `call` answers for the images in parts, V rows of each; None, and a smaller max_batch, out of memory."""
        B = len(x_t)
        size = min(self.max_batch or V * B, V * B) // V
        try:
            return _joined([call(slice(i, i + size)) for i in range(0, B, size)], V)
        except torch.OutOfMemoryError:
            if V * size == 1:
                raise
            self.max_batch = V * size // 2
        # Outside of the handler, which would keep the failed call's tensors alive.
        if x_t.is_cuda:
            torch.cuda.empty_cache()
        warnings.warn(
            f"out of memory at {V * size} images a call: going on with max_batch={self.max_batch}", stacklevel=4
        )
        return None


def _joined(estimates: Sequence[Estimate], V: int) -> Estimate:
    """One estimate (V B, ...) of those of parts of the images, each (V b, ...)."""
    if len(estimates) == 1:
        return estimates[0]

    def join(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([tensor.unflatten(0, (V, -1)) for tensor in tensors], dim=1).flatten(0, 1)

    weights = [each.log_variance_weight for each in estimates if each.log_variance_weight is not None]
    return Estimate(
        x_0=join([each.x_0 for each in estimates]),
        eps=join([each.eps for each in estimates]),
        log_variance_weight=join(weights) if weights else None,
    )


class Backbone(ABC):
    """A trained model and what an edit has to know of it; `backbones` makes them.

    Attributes:
        name: for titles and records.
        denoiser: of x_t (B, C, H, W), with whatever condition `condition` gives.
        shape: (C, H, W) of its images.
        low: the pixel value of black, -1 or 0; white is 1.
        device: where its calls want their tensors.
        solver: name and options of the solver it was made for, e.g. {"name": "ddpm", "variance": "learned"}.
        guidance_scale: its usual one; 1 where there is nothing to guide by.
        threshold: (ratio, most) of its dynamic thresholding, or None.
        revision: the commit of the repository that its weights are from, or None.
    """

    name: str
    denoiser: Denoiser
    shape: tuple[int, int, int]
    low: float
    device: torch.device
    solver: dict[str, str | float]
    guidance_scale: float
    threshold: tuple[float, float] | None = None
    revision: str | None = None

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Tensor | None:
        """The condition (B, ...) of B prompts, "" being the unconditional one; None for a model that takes none.

        Raises ValueError for a prompt that the model does not know.
        """

    def pixels(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1] as the model's pixels in [low, 1]."""
        return pictures * (1 - self.low) + self.low

    def pictures(self, pixels: Tensor) -> Tensor:
        """The model's pixels (B, C, H, W) as pictures in [0, 1], clipped."""
        return ((pixels - self.low) / (1 - self.low)).clamp(0, 1)


class Upscaler(Backbone):
    """A second stage: its denoiser takes 2 C channels, x_t and a low-resolution picture noised a little.

    Attributes:
        noise_level: of the low-resolution picture, an index of the noising schedule; the network is told of it.
        scale: how many times a side grows.
    """

    noise_level: int
    scale: int

    @abstractmethod
    def context(self, pictures: Tensor, eps: Tensor) -> Tensor:
        """The C channels (B, C, H, W) beside x_t: pictures (B, C, H / scale, W / scale) in [0, 1], enlarged bilinearly
        and noised to `noise_level` with eps (B, C, H, W)."""
