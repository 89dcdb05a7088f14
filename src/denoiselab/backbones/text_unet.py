"""A network in DeepFloyd IF's form to be trained here: a UNet, and a T5 encoder of its own that is never trained."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from denoiselab.backbones.deepfloyd import DIFFUSERS_NAMES, DeepFloydDenoiser, noised_context
from denoiselab.backbones.embeddings import LENGTH, clean, unread_of, warn_of
from denoiselab.backbones.pipelines import (
    RATIO,
    make_text_encoder,
    make_tokenizer,
    make_unet,
    save_stage_1,
    save_stage_2,
)
from denoiselab.denoise import Denoiser
from denoiselab.files import replace_folder
from denoiselab.noise import VariancePreserving

SPECIAL = 4  # tokens that no word is: <pad>, </s>, <unk> and a lone space


class TextUNet(nn.Module):
    """eps (or velocity) and variance of coloured pictures in [-1, 1], given x_t, t and prompts.

    T5's weights stay as they were drawn: random features of two layers tell prompts apart, and the UNet learns what
    they say. They are the same in every network of one size, so that a stage II understands what stage I does. Each
    word is a token; which words there are, `learn` is told.

    Args:
        resolution: side of its pictures.
        widths: channels at each resolution, from the full one; each halves the one before.
        text_width: D of the prompt embeddings.
        vocabulary: how many words there are at most.
        groups: of GroupNorm; divides every width.
        head_width: channels of an attention head; divides the last width.
        threshold_most: up to where its dynamic thresholding goes. 1 only clips, which pictures want whose pixels are
            nearly all black or full: there the errors of black pixels pass for too much contrast, and are divided
            by, which greys them. DeepFloyd IF has 1.5.
        upscaler: whether it is a stage II.

    Attributes:
        words: its words, the most frequent first.
        threshold: (ratio, most) of its dynamic thresholding.

    Raises:
        ValueError: widths that are no multiples of the groups, a resolution that cannot be halved so often, a
            threshold_most of less than 1.
    """

    def __init__(
        self,
        resolution: int,
        widths: Sequence[int],
        text_width: int,
        vocabulary: int = 1024,
        groups: int = 8,
        head_width: int = 32,
        threshold_most: float = 1.0,
        upscaler: bool = False,
    ) -> None:
        super().__init__()
        check_widths(resolution, widths, text_width, groups, head_width)
        if not 1 <= threshold_most < math.inf:
            raise ValueError(f"model.net.threshold_most={threshold_most}: allowed is 1 or more, and finite")
        self.resolution, self.vocabulary, self.upscaler = resolution, vocabulary, upscaler
        self.threshold = RATIO, threshold_most
        self.unet: Any = make_unet(
            resolution, widths, text_width, upscaler=upscaler, groups=groups, head_width=head_width
        )
        _begin_as_identities(self.unet)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.text_encoder: Any = make_text_encoder(text_width, vocabulary + SPECIAL).requires_grad_(False)
        # What padding then says to the UNet, which attends to all 77 places, is what the words before it say together.
        self.text_encoder.shared.weight.data[0] = 0
        self.words: list[str] = []
        self.tokenizer: Any = None

    def learn(self, captions: Iterable[str], always: Iterable[str] = ()) -> int:
        """Takes the most frequent words of the captions for its own; returns how many words found no room.

        Args:
            always: captions whose words find room before any others.
        """
        counts = Counter(token for caption in captions for token in _tokens_of(clean(caption, False)))
        certain = Counter(token for caption in always for token in _tokens_of(clean(caption, False)))
        counts.update(certain)
        # Of words as frequent, the first in the alphabet, so that the order of the captions does not count.
        ordered = sorted(counts, key=lambda token: (-counts[token], token))
        chosen = {*sorted(ordered, key=lambda token: token not in certain)[: self.vocabulary]}
        self.words = [token for token in ordered if token in chosen]
        self.tokenizer = make_tokenizer([(word, -4.0) for word in self.words])
        return len(ordered) - len(chosen)

    def warn_of(self, prompts: Iterable[str]) -> None:
        """Warns of what it will not read of prompts, as `embeddings.encode` does."""
        for prompt in dict.fromkeys(prompts):
            warn_of(prompt, unread_of(self.tokenizer, clean(prompt, False)))

    def cut(self, captions: Sequence[str]) -> int:
        """How many captions have more than 77 tokens, of which `tokens` keeps the first."""
        tokens = self.tokenizer([clean(caption, False) for caption in captions]).input_ids
        return sum(len(each) > LENGTH for each in tokens)

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Token numbers (B, 77), int64, of B prompts, on the CPU; 0 is padding."""
        texts = [clean(prompt, False) for prompt in prompts]
        padded = self.tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        return padded.input_ids  # type: ignore[no-any-return]

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """Prompt embeddings (B, 77, D) of tokens (B, 77)."""
        return self.text_encoder(tokens, attention_mask=tokens != 0)[0]  # type: ignore[no-any-return]

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, level: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (B, 3, S, S), or in stage II (B, 6, S, S), x_t and the enlarged picture.
            t: (B,) times, 1 to T.
            condition: (B, 77, D), as `embed` makes it.
            level: (B,) noise level of the enlarged picture, 0 to T - 1; of stage II only.

        Returns:
            (B, 6, S, S): eps or velocity, and v in about [-1, 1] of the log variance.
        """
        labels = {} if level is None else {"class_labels": level}
        # diffusers' time is ours less one: its 0 is the first noisy one.
        return self.unet(x, t - 1, encoder_hidden_states=condition, return_dict=False, **labels)[0]  # type: ignore[no-any-return]

    def denoiser(self, path: VariancePreserving, prediction: str, noise_level: int | None = None) -> Denoiser:
        """Itself as a Denoiser, whose condition is `embed`'s, as `backbone=deepfloyd` will see it."""
        return DeepFloydDenoiser(self.unet, path, noise_level, prediction)

    def context(self, pictures: Tensor, path: VariancePreserving, level: Tensor, eps: Tensor) -> Tensor:
        """Beside x_t, in stage II: pictures (B, C, h, w) in [0, 1] as `noised_context` makes it of their pixels."""
        return noised_context(2 * pictures - 1, path, level, eps)

    def save_pipeline(self, directory: Path, prediction: str, low_resolution: int | None = None) -> None:
        """Writes a folder in DeepFloyd IF's format, whole or not at all, in place of what is there.

        Args:
            prediction: what it was trained to answer, "eps" or "velocity".
            low_resolution: side of the pictures that a stage II enlarges.
        """
        self.tokens([""])  # a tokenizer is saved with the padding of its last call
        parts = self.unet, self.tokenizer, self.text_encoder
        most, predicts = self.threshold[1], DIFFUSERS_NAMES[prediction]
        with replace_folder(directory) as temporary:
            if self.upscaler:
                assert low_resolution is not None
                save_stage_2(temporary, *parts, scale=self.resolution // low_resolution, most=most, predicts=predicts)
            else:
                save_stage_1(temporary, *parts, most=most, predicts=predicts)


def check_widths(resolution: int, widths: Sequence[int], text_width: int, groups: int, head_width: int) -> None:
    """Raises ValueError, in one line, unless they make a network."""
    if not widths or groups < 1 or any(width < 1 or width % groups for width in widths):
        raise ValueError(f"model.net.widths={list(widths)}: allowed are multiples of model.net.groups={groups}")
    if head_width < 1 or widths[-1] % head_width:
        raise ValueError(f"model.net.head_width={head_width}: allowed is what divides the last width, {widths[-1]}")
    halvings = 2 ** (len(widths) - 1)
    if resolution < 1 or resolution % halvings:
        raise ValueError(f"model.net.resolution={resolution}: allowed is a multiple of {halvings} with these widths")
    if text_width < 1 or text_width % 4:
        raise ValueError(f"model.net.text_width={text_width}: allowed is a multiple of 4, the encoder's heads")


def _begin_as_identities(unet: Any) -> None:
    """Zeroes what each residual block and attention adds at first, and the answer, as the guided-diffusion code does
    that DeepFloyd IF is built on (Dhariwal & Nichol 2021); diffusers leaves them as drawn.
    """
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D

    last = [unet.conv_out]
    last += [module.conv2 for module in unet.modules() if isinstance(module, ResnetBlock2D)]
    last += [module.to_out[0] for module in unet.modules() if isinstance(module, Attention)]
    for layer in last:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def _tokens_of(text: str) -> list[str]:
    """The tokens of a text in lower case: words, and marks as they stand, after a space or not."""
    spaced = re.findall(r"\s*(?:\w+|[^\w\s])", f" {text}")
    return [f"▁{token.strip()}" if token[0].isspace() else token for token in spaced]
