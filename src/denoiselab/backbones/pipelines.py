"""Pipelines in DeepFloyd IF's format: the real classes of diffusers and transformers, in any size.

diffusers' `DiffusionPipeline.from_pretrained` reads the folders, with no code of ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiselab.backbones import weights

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from transformers import T5EncoderModel, T5Tokenizer

RATIO = 0.95  # of the dynamic thresholding, see `denoise.Threshold`
_PATH = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
_LEARNED = _PATH | {
    "variance_type": "learned_range",
    "thresholding": True,
    "dynamic_thresholding_ratio": RATIO,
}


def make_unet(
    resolution: int,
    widths: Sequence[int],
    text_width: int,
    *,
    upscaler: bool = False,
    groups: int,
    head_width: int,
) -> UNet2DConditionModel:
    """IF's architecture: cross attention at the lowest resolution alone; 6 channels out, noise and variance.

    Args:
        resolution: side of its pictures.
        widths: channels at each resolution, from the full one; each halves the one before.
        text_width: D of the prompt embeddings (B, 77, D).
        upscaler: whether it is a stage II, which sees an enlarged picture beside x_t and is told its noise level.
        groups: of GroupNorm; divides every width.
        head_width: channels of an attention head.
    """
    from diffusers import UNet2DConditionModel

    plain = len(widths) - 1
    return UNet2DConditionModel(
        sample_size=resolution,
        in_channels=6 if upscaler else 3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=tuple(widths),
        down_block_types=("ResnetDownsampleBlock2D",) * plain + ("SimpleCrossAttnDownBlock2D",),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D",) + ("ResnetUpsampleBlock2D",) * plain,
        norm_num_groups=groups,
        cross_attention_dim=text_width,
        encoder_hid_dim=text_width,
        attention_head_dim=head_width,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        resnet_time_scale_shift="scale_shift",
        time_embedding_act_fn="gelu",
        act_fn="gelu",
        class_embed_type="timestep" if upscaler else None,
    )


def make_text_encoder(width: int, tokens: int) -> T5EncoderModel:
    """A T5 encoder of two layers, four heads and so many tokens, with random weights."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=tokens,
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,  # it is never trained
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5EncoderModel(config)


def make_tokenizer(vocabulary: Sequence[tuple[str, float]]) -> T5Tokenizer:
    """A Unigram tokenizer of (token, log probability); a token that begins a word begins with a lower one eighth block.

    What no token covers becomes <unk>.
    """
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -2.0)]
    return T5Tokenizer(vocab=[*special, *vocabulary], extra_ids=0)


def save_stage_1(
    directory: Path,
    unet: UNet2DConditionModel,
    tokenizer: T5Tokenizer,
    text_encoder: T5EncoderModel,
    most: float = 1.5,
    predicts: str = "epsilon",
) -> None:
    """Writes an `IFPipeline`.

    Args:
        most: up to where its dynamic thresholding goes.
        predicts: "epsilon", as IF's do, or "v_prediction".
    """
    from diffusers import DDPMScheduler, IFPipeline

    pipeline: Any = IFPipeline(
        unet=unet,
        scheduler=DDPMScheduler(**_LEARNED, sample_max_value=most, prediction_type=predicts),
        **_text_parts(tokenizer, text_encoder),
    )
    _save(pipeline, directory)


def save_stage_2(
    directory: Path,
    unet: UNet2DConditionModel,
    tokenizer: T5Tokenizer,
    text_encoder: T5EncoderModel,
    scale: int = 4,
    most: float = 1.0,
    predicts: str = "epsilon",
) -> None:
    """Writes an `IFSuperResolutionPipeline`, and beside its parts how many times a side grows, if that is not IF's 4:
    diffusers' format has no place for it, and enlarges whatever it is given. The rest is as in `save_stage_1`.
    """
    from diffusers import DDPMScheduler, IFSuperResolutionPipeline

    pipeline: Any = IFSuperResolutionPipeline(
        unet=unet,
        scheduler=DDPMScheduler(**_LEARNED, sample_max_value=most, prediction_type=predicts),
        image_noising_scheduler=DDPMScheduler(**_PATH),
        **_text_parts(tokenizer, text_encoder),
    )
    _save(pipeline, directory)
    if scale != weights.SCALE:
        (directory / weights.SCALE_FILE).write_text(json.dumps({"scale": scale}))


def _save(pipeline: Any, directory: Path) -> None:
    """Without a bar for files that take milliseconds."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        pipeline.save_pretrained(directory)
    finally:
        if shown:
            logging.enable_progress_bar()


def _text_parts(tokenizer: T5Tokenizer, text_encoder: T5EncoderModel) -> dict[str, Any]:
    return {
        "tokenizer": tokenizer,
        "text_encoder": text_encoder,
        "safety_checker": None,
        "feature_extractor": None,
        "watermarker": None,
        "requires_safety_checker": False,
    }
