"""Callbacks that measure what the model does after the epochs asked for, into metrics.json and a picture."""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from tqdm import tqdm

from denoiselab.denoise import EVERYWHERE
from denoiselab.evaluation import Evaluator, Setting, denoising_quality, plain_values
from denoiselab.figures import Curve, quality_figure, study_figure, study_table
from denoiselab.noise import ImageNoise
from denoiselab.runs import measured_epochs, read_measured, recipe, run_place, save_measured
from denoiselab.sample import Solver, evaluations, sample
from denoiselab.training.callbacks import NotFinite, log_picture
from denoiselab.training.ema import averaged
from denoiselab.training.modules import OneStepModule, PixelModule
from denoiselab.training.pictures import check_finite, not_drawn, shows_bar


class QualityCallback(L.Callback):
    """Calls `draw_and_measure` after the epochs asked for.

    It may take long, so list it after `Checkpoints`: of a run that is killed meanwhile no training is lost, and a
    resumed one first measures what was not.

    Args:
        directory: the run directory.
        epochs: epochs, counted from 1.
        seed: of the noise.
    """

    def __init__(self, directory: str | Path, epochs: Iterable[int], seed: int) -> None:
        self.directory, self.epochs, self.seed = Path(directory), set(epochs), seed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        done = trainer.current_epoch
        between_epochs = trainer.global_step == done * trainer.num_training_batches
        left = done in self.epochs and between_epochs and done not in measured_epochs(self.directory)
        if trainer.strategy.broadcast(left):  # the first rank's answer, whose directory it is
            try:
                self._after(trainer, pl_module, done)
            except NotFinite as error:  # such a run is resumed to be trained on: only this epoch has no measures
                trainer.strategy.barrier()
                if trainer.is_global_zero:
                    print(f"warning: not measured: {error}", file=sys.stderr)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch + 1 in self.epochs:
            self._after(trainer, pl_module, trainer.current_epoch + 1)

    def _after(self, trainer: L.Trainer, module: L.LightningModule, epoch: int) -> None:
        assert isinstance(module, PixelModule)
        with averaged(trainer, module), torch.no_grad():
            self.draw_and_measure(trainer, module, epoch)
        trainer.strategy.barrier()

    @abstractmethod
    def draw_and_measure(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        """Every rank's part of it, with the weights that the epoch's checkpoint has, in float32 but for the network."""


class DenoisingQuality(QualityCallback):
    """metrics.json and denoising_quality.png of a single-step denoiser: its MSE and PSNR on the test images at each
    sigma, beside classical filters (`denoising_quality`).

    The filters are told sigma and are set for it; the network is not told, and was trained at one. The first rank
    measures, the others wait.

    Args:
        directory, epochs, seed: as of `QualityCallback`.
        sigmas: the noise levels.
        count: how many test images, from the first; all where there are fewer.
    """

    def __init__(
        self,
        directory: str | Path,
        epochs: Iterable[int],
        seed: int,
        sigmas: Sequence[float],
        count: int = 10_000,
    ) -> None:
        super().__init__(directory, epochs, seed)
        self.sigmas, self.count = list(sigmas), count

    def draw_and_measure(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        if trainer.is_global_zero:
            self.measure(trainer, module, epoch)

    def measure(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        """Writes what is measured of the denoiser into metrics.json, denoising_quality.png and the loggers."""
        assert isinstance(module, OneStepModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = data.test_images[: self.count]
        total = len(images) * len(self.sigmas)
        with tqdm(total=total, desc="denoising", unit="image", leave=False, disable=not shows_bar(trainer)) as bar:

            def denoise(z: Tensor, sigma: float) -> Tensor:
                with trainer.precision_plugin.forward_context():
                    estimate = module.net(z.to(module.device)).float().cpu()
                check_finite(trainer, "denoised pictures", estimate, epoch)
                bar.update(len(z))
                return estimate

            measured = denoising_quality(denoise, images, self.sigmas, data.train_images, self.seed)
        epochs = read_measured(self.directory).get("denoising", {})
        epochs[f"epoch_{epoch:03d}"] = {method: [asdict(each) for each in found] for method, found in measured.items()}
        labels = {
            "network": f"network, trained at sigma {module.t:g}",
            "wiener": "Wiener filter",
            "gaussian_blur": "Gaussian blur, best width",
            "non_local_means": "non-local means",
            "none": "nothing done",
        }
        curves = {}
        for method, label in labels.items():
            finite = [entry for entry in measured[method] if math.isfinite(entry.psnr["value"])]
            if finite:
                x, psnr = [entry.sigma for entry in finite], [entry.psnr for entry in finite]
                curves[label] = Curve(x, *([p[name] for p in psnr] for name in ("value", "low", "high")))
        path = self.directory / "figures" / "denoising_quality.png"
        title = f"denoising after epoch {epoch}: {len(images):,} test images, 95 % intervals"
        x_label = "sigma of the noise"
        if 0 in self.sigmas:
            x_label += " (at 0 all but the network return the picture itself: infinite PSNR)"
        quality_figure(path, {"mean PSNR of an image (dB)": curves}, x_label=x_label, title=title)

        nearest = min(range(len(self.sigmas)), key=lambda i: abs(self.sigmas[i] - module.t))
        at = {method: f"{measured[method][nearest].psnr['value']:.2f}" for method in labels}
        shown = "; ".join(f"{at[method]} {label}" for method, label in labels.items())
        print(f"denoising after epoch {epoch}: PSNR in dB at sigma {self.sigmas[nearest]:g}: {shown}")
        values = {
            f"denoising/{method}/{name}_sigma_{entry.sigma:g}": getattr(entry, name)["value"]
            for method, entries in measured.items()
            for entry in entries
            for name in ("mse", "psnr")
            if math.isfinite(getattr(entry, name)["value"])
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        log_picture(trainer, path)
        save_measured(self.directory, {"denoising": epochs})  # last: it says that the epoch is measured


class SampleQuality(QualityCallback):
    """metrics.json and quality.png of a time- or class-conditioned model: what `Evaluator` measures of its samples.

    Every rank makes its share of the samples and the first one measures them; as each sample has a generator of its
    own, the numbers are the same on any number of ranks. Image n is of digit n mod 10.

    Args:
        directory, epochs: as of `QualityCallback`.
        seed: of the samples' noise, which is that of `edit=evaluate` with this seed.
        solver: turns an estimate into the next x.
        samples: how many; 10,000 are for what is published.
        steps: solver steps.
        guidance_scales: of classifier-free guidance, a row of metrics.json each; None for a model without classes.
        guidance_interval: [low, high] of t / T, where guidance acts; None: everywhere.
        batch_size: samples made at once on a rank.
    """

    def __init__(
        self,
        directory: str | Path,
        epochs: Iterable[int],
        seed: int,
        solver: Solver,
        samples: int,
        steps: int,
        guidance_scales: Sequence[float] | None = None,
        guidance_interval: Sequence[float] | None = None,
        batch_size: int = 200,
    ) -> None:
        if guidance_scales is not None and not guidance_scales:
            raise ValueError("callbacks.quality.guidance_scales=[]: allowed is null (off) or one or more numbers")
        super().__init__(directory, epochs, seed)
        self.solver, self.samples, self.steps = solver, samples, steps
        self.guidance_scales, self.guidance_interval = guidance_scales, guidance_interval
        self.batch_size = batch_size
        self._evaluator: Evaluator | None = None

    def draw_and_measure(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        scales: Sequence[float | None] = self.guidance_scales or [None]
        with trainer.precision_plugin.forward_context():
            images = [self.gathered(trainer, module, epoch, scale) for scale in scales]
        if trainer.is_global_zero:
            self.measure(trainer, module, epoch, dict(zip(scales, images, strict=True)))

    def gathered(self, trainer: L.Trainer, module: PixelModule, epoch: int, scale: float | None) -> Tensor:
        """All ranks' samples at a guidance scale, in order, (samples, C, H, W) uint8 on the CPU."""
        ranks = trainer.world_size
        mine = range(trainer.global_rank, self.samples, ranks)
        share = [mine[first : first + self.batch_size] for first in range(0, len(mine), self.batch_size)]
        with tqdm(total=len(mine), desc="samples", unit="image", leave=False, disable=not shows_bar(trainer)) as bar:
            made = [self.made(trainer, module, scale, indices, bar.update) for indices in share]
        x = torch.cat(made)
        finite = bool(x.isfinite().all())
        if not trainer.strategy.reduce_boolean_decision(finite):  # a mistake on one rank ends all: none waits for it
            raise not_drawn(trainer, "samples", epoch)
        images = (x.clamp(0, 1) * 255).round().to(torch.uint8)
        if ranks == 1:
            return images.cpu()
        most = -(-self.samples // ranks)  # all ranks must give as many
        images = torch.cat([images, images.new_zeros(most - len(images), *images.shape[1:])])
        together = [torch.empty_like(images) for _ in range(ranks)]
        torch.distributed.all_gather(together, images)
        return torch.stack(together, dim=1).flatten(0, 1)[: self.samples].cpu()

    def made(
        self,
        trainer: L.Trainer,
        module: PixelModule,
        scale: float | None,
        indices: range,
        done: Callable[[int], object],
    ) -> Tensor:
        """The samples of these numbers, (B, C, H, W)."""
        like = torch.empty(len(indices), *trainer.datamodule.image_shape, device=module.device)  # type: ignore[attr-defined]
        start, noise = (ImageNoise(self.seed, indices, purpose) for purpose in ("start", "sampling"))
        condition = module.condition(torch.tensor([index % 10 for index in indices], device=module.device))
        times = module.path.times(self.steps)
        denoiser = module.denoiser(scale, self.guidance_interval)
        x = sample(denoiser, start(like), times, self.solver, noise, condition)
        done(len(indices))
        return x

    def measure(self, trainer: L.Trainer, module: PixelModule, epoch: int, made: Mapping[float | None, Tensor]) -> None:
        """Writes what is measured of the samples at each scale into metrics.json, quality.png and the loggers."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self._evaluator is None:  # once, for its floors
            splits = (data.train_images, data.train_labels, data.test_images, data.test_labels)
            self._evaluator = Evaluator(*splits, device=module.device, cache=data.root)
        evaluator = self._evaluator
        labels = torch.arange(self.samples) % 10 if module.num_classes else None
        rows = [
            # At scale 0 no digit is asked for.
            asdict(self.setting(module, epoch, scale)) | evaluator.measure(images, None if scale == 0 else labels)
            for scale, images in made.items()
        ]
        saved = read_measured(self.directory)
        before = [other for other in saved.get("rows", []) if other["epoch"] < epoch]  # a run killed later repeats
        in_turn = labels is not None and any(scale != 0 for scale in made)
        study = {"rows": before + rows, "floors": evaluator.floors(self.samples, balanced=in_turn)}
        print(study_table(study))
        values = {
            f"quality/guidance_{row['guidance_scale']:g}/{name}": value
            for row in rows
            for name, value in plain_values(row).items()
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        path = self.directory / "figures" / "quality.png"
        study_figure(path, study)
        log_picture(trainer, path)
        save_measured(self.directory, study)  # last: it says that the epoch is measured

    def setting(self, module: PixelModule, epoch: int, scale: float | None) -> Setting:
        """How the samples at a guidance scale are made."""
        config = module.run_config
        return Setting(
            model=config["name"],
            lever=config["lever"],
            recipe=recipe(config),
            run=run_place(self.directory),
            training_seed=config["seed"],
            epoch=epoch,
            solver=" ".join(str(value) for name, value in config["solver"].items() if name != "_target_"),
            guidance_scale=1.0 if scale is None else scale,
            guidance_interval=list(self.guidance_interval or EVERYWHERE),
            guidance_rescale=0.0,
            evaluations=evaluations(config["solver"]["name"], self.steps),
            shift=1.0,
            dtype="bf16" if module.trainer.precision == "bf16-mixed" else "fp32",
            seed=self.seed,
        )
