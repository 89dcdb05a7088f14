"""Where DeepFloyd's weights are, whether they may be read, and what memory they take: asked before anything loads.

A path is a hub id (`DeepFloyd/IF-I-M-v1.0`) or a local folder of the same layout. Either way, what is loaded is loaded
from a folder on this disk, that of `fetch`, and from safetensors alone.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from pathlib import Path
from typing import Any

import torch

# What a task reads of a pipeline's folder.
STAGE_1 = ("unet", "scheduler")
STAGE_2 = ("unet", "scheduler", "image_noising_scheduler")
TEXT = ("text_encoder", "tokenizer")
SCALE = 4  # of DeepFloyd's stage II, 64 to 256 pixels
SCALE_FILE = "scale.json"  # in the folder of a stage II of another

# Parameters of the UNets; the licences are on these pages of the hub.
PARAMETERS = {
    "DeepFloyd/IF-I-M-v1.0": 0.4e9,
    "DeepFloyd/IF-I-L-v1.0": 0.9e9,
    "DeepFloyd/IF-I-XL-v1.0": 4.3e9,
    "DeepFloyd/IF-II-M-v1.0": 0.45e9,
    "DeepFloyd/IF-II-L-v1.0": 1.2e9,
}
TEXT_ENCODER = "DeepFloyd/IF-I-XL-v1.0"  # whose T5 is that of them all
T5_WIDTH = 4096  # D of its embeddings
# T5-v1.1-XXL's encoder, 4.76e9 parameters; in half precision transformers keeps its "wo" layers in float32.
T5_BYTES = {torch.float32: 19.0e9, torch.float16: 11.5e9, torch.bfloat16: 11.5e9}

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def is_hub(path: str | Path) -> bool:
    """Whether path is a hub id, owner/name, and no folder here, of that name or of its owner's."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(path)) is not None and not Path(path).parent.is_dir()


def resolve_device(device: str | torch.device) -> torch.device:
    """The device; ValueError if it is none or is not there."""
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device}: allowed is a device of torch, such as cpu, cuda or cuda:1") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={device}: is not there; allowed are {', '.join(_devices())}")
    return found


def _devices() -> list[str]:
    return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


def resolve_dtype(dtype: str, device: torch.device, key: str = "dtype") -> torch.dtype:
    """The weights' type: "fp32", "fp16", "bf16", or "auto", which is fp16 on a GPU and fp32 on the CPU.

    ValueError, which calls the option `key`, for another.
    """
    if dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise ValueError(f"{key}={dtype}: allowed are auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def resolve_variant(path: str | Path, variant: str | None, part: str) -> str | None:
    """The variant of the weights of `part` ("unet", "text_encoder") to read; None is the one without a name.

    "auto" is fp16 on the hub, where DeepFloyd's fp32 files are twice the download, and in a folder that has it.
    """
    if variant != "auto":
        return variant
    return "fp16" if is_hub(path) or weight_files(Path(path) / part, "fp16") else None


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors of a variant in the folder of one network, all of them or none: [] if a shard is missing.

    Names are diffusers' and transformers': NAME[.VARIANT].safetensors, or the shards that NAME.safetensors.index
    [.VARIANT].json or NAME[.VARIANT].safetensors.index.json lists.
    """
    suffix = f".{variant}" if variant else ""
    for name in ("diffusion_pytorch_model", "model"):
        files = [folder / f"{name}{suffix}.safetensors"]
        for index in (f"{name}.safetensors.index{suffix}.json", f"{name}{suffix}.safetensors.index.json"):
            if (folder / index).is_file():
                shards = json.loads((folder / index).read_text())["weight_map"].values()
                files = [folder / shard for shard in sorted(set(shards))]
        if all(file.is_file() for file in files):
            return files
    return []


def check_access(
    path: str | Path,
    revision: str | None = None,
    *,
    parts: tuple[str, ...] = STAGE_1,
    variant: str | None = "auto",
    network: bool = True,
    key: str = "path",
) -> None:
    """Raises ValueError, in one line, unless the parts (STAGE_1, STAGE_2 or TEXT) of `path` can be read.

    A local folder must hold them all, and be of the stage asked for. What is on the hub needs a licence accepted and a
    login, unless it is in the local cache. Nothing is downloaded.

    Args:
        path: a hub id or a local folder.
        revision: of the hub; None is the main branch.
        parts: what is to be read.
        variant: of the weights, see `resolve_variant`.
        network: whether weights are to be read, or the configs alone.
        key: what the errors call the path.
    """
    if not is_hub(path):
        if not Path(path).is_dir():
            raise ValueError(
                f"{key}={path}: is no folder, allowed are a folder of DeepFloyd's and a hub id, owner/name"
            )
        _check_stage(Path(path), path, parts, key)
        missing = _missing(Path(path), parts, variant, network)
        if missing:
            hint = f" (did you mean {path}/pipeline?)" if (Path(path) / "pipeline").is_dir() else ""
            raise ValueError(f"{key}={path}: has no {', no '.join(missing)}{hint}")
        return
    cached = _cached(path, revision, parts, variant, network)
    if cached:
        _check_stage(cached, path, parts, key)
        return
    from huggingface_hub import get_token

    if str(path) in PARAMETERS and parts != TEXT and ("/IF-II-" in str(path)) != (parts == STAGE_2):
        raise ValueError(_wrong_stage(path, "/IF-II-" in str(path), key))
    if not get_token():
        raise ValueError(
            f"{key}={path}: is no folder here and not in the cache of the hub; accept the licence at "
            f"https://huggingface.co/{path}, then run `hf auth login`"
        )


def fetch(
    path: str | Path,
    revision: str | None = None,
    *,
    parts: tuple[str, ...] = STAGE_1,
    variant: str | None = "auto",
    network: bool = True,
    key: str = "path",
) -> Path:
    """The local folder of `path` with the parts; from the hub those files alone are downloaded, unless they are here.

    The arguments are check_access's. Raises its ValueError, and one of the same kind if the hub refuses or cannot be
    reached.
    """
    check_access(path, revision, parts=parts, variant=variant, network=network, key=key)
    if not is_hub(path):
        return Path(path)
    cached = _cached(path, revision, parts, variant, network)
    return cached or _download(str(path), revision, parts, variant, network, key)


def _download(
    path: str, revision: str | None, parts: tuple[str, ...], variant: str | None, network: bool, key: str
) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    named = resolve_variant(path, variant, parts[0])
    patterns = ["*.json", "*.model"]
    patterns += [f"*.{named}*.safetensors" if named else "*.safetensors"] if network else []
    try:
        folder = snapshot_download(
            path,
            revision=revision,
            allow_patterns=["model_index.json", SCALE_FILE]
            + [f"{part}/{pattern}" for part in parts for pattern in patterns],
            # Without a variant's name, those that have one: model.fp16.safetensors, model.fp16-00001-of-00002...
            ignore_patterns=[] if named else ["*.fp16*", "*.bf16*", "*.non_ema*"],
        )
    except (OSError, httpx.HTTPError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = "the licence is not accepted" if isinstance(error, GatedRepoError) else lines[0].rstrip(".")
        raise ValueError(
            f"{key}={path}: the hub did not give it ({reason}); the licence is at https://huggingface.co/{path}, "
            "the login is `hf auth login`"
        ) from error
    missing = _missing(Path(folder), parts, named, network)
    if missing:
        raise ValueError(f"{key}={path}: the hub's revision {revision or 'main'} has no {', no '.join(missing)}")
    _check_stage(Path(folder), path, parts, key)
    return Path(folder)


def _cached(
    path: str | Path, revision: str | None, parts: tuple[str, ...], variant: str | None, network: bool
) -> Path | None:
    """The folder of a hub id in the hub's local cache, if all the parts are there."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(str(path), "model_index.json", revision=revision)
    if not isinstance(index, str):
        return None
    folder = Path(index).parent
    # Of a hub id, "auto" means fp16; the cache's folder is not to be asked what it has.
    named = resolve_variant(path, variant, parts[0])
    return None if _missing(folder, parts, named, network) else folder


def _missing(folder: Path, parts: tuple[str, ...], variant: str | None, network: bool) -> list[str]:
    """What the folder lacks of the parts, in words."""
    missing = [] if (folder / "model_index.json").is_file() else ["model_index.json"]
    for part in parts:
        if part.endswith("scheduler"):
            wanted = [f"{part}/scheduler_config.json"]
        elif part == "tokenizer":
            files = ("tokenizer.json", "spiece.model")
            wanted = [] if any((folder / part / file).is_file() for file in files) else [f"{part}/tokenizer.json"]
        else:
            wanted = [f"{part}/config.json"]
            named = resolve_variant(folder, variant, part)
            if network and not weight_files(folder / part, named):
                missing.append(f"{part}/*{'.' + named if named else ''}.safetensors")
        missing += [name for name in wanted if not (folder / name).is_file()]
    return missing


def _check_stage(folder: Path, path: str | Path, parts: tuple[str, ...], key: str) -> None:
    """Raises ValueError for a pipeline of another kind or stage, as far as the files that are there tell."""
    kind, config = _pipeline(folder)
    if not kind or not config:
        return
    if not kind.startswith("IF"):
        raise ValueError(f"{key}={path}: is a {kind}, allowed is a pipeline of DeepFloyd IF")
    if parts != TEXT and is_second(folder) != (parts == STAGE_2):
        raise ValueError(_wrong_stage(path, is_second(folder), key))


def is_second(path: str | Path) -> bool:
    """Whether path is a stage II: by its name on the hub, by the files of a folder."""
    if is_hub(path):
        return "/IF-II-" in str(path)
    kind, config = _pipeline(Path(path))
    return "SuperResolution" in kind or config.get("in_channels") == 6  # x_t and the enlarged picture


def embedding_width(folder: Path) -> int:
    """D of the embeddings (B, 77, D) that the UNet in the folder takes, or DeepFloyd's own of that hub id."""
    width: int = T5_WIDTH if str(folder) in PARAMETERS else _pipeline(folder)[1]["encoder_hid_dim"]
    return width


def scale_of(folder: Path) -> int:
    """How many times the stage II in the folder enlarges: DeepFloyd's 4, unless the folder says otherwise."""
    file = folder / SCALE_FILE
    return int(json.loads(file.read_text())["scale"]) if file.is_file() else SCALE


def resolution(folder: Path) -> int | None:
    """Side of the pictures that the UNet in the folder makes, or DeepFloyd's own of that hub id; None where there is no
    such folder here.
    """
    if str(folder) in PARAMETERS:
        return 256 if is_second(folder) else 64
    return _pipeline(folder)[1].get("sample_size")


def _pipeline(folder: Path) -> tuple[str, dict[str, Any]]:
    """The class of the pipeline and the config of its UNet; empty where there is no such file."""
    index, config = (
        json.loads(file.read_text()) if file.is_file() else {}
        for file in (folder / "model_index.json", folder / "unet" / "config.json")
    )
    return index.get("_class_name", ""), config


def _wrong_stage(path: str | Path, second: bool, key: str) -> str:
    names = ("stage I", "stage II")
    return f"{key}={path}: is DeepFloyd's {names[second]}, allowed here is {names[not second]}"


def memory_needed(path: str | Path, part: str, dtype: torch.dtype, variant: str | None = "auto") -> int:
    """Bytes of the weights of `part` ("unet" or "text_encoder") in `dtype`, without what its layers compute.

    For DeepFloyd's own hub ids as published, for a folder counted in its files; 0 for another hub id, of which nothing
    is known before it is fetched.
    """
    if is_hub(path):
        if str(path) not in PARAMETERS:
            return 0
        return round(T5_BYTES[dtype] if part == "text_encoder" else PARAMETERS[str(path)] * dtype.itemsize)
    files = weight_files(Path(path) / part, resolve_variant(path, variant, part))
    return sum(_bytes(file, part, dtype) for file in files)


def check_fitting(
    path: str | Path,
    revision: str | None,
    *,
    parts: tuple[str, ...],
    variant: str | None,
    dtype: torch.dtype,
    device: torch.device,
    helps: str,
    network: bool = True,
    key: str = "path",
) -> None:
    """Raises the ValueErrors of `check_access`, and of `check_memory` for the weights of parts[0] on `device`."""
    check_access(path, revision, parts=parts, variant=variant, network=network, key=key)
    if network:
        _check_weights(path, f"{key}={path}", parts[0], variant, dtype, device, helps)


def fetch_fitting(
    path: str | Path,
    revision: str | None,
    *,
    parts: tuple[str, ...],
    variant: str | None,
    dtype: torch.dtype,
    device: torch.device,
    helps: str,
    network: bool = True,
    key: str = "path",
) -> Path:
    """`fetch`, once `check_fitting` has passed: before gigabytes are downloaded, and again when they can be counted."""
    check_fitting(
        path, revision, parts=parts, variant=variant, dtype=dtype, device=device, helps=helps, network=network, key=key
    )
    folder = fetch(path, revision, parts=parts, variant=variant, network=network, key=key)
    if network:
        _check_weights(folder, f"{key}={path}", parts[0], variant, dtype, device, helps)
    return folder


def _check_weights(
    path: str | Path,
    what: str,
    part: str,
    variant: str | None,
    dtype: torch.dtype,
    device: torch.device,
    helps: str,
) -> None:
    names = {"unet": "UNet", "text_encoder": "text encoder"}
    check_memory(memory_needed(path, part, dtype, variant), device, f"{what}: the {names[part]}", helps)


def _bytes(file: Path, part: str, dtype: torch.dtype) -> int:
    """Of the tensors of a safetensors file in another type; its header is 8 bytes of length and then JSON."""
    with open(file, "rb") as opened:
        header = json.loads(opened.read(struct.unpack("<Q", opened.read(8))[0]))
    return sum(
        math.prod(entry["shape"]) * (4 if part == "text_encoder" and ".wo." in name else dtype.itemsize)
        for name, entry in header.items()
        if name != "__metadata__"
    )


def check_memory(needed: int, device: torch.device, what: str, helps: str) -> None:
    """Raises ValueError, in one line, if `device` has less free memory than `needed` bytes.

    Args:
        needed: bytes, as of `memory_needed`.
        device: the CPU or a GPU.
        what: what needs them, for the message.
        helps: what to do about it, for the message.
    """
    free = free_memory(device)
    if needed > free:
        raise ValueError(
            f"{what} needs {needed / 1e9:.2g} GB of memory on {device}, {free / 1e9:.2g} GB are free: {helps}"
        )


def free_memory(device: torch.device) -> int:
    """Free bytes of a GPU, torch's own cache included, or the memory that programs on this machine can still take."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        available = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # not Linux: all that there is
