"""Any backbone by its name, and what is done before it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_checkpoint import run

from denoiselab.backbones import load_backbone
from denoiselab.backbones.sources import CheckpointSource, DeepFloydSource, TinyIfSource
from denoiselab.denoise import Upscaler
from denoiselab.edit import Anagram, Forward, Generate, Upscale

CPU = torch.device("cpu")


def source(tiny_if: Path, **settings: object) -> DeepFloydSource:
    return DeepFloydSource(str(tiny_if / "stage_1"), str(tiny_if / "stage_2"), **settings)  # type: ignore[arg-type]


def test_a_run_of_train_py_is_a_backbone_whose_prompts_are_digits(tmp_path: Path) -> None:
    run(tmp_path, "experiment=class_flow")
    model = load_backbone(tmp_path, device="cpu")
    assert (model.name, model.shape, model.low) == ("class_flow", (1, 28, 28), 0.0)
    assert model.solver == {"name": "euler"} and model.guidance_scale == 5
    assert torch.equal(model.condition(["3", "", "9"]), torch.eye(10)[[3, 0, 9]] * torch.tensor([[1.0], [0], [1]]))
    with pytest.raises(ValueError, match=r"prompt '10': allowed are 0, 1, .* and '' of class_flow"):
        model.condition(["10"])
    result = Anagram(prompts=["6", "9"], count=2).run(model, times=[900, 400, 0])
    assert result.images.shape == (2, 1, 28, 28) and result.pil[0].size == (28, 28)


def test_the_usual_guidance_is_that_of_the_runs_grids(tmp_path: Path) -> None:
    path = run(tmp_path, "experiment=class_flow")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["config"]["callbacks"]["samples"] = {"guidance_scale": 0.0}
    torch.save(checkpoint, path)
    assert load_backbone(tmp_path, device="cpu").guidance_scale == 0


def test_a_time_model_takes_no_condition_and_no_guidance(tmp_path: Path) -> None:
    run(tmp_path, "model=time_unet", "schedule=ddpm", "schedule.path.T=40")
    model = load_backbone(tmp_path, device="cpu")
    assert model.condition(["", ""]) is None and model.guidance_scale == 1
    assert Generate(prompts=[""], count=2).run(model, times=[900, 400, 0]).images.shape == (2, 1, 28, 28)
    with pytest.raises(ValueError, match=r"guidance_scale=3: allowed is 1, custom takes no condition"):
        Generate(prompts=[""], guidance_scales=[3]).run(model, times=[900, 400, 0])
    with pytest.raises(ValueError, match=r"^prompt '3': allowed is '': custom takes no class$"):
        model.condition(["3"])
    with pytest.raises(ValueError, match="edit=upscale: allowed is a backbone with a second stage"):
        CheckpointSource(str(tmp_path)).check(CPU, second=True)


def test_a_pipeline_in_a_folder_is_a_backbone_whose_prompts_are_words(tiny_if: Path, tmp_path: Path) -> None:
    model = load_backbone(tiny_if / "stage_1", prompts=["a cat"], device="cpu", cache=str(tmp_path))
    assert model.shape == (3, 64, 64) and model.threshold == (0.95, 1.5)
    small = Generate(prompts=["a cat"]).run(model, times=[900, 0]).images
    for encoder in (None, tiny_if / "stage_1"):  # it is seen to be a second stage; in the miniature it has T5 as well
        upscaler = load_backbone(
            tiny_if / "stage_2", ["a cat"], "cpu", noise_level=50, text_encoder=encoder, cache=str(tmp_path)
        )
    assert isinstance(upscaler, Upscaler) and (upscaler.shape, upscaler.noise_level) == ((3, 256, 256), 50)
    large = Upscale(pictures=small, prompts=[["a cat"]]).run(upscaler, times=[900, 0]).made["upscaled"][""]
    assert large.shape == (1, 3, 256, 256)


def test_a_name_that_is_nothing_is_refused(tmp_path: Path) -> None:
    for name in (tmp_path / "nothing", "outputs/class_flwo"):
        with pytest.raises(ValueError, match=rf"^name={name}: allowed is a run directory of train.py, .* or a hub id"):
            load_backbone(name, device="cpu")


def test_a_setting_that_is_not_the_backbone_s_is_refused(tiny_if: Path, tmp_path: Path) -> None:
    run(tmp_path, "experiment=class_flow")
    with pytest.raises(ValueError, match=r"^cache=x: settings of a digit model are dtype$"):
        load_backbone(tmp_path, device="cpu", cache="x")
    with pytest.raises(
        ValueError, match=r"^guidance=3: settings of a text-to-image model are dtype, .*guidance_scale$"
    ):
        load_backbone(tiny_if / "stage_1", device="cpu", guidance=3)


def test_a_second_stage_without_a_text_encoder_needs_one(tiny_if: Path, tmp_path: Path) -> None:
    stage = shutil.copytree(tiny_if / "stage_2", tmp_path / "if", ignore=shutil.ignore_patterns("text_encoder"))
    with pytest.raises(ValueError, match=r"if: is a stage II without a text encoder; give text_encoder=, its stage I$"):
        load_backbone(stage, device="cpu")


def test_all_sizes_on_the_hub_share_one_encoder(tmp_path: Path) -> None:
    sizes = [f"DeepFloyd/IF-I-{size}-v1.0" for size in ("M", "L", "XL")]
    medium, _, largest = (DeepFloydSource(path, "", cache=str(tmp_path)).embeddings() for path in sizes)
    largest.put("", torch.zeros(1, 77, 4096))
    assert medium.missing([""]) == []
    pinned = [DeepFloydSource(path, "", revision="c0ffee").embeddings().revision for path in sizes]
    assert pinned == [None, None, "c0ffee"]  # a commit of another repository is none of the encoder's
    assert DeepFloydSource(sizes[0], "", text_encoder="some/T5").embeddings().model == "some/T5"
    assert DeepFloydSource("some/IF", "").embeddings().model == "some/IF"


def test_what_calls_no_network_needs_no_weights(tiny_if: Path, tmp_path: Path, monkeypatch) -> None:
    for stage in ("stage_1", "stage_2"):
        shutil.copytree(tiny_if / stage, tmp_path / stage)
        next((tmp_path / stage / "unet").glob("*.safetensors")).unlink()
    mine = source(tmp_path, cache=str(tmp_path / "cache"))
    mine.encode(["a cat"], CPU)
    monkeypatch.setattr("denoiselab.backbones.weights.free_memory", lambda device: 1000)
    for second, shape in ((False, (3, 64, 64)), (True, (3, 256, 256))):
        mine.check(CPU, second, network=False)
        model = mine.load(CPU, second=second, network=False)
        assert model.shape == shape and model.condition(["a cat"]).shape == (1, 77, 32)
        assert model.denoiser.denoiser.unet.device == torch.device("meta")
        assert Forward(image=torch.zeros(shape), t=[500]).run(model).images.isfinite().all()
        with pytest.raises(ValueError, match=r"path=.*: has no unet/"):
            mine.check(CPU, second)


def test_prompts_are_encoded_once_for_both_stages(tiny_if: Path, tmp_path: Path, monkeypatch) -> None:
    tiny = source(tiny_if, cache=str(tmp_path))
    tiny.encode(["", "a cat"], CPU)
    monkeypatch.setattr("transformers.T5EncoderModel.from_pretrained", None)
    tiny.encode(["a cat", ""], CPU)
    for second in (False, True):
        model = tiny.load(CPU, second=second)
        assert torch.equal(model.condition(["a cat"]), tiny.embeddings().load(["a cat"]))


def test_another_encoder_in_the_same_folder_has_embeddings_of_its_own(tiny_if: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_if / "stage_1", tmp_path / "stage_1")
    mine = DeepFloydSource(str(tmp_path / "stage_1"), "", cache=str(tmp_path / "embeddings"))
    mine.encode(["a cat"], CPU)
    assert mine.embeddings().missing(["a cat"]) == []
    (weights,) = (tmp_path / "stage_1" / "text_encoder").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes())  # trained anew
    assert mine.embeddings().missing(["a cat"]) == ["a cat"]


def test_a_saved_dictionary_of_embeddings_spares_the_encoder(tiny_if: Path, tmp_path: Path, monkeypatch) -> None:
    saved = {"": torch.zeros(1, 77, 32), "a rocket ship": torch.ones(1, 77, 32)}
    torch.save(saved, tmp_path / "embeddings.pt")
    monkeypatch.setattr("transformers.T5EncoderModel.from_pretrained", None)
    tiny = source(tiny_if, cache=str(tmp_path / "cache"), import_embeddings=str(tmp_path / "embeddings.pt"))
    tiny.encode(["", "a rocket ship"], CPU)
    assert torch.equal(tiny.load(CPU).condition(["a rocket ship"]), saved["a rocket ship"])


def test_what_does_not_fit_is_said_before_it_is_loaded(tiny_if: Path, monkeypatch) -> None:
    monkeypatch.setattr("denoiselab.backbones.weights.free_memory", lambda device: 1000)
    for second, path in enumerate(("path", "upscaler_path")):
        with pytest.raises(ValueError) as error:
            source(tiny_if).check(CPU, bool(second))
        assert str(error.value).startswith(f"backbone.{path}={tiny_if}/stage_{second + 1}: the UNet needs ")
        assert str(error.value).endswith(" free: a half-precision backbone.dtype or another device would do")
    with pytest.raises(ValueError, match=r"allowed here is stage II"):
        DeepFloydSource(str(tiny_if / "stage_1"), str(tiny_if / "stage_1")).check(CPU, second=True)
    with pytest.raises(ValueError, match=r"^backbone.upscaler_path: a stage II is required and none was given$"):
        DeepFloydSource(str(tiny_if / "stage_1"), None).check(CPU, second=True)


def test_a_mistyped_folder_is_no_hub_id(tiny_if: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    with pytest.raises(ValueError, match=r"^backbone.path=outputs/nope: is no folder"):
        DeepFloydSource("outputs/nope", None).check(CPU)
    shutil.copytree(tiny_if / "stage_1", tmp_path / "run" / "pipeline")
    with pytest.raises(ValueError, match=r"\(did you mean run/pipeline\?\)$"):
        DeepFloydSource("run", None).check(CPU)


@pytest.fixture
def upscaler(tiny_if: Path, tmp_path: Path) -> Path:
    """A copy of the miniature's stage II."""
    return Path(shutil.copytree(tiny_if / "stage_2", tmp_path / "stage_2"))


def resized(upscaler: Path, size: int, scale: int) -> None:
    """Says in the folder that it makes pictures of this size, and how many times that is what it is given."""
    config = upscaler / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": size}))
    (upscaler / "scale.json").write_text(json.dumps({"scale": scale}))


@pytest.mark.parametrize(("size", "scale"), [(128, 2), (256, 4), (512, 8)])
def test_a_stage_ii_says_how_many_times_it_enlarges(tiny_if: Path, upscaler: Path, size: int, scale: int) -> None:
    resized(upscaler, size, scale)
    both = DeepFloydSource(str(tiny_if / "stage_1"), str(upscaler))
    both.check(CPU, second=True)
    model = both.load(CPU, second=True, network=False)
    assert isinstance(model, Upscaler) and model.scale == scale and model.shape == (3, size, size)


@pytest.mark.parametrize(("size", "scale"), [(96, 4), (64, 2), (256, 2)])
def test_a_stage_ii_of_another_resolution_is_refused(tiny_if: Path, upscaler: Path, size: int, scale: int) -> None:
    resized(upscaler, size, scale)
    message = f"^backbone.upscaler_path=.*: enlarges pictures of {size // scale} pixels, allowed is stage I's 64$"
    with pytest.raises(ValueError, match=message):
        DeepFloydSource(str(tiny_if / "stage_1"), str(upscaler)).check(CPU, second=True)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (32, "enlarges pictures of 64 pixels, allowed is stage I's 32"),
        (64, "takes embeddings 4096 wide, allowed is stage I's text encoder's 32"),
    ],
)
def test_the_hubs_stage_ii_is_refused_beside_a_stage_i_of_another_kind(
    tiny_if: Path, tmp_path: Path, no_network: None, size: int, message: str
) -> None:
    small = Path(shutil.copytree(tiny_if / "stage_1", tmp_path / "small"))
    resized(small, size, 4)
    hub = "DeepFloyd/IF-II-L-v1.0"
    with pytest.raises(ValueError, match=f"^backbone.upscaler_path={hub}: {message}$"):
        DeepFloydSource(str(small), hub).check(CPU, second=True)


def test_a_stage_ii_of_another_resolution_is_refused_beside_the_hubs_stage_i(upscaler: Path) -> None:
    resized(upscaler, 64, 2)
    with pytest.raises(ValueError, match=r"enlarges pictures of 32 pixels, allowed is stage I's 64$"):
        DeepFloydSource("DeepFloyd/IF-I-M-v1.0", str(upscaler)).check(CPU, second=True)


@pytest.mark.parametrize(("given", "usual"), [(None, 7), (0.0, 0), (3.5, 3.5)])
def test_the_usual_guidance_is_the_one_given(tiny_if: Path, given: float | None, usual: float) -> None:
    assert source(tiny_if, guidance_scale=given).load(CPU, network=False).guidance_scale == usual


def test_a_stage_ii_of_other_words_is_refused(tiny_if: Path, upscaler: Path) -> None:
    """Padding is none of its words: a tokenizer is saved with that of its last call."""
    file = upscaler / "tokenizer" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    both = DeepFloydSource(str(tiny_if / "stage_1"), str(upscaler))
    file.write_text(json.dumps(tokenizer | {"padding": None, "truncation": {"max_length": 5}}))
    both.check(CPU, second=True)
    tokenizer["model"]["vocab"][-1][0] += "s"
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match=r"^backbone.upscaler_path=.*: has another text encoder than stage I"):
        both.check(CPU, second=True)
    both.text_encoder = str(tiny_if / "stage_1")  # asked for
    both.check(CPU, second=True)


def test_the_hint_for_a_size_of_the_hub_is_that_stages(monkeypatch) -> None:
    monkeypatch.setattr("denoiselab.backbones.weights.free_memory", lambda device: 1000)
    monkeypatch.setattr("denoiselab.backbones.weights.check_access", lambda *_, **__: None)
    hub = DeepFloydSource("DeepFloyd/IF-I-XL-v1.0", "DeepFloyd/IF-II-L-v1.0", dtype="fp16")
    for second, size in ((False, "size"), (True, "upscaler_size")):
        with pytest.raises(ValueError, match=f"are free: a smaller backbone.{size} or another device would do"):
            hub.check(CPU, second)
    with pytest.raises(ValueError, match=r"a smaller backbone.size, backbone.offload=true or another device would do"):
        hub.check(torch.device("cuda"))


@pytest.mark.parametrize("key", ["offload", "clean_caption"])
def test_packages_that_are_missing_are_the_options(tiny_if: Path, monkeypatch, key: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"^backbone.{key}=(true|True): needs .* more"):
        source(tiny_if, **{key: True}).check(CPU)


def test_errors_name_the_users_keys(tiny_if: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^backbone.dtype=int8: allowed"):
        source(tiny_if, dtype="int8").check(CPU)
    for second, key in ((False, "path"), (True, "upscaler_path")):
        with pytest.raises(ValueError, match=f"^backbone.{key}=.*: is no folder"):
            source(tmp_path / "nothing").check(CPU, second)
    with pytest.raises(ValueError, match=r"^backbone.text_encoder=.*nothing: is no folder"):
        source(tiny_if, cache=str(tmp_path), text_encoder=str(tmp_path / "nothing")).encode(["a cat"], CPU)
    torch.save({"": torch.zeros(1, 77, 4096)}, tmp_path / "wide.pt")
    with pytest.raises(
        ValueError, match=r"^backbone.import_embeddings=.*: widths D of 4096, allowed is 32, the UNet's"
    ):
        source(tiny_if, import_embeddings=str(tmp_path / "wide.pt")).check(CPU)


def test_each_stage_has_a_revision_of_its_own(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        "denoiselab.backbones.deepfloyd.check_fitting", lambda path, revision, **_: asked.append((path, revision))
    )
    both = DeepFloydSource("some/I", "some/II", revision="c0ffee", upscaler_revision="7ea")
    for second in (False, True):
        both.check(CPU, second)
    assert asked == [("some/I", "c0ffee"), ("some/II", "7ea")]


def test_the_miniature_is_built_where_it_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    tiny = TinyIfSource(str(folder / "stage_1"), str(folder / "stage_2"), folder=str(folder))
    tiny.check(CPU, second=True)
    assert (folder / "stage_2" / "model_index.json").is_file()
