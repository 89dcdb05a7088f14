"""The LightningModules of the denoisers: single-step, time-conditioned and class-conditioned.

Training has one clock, the global step: times, noise and class dropout of a step are drawn for the global batch (all
ranks together) from a generator keyed by (seed, step), and every rank takes its own rows. A resumed run therefore
repeats what an uninterrupted one does, and two processes train on what one process would.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.denoise import EVERYWHERE, Denoiser, Guide, NetworkDenoiser
from denoiselab.noise import GaussianPath, key
from denoiselab.training.optimizer import Optimizer
from denoiselab.training.step import Batch, StepModule
from denoiselab.training.times import UNIFORM, Times


class PixelModule(StepModule):
    """What the denoisers have in common: a Gaussian path and, but for models of words, a mean squared error.

    Args:
        net: the network.
        path: the Gaussian path (the schedule).
        prediction: what the network answers: "eps", "x_0" or "velocity".
        optimizer: Adam's settings.
        seed: of everything random in training.
    """

    def __init__(self, net: nn.Module, path: GaussianPath, prediction: str, optimizer: Optimizer, seed: int) -> None:
        super().__init__(net, optimizer, seed)
        # On a continuous path T is never drawn; a discrete one would be trained there to no end.
        if prediction == "eps" and path.discrete and path.alpha(torch.tensor(path.T)) == 0:
            raise ValueError("prediction='eps': allowed are x_0, velocity on a path with zero_terminal_snr")
        self.path, self.prediction = path, prediction

    @property
    def num_classes(self) -> int:
        """Length of the class vector; 0 for a model without classes."""
        return 0

    def denoiser(
        self, guidance_scale: float | None = None, guidance_interval: Sequence[float] | None = None
    ) -> Denoiser:
        """The network as a Denoiser, guided where a guidance scale is given, in an interval or (None) everywhere.

        Raises ValueError for a guidance scale on a model without classes.
        """
        network = NetworkDenoiser(self.net, self.path, self.prediction)
        if guidance_scale is None:
            return network
        if not self.num_classes:
            raise ValueError(f"guidance_scale={guidance_scale}: allowed is none, this model has no classes to guide by")
        unconditional = torch.zeros(1, self.num_classes)
        return Guide(network, guidance_scale, unconditional, interval=guidance_interval or EVERYWHERE)

    def condition(self, labels: Tensor) -> Tensor | None:
        """The network's condition for labels (B,): (B, K), or None for a model without classes."""
        return None

    def noise_shape(self, x_0: Tensor) -> tuple[int, ...]:
        """Shape of the noise of one of the pictures x_0 (B, C, H, W)."""
        return tuple(x_0.shape[1:])

    @abstractmethod
    def times(self, batch: int, generator: torch.Generator) -> Tensor:
        """Times (batch, ...) to be judged at, on the generator's device."""

    def training_times(self, batch: int, generator: torch.Generator) -> Tensor:
        """Times (batch, ...) to be trained at, on the generator's device."""
        return self.times(batch, generator)

    def warn_of(self, prompts: Sequence[str]) -> None:
        """Warns of what the network will not read of prompts; it reads all, but for models of words."""

    def prompt_condition(self, prompts: Sequence[str]) -> Tensor | None:
        """The network's condition for B prompts, (B, ...), as a Backbone's; None for a model that takes none."""
        return None

    def pictures(self, pixels: Tensor) -> Tensor:
        """The network's pixels (B, C, H, W) as pictures whose black is 0 and white 1."""
        return pixels

    def training_condition(self, labels: Tensor, u: Tensor) -> Tensor | None:
        """The network's condition in training for labels (B,), given uniform numbers u (B,) in [0, 1)."""
        return self.condition(labels)

    def loss(self, x_0: Tensor, t: Tensor, eps: Tensor, condition: Tensor | None) -> Tensor:
        """Mean squared error () of the prediction at x_t (Ho et al. 2020, equation 14; Lipman et al. 2022)."""
        x_t = self.path.add_noise(x_0, t, eps)  # (B, C, H, W)
        value = self.predict(x_t, t, condition)  # (B, C, H, W)
        target = self.path.target(self.prediction, x_0, eps, t)
        return F.mse_loss(value.float(), target)

    def predict(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """The network's answer (B, C, H, W)."""
        inputs = (x_t, self.path.normalise(t)) + (() if condition is None else (condition,))
        return self.net(*inputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x_0, labels = batch
        B, world = len(x_0), self.trainer.world_size
        generator = torch.Generator(x_0.device).manual_seed(key(self.seed, self.global_step, "training"))
        t, eps, u = self.draw(B * world, x_0, generator)
        rows = self.rows(B)
        condition = self.training_condition(labels, u[rows])
        return self.loss(x_0, t[rows], eps[rows], condition)

    def draw(self, batch: int, like: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What is random in training, in this order: times (batch, ...), noise (batch, C, H, W), u of
        `training_condition` (batch,)."""
        t = self.training_times(batch, generator)
        eps = torch.randn(batch, *self.noise_shape(like), generator=generator, device=like.device)
        return t, eps, torch.rand(batch, generator=generator, device=like.device)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Logs val_loss: the same loss, class not dropped, on held-out images whose time and noise never change.

        Times are uniform and the noise is of one seed whatever training does, so that runs of one prediction compare.
        """
        x_0, labels, indices = batch
        t, eps = [], []
        for index in indices.tolist():
            generator = torch.Generator().manual_seed(key(0, index, "validation"))
            t.append(self.times(1, generator))
            eps.append(torch.randn(self.noise_shape(x_0), generator=generator))
        device = x_0.device
        loss = self.loss(x_0, torch.cat(t).to(device), torch.stack(eps).to(device), self.condition(labels))
        self.log_validation(loss, len(x_0))


class OneStepModule(PixelModule):
    """D(x_t) ~ x_0 at one fixed time: the course's single-step denoiser, loss |D(z) - x|^2.

    On the additive path t is the sigma of z = x + sigma eps. On rectified flow, t = 1 is pure noise.

    Args:
        t: the noise level it is trained on, on the path's scale.
    """

    def __init__(
        self, net: nn.Module, path: GaussianPath, prediction: str, optimizer: Optimizer, seed: int, t: float
    ) -> None:
        super().__init__(net, path, prediction, optimizer, seed)
        if prediction != "x_0":
            raise ValueError(f"prediction={prediction!r}: the single-step denoiser allows x_0 only")
        if not 0 < t <= path.T:
            raise ValueError(f"model.t={t}: allowed is more than 0 and at most {path.T:g}")
        if path.discrete and t != int(t):
            raise ValueError(f"model.t={t}: allowed are the integers 1 to {path.T:g} on this path")
        self.t = t

    def times(self, batch: int, generator: torch.Generator) -> Tensor:
        dtype = torch.int64 if self.path.discrete else torch.float32
        return torch.full((batch,), self.t, dtype=dtype, device=generator.device)

    def predict(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        return self.net(x_t)


class TimeModule(PixelModule):
    """The time-conditioned denoiser: t uniform over the path (course, B2.1-2.3), or as `times` says.

    Args:
        times: the law of training times; those of validation are uniform.
    """

    def __init__(
        self,
        net: nn.Module,
        path: GaussianPath,
        prediction: str,
        optimizer: Optimizer,
        seed: int,
        times: Times = UNIFORM,
    ) -> None:
        super().__init__(net, path, prediction, optimizer, seed)
        self.law = times

    def times(self, batch: int, generator: torch.Generator) -> Tensor:
        return self.path.random_times(batch, generator)

    def training_times(self, batch: int, generator: torch.Generator) -> Tensor:
        return self.law(self.path, batch, generator)


class ClassModule(TimeModule):
    """The class-conditioned denoiser: the class vector is zero for some samples (course, B2.4-2.6).

    Args:
        class_dropout: probability, sample by sample, that the one-hot class vector is replaced by zeros
            (Ho & Salimans 2022), in [0, 1].
        times: as for `TimeModule`.
    """

    def __init__(
        self,
        net: nn.Module,
        path: GaussianPath,
        prediction: str,
        optimizer: Optimizer,
        seed: int,
        class_dropout: float,
        times: Times = UNIFORM,
    ) -> None:
        super().__init__(net, path, prediction, optimizer, seed, times)
        if not 0 <= class_dropout <= 1:
            raise ValueError(f"model.class_dropout={class_dropout}: allowed is 0 to 1")
        self.class_dropout = class_dropout

    @property
    def num_classes(self) -> int:
        return int(self.net.num_classes)  # type: ignore[arg-type]

    def condition(self, labels: Tensor) -> Tensor:
        return F.one_hot(labels, self.num_classes).float()  # (B, K)

    def prompt_condition(self, prompts: Sequence[str]) -> Tensor:
        return self.condition(torch.tensor([int(prompt) for prompt in prompts], device=self.device))

    def training_condition(self, labels: Tensor, u: Tensor) -> Tensor:
        return self.condition(labels) * (u >= self.class_dropout)[:, None]  # (B, K)
