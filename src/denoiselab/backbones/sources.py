"""Where a backbone comes from, as conf/backbone names it: check -> encode -> load."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from denoiselab.backbones import weights
from denoiselab.backbones.checkpoint import CheckpointBackbone
from denoiselab.denoise import Backbone

if TYPE_CHECKING:
    from denoiselab.backbones.embeddings import EmbeddingCache

LAST_CALL = ("truncation", "padding")  # of a tokenizer.json


class Source(ABC):
    """A backbone that is not loaded yet.

    Args of its methods:
        device: where the backbone is to run.
        second: whether its second stage is meant.
        network: whether its denoiser is to be called. If not, no weights are needed for it.
    """

    @abstractmethod
    def check(self, device: torch.device, second: bool = False, network: bool = True) -> None:
        """Raises ValueError, in one line, where the weights cannot be had or do not fit the device. No weights load."""

    @abstractmethod
    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        """Makes the conditions that are expensive to make, once, before the backbone is loaded."""

    @abstractmethod
    def load(
        self,
        device: torch.device,
        max_batch: int | None = None,
        second: bool = False,
        noise_level: int = 250,
        network: bool = True,
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
        dtype: see CheckpointBackbone.
    """

    run: str
    file: str = "last.ckpt"
    dtype: str = "fp32"

    def check(self, device: torch.device, second: bool = False, network: bool = True) -> None:
        if second:
            raise ValueError("edit=upscale: allowed is a backbone with a second stage, digit models have none")

    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        pass  # a class vector costs nothing

    def load(
        self,
        device: torch.device,
        max_batch: int | None = None,
        second: bool = False,
        noise_level: int = 250,
        network: bool = True,
    ) -> Backbone:
        return CheckpointBackbone(Path(self.run) / "checkpoints" / self.file, device, max_batch, self.dtype)


@dataclass
class DeepFloydSource(Source):
    """DeepFloyd IF, or a pipeline in its format.

    Args:
        path: stage I, a hub id or a folder.
        upscaler_path: stage II; None where there is none.
        text_encoder: the hub id or folder whose T5 serves both stages; None: that of `path` if it is a folder, and for
            DeepFloyd's hub ids, which have the same one, that of IF-I-XL.
        revision: of `path` on the hub; None is the main branch.
        upscaler_revision: of `upscaler_path`.
        dtype: of the weights, "auto", "fp32", "fp16" or "bf16".
        offload: whether weights stay in the CPU's memory.
        clean_caption: whether prompts are cleaned as IFPipeline would.
        cache: folder of the prompt embeddings.
        import_embeddings: a dictionary of embeddings saved with torch, whose prompts are put into the cache first where
            it lacks them; None: none.
        guidance_scale: the usual one of stage I; None: IFPipeline's 7.
        prefix: before the names of these in errors.
    """

    path: str
    upscaler_path: str | None
    text_encoder: str | None = None
    revision: str | None = None
    upscaler_revision: str | None = None
    dtype: str = "auto"
    offload: bool = False
    clean_caption: bool = False
    cache: str = "outputs/embeddings"
    import_embeddings: str | None = None
    guidance_scale: float | None = None
    prefix: str = "backbone."

    def embeddings(self) -> EmbeddingCache:
        """The cache of the prompts' embeddings."""
        from denoiselab.backbones.embeddings import EmbeddingCache

        model = self.text_encoder or (weights.TEXT_ENCODER if self._has_the_one_encoder() else self.path)
        folder = Path(model)
        if not folder.is_dir():
            revision = self.revision if model == self.path else None
            return EmbeddingCache(self.cache, model, revision, self.clean_caption)
        # A folder's encoder may be trained anew in its place, so its files are its revision.
        files = sorted(file for part in ("text_encoder", "tokenizer") for file in (folder / part).glob("*"))
        state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        digest = hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest()
        return EmbeddingCache(self.cache, folder.resolve(), digest, self.clean_caption)

    def _has_the_one_encoder(self) -> bool:
        return self.path.startswith("DeepFloyd/") and weights.is_hub(self.path)

    def check(self, device: torch.device, second: bool = False, network: bool = True) -> None:
        from denoiselab.backbones.deepfloyd import check_deepfloyd
        from denoiselab.backbones.embeddings import check_cleaning, read_torch

        if self.clean_caption:
            check_cleaning(f"{self.prefix}clean_caption")
        if second:
            self._check_stages()
        stage = self._stage(second)
        check_deepfloyd(**stage, device=device, second=second, dtype=self.dtype, offload=self.offload, network=network)
        if self.import_embeddings:
            folder = weights.fetch(**stage, parts=weights.STAGE_2 if second else weights.STAGE_1, network=False)
            read_torch(self.import_embeddings, f"{self.prefix}import_embeddings", weights.embedding_width(folder))

    def encode(self, prompts: Sequence[str], device: torch.device) -> None:
        from denoiselab.backbones.embeddings import encode

        cache = self.embeddings()
        if self.import_embeddings:
            cache.import_torch(self.import_embeddings, f"{self.prefix}import_embeddings")
        own = self.text_encoder is None and not self._has_the_one_encoder()
        encode(prompts, cache, device=device, dtype=self.dtype, key=f"{self.prefix}{'path' if own else 'text_encoder'}")

    def load(
        self,
        device: torch.device,
        max_batch: int | None = None,
        second: bool = False,
        noise_level: int = 250,
        network: bool = True,
    ) -> Backbone:
        from denoiselab.backbones.deepfloyd import load_deepfloyd, load_upscaler

        settings: dict[str, Any] = {
            **self._stage(second),
            "cache": self.embeddings(),
            "device": device,
            "dtype": self.dtype,
            "offload": self.offload,
            "max_batch": max_batch,
            "network": network,
        }
        if second:
            return load_upscaler(noise_level=noise_level, **settings)
        backbone = load_deepfloyd(**settings)
        if self.guidance_scale is not None:
            backbone.guidance_scale = self.guidance_scale
        return backbone

    def _check_stages(self) -> None:
        """Raises ValueError for a stage II that is missing, or none of the stage I beside it, as far as is known."""
        if self.upscaler_path is None:
            raise ValueError(f"{self.prefix}upscaler_path: a stage II is required and none was given")
        first, second = Path(self.path), Path(self.upscaler_path)
        made, large = weights.resolution(first), weights.resolution(second)
        if made is None or large is None or first == second:
            return
        given, small = f"{self.prefix}upscaler_path={second}", large // weights.scale_of(second)
        if small != made:
            raise ValueError(f"{given}: enlarges pictures of {small} pixels, allowed is stage I's {made}")
        if self.text_encoder is not None:
            return
        told, read = weights.embedding_width(first), weights.embedding_width(second)
        if told != read:
            raise ValueError(f"{given}: takes embeddings {read} wide, allowed is stage I's text encoder's {told}")
        if _words(second) not in (None, _words(first)):
            raise ValueError(f"{given}: has another text encoder than stage I; allowed is one of the same captions")

    def _stage(self, second: bool) -> dict[str, Any]:
        path = self.upscaler_path if second else self.path
        revision = self.upscaler_revision if second else self.revision
        return {"path": path, "revision": revision, "key": f"{self.prefix}{'upscaler_path' if second else 'path'}"}


def _words(folder: Path) -> tuple[str, ...] | None:
    """What tells one text encoder and its tokenizer from another; None for a folder without."""
    files = [*(folder / "text_encoder").glob("*.safetensors"), folder / "tokenizer" / "tokenizer.json"]
    if not all(file.is_file() for file in files) or len(files) < 2 or sum(f.stat().st_size for f in files) > 2**28:
        return None
    # A tokenizer is saved with the padding of its last call, which is none of its words.
    tokenizer = {name: value for name, value in json.loads(files[-1].read_text()).items() if name not in LAST_CALL}
    parts = [*(file.read_bytes() for file in files[:-1]), json.dumps(tokenizer).encode()]
    return tuple(hashlib.blake2b(part, digest_size=8).hexdigest() for part in parts)


@dataclass(kw_only=True)
class TinyIfSource(DeepFloydSource):
    """DeepFloyd's classes with tiny random weights, built where they are missing.

    Args:
        folder: where they are built; path and upscaler_path lie in it.
    """

    folder: str

    def check(self, device: torch.device, second: bool = False, network: bool = True) -> None:
        from denoiselab.backbones.tiny_if import build_tiny_if

        build_tiny_if(self.folder)
        super().check(device, second, network)


def load_backbone(
    name: str | Path,
    prompts: Sequence[str] = (),
    device: str | torch.device | None = None,
    max_batch: int | None = None,
    noise_level: int = 250,
    text_encoder: str | Path | None = None,
    revision: str | None = None,
    network: bool = True,
    **settings: Any,
) -> Backbone:
    """Any backbone, e.g. in a notebook: load_backbone("outputs/train/class_flow/DATE_TIME").

    Args:
        name: a run directory of train.py, or a checkpoint of a digit model's; or DeepFloyd IF's stage I or II: a hub
            id, or a folder in its format.
        prompts: that a text-to-image backbone will be asked for, encoded before its UNet is loaded.
        device: where it runs; None: a GPU where there is one.
        max_batch: images a call of the network, or None for all at once.
        noise_level: 0 to 999, of what a stage II enlarges.
        text_encoder: the hub id or folder whose T5 reads the prompts, see `DeepFloydSource`; a folder of stage II that
            has none needs it.
        revision: of `name` on the hub; None is the main branch.
        network: whether its denoiser is to be called; if not, DeepFloyd's UNet is not loaded.
        settings: of DeepFloydSource, e.g. dtype="bf16" or cache="embeddings"; of a digit model dtype alone.

    Raises ValueError, in one line, for a name that is none of these, and as the backbone's loader does.
    """
    chosen = weights.resolve_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path, given = Path(name), str(name)
    if (path / "pipeline").is_dir():  # a run of a text-to-image model
        path, given = path / "pipeline", str(path / "pipeline")
    if path.suffix == ".ckpt" or (path / "checkpoints").is_dir():
        _check_settings(settings, ("dtype",), "a digit model")
        return CheckpointBackbone(name, chosen, max_batch, **settings)
    if not path.is_dir() and not (given.startswith("DeepFloyd/") and weights.is_hub(given)):
        raise ValueError(
            f"name={name}: allowed is a run directory of train.py, a checkpoint, a folder in DeepFloyd's format or a "
            f"hub id, such as {weights.TEXT_ENCODER}"
        )
    second = weights.is_second(given)
    if second and path.is_dir() and text_encoder is None and not (path / "text_encoder").is_dir():
        raise ValueError(f"name={name}: is a stage II without a text encoder; give text_encoder=, its stage I")
    given_here = ("path", "upscaler_path", "text_encoder", "revision", "upscaler_revision", "prefix")
    others = [field.name for field in fields(DeepFloydSource) if field.name not in given_here]
    _check_settings(settings, others, "a text-to-image model")
    encoder = None if text_encoder is None else str(text_encoder)
    source = DeepFloydSource(given, given, encoder, revision, revision, **settings, prefix="")
    source.check(chosen, second, network)
    source.encode(["", *prompts], chosen)
    return source.load(chosen, max_batch, second, noise_level, network)


def _check_settings(settings: Mapping[str, Any], allowed: Sequence[str], kind: str) -> None:
    for name, value in settings.items():
        if name not in allowed:
            raise ValueError(f"{name}={value}: settings of {kind} are {', '.join(allowed)}")
