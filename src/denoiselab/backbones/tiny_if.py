"""DeepFloyd IF in miniature: the real classes of diffusers and transformers, small and untrained.

Every DeepFloyd recipe runs on it through the production loader, in seconds and with no network. Its pictures are noise.
"""

from __future__ import annotations

import os
import secrets
import shutil
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from transformers import T5EncoderModel, T5Tokenizer

WIDTH = 32  # of a prompt embedding; 4096 in DeepFloyd IF
STAGES = ("stage_1", "stage_2")


def build_tiny_if(directory: str | Path) -> Path:
    """A folder with the pipelines stage_1 (64 x 64 pixels) and stage_2 (256 x 256), each built unless it is there.

    Each is a folder as `save_pretrained` writes it. The weights are the same wherever torch's generator gives the same
    numbers. Of two processes that build at once, one waits for the other; what is there is whole, and never replaced.

    Returns the folder, as an absolute path.
    """
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / ".lock"):
        absent = [stage for stage in STAGES if not (directory / stage).exists()]
        if absent:
            temporary = directory / f".{secrets.token_hex(4)}"
            try:
                _save(temporary)
                for stage in absent:
                    os.replace(temporary / stage, directory / stage)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return directory


def _save(directory: Path) -> None:
    from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline

    schedule = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
    learned = schedule | {
        "prediction_type": "epsilon",
        "variance_type": "learned_range",
        "thresholding": True,
        "dynamic_thresholding_ratio": 0.95,
    }
    parts: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "watermarker": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts |= {"tokenizer": _tokenizer(), "text_encoder": _text_encoder(), "requires_safety_checker": False}
        stage_1: Any = IFPipeline(
            unet=_unet(64, in_channels=3, widths=(8, 16, 32), norm_num_groups=4),
            scheduler=DDPMScheduler(**learned, sample_max_value=1.5),
            **parts,
        )
        stage_2: Any = IFSuperResolutionPipeline(
            unet=_unet(256, in_channels=6, widths=(8, 8, 16, 16, 32), norm_num_groups=4, class_embed_type="timestep"),
            scheduler=DDPMScheduler(**learned, sample_max_value=1.0),
            image_noising_scheduler=DDPMScheduler(**schedule),
            **parts,
        )
    stage_1.save_pretrained(directory / STAGES[0])
    stage_2.save_pretrained(directory / STAGES[1])


def _unet(sample_size: int, in_channels: int, widths: tuple[int, ...], **options: Any) -> UNet2DConditionModel:
    """IF's architecture: cross attention at the lowest resolution alone; 6 channels out, noise and variance.

    The widths halve the size until that is 16 x 16: attention over 32 x 32 positions took more time than all else.
    """
    from diffusers import UNet2DConditionModel

    plain = len(widths) - 1
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=widths,
        down_block_types=("ResnetDownsampleBlock2D",) * plain + ("SimpleCrossAttnDownBlock2D",),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D",) + ("ResnetUpsampleBlock2D",) * plain,
        cross_attention_dim=WIDTH,
        encoder_hid_dim=WIDTH,
        attention_head_dim=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        resnet_time_scale_shift="scale_shift",
        time_embedding_act_fn="gelu",
        act_fn="gelu",
        **options,
    )


def _text_encoder() -> T5EncoderModel:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(_vocabulary()),
        d_model=WIDTH,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5EncoderModel(config)


def _tokenizer() -> T5Tokenizer:
    """A Unigram tokenizer of single characters: 77 tokens are about 70 letters."""
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=_vocabulary(), extra_ids=0)


def _vocabulary() -> list[tuple[str, float]]:
    """(token, log probability); T5's order begins <pad>, </s>, <unk>. A letter that begins a word is a token too."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -2.0)]
    letters = string.ascii_lowercase
    characters = [(character, -4.0) for character in letters + string.digits + string.punctuation]
    return special + characters + [(f"▁{letter}", -3.0) for letter in letters]
