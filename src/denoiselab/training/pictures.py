"""Callbacks that draw what the model does after the epochs asked for, from EXPERIMENTS part B of the course.

They draw on rank 0, in on_validation_epoch_end: the network is in eval mode there and, with EMA on, holds the averaged
weights. Noise is keyed by (seed, image number, purpose), so the same cell of two grids started from the same noise.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor
from tqdm import tqdm

from denoiselab.denoise import Estimate
from denoiselab.figures import animation, grid, panel, save_grid, stack
from denoiselab.noise import ImageNoise
from denoiselab.runs import run_label, sample_grids
from denoiselab.sample import Solver, sample
from denoiselab.training.callbacks import NotFinite, learning_rate, log_picture, not_finite
from denoiselab.training.modules import OneStepModule, PixelModule
from denoiselab.training.text import UpscalerModule

FRAMES = 60  # of an animation


class PictureCallback(L.Callback):
    """Calls `draw` after the epochs asked for.

    Args:
        directory: the run directory; pictures go to its figures/.
        epochs: epochs, counted from 1.
        seed: of the pictures' noise.
    """

    def __init__(self, directory: str | Path, epochs: Iterable[int], seed: int) -> None:
        self.figures, self.epochs, self.seed = Path(directory) / "figures", set(epochs), seed

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PixelModule)
        if trainer.is_global_zero and trainer.current_epoch + 1 in self.epochs:
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                self.draw(trainer, pl_module, trainer.current_epoch + 1)

    @abstractmethod
    def draw(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        """Writes this callback's pictures of the epoch."""

    def noise(self, like: Tensor, purpose: str) -> Tensor:
        """Noise (B, C, H, W) for the images 0..B-1."""
        return ImageNoise(self.seed, range(len(like)), purpose)(like)

    def save(self, trainer: L.Trainer, name: str, images: Sequence[Tensor], **labels: Any) -> None:
        """A panel with a row per tensor, under figures/NAME.png, shown to the loggers too."""
        for row in images:
            check_finite(trainer, name, row)
        log_picture(trainer, panel([row.cpu() for row in images], self.figures / f"{name}.png", **labels))


def check_finite(trainer: L.Trainer, what: str, images: Tensor, epoch: int | None = None) -> None:
    """Raises NotFinite where a model that diverges draws no numbers: its validation loss may still be one.

    epoch: which the images are drawn after; None: the one in progress.
    """
    if not images.isfinite().all():
        raise not_drawn(trainer, what, trainer.current_epoch + 1 if epoch is None else epoch)


def not_drawn(trainer: L.Trainer, what: str, epoch: int) -> NotFinite:
    """The error of `check_finite`."""
    return not_finite(f"{what} with NaN or infinite pixels after epoch {epoch}", learning_rate(trainer))


def one_of_each(data: Any) -> Tensor:
    """The first test image of each class, (K, C, H, W) float in [0, 1]."""
    first = [int((data.test_labels == label).nonzero()[0]) for label in range(data.num_classes)]
    return data.test_images[first].float() / 255


class DenoisedPanels(PictureCallback):
    """noising.png, denoised_epoch_NNN.png and out_of_distribution_epoch_NNN.png of a single-step denoiser (B1.2).

    Args:
        sigmas: the noise levels of the noising and the out-of-distribution panel.
        digits: how many digits they show.
    """

    def __init__(
        self, directory: str | Path, epochs: Iterable[int], seed: int, sigmas: Sequence[float], digits: int = 3
    ) -> None:
        super().__init__(directory, epochs, seed)
        if not sigmas or min(sigmas) < 0:
            raise ValueError(f"callbacks.panels.sigmas={list(sigmas)}: allowed are one or more numbers >= 0")
        self.sigmas, self.digits = list(sigmas), digits

    def noisy(self, clean: Tensor) -> list[Tensor]:
        """z = x + sigma eps for each sigma, each (B, C, H, W), with the same eps."""
        eps = self.noise(clean, "panels")
        return [clean + sigma * eps for sigma in self.sigmas]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            clean = one_of_each(trainer.datamodule)  # type: ignore[attr-defined]
            rows = list(torch.stack(self.noisy(clean), dim=1))  # a row per digit, a column per sigma
            labels = [f"sigma {sigma:g}" for sigma in self.sigmas]
            self.save(trainer, "noising", rows, column_labels=labels, title="z = x + sigma eps")

    def draw(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        assert isinstance(module, OneStepModule)
        clean = one_of_each(trainer.datamodule).to(module.device)  # type: ignore[attr-defined]
        noisy = clean + module.t * self.noise(clean, "panels")
        self.save(
            trainer,
            f"denoised_epoch_{epoch:03d}",
            [clean, noisy, module.net(noisy).float()],
            row_labels=["clean", f"sigma {module.t:g}", "denoised"],
            title=f"single-step denoiser after epoch {epoch}",
        )
        levels = self.noisy(clean[: self.digits])
        denoised = [module.net(z).float() for z in levels]
        rows = [torch.stack([z[i] for z in images]) for i in range(len(levels[0])) for images in (levels, denoised)]
        self.save(
            trainer,
            f"out_of_distribution_epoch_{epoch:03d}",
            rows,
            row_labels=["noisy", "denoised"] * len(levels[0]),
            column_labels=[f"sigma {sigma:g}" for sigma in self.sigmas],
            title=f"trained at sigma {module.t:g}, after epoch {epoch}",
        )


class PureNoisePanels(PictureCallback):
    """pure_noise_epoch_NNN.png: what a denoiser of pure noise answers, beside the mean training image (B1.2.3).

    The input says nothing of the target, so the answer of least squared error is the mean of the data; the mean squared
    difference to it is printed and logged.

    Args:
        count: how many inputs are shown.
    """

    def __init__(self, directory: str | Path, epochs: Iterable[int], seed: int, count: int = 10) -> None:
        super().__init__(directory, epochs, seed)
        self.count = count

    def draw(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        mean = trainer.datamodule.mean_image().to(module.device)  # type: ignore[attr-defined]  # (1, C, H, W)
        noise = self.noise(mean.expand(self.count, -1, -1, -1), "panels")
        output = module.net(noise).float()
        mse = float((output - mean).square().mean())
        print(f"pure noise after epoch {epoch}: MSE {mse:.2e} between the outputs and the mean training image")
        for logger in trainer.loggers:
            logger.log_metrics({"mse_to_mean_image": mse}, step=trainer.global_step)
        self.save(
            trainer,
            f"pure_noise_epoch_{epoch:03d}",
            [noise, output, mean.expand_as(output)],
            row_labels=["input", "output", "mean image"],
            title=f"denoiser of pure noise after epoch {epoch}: MSE to the mean image {mse:.1e}",
        )


class SampleGrids(PictureCallback):
    """samples_epoch_NNN.png: samples of a model (B2), and an animation of the last grid.

    The columns of a class model are digits, those of a text model are prompts. With `zero_class` a class model's
    samples without a class are drawn as well, from the same noise, as zero_class_epoch_NNN.png (B2.6b). Where there is
    more than one grid to look at, beside_epoch_NNN.png has them all, one under the other: this model's, without a
    class, and those of the runs `beside` (B2.6b, B2.6c).

    Args:
        solver: turns an estimate into the next x.
        steps: solver steps.
        rows: rows of the grid.
        columns: columns of a grid of a model that takes no condition; None for another.
        digits: the classes drawn of a class model, a column each.
        prompts: those of a text model, a column each.
        guidance_scale: of classifier-free guidance; None for a model that takes no condition.
        guidance_interval: [low, high] of t / T, where guidance acts; None: everywhere.
        zero_class: whether to draw the class model with the class vector all zero.
        animate: whether samples.gif is made of the last epoch's grid.
        beside: directories of other runs, whose grid of the same epoch, or of their last, is shown with this run's.
    """

    def __init__(
        self,
        directory: str | Path,
        epochs: Iterable[int],
        seed: int,
        solver: Solver,
        steps: int,
        rows: int,
        columns: int | None = None,
        digits: Sequence[int] | None = None,
        guidance_scale: float | None = None,
        zero_class: bool = False,
        animate: bool = True,
        beside: Iterable[str | Path] = (),
        guidance_interval: Sequence[float] | None = None,
        prompts: Sequence[str] | None = None,
    ) -> None:
        super().__init__(directory, epochs, seed)
        if sum(each is not None for each in (columns, digits, prompts)) != 1:
            raise ValueError("callbacks.samples: allowed is one of columns (no condition), digits and prompts")
        self.solver, self.steps, self.rows = solver, steps, rows
        self.prompts = [str(digit) for digit in digits] if digits is not None else prompts
        width = columns if self.prompts is None else len(self.prompts)
        assert width is not None
        self.columns = width
        self.guidance_scale, self.zero_class, self.animate = guidance_scale, zero_class, animate
        self.guidance_interval = guidance_interval
        self.beside = [Path(run) for run in beside]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PixelModule)
        if trainer.is_global_zero:
            pl_module.warn_of(self.prompts or ())

    def draw(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        condition = None if self.prompts is None else module.prompt_condition([*self.prompts] * self.rows)
        frames: list[Tensor] | None = [] if self.animate and epoch == max(self.epochs) else None
        images = self.samples(trainer, module, condition, self.guidance_scale, frames)
        scale = "" if self.guidance_scale is None else f", guidance {self.guidance_scale:g}"
        self.save_samples(
            trainer, f"samples_epoch_{epoch:03d}", images, f"samples after epoch {epoch}{scale}", self.prompts
        )
        grids = {f"this run{scale}": grid(images, self.columns)}
        if frames is not None:
            animation(frames, self.figures / "samples.gif", self.columns)
        if self.zero_class and condition is not None:
            images = self.samples(trainer, module, torch.zeros_like(condition), None, None)
            self.save_samples(trainer, f"zero_class_epoch_{epoch:03d}", images, f"no class, after epoch {epoch}")
            grids["this run, no class"] = grid(images, self.columns)
        for run in self.beside:
            others = sample_grids(run)
            found = epoch if epoch in others else max(others)
            with Image.open(others[found]) as picture:
                grids[f"{run_label(run)}, epoch {found}"] = to_tensor(picture)
        channels = max(len(each) for each in grids.values())  # some may be grey and others in colours
        grids = {label: each.expand(channels, -1, -1) for label, each in grids.items()}
        if len(grids) > 1:
            name, title = f"beside_epoch_{epoch:03d}", f"samples after epoch {epoch}"
            log_picture(trainer, stack(grids, self.figures / f"{name}.png", title=title))

    def samples(
        self,
        trainer: L.Trainer,
        module: PixelModule,
        condition: Tensor | None,
        guidance_scale: float | None,
        frames: list[Tensor] | None,
    ) -> Tensor:
        """Pictures (rows * columns, C, H, W) from the callback's own noise; adds the way there to `frames`."""
        shape = (self.rows * self.columns, *trainer.datamodule.image_shape)  # type: ignore[attr-defined]
        noise = ImageNoise(self.seed, range(shape[0]), "sampling")
        x = noise(torch.empty(shape, device=module.device))
        times = module.path.times(self.steps)
        kept = {round(i) for i in torch.linspace(1, self.steps, min(FRAMES - 1, self.steps)).tolist()}
        if frames is not None:
            frames.append(module.pictures(x).cpu())
        with tqdm(total=self.steps, desc="sampling", unit="step", leave=False, disable=not shows_bar(trainer)) as bar:

            def after_step(step: int, t: Tensor, x: Tensor, estimate: Estimate) -> None:
                bar.update()
                if frames is not None and step in kept:
                    frames.append(module.pictures(x).cpu())

            denoiser = module.denoiser(guidance_scale, self.guidance_interval)
            images = sample(denoiser, x, times, self.solver, noise, condition, callback=after_step).cpu()
        check_finite(trainer, "samples", images)
        return module.pictures(images)

    def save_samples(
        self, trainer: L.Trainer, name: str, images: Tensor, title: str, labels: Sequence[str] | None = None
    ) -> None:
        path = self.figures / f"{name}.png"
        log_picture(trainer, save_grid(images, path, self.columns, column_labels=labels, title=title))
        print(f"{title}: {path}")


class UpscaledPanels(PictureCallback):
    """upscaled_epoch_NNN.png of a stage II: test pictures made small, enlarged by the model, and as they were.

    Args:
        solver: turns an estimate into the next x.
        steps: solver steps.
        columns: how many test pictures.
        guidance_scale: of classifier-free guidance.
        noise_level: of the enlarged picture beside x_t, 0 to 999.
    """

    def __init__(
        self,
        directory: str | Path,
        epochs: Iterable[int],
        seed: int,
        solver: Solver,
        steps: int,
        columns: int,
        guidance_scale: float,
        noise_level: int,
    ) -> None:
        super().__init__(directory, epochs, seed)
        self.solver, self.steps, self.columns = solver, steps, columns
        self.guidance_scale, self.noise_level = guidance_scale, noise_level

    def draw(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        assert isinstance(module, UpscalerModule)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        labels = data.test_labels[: self.columns]
        pictures = data.render(data.test_images[: self.columns], labels).to(module.device)  # (B, C, H, W)
        small = module.small(pictures)
        beside, noise = self.noise(pictures, "beside"), ImageNoise(self.seed, range(len(pictures)), "sampling")
        denoiser = module.upscaler(small, self.noise_level, beside, self.guidance_scale)
        condition = module.condition(labels.to(module.device))
        upscaled = sample(denoiser, noise(pictures), module.path.times(self.steps), self.solver, noise, condition)
        nearest = torch.nn.functional.interpolate(small, pictures.shape[-2:], mode="nearest")
        self.save(
            trainer,
            f"upscaled_epoch_{epoch:03d}",
            [nearest, module.pictures(upscaled), pictures],
            row_labels=[f"{small.shape[-1]} px", "upscaled", f"{pictures.shape[-1]} px"],
            title=f"upscaled after epoch {epoch}: guidance {self.guidance_scale:g}, noise level {self.noise_level}",
        )


def shows_bar(trainer: L.Trainer) -> bool:
    """A bar within a bar needs a cursor that can go up: in a file it leaves escape codes."""
    return trainer.progress_bar_callback is not None and sys.stderr.isatty()
