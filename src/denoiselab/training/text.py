"""The LightningModules of text-to-image models in DeepFloyd IF's form: a learned variance, prompts in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.denoise import EVERYWHERE, Beside, Denoiser, Guide, Threshold
from denoiselab.noise import Cosine, GaussianPath
from denoiselab.training.modules import PixelModule
from denoiselab.training.optimizer import Optimizer
from denoiselab.training.variance import variance_bound

NULL_PROMPT = "a high quality photo"  # the write-ups' prompt that says nothing
TABLED = 100e6  # bytes of embeddings that are kept: of 5,000 captions at a width of 64


class TextModule(PixelModule):
    """Pictures of prompts, by the hybrid loss of improved DDPM (Nichol & Dhariwal 2021, equation 16).

    The network sees pixels in [-1, 1], as DeepFloyd IF does. A picture's caption is drawn anew for every step among
    those of its label.

    Args:
        net: a `backbones.text_unet.TextUNet`.
        prediction: "eps", as IF's, or "velocity".
        empty: probability, sample by sample, that the caption is the empty one (Ho & Salimans 2022).
        null: that it is "a high quality photo".
        bound_weight: of the bound's mean over steps, which trains the variance. The paper has its sum over T steps,
            weighted 0.001; that is 1 for T = 1000, whose noisiest steps then swamp everything where gradients are
            clipped.
    """

    net: Any
    path: Cosine

    def __init__(
        self,
        net: nn.Module,
        path: GaussianPath,
        prediction: str,
        optimizer: Optimizer,
        seed: int,
        empty: float,
        null: float,
        bound_weight: float = 0.003,
    ) -> None:
        super().__init__(net, path, prediction, optimizer, seed)
        if prediction not in ("eps", "velocity") or not isinstance(path, Cosine) or path.T != 1000:
            given = f"{prediction} on {type(path).__name__} with T={path.T:g}"
            raise ValueError(f"{given}: allowed are eps, as IF's, and velocity on Cosine with T=1000")
        if not (empty >= 0 and null >= 0 and empty + null <= 1):
            raise ValueError(
                f"model.empty={empty}, model.null={null}: allowed are probabilities whose sum is at most 1"
            )
        self.empty, self.null, self.bound_weight = empty, null, bound_weight

    def setup(self, stage: str) -> None:
        """Learns the words of the data's captions, and makes their tokens."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        captions: list[list[str]] = data.captions
        flat = [caption for each in captions for caption in each]
        left_out = self.net.learn(flat, always=[NULL_PROMPT])
        self.digests = {"captions": _digest([captions, self.net.words]), "pictures": _digest(data.names)}
        if self.global_rank == 0 and left_out:
            print(f"captions: {left_out} words found no room in model.net.vocabulary={self.net.vocabulary}")
        if self.global_rank == 0 and (cut := self.net.cut(flat)):
            print(f"captions: {cut} of {len(flat)} have more than 77 tokens, and are cut")
        counts = torch.tensor([len(each) for each in captions])
        device = self.trainer.strategy.root_device  # where the module will be
        self.caption_tokens = self.net.tokens([*flat, "", NULL_PROMPT]).to(device)  # (captions + 2, 77)
        self.embeddings: Tensor | None = None  # (captions + 2, 77, D), where they are few
        self.caption_counts, self.caption_starts = counts.to(device), (counts.cumsum(0) - counts).to(device)

    def on_train_start(self) -> None:
        # The encoder is never trained, so what it says of few captions is made once; at every step it would take 5 %
        # of the step's time. Not in `setup`, after which a resumed run's encoder is loaded and moved to the device.
        first = self.net.embed(self.caption_tokens[:1])
        if first.nbytes * len(self.caption_tokens) <= TABLED:
            self.embeddings = torch.cat([self.net.embed(tokens) for tokens in self.caption_tokens.split(256)])

    def condition(self, labels: Tensor) -> Tensor:
        """Embeddings (B, 77, D) of the first caption of each label."""
        return self._embedded(self.caption_starts[labels])

    def _embedded(self, rows: Tensor) -> Tensor:
        """Embeddings (B, 77, D) of rows (B,) of the captions' tokens."""
        return self.net.embed(self.caption_tokens[rows]) if self.embeddings is None else self.embeddings[rows]

    def training_condition(self, labels: Tensor, u: Tensor) -> Tensor:
        """Embeddings (B, 77, D) of a caption of each label (B,), of the empty one, or of the null prompt."""
        said = ((u - self.empty - self.null) / (1 - self.empty - self.null)).clamp(0, 1 - 2**-24)
        row = self.caption_starts[labels] + (said * self.caption_counts[labels]).long()
        last = len(self.caption_tokens)
        row = torch.where(u < self.empty + self.null, last - 1, row)
        return self._embedded(torch.where(u < self.empty, last - 2, row))

    def warn_of(self, prompts: Sequence[str]) -> None:
        self.net.warn_of(prompts)

    def prompt_condition(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings (B, 77, D) of B prompts; what is not read of them, `warn_of` says."""
        return self.net.embed(self.net.tokens(prompts).to(self.device))  # type: ignore[no-any-return]

    def denoiser(
        self, guidance_scale: float | None = None, guidance_interval: Sequence[float] | None = None
    ) -> Denoiser:
        """The network as a Denoiser, guided and thresholded as the pipeline's scheduler says."""
        unconditional = self.prompt_condition([""])
        scale = 1.0 if guidance_scale is None else guidance_scale
        network = self.net.denoiser(self.path, self.prediction)
        return Threshold(
            Guide(network, scale, unconditional, interval=guidance_interval or EVERYWHERE), *self.net.threshold
        )

    def pictures(self, pixels: Tensor) -> Tensor:
        return ((pixels + 1) / 2).clamp(0, 1)

    def times(self, batch: int, generator: torch.Generator) -> Tensor:
        return self.path.random_times(batch, generator)

    def loss(self, x_0: Tensor, t: Tensor, eps: Tensor, condition: Tensor | None) -> Tensor:
        """L_simple + bound_weight L_vlb / T (), of pictures x_0 in [0, 1]."""
        x_t = self.path.add_noise(2 * x_0 - 1, t, eps)  # (B, C, H, W)
        return self.hybrid(2 * x_0 - 1, eps, x_t, self.net(x_t, t, condition), t)

    def hybrid(self, x_0: Tensor, eps: Tensor, x_t: Tensor, answer: Tensor, t: Tensor) -> Tensor:
        """The loss () of a network's answer (B, 2 C, H, W) at x_t, made of pixels x_0 and noise eps, (B, C, H, W)."""
        value, v = answer.float().chunk(2, dim=1)
        mean_eps = self.path.estimate(self.prediction, value, x_t, t)[1]
        bound = variance_bound(self.path, eps, mean_eps, v, t).mean()
        return F.mse_loss(value, self.path.target(self.prediction, x_0, eps, t)) + self.bound_weight * bound

    def save_pipeline(self, directory: Path) -> None:
        """Writes the network's pipeline."""
        self.net.save_pipeline(directory, self.prediction)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint |= self.digests

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        for what, ours in self.digests.items():
            if checkpoint.get(what, ours) != ours:  # the first runs kept nothing of their pictures
                raise ValueError(f"resume: allowed is the data that the run had; its {what} were others")


def _digest(value: Any) -> str:
    """Of lists of text."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class UpscalerModule(TextModule):
    """Stage II: pictures of prompts and of themselves at a lower resolution.

    What the network sees beside x_t is the small picture, enlarged and noised to a level that is uniform over the path
    (conditioning augmentation, Ho et al. 2021, Cascaded Diffusion Models, section 4.2), as in DeepFloyd IF's stage II.
    Where x_t is nearly noise, the smallest error of eps is a large one of x_0, and what colour a ground has there is
    never mended by later steps; velocity shifts no colours (Ho et al. 2022, Imagen Video, section 2.4).

    Args:
        low_resolution: side of the small pictures; divides the data's.
        others: see TextModule.
    """

    def __init__(
        self,
        net: nn.Module,
        path: GaussianPath,
        prediction: str,
        optimizer: Optimizer,
        seed: int,
        empty: float,
        null: float,
        low_resolution: int,
        bound_weight: float = 0.003,
    ) -> None:
        super().__init__(net, path, prediction, optimizer, seed, empty, null, bound_weight)
        if not 0 < low_resolution < self.net.resolution or self.net.resolution % low_resolution:
            raise ValueError(
                f"model.low_resolution={low_resolution}: allowed is a divisor of the data's {self.net.resolution}"
            )
        self.low_resolution = low_resolution

    def noise_shape(self, x_0: Tensor) -> tuple[int, ...]:
        """That of x_t, then that of the enlarged picture: (2 C, H, W)."""
        return (2 * x_0.shape[1], *x_0.shape[2:])

    def times(self, batch: int, generator: torch.Generator) -> Tensor:
        """Times of x_t, 1 to T, beside the enlarged picture's level, 0 to T - 1: (batch, 2)."""
        t = self.path.random_times(batch, generator)
        return torch.stack([t, self.path.random_times(batch, generator) - 1], dim=1)

    def loss(self, x_0: Tensor, t: Tensor, eps: Tensor, condition: Tensor | None) -> Tensor:
        t, level = t.unbind(1)  # (B,) each
        eps, eps_beside = eps.chunk(2, dim=1)  # (B, C, H, W) each
        x_t = self.path.add_noise(2 * x_0 - 1, t, eps)
        context = self.net.context(self.small(x_0), self.path, level, eps_beside)
        answer = self.net(torch.cat([x_t, context], dim=1), t, condition, level)
        return self.hybrid(2 * x_0 - 1, eps, x_t, answer, t)

    def save_pipeline(self, directory: Path) -> None:
        self.net.save_pipeline(directory, self.prediction, self.low_resolution)

    def small(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W) at the lower resolution, by the mean of their pixels."""
        return F.interpolate(pictures, (self.low_resolution, self.low_resolution), mode="area")

    def upscaler(self, small: Tensor, noise_level: int, eps: Tensor, guidance_scale: float) -> Denoiser:
        """The denoiser of x_t (B, C, H, W) that enlarges these pictures (B, C, h, w), noised with eps (B, C, H, W)."""
        level = torch.full((len(small),), noise_level, device=small.device)
        context = self.net.context(small, self.path, level, eps)
        network = self.net.denoiser(self.path, self.prediction, noise_level)
        guided = Guide(network, guidance_scale, self.prompt_condition([""]))
        return Threshold(Beside(guided, context), *self.net.threshold)
