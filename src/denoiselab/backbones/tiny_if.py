"""DeepFloyd IF in miniature: the real classes of diffusers and transformers, small and untrained.

Every DeepFloyd recipe runs on it through the production loader, in seconds and with no network. Its pictures are noise.
"""

from __future__ import annotations

import os
import secrets
import shutil
import string
from pathlib import Path

import torch
from filelock import FileLock

from denoiselab.backbones.pipelines import make_text_encoder, make_tokenizer, make_unet, save_stage_1, save_stage_2

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
    vocabulary = _vocabulary()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = make_tokenizer(vocabulary), make_text_encoder(WIDTH, len(vocabulary) + 4)
        # The widths halve the size until that is 16 x 16: attention over 32 x 32 took more time than all else.
        small = make_unet(64, (8, 16, 32), WIDTH, groups=4, head_width=8)
        large = make_unet(256, (8, 8, 16, 16, 32), WIDTH, upscaler=True, groups=4, head_width=8)
    save_stage_1(directory / STAGES[0], small, *text)
    save_stage_2(directory / STAGES[1], large, *text)


def _vocabulary() -> list[tuple[str, float]]:
    """(token, log probability) of single characters: 77 tokens are about 70 letters."""
    letters = string.ascii_lowercase
    characters = [(character, -4.0) for character in letters + string.digits + string.punctuation]
    return characters + [(f"▁{letter}", -3.0) for letter in letters]
