"""Where a backbone comes from, as conf/backbone names it: check -> encode -> load."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from denoiselab.backbones.checkpoint import CheckpointBackbone
from denoiselab.denoise import Backbone

if TYPE_CHECKING:
    from denoiselab.backbones.embeddings import EmbeddingCache


class Source(ABC):
    """A backbone that is not loaded yet.

    Args of its methods:
        device: where the backbone is to run.
        second: whether its second stage is meant.
    """

    @abstractmethod
    def check(self, device: torch.device, second: bool = False) -> None:
        """Raises ValueError, in one line, where the weights cannot be had or do not fit the device. Loads nothing."""

    @abstractmethod
    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        """Makes the conditions that are expensive to make, once, before the backbone is loaded."""

    @abstractmethod
    def load(
        self, device: torch.device, max_batch: int | None = None, second: bool = False, noise_level: int = 250
    ) -> Backbone:
        """The backbone.

        Args:
            max_batch: images a call of the network, see `Split`.
            noise_level: of what a second stage enlarges.
        """


@dataclass
class CheckpointSource(Source):
    """A run of train.py.

    Args:
        run: the run directory.
        file: of its checkpoints/.
    """

    run: str
    file: str = "last.ckpt"

    def check(self, device: torch.device, second: bool = False) -> None:
        if second:
            raise ValueError("edit=upscale: allowed is a backbone with a second stage, digit models have none")

    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        pass  # a class vector costs nothing

    def load(
        self, device: torch.device, max_batch: int | None = None, second: bool = False, noise_level: int = 250
    ) -> Backbone:
        return CheckpointBackbone(Path(self.run) / "checkpoints" / self.file, device, max_batch)


@dataclass
class DeepFloydSource(Source):
    """DeepFloyd IF, or a pipeline in its format.

    Args:
        path: stage I, a hub id or a folder. Its text encoder serves both stages.
        upscaler_path: stage II.
        revision: of the hub; None is the main branch.
        dtype: of the weights, "auto", "fp32", "fp16" or "bf16".
        offload: whether weights stay in the CPU's memory.
        clean_caption: whether prompts are cleaned as IFPipeline would.
        cache: folder of the prompt embeddings.
        import_embeddings: a dictionary of embeddings saved with torch, put into the cache first; None: none.
    """

    path: str
    upscaler_path: str
    revision: str | None = None
    dtype: str = "auto"
    offload: bool = False
    clean_caption: bool = False
    cache: str = "outputs/embeddings"
    import_embeddings: str | None = None

    def embeddings(self) -> EmbeddingCache:
        """The cache of the prompts' embeddings."""
        from denoiselab.backbones.embeddings import EmbeddingCache

        folder = Path(self.path)
        if not folder.is_dir():
            return EmbeddingCache(self.cache, self.path, self.revision, self.clean_caption)
        # A folder's encoder may be trained anew in its place, so its files are its revision.
        files = sorted(file for part in ("text_encoder", "tokenizer") for file in (folder / part).glob("*"))
        state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        digest = hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest()
        return EmbeddingCache(self.cache, folder.resolve(), digest, self.clean_caption)

    def check(self, device: torch.device, second: bool = False) -> None:
        from denoiselab.backbones import weights

        path, parts = (self.upscaler_path, weights.STAGE_2) if second else (self.path, weights.STAGE_1)
        weights.check_access(path, self.revision, parts=parts)
        needed = weights.memory_needed(path, "unet", weights.resolve_dtype(self.dtype, device))
        where = torch.device("cpu") if self.offload else device
        weights.check_memory(needed, where, f"backbone.path={path}: the UNet", "a smaller backbone.size would do")

    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        from denoiselab.backbones.embeddings import encode

        cache = self.embeddings()
        if self.import_embeddings:
            cache.import_torch(self.import_embeddings)
        encode(prompts, cache, device=device, dtype=self.dtype)

    def load(
        self, device: torch.device, max_batch: int | None = None, second: bool = False, noise_level: int = 250
    ) -> Backbone:
        from denoiselab.backbones.deepfloyd import load_deepfloyd, load_upscaler

        settings: dict[str, Any] = {
            "device": device,
            "revision": self.revision,
            "dtype": self.dtype,
            "offload": self.offload,
            "max_batch": max_batch,
        }
        if second:
            return load_upscaler(self.upscaler_path, self.embeddings(), noise_level=noise_level, **settings)
        return load_deepfloyd(self.path, self.embeddings(), **settings)


@dataclass(kw_only=True)
class TinyIfSource(DeepFloydSource):
    """DeepFloyd's classes with tiny random weights, built where they are missing.

    Args:
        folder: where they are built; path and upscaler_path lie in it.
    """

    folder: str

    def check(self, device: torch.device, second: bool = False) -> None:
        from denoiselab.backbones.tiny_if import build_tiny_if

        build_tiny_if(self.folder)
        super().check(device, second)


def load_backbone(
    name: str | Path, prompts: Sequence[str] = (), device: str | torch.device | None = None, **settings: Any
) -> Backbone:
    """Any backbone, e.g. in a notebook: load_backbone("outputs/train/class_flow/DATE_TIME").

    Args:
        name: a run directory of train.py, or a checkpoint of one; or DeepFloyd IF's stage I or II: a hub id, or a
            folder in its format.
        prompts: that a text-to-image backbone will be asked for, encoded before its UNet is loaded.
        device: where it runs; None: a GPU where there is one.
        settings: of DeepFloydSource, e.g. dtype="bf16" or cache="embeddings". For a stage II give `text_encoder`, the
            path of its stage I.

    Raises ValueError, in one line, for a name that is none of these, and as the backbone's loader does.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if Path(name).suffix == ".ckpt" or (Path(name) / "checkpoints").is_dir():
        return CheckpointBackbone(name, chosen, **settings)
    first = settings.pop("text_encoder", None)
    second = first is not None
    source = DeepFloydSource(str(first or name), str(name), **settings)
    source.check(chosen, second)
    source.encode(["", *prompts], chosen)
    return source.load(chosen, second=second)
