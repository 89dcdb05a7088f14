"""Callbacks that measure what the model does after the epochs asked for, into metrics.json and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor
from tqdm import tqdm

from denoiselab.evaluation import denoising_quality
from denoiselab.figures import Curve, quality_figure
from denoiselab.files import write_atomically
from denoiselab.training.callbacks import log_picture
from denoiselab.training.modules import OneStepModule, PixelModule
from denoiselab.training.pictures import PictureCallback, check_finite, shows_bar


def record(path: Path, name: str, epoch: int, values: Any) -> None:
    """Puts {name: {"epoch_NNN": values}} into a metrics.json, beside what it has; numbers that are not finite are null.

    The file is made if it is missing, and written whole or not at all. An epoch that is repeated replaces its values.
    """
    metrics = json.loads(path.read_text()) if path.exists() else {}
    metrics.setdefault(name, {})[f"epoch_{epoch:03d}"] = _finite(values)
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1, allow_nan=False) + "\n")


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


class DenoisingQuality(PictureCallback):
    """metrics.json and denoising_quality.png of a single-step denoiser: its MSE and PSNR on the test images at each
    sigma, beside classical filters (`denoising_quality`).

    The filters are told sigma and are set for it; the network is not told, and was trained at one.

    Args:
        sigmas: the noise levels.
        count: how many test images, from the first; all where there are fewer.
        nlm_count: how many of them non-local means gets.
    """

    def __init__(
        self,
        directory: str | Path,
        epochs: Iterable[int],
        seed: int,
        sigmas: Sequence[float],
        count: int = 10_000,
        nlm_count: int = 200,
    ) -> None:
        super().__init__(directory, epochs, seed)
        self.metrics = Path(directory) / "metrics.json"
        self.sigmas, self.count, self.nlm_count = list(sigmas), count, nlm_count

    def draw(self, trainer: L.Trainer, module: PixelModule, epoch: int) -> None:
        assert isinstance(module, OneStepModule)
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = data.test_images[: self.count]
        total = len(images) * len(self.sigmas)
        with tqdm(total=total, desc="denoising", unit="image", leave=False, disable=not shows_bar(trainer)) as bar:

            def denoise(z: Tensor, sigma: float) -> Tensor:
                estimate = module.net(z.to(module.device)).float().cpu()
                check_finite(trainer, "denoised pictures", estimate)
                bar.update(len(z))
                return estimate

            measured = denoising_quality(
                denoise, images, self.sigmas, data.train_images, self.seed, nlm_count=self.nlm_count
            )
        record(
            self.metrics,
            "denoising",
            epoch,
            {method: [asdict(entry) for entry in entries] for method, entries in measured.items()},
        )
        labels = {
            "network": f"network, trained at sigma {module.t:g}",
            "wiener": "Wiener filter",
            "gaussian_blur": "Gaussian blur, best width",
            "non_local_means": f"non-local means ({measured['non_local_means'][0].n:,} images)",
            "none": "nothing done",
        }
        curves = {}
        for method, label in labels.items():
            finite = [entry for entry in measured[method] if math.isfinite(entry.psnr.mean)]
            if finite:
                x, psnr = [entry.sigma for entry in finite], [entry.psnr for entry in finite]
                curves[label] = Curve(x, [p.mean for p in psnr], [p.low for p in psnr], [p.high for p in psnr])
        path = self.figures / "denoising_quality.png"
        title = f"denoising after epoch {epoch}: {len(images):,} test images, 95 % intervals"
        x_label = "sigma of the noise"
        if 0 in self.sigmas:
            x_label += " (at 0 all but the network return the picture itself: infinite PSNR)"
        quality_figure(path, {"mean PSNR of an image (dB)": curves}, x_label=x_label, title=title)

        nearest = min(range(len(self.sigmas)), key=lambda i: abs(self.sigmas[i] - module.t))
        shown = ", ".join(f"{label} {measured[method][nearest].psnr.mean:.2f}" for method, label in labels.items())
        print(f"denoising after epoch {epoch}: PSNR in dB at sigma {self.sigmas[nearest]:g}: {shown}")
        values = {
            f"denoising/{method}/{name}_sigma_{entry.sigma:g}": getattr(entry, name).mean
            for method, entries in measured.items()
            for entry in entries
            for name in ("mse", "psnr")
            if math.isfinite(getattr(entry, name).mean)
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        log_picture(trainer, path)
