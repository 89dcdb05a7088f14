"""Prompt embeddings: T5 runs once for a prompt, in a phase of its own, and its answers stay on disk.

T5-v1.1-XXL takes more memory than DeepFloyd's largest UNet, and 0.63 MB hold all that it says of a prompt. So it is
loaded when prompts are missing from the cache, and freed before a UNet is loaded.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm.auto import tqdm

from denoiselab.backbones.weights import TEXT, fetch_fitting, resolve_device, resolve_dtype, resolve_variant
from denoiselab.files import write_atomically

LENGTH = 77  # tokens of a prompt, padded or cut; DeepFloyd's T5 saw no other length


def clean(prompt: str, clean_caption: bool) -> str:
    """The text that T5 reads for a prompt: IFPipeline's own preprocessing.

    In lower case and stripped; with `clean_caption`, without links, HTML, hashes and the like as well. The latter needs
    diffusers' code and the packages ftfy and beautifulsoup4: ValueError, in one line, if they are missing. (The
    pipeline itself would go on without cleaning.)
    """
    if not clean_caption:
        return prompt.lower().strip()
    check_cleaning()
    from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline

    return IFPipeline.__new__(IFPipeline)._text_preprocessing(prompt, clean_caption=True)[0]  # it uses no network


def check_cleaning(key: str = "clean_caption") -> None:
    """Raises the ValueError of `clean`, which calls the option `key`, where packages are missing."""
    if any(importlib.util.find_spec(package) is None for package in ("ftfy", "bs4")):
        raise ValueError(f"{key}=true: needs two packages more, `pip install ftfy beautifulsoup4`")


@dataclass(frozen=True)
class Unread:
    """What T5 does not read of a prompt.

    Attributes:
        cut: the text beyond 77 tokens.
        unknown: the words that have a token of no meaning, <unk>.
    """

    cut: str = ""
    unknown: str = ""


NOTHING = Unread()


class EmbeddingCache:
    """Embeddings (1, 77, D) on disk, a safetensors file for each text.

    They have the type in which `IFPipeline.encode_prompt` returns them, that of the encoder's weights: float16 from a
    GPU, where float32 would double the files and add nothing, float32 from a CPU. Prompts whose text is the same once
    cleaned share a file. Beside an embedding stands what its prompt's reader did not understand, see `Unread`.

    Args:
        directory: where the files are; made when the first is written.
        model: the hub id or local folder whose encoder they are of.
        revision: the hub's revision, None being its main branch.
        clean_caption: see `clean`. `encode_prompt` is without unless told, the pipelines' `__call__` with.
    """

    def __init__(
        self, directory: str | Path, model: str | Path, revision: str | None = None, clean_caption: bool = False
    ) -> None:
        self.directory, self.revision, self.clean_caption = Path(directory), revision, clean_caption
        # A folder is the same from wherever it is named.
        self.model = str(Path(model).resolve()) if Path(model).is_dir() else str(model)

    def get(self, prompt: str) -> Tensor | None:
        """The embedding (1, 77, D) of a prompt, on the CPU, or None.

        A file that cannot be read, or is of something else, is named in a warning and deleted.
        """
        return self._read(prompt)[0]

    def unread(self, prompt: str) -> Unread:
        """What T5 did not read of a prompt, as far as the cache knows."""
        return self._read(prompt)[1]

    def put(self, prompt: str, embedding: Tensor, unread: Unread = NOTHING) -> None:
        """Keep the embedding (1, 77, D) of a prompt, in its type, and what was not read of it."""
        if not _is_embedding(embedding):
            raise ValueError(
                f"embedding of shape {tuple(embedding.shape)}: allowed is (1, {LENGTH}, D), floating point"
            )
        key = self._key(prompt)
        with write_atomically(self._path(key)) as path:  # not save_file, whose files only their owner may read
            path.write_bytes(save({"embedding": embedding.detach().cpu().contiguous()}, metadata=key | asdict(unread)))

    def missing(self, prompts: Sequence[str]) -> list[str]:
        """The prompts that have no embedding here, each text once, in their order."""
        distinct = {clean(prompt, self.clean_caption): prompt for prompt in reversed(prompts)}
        firsts = set(distinct.values())
        return [prompt for prompt in dict.fromkeys(prompts) if prompt in firsts and self.get(prompt) is None]

    def load(self, prompts: Sequence[str]) -> Tensor:
        """The embeddings (B, 77, D) of B prompts, on the CPU; ValueError, in one line, naming those that have none."""
        embeddings = {prompt: self.get(prompt) for prompt in dict.fromkeys(prompts)}
        absent = [prompt for prompt, found in embeddings.items() if found is None]
        if absent:
            raise ValueError(
                f"prompt={', '.join(map(repr, absent))}: not encoded; allowed are the prompts of {self.directory} for "
                f"{self.model}, which edit=encode adds to"
            )
        return torch.cat([embeddings[prompt] for prompt in prompts])  # type: ignore[misc]

    def import_torch(self, path: str | Path, key: str = "embeddings") -> list[str]:
        """Put a dictionary of `read_torch` into the cache, and return the prompts that were absent. All or nothing."""
        content = read_torch(path, key)
        absent = self.missing(list(content))
        for prompt in absent:
            self.put(prompt, content[prompt])
        return absent

    def _read(self, prompt: str) -> tuple[Tensor | None, Unread]:
        """The embedding, and what was not read."""
        key = self._key(prompt)
        path = self._path(key)
        if not path.is_file():
            return None, NOTHING
        try:
            with safe_open(path, "pt") as file:
                embedding, metadata = file.get_tensor("embedding"), file.metadata() or {}
            unread = Unread(**{each.name: metadata.pop(each.name, "") for each in fields(Unread)})
            if metadata != key or not _is_embedding(embedding):
                raise SafetensorError("it is of something else")
        except SafetensorError as error:
            warnings.warn(f"{path}: corrupt ({error}), deleted; the prompt {prompt!r} is to be encoded", stacklevel=3)
            path.unlink(missing_ok=True)
            return None, NOTHING
        return embedding, unread

    def _key(self, prompt: str) -> dict[str, str]:
        return {
            "model": self.model,
            "revision": self.revision or "main",
            "text": clean(prompt, self.clean_caption),
            "clean_caption": str(self.clean_caption),
        }

    def _path(self, key: dict[str, str]) -> Path:
        digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=16).hexdigest()
        return self.directory / f"{digest}.safetensors"


def read_torch(path: str | Path, key: str = "embeddings", width: int | None = None) -> dict[str, Tensor]:
    """A dictionary saved by torch, prompt -> embedding (1, 77, D).

    Nothing but tensors and plain containers is unpickled.

    Args:
        path: of the file.
        key: what the errors call it.
        width: D, or None where any will do.

    Raises ValueError, in one line, for a file that is anything else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead it to, KeyError for a text file
        raise ValueError(f"{key}={path}: torch cannot read it safely ({_first_line(error)})") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{key}={path}: is of type {type(content).__name__}, allowed is a dictionary of prompts")
    for prompt, embedding in content.items():
        if not isinstance(prompt, str):
            raise ValueError(f"{key}={path}: key {prompt!r}, allowed are prompts, as text")
        if not isinstance(embedding, Tensor) or not _is_embedding(embedding):
            found = tuple(embedding.shape) if isinstance(embedding, Tensor) else type(embedding).__name__
            raise ValueError(
                f"{key}={path}: {prompt!r} is {found}, allowed are tensors (1, {LENGTH}, D), floating point"
            )
    widths = {embedding.shape[-1] for embedding in content.values()}
    if len(widths) > 1 or width not in (None, *widths):
        allowed = "one" if width is None else f"{width}, the UNet's"
        raise ValueError(f"{key}={path}: widths D of {', '.join(map(str, sorted(widths)))}, allowed is {allowed}")
    return content


def _is_embedding(tensor: Tensor) -> bool:
    return tensor.ndim == 3 and tensor.shape[:2] == (1, LENGTH) and tensor.is_floating_point()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def encode(
    prompts: Sequence[str],
    cache: EmbeddingCache,
    *,
    device: str | torch.device,
    variant: str | None = "auto",
    dtype: str = "auto",
    key: str = "path",
) -> None:
    """Fill the cache: T5 is loaded for the prompts that it lacks, if any, and freed.

    One prompt a call, so that an embedding does not depend on what else was missing: 77 tokens are work enough for an
    encoder of this size, and a GPU is done with 25 prompts in seconds. A prompt of more than 77 tokens, or of words
    that the tokenizer does not know, is warned about, with what is not read, before T5 is loaded, and whenever it is
    asked for again.

    Args:
        prompts: any; "" is the unconditional one.
        cache: of the model whose encoder it is, and where the embeddings go.
        device: where T5 runs.
        variant: of the weights, see `weights.resolve_variant`.
        dtype: of the weights, see `weights.resolve_dtype`.
        key: what the errors call the cache's model.

    Raises ValueError, in one line, if the encoder may not be read (`weights.check_access`) or does not fit.
    """
    missing = cache.missing(prompts)
    for prompt in dict.fromkeys(prompts):
        warn_of(prompt, cache.unread(prompt))
    if not missing:
        return
    device = resolve_device(device)
    kind = resolve_dtype(dtype, device)
    folder = fetch_fitting(
        cache.model, cache.revision, parts=TEXT, variant=variant, dtype=kind, device=device,
        helps="a device with more (the CPU will do, slowly), or a file of embeddings from another machine", key=key,
    )  # fmt: skip
    from transformers import T5EncoderModel, T5Tokenizer

    tokenizer = T5Tokenizer.from_pretrained(folder, subfolder="tokenizer")
    unread = {prompt: unread_of(tokenizer, clean(prompt, cache.clean_caption)) for prompt in missing}
    for prompt, each in unread.items():
        warn_of(prompt, each)
    encoder = T5EncoderModel.from_pretrained(
        folder,
        subfolder="text_encoder",
        variant=resolve_variant(folder, variant, "text_encoder"),
        dtype=kind,
        use_safetensors=True,
    )
    try:
        encoder.eval().to(device)
        for prompt, each in tqdm(unread.items(), desc="encoding", unit="prompt"):
            cache.put(prompt, _encode(tokenizer, encoder, clean(prompt, cache.clean_caption), device), each)
    finally:
        del encoder
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def unread_of(tokenizer: Any, text: str) -> Unread:
    """What an encoder of 77 tokens does not read of a cleaned text."""
    tokens = tokenizer(text).input_ids
    unknown = [word for word in dict.fromkeys(text.split()) if tokenizer.unk_token_id in tokenizer(word).input_ids]
    # The last of 77 tokens is the end of sequence.
    return Unread(str(tokenizer.decode(tokens[LENGTH - 1 : -1])), ", ".join(unknown))


def warn_of(prompt: str, unread: Unread) -> None:
    """A warning for each thing that is not read of a prompt."""
    if unread.cut:
        warnings.warn(f"prompt={prompt!r}: has more than {LENGTH} tokens; cut: {unread.cut!r}", stacklevel=3)
    if unread.unknown:
        warnings.warn(f"prompt={prompt!r}: the tokenizer has never seen {unread.unknown!r}", stacklevel=3)


@torch.no_grad()
def _encode(tokenizer: Any, encoder: Any, text: str, device: torch.device) -> Tensor:
    """(1, 77, D), as `IFPipeline.encode_prompt` computes it: padded to 77 tokens, with the attention mask."""
    inputs = tokenizer(text, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").to(device)
    embedding = encoder(inputs.input_ids, attention_mask=inputs.attention_mask)[0]  # (1, 77, D)
    return embedding.to(encoder.dtype)
