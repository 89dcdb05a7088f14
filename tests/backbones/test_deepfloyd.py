"""DeepFloyd IF as a backbone is what diffusers makes of the same weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import httpx
import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from huggingface_hub.utils import filter_repo_objects
from torch import nn

from denoiselab.backbones import deepfloyd, weights
from denoiselab.backbones.deepfloyd import DeepFloydDenoiser, load_deepfloyd, load_upscaler
from denoiselab.backbones.embeddings import EmbeddingCache, encode
from denoiselab.backbones.weights import STAGE_2, TEXT, check_access, check_memory, fetch, memory_needed
from denoiselab.denoise import Guide, Threshold
from denoiselab.noise import Cosine

PROMPTS = ["an oil painting of a snowy village", "A photo of a dog!"]
HUB = "DeepFloyd/IF-I-M-v1.0"


@pytest.fixture(scope="module")
def backbone(tiny_if: Path, cache: EmbeddingCache):
    return load_deepfloyd(tiny_if / "stage_1", cache, device="cpu")


@pytest.fixture(scope="module")
def upscaler(tiny_if: Path, cache: EmbeddingCache):
    return load_upscaler(tiny_if / "stage_2", cache, device="cpu", noise_level=50)


@pytest.fixture(scope="module")
def pipelines(tiny_if: Path):
    from diffusers import DiffusionPipeline

    both = [DiffusionPipeline.from_pretrained(tiny_if / stage) for stage in ("stage_1", "stage_2")]
    for pipeline in both:
        pipeline.unet.to(memory_format=torch.channels_last)  # as ours: the kernels of another round otherwise
    return both


def one_line(error: pytest.ExceptionInfo[ValueError]) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 400


# What an edit knows


def test_what_an_edit_knows_comes_from_the_files(backbone, upscaler) -> None:
    assert backbone.shape == (3, 64, 64) and upscaler.shape == (3, 256, 256)
    assert backbone.threshold == (0.95, 1.5) and upscaler.threshold == (0.95, 1.0)
    assert backbone.solver == upscaler.solver == {"name": "ddpm", "variance": "learned"}
    assert (backbone.guidance_scale, upscaler.guidance_scale) == (7.0, 4.0)
    assert (upscaler.noise_level, upscaler.scale) == (50, 4)
    assert backbone.revision is None and upscaler.revision is None
    assert backbone.name == "stage_1" and backbone.device == torch.device("cpu")
    assert backbone.pixels(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]
    unet = backbone.denoiser.denoiser.unet
    assert not unet.training and not any(parameter.requires_grad for parameter in unet.parameters())


def test_a_fixed_variance_and_no_thresholding_are_seen(tiny_if: Path, cache: EmbeddingCache, tmp_path: Path) -> None:
    shutil.copytree(tiny_if / "stage_1", tmp_path / "if")
    config = tmp_path / "if" / "scheduler" / "scheduler_config.json"
    text = config.read_text().replace('"learned_range"', '"fixed_small"')
    config.write_text(text.replace('"thresholding": true', '"thresholding": false'))
    backbone = load_deepfloyd(tmp_path / "if", cache, device="cpu")
    assert backbone.solver == {"name": "ddpm"} and backbone.threshold is None
    config.write_text(text.replace('"epsilon"', '"sample"'))
    with pytest.raises(ValueError, match=r"predicts sample, allowed are epsilon and v_prediction"):
        load_deepfloyd(tmp_path / "if", cache, device="cpu")


def test_conditions_are_the_caches(backbone, cache: EmbeddingCache, tmp_path: Path) -> None:
    assert torch.equal(backbone.condition(PROMPTS), cache.load(PROMPTS))
    with pytest.raises(ValueError, match=r"^prompt='a horse': not encoded; allowed are the prompts of "):
        backbone.condition([*PROMPTS, "a horse"])
    wide = EmbeddingCache(tmp_path, "m")
    wide.put("", torch.zeros(1, 77, 4096))
    other = deepfloyd.DeepFloyd("tiny", backbone.denoiser.denoiser.unet, scheduler(), wide, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"embeddings of width 4096 in .*: tiny takes 32"):
        other.condition([""])


def test_a_prompts_embedding_is_read_once(tiny_if: Path, cache: EmbeddingCache, monkeypatch) -> None:
    backbone = load_deepfloyd(tiny_if / "stage_1", cache, device="cpu", network=False)
    before = backbone.condition(PROMPTS)
    monkeypatch.setattr(EmbeddingCache, "load", None)
    assert torch.equal(backbone.condition([*PROMPTS[::-1], PROMPTS[0]]), before[[1, 0, 0]])


def scheduler():
    from diffusers import DDPMScheduler

    return DDPMScheduler(beta_schedule="squaredcos_cap_v2")


# One step


def test_the_path_is_the_schedulers(backbone, pipelines) -> None:
    abar = backbone.denoiser.path.abar
    assert abar[0] == 1 and len(abar) == 1001
    torch.testing.assert_close(abar[1:].float(), pipelines[0].scheduler.alphas_cumprod, rtol=1e-5, atol=0)
    torch.testing.assert_close(abar, Cosine(1000).abar, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("index", [0, 20, 500, 990])
def test_one_estimate_is_diffusers_step(backbone, pipelines, index: int) -> None:
    pipeline, condition = pipelines[0], backbone.condition(PROMPTS)
    x_t = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(index))
    with torch.no_grad():
        answer = pipeline.unet(x_t, torch.tensor(index), condition).sample
    eps, v = answer.split(3, dim=1)
    stepped = pipeline.scheduler.step(answer, index, x_t, generator=torch.Generator().manual_seed(0))

    estimate = Threshold(backbone.denoiser, *backbone.threshold)(x_t, torch.tensor(index + 1), condition)
    torch.testing.assert_close(estimate.eps, eps, rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate.log_variance_weight, (v + 1) / 2, rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate.x_0, stepped.pred_original_sample, rtol=0, atol=1e-5)


def test_an_upscalers_call_is_the_pipelines(upscaler, pipelines, monkeypatch: pytest.MonkeyPatch) -> None:
    """What IFSuperResolutionPipeline hands its network in its first step, and what it makes of the answer."""
    pipeline, condition = pipelines[1], upscaler.condition(PROMPTS[:1])
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    calls, steps = [], []
    forward, step = type(pipeline.unet).forward, type(pipeline.scheduler).step

    def spy(unet, sample, timestep, **others):
        calls.append((sample, timestep, others["class_labels"]))
        return forward(unet, sample, timestep, **others)

    def spy_step(self, answer, timestep, sample, return_dict=True, **others):
        steps.append((answer, step(self, answer, timestep, sample, **others).pred_original_sample))
        return step(self, answer, timestep, sample, return_dict=return_dict, **others)

    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline.unet), "forward", spy)
        patch.setattr(type(pipeline.scheduler), "step", spy_step)
        pipeline.set_progress_bar_config(disable=True)
        pipeline(
            image=upscaler.pixels(pictures),
            prompt_embeds=condition,
            guidance_scale=1.0,
            num_inference_steps=1,
            timesteps=[800],
            noise_level=50,
            generator=torch.Generator().manual_seed(2),
            output_type="pt",
        )
    (model_input, timestep, labels), (answer, x_0) = calls[0], steps[0]

    generator = torch.Generator().manual_seed(2)
    x_t, eps = (torch.randn(1, 3, 256, 256, generator=generator) for _ in range(2))
    context = upscaler.context(pictures, eps)
    torch.testing.assert_close(torch.cat([x_t, context], dim=1), model_input, rtol=0, atol=1e-6)
    assert labels.tolist() == [50] and int(timestep) == 800
    denoiser = Threshold(upscaler.denoiser, *upscaler.threshold)
    estimate = denoiser(torch.cat([x_t, context], dim=1), torch.tensor(801), condition)
    torch.testing.assert_close(estimate.eps, answer[:, :3], rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate.x_0, x_0, rtol=0, atol=1e-5)


def test_max_batch_splits_and_changes_nothing(tiny_if: Path, cache: EmbeddingCache, backbone) -> None:
    split = load_deepfloyd(tiny_if / "stage_1", cache, device="cpu", max_batch=1)
    x_t, t, condition = torch.randn(2, 3, 64, 64), torch.tensor([3, 700]), backbone.condition(PROMPTS)
    one, other = backbone.denoiser(x_t, t, condition), split.denoiser(x_t, t, condition)
    torch.testing.assert_close(one.eps, other.eps, rtol=0, atol=1e-5)


def test_offloaded_weights_give_the_same(tiny_if: Path, cache: EmbeddingCache, backbone) -> None:
    pytest.importorskip("accelerate")
    offloaded = load_deepfloyd(tiny_if / "stage_1", cache, device="cpu", offload=True)
    x_t, t, condition = torch.randn(2, 3, 64, 64), torch.tensor(500), backbone.condition(PROMPTS)
    assert torch.equal(offloaded.denoiser(x_t, t, condition).eps, backbone.denoiser(x_t, t, condition).eps)


# Half precision


class Stub(nn.Module):
    """Answers in its own type, with `out` channels of `value`."""

    def __init__(self, out: int, value: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value, dtype=torch.float16), requires_grad=False)
        self.out, self.config = out, SimpleNamespace(in_channels=3)

    def forward(self, x, timestep, encoder_hidden_states, return_dict):
        assert x.dtype == encoder_hidden_states.dtype == torch.float16 and not return_dict
        self.timestep = timestep
        return (self.weight.expand(len(x), self.out, *x.shape[2:]),)


@pytest.mark.parametrize("x_dtype", [torch.float16, torch.float32])
def test_the_noisiest_time_is_finite_with_a_float16_network(x_dtype: torch.dtype) -> None:
    stub = Stub(6)
    denoiser = DeepFloydDenoiser(stub, Cosine(1000))
    x_t, condition = torch.randn(2, 3, 8, 8, dtype=x_dtype), torch.zeros(2, 77, 4)
    estimate = denoiser(x_t, torch.tensor(1000), condition)
    assert stub.timestep.tolist() == [999, 999]
    alpha = Cosine(1000).alpha(torch.tensor(1000))
    torch.testing.assert_close(estimate.x_0.double(), (x_t.double() - (1 - alpha**2).sqrt() * 0.5) / alpha, rtol=1e-4,
                               atol=1)  # fmt: skip
    assert estimate.x_0.dtype == estimate.eps.dtype == estimate.log_variance_weight.dtype == torch.float32
    assert bool((estimate.log_variance_weight == 0.75).all())
    assert all(
        bool(part.isfinite().all()) for part in vars(Threshold(denoiser, 0.95, 1.5)(x_t, 1000, condition)).values()
    )


def test_a_network_without_a_variance_has_none() -> None:
    estimate = DeepFloydDenoiser(Stub(3), Cosine(1000))(torch.randn(1, 3, 8, 8), 5, torch.zeros(1, 77, 4))
    assert estimate.log_variance_weight is None
    with pytest.raises(ValueError, match=r"DeepFloyd needs a condition"):
        DeepFloydDenoiser(Stub(3), Cosine(1000))(torch.randn(1, 3, 8, 8), 5)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_the_noisiest_time_is_finite_in_half_precision(tiny_if: Path, cache: EmbeddingCache, dtype: str) -> None:
    backbone = load_deepfloyd(tiny_if / "stage_1", cache, device="cpu", dtype=dtype, max_batch=1)
    guided = Guide(backbone.denoiser, backbone.guidance_scale, backbone.condition([""]))
    denoiser = Threshold(guided, *backbone.threshold)
    estimate = denoiser(torch.randn(2, 3, 64, 64), torch.tensor(1000), backbone.condition(PROMPTS))
    assert all(bool(part.isfinite().all()) and part.dtype == torch.float32 for part in vars(estimate).values())
    assert float(estimate.x_0.abs().max()) <= 1


# What is refused, and in which words


def test_folders_that_lack_something_are_named(tiny_if: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^path={tmp_path}/if: is no folder, allowed are") as error:
        check_access(tmp_path / "if")
    assert one_line(error)
    shutil.copytree(tiny_if / "stage_1", tmp_path / "if")
    (tmp_path / "if" / "model_index.json").unlink()
    shutil.rmtree(tmp_path / "if" / "scheduler")
    (tmp_path / "if" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError) as error:
        check_access(tmp_path / "if")
    assert str(error.value) == (
        f"path={tmp_path}/if: has no model_index.json, no unet/*.safetensors, no scheduler/scheduler_config.json"
    )
    shutil.rmtree(tmp_path / "if" / "tokenizer")
    with pytest.raises(ValueError, match=r"has no model_index.json, no tokenizer/tokenizer.json$"):
        check_access(tmp_path / "if", parts=TEXT)


def test_the_wrong_stage_is_refused(tiny_if: Path, cache: EmbeddingCache, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stage_2: is DeepFloyd's stage II, allowed here is stage I$"):
        load_deepfloyd(tiny_if / "stage_2", cache, device="cpu")
    shutil.copytree(tiny_if / "stage_1", tmp_path / "if")
    shutil.copytree(tmp_path / "if" / "scheduler", tmp_path / "if" / "image_noising_scheduler")
    with pytest.raises(ValueError, match=r"if: is DeepFloyd's stage I, allowed here is stage II$"):
        load_upscaler(tmp_path / "if", cache, device="cpu")
    with pytest.raises(ValueError, match=r"IF-II-L-v1.0: is DeepFloyd's stage II, allowed here is stage I$"):
        load_deepfloyd("DeepFloyd/IF-II-L-v1.0", cache, device="cpu")
    index = tmp_path / "if" / "model_index.json"
    index.write_text(index.read_text().replace("IFPipeline", "StableDiffusionPipeline"))
    with pytest.raises(ValueError, match=r"is a StableDiffusionPipeline, allowed is a pipeline of DeepFloyd IF"):
        check_access(tmp_path / "if")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"variant": "fp16"}, r"stage_1: has no unet/\*\.fp16\.safetensors$"),
        ({"dtype": "int8"}, "^dtype=int8: allowed are auto, fp32, fp16, bf16$"),
        ({"device": "gpu"}, "^device=gpu: allowed is a device of torch"),
        ({"device": "cuda:64"}, "^device=cuda:64: is not there; allowed are cpu"),
        ({"max_batch": 0}, "^max_batch=0: allowed is a positive number"),
    ],
)
def test_options_that_will_not_do(tiny_if: Path, cache: EmbeddingCache, options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_deepfloyd(tiny_if / "stage_1", cache, **({"device": "cpu"} | options))


def test_noise_levels_and_offloading_that_will_not_do(
    tiny_if: Path, cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level in (-1, 1000):
        with pytest.raises(ValueError, match=f"^noise_level={level}: allowed are 0 to 999$"):
            load_upscaler(tiny_if / "stage_2", cache, device="cpu", noise_level=level)
    monkeypatch.setattr(deepfloyd.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^offload=true: needs one package more, `pip install accelerate`$"):
        load_deepfloyd(tiny_if / "stage_1", cache, device="cpu", offload=True)


# Memory


def test_memory_is_known_or_counted(tiny_if: Path) -> None:
    from diffusers import UNet2DConditionModel

    assert memory_needed("DeepFloyd/IF-I-XL-v1.0", "unet", torch.float16) == 8.6e9
    assert memory_needed("DeepFloyd/IF-I-XL-v1.0", "text_encoder", torch.float16) == 11.5e9
    unet = UNet2DConditionModel.from_pretrained(tiny_if / "stage_1", subfolder="unet")
    count = sum(parameter.numel() for parameter in unet.parameters())
    assert memory_needed(tiny_if / "stage_1", "unet", torch.float32) == 4 * count
    assert memory_needed(tiny_if / "stage_1", "unet", torch.bfloat16) == 2 * count
    from transformers import T5EncoderModel

    t5 = T5EncoderModel.from_pretrained(tiny_if / "stage_1", subfolder="text_encoder", dtype=torch.float16)
    needed = sum(parameter.numel() * parameter.element_size() for parameter in t5.parameters())
    assert memory_needed(tiny_if / "stage_1", "text_encoder", torch.float16) == needed


def test_too_little_memory_is_said_before_anything_loads(
    tiny_if: Path, cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert weights.free_memory(torch.device("cpu")) > 1e6
    check_memory(10, torch.device("cpu"), "it", "")
    with monkeypatch.context() as patch:
        for name, answer in (("mem_get_info", (3, 80)), ("memory_reserved", 20), ("memory_allocated", 6)):
            patch.setattr(f"torch.cuda.{name}", lambda device, answer=answer: answer)
        assert weights.free_memory(torch.device("cuda")) == 17  # torch's cache is free too
    needed = memory_needed(tiny_if / "stage_1", "unet", torch.float32)
    free = needed // 2
    monkeypatch.setattr(weights, "free_memory", lambda device: free)
    monkeypatch.setattr("diffusers.UNet2DConditionModel.from_pretrained", None)
    with pytest.raises(ValueError) as error:
        load_deepfloyd(tiny_if / "stage_1", cache, device="cpu")
    assert str(error.value) == (
        f"path={tiny_if}/stage_1: the UNet needs {needed / 1e9:.2g} GB of memory on cpu, {free / 1e9:.2g} GB are free: "
        "a half-precision dtype or another device would do"
    )
    monkeypatch.setattr(weights, "free_memory", lambda device: 1000)
    with pytest.raises(ValueError, match=r"the text encoder needs .* on cpu, .* are free: a device with more"):
        encode(["a new prompt"], cache, device="cpu")


# The hub

FILES = [
    "model_index.json",
    "scale.json",
    "scheduler/scheduler_config.json",
    "tokenizer/spiece.model",
    "tokenizer/tokenizer_config.json",
    "safety_checker/model.fp16.safetensors",
    *(f"unet/diffusion_pytorch_model{kind}" for kind in (".bin", ".safetensors", ".fp16.bin", ".fp16.safetensors")),
    "unet/config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors.index.json",
    "text_encoder/model.safetensors.index.fp16.json",
    *(f"text_encoder/model{kind}-0000{i}-of-00002.safetensors" for kind in ("", ".fp16") for i in (1, 2)),
]  # of DeepFloyd/IF-I-M-v1.0, those that matter here, and the scale that a stage II of another's may have


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub; the folder of the files of HUB's main branch is returned, to be made."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    repository = tmp_path / "models--DeepFloyd--IF-I-M-v1.0"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    return repository / "snapshots" / "c0ffee"


@pytest.mark.usefixtures("no_network", "hub")
def test_without_a_login_the_licence_is_named(cache: EmbeddingCache) -> None:
    for call in (
        lambda: load_deepfloyd(HUB, cache, device="cpu"),
        lambda: encode(["a dog"], EmbeddingCache(cache.directory, HUB), device="cpu"),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == (
            f"path={HUB}: is no folder here and not in the cache of the hub; accept the licence at "
            f"https://huggingface.co/{HUB}, then run `hf auth login`"
        )


@pytest.mark.usefixtures("no_network")
def test_what_the_cache_has_needs_neither_login_nor_network(
    hub: Path, tiny_if: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import T5EncoderModel

    shutil.copytree(tiny_if / "stage_1", hub, ignore=shutil.ignore_patterns("*.safetensors"))
    unet = UNet2DConditionModel.from_pretrained(tiny_if / "stage_1", subfolder="unet", dtype=torch.float16)
    unet.save_pretrained(hub / "unet", variant="fp16")
    with pytest.raises(ValueError, match=r"accept the licence"):  # the encoder is not there
        fetch(HUB, parts=TEXT)
    t5 = T5EncoderModel.from_pretrained(tiny_if / "stage_1", subfolder="text_encoder", dtype=torch.float16)
    t5.save_pretrained(hub / "text_encoder", variant="fp16", max_shard_size="40KB")
    assert (hub / "text_encoder" / "model.safetensors.index.fp16.json").is_file()  # as on the hub, in shards

    cache = EmbeddingCache(tmp_path / "embeddings", HUB)
    monkeypatch.setattr(weights, "free_memory", lambda device: 10**11)  # for T5, as published
    encode(["a dog"], cache, device="cpu")
    backbone = load_deepfloyd(HUB, cache, device="cpu")
    assert backbone.revision == "c0ffee"  # the commit, for the record
    assert backbone.name == "IF-I-M-v1.0" and backbone.denoiser.denoiser.dtype == torch.float32
    estimate = backbone.denoiser(torch.randn(1, 3, 64, 64), torch.tensor(9), backbone.condition(["a dog"]))
    assert bool(estimate.x_0.isfinite().all())

    (hub / "text_encoder" / "model.fp16-00001-of-00002.safetensors").unlink()  # a download cut short
    with pytest.raises(ValueError, match=r"accept the licence"):
        fetch(HUB, parts=TEXT)
    with pytest.raises(ValueError, match=r"accept the licence"):
        fetch(HUB, "another_revision")


@pytest.mark.parametrize(
    ("parts", "variant", "expected"),
    [
        (("unet", "scheduler"), "none", set()),
        (("unet", "scheduler"), "auto", {"unet/diffusion_pytorch_model.fp16.safetensors"}),
        (("unet", "scheduler"), None, {"unet/diffusion_pytorch_model.safetensors"}),
        (TEXT, "auto", {f"text_encoder/model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)}),
        (TEXT, None, {f"text_encoder/model-0000{i}-of-00002.safetensors" for i in (1, 2)}),
    ],
)
def test_no_more_than_is_needed_is_downloaded(
    hub: Path, tiny_if: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], variant, expected: set[str]
) -> None:
    def download(path: str, revision: str | None, **patterns: list[str]) -> str:
        for name in filter_repo_objects(FILES, **patterns):
            (hub / name).parent.mkdir(parents=True, exist_ok=True)
            text = "{}"
            if name.endswith("index.json") or "index.fp16" in name:
                kind = ".fp16" if "fp16" in name else ""
                shards = [f"model{kind}-0000{i}-of-00002.safetensors" for i in (1, 2)]
                text = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))})
            if name.endswith(("model_index.json", "unet/config.json")):
                text = (tiny_if / "stage_1" / name).read_text()
            (hub / name).write_text(text)
        return str(hub)

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    wanted = {"network": False} if variant == "none" else {"variant": variant}
    assert fetch(HUB, parts=parts, **wanted) == hub
    assert {str(path.relative_to(hub)) for path in hub.rglob("*.safetensors")} == expected
    assert (hub / "scale.json").is_file()
    assert ("text_encoder" in parts) == (hub / "tokenizer" / "spiece.model").is_file()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert fetch(HUB, parts=parts, **wanted) == hub  # from now on it is in the cache


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            lambda: GatedRepoError(
                "403 Client Error\n\nAccess is restricted",
                response=httpx.Response(403, request=httpx.Request("GET", "/")),
            ),
            "the licence is not accepted",
        ),
        (lambda: OSError("No such revision.\n\nTry another."), "No such revision"),
        (lambda: httpx.ConnectError("Name or service not known"), "Name or service not known"),
    ],
    ids=["gated", "not found", "offline"],
)
@pytest.mark.usefixtures("hub")
def test_the_hubs_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch, error, reason: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error()

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError) as raised:
        fetch(HUB, parts=STAGE_2[:2])
    assert str(raised.value) == (
        f"path={HUB}: the hub did not give it ({reason}); the licence is at https://huggingface.co/{HUB}, "
        "the login is `hf auth login`"
    )
