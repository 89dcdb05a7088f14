"""Embeddings are what IFPipeline computes, and T5 is asked once for each."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from denoiselab.backbones import embeddings
from denoiselab.backbones.embeddings import EmbeddingCache, clean, encode, read_torch


@pytest.fixture(scope="module")
def pipeline(tiny_if: Path):
    from diffusers import IFPipeline

    return IFPipeline.from_pretrained(tiny_if / "stage_1", unet=None)


PROMPTS = ("", "an oil painting of a snowy village", "A photo of a dog!")  # those of `cache`


def fails(*_: object, **__: object) -> None:
    raise AssertionError("T5 was constructed")


@pytest.fixture
def no_t5(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.setattr(transformers.T5EncoderModel, "from_pretrained", fails)
    monkeypatch.setattr(transformers.T5EncoderModel, "__init__", fails)


def test_they_are_encode_prompts_exactly(cache: EmbeddingCache, pipeline) -> None:
    assert cache.load(PROMPTS).shape == (3, 77, 32)
    for prompt in PROMPTS:
        expected, unconditional = pipeline.encode_prompt(prompt)
        found = EmbeddingCache(cache.directory, cache.model).get(prompt)
        assert torch.equal(found, expected) and found.dtype == expected.dtype == torch.float32
    assert torch.equal(cache.load([""]), unconditional)


def test_half_precision_is_kept_and_is_encode_prompts(tiny_if: Path, tmp_path: Path) -> None:
    """T5's "wo" layers stay in float32 in both."""
    from diffusers import IFPipeline

    pipeline = IFPipeline.from_pretrained(tiny_if / "stage_1", unet=None, dtype=torch.float16)
    cache = EmbeddingCache(tmp_path, tiny_if / "stage_1")
    encode(["a dog"], cache, device="cpu", dtype="fp16")
    assert torch.equal(cache.load(["a dog"]), pipeline.encode_prompt("a dog")[0])
    assert cache.load(["a dog"]).dtype == torch.float16


def test_cleaned_captions_are_encode_prompts(tiny_if: Path, tmp_path: Path, pipeline) -> None:
    pytest.importorskip("ftfy")
    pytest.importorskip("bs4")
    prompt = "A <b>dog</b> — see https://example.com/dog.jpg &amp; bark"
    cache = EmbeddingCache(tmp_path, tiny_if / "stage_1", clean_caption=True)
    encode([prompt], cache, device="cpu")
    assert torch.equal(cache.load([prompt]), pipeline.encode_prompt(prompt, clean_caption=True)[0])
    plain = EmbeddingCache(tmp_path, tiny_if / "stage_1")
    assert plain.missing([prompt]) == [prompt]  # the flag is part of the key


def test_cleaning_without_its_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings.importlib.util, "find_spec", lambda name: None)
    assert clean(" A Dog ", False) == "a dog"
    with pytest.raises(ValueError, match=r"^clean_caption=true: needs .*`pip install ftfy beautifulsoup4`$"):
        clean("a dog", True)


def test_missing_names_each_text_once_in_order(cache: EmbeddingCache) -> None:
    assert cache.missing([*PROMPTS, "B", "a", " b", "AN OIL PAINTING of a snowy village ", "a"]) == ["B", "a"]
    assert EmbeddingCache(cache.directory, cache.model, revision="other").missing(PROMPTS) == list(PROMPTS)
    assert EmbeddingCache(cache.directory, "DeepFloyd/IF-I-M-v1.0").missing(PROMPTS) == list(PROMPTS)
    with pytest.raises(ValueError, match=r"^prompt='B', 'a': not encoded; allowed are the prompts of .*edit=encode"):
        cache.load(["B", "", "a", "B"])


def test_a_prompt_asked_for_twice_is_read_once(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, get = [], EmbeddingCache.get
    monkeypatch.setattr(EmbeddingCache, "get", lambda self, prompt: reads.append(prompt) or get(self, prompt))
    assert torch.equal(cache.load(["", *PROMPTS, ""])[[0, 1, 4]], get(cache, "").expand(3, -1, -1))
    assert reads == list(PROMPTS)


@pytest.mark.usefixtures("no_t5")
def test_t5_is_not_constructed_when_nothing_is_missing(cache: EmbeddingCache) -> None:
    encode([*PROMPTS, *PROMPTS], cache, device="cpu")
    with pytest.raises(AssertionError, match="T5 was constructed"):
        encode(["something else"], cache, device="cpu")


def test_with_a_full_cache_transformers_is_not_even_imported(cache: EmbeddingCache) -> None:
    code = f"""
import sys
from denoiselab.backbones import deepfloyd, tiny_if
from denoiselab.backbones.embeddings import EmbeddingCache, encode
encode({PROMPTS!r}, EmbeddingCache({str(cache.directory)!r}, {cache.model!r}), device="cpu")
print(*sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "torch" in run.stdout.split() and not {"transformers", "diffusers"} & set(run.stdout.split())


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "another prompt's"])
def test_a_corrupt_file_is_named_deleted_and_encoded_again(cache: EmbeddingCache, tmp_path: Path, damage: str) -> None:
    copy = EmbeddingCache(tmp_path, cache.model)
    copy.put("a dog", cache.load([""]))
    (path,) = tmp_path.glob("*.safetensors")
    if damage == "another prompt's":
        copy.put("a cat", cache.load([""]))
        (other,) = set(tmp_path.glob("*.safetensors")) - {path}
        shutil.move(other, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:-7], "text": b"not tensors at all", "empty": b""}[damage])
    with pytest.warns(UserWarning, match=rf"{path.name}: corrupt \(.*\), deleted; the prompt 'a dog' is to be encoded"):
        assert copy.missing(["a dog"]) == ["a dog"]
    assert not path.exists()
    encode(["a dog"], copy, device="cpu")
    with warnings.catch_warnings(action="error"):
        assert copy.missing(["a dog"]) == []


def test_what_is_cut_is_said(tiny_if: Path, tmp_path: Path, pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EmbeddingCache(tmp_path, tiny_if / "stage_1")
    fits, long = "x" * 76, "x" * 76 + "yzzy"  # the first letter's token is with its space; the last token is the end
    with warnings.catch_warnings(action="error"):
        encode([fits], cache, device="cpu")
    said = f"^prompt='{long}': has more than 77 tokens; cut: 'yzzy'$"
    with monkeypatch.context() as patch:
        patch.setattr("transformers.T5EncoderModel.from_pretrained", fails)  # gigabytes: it is said before
        with pytest.warns(UserWarning, match=said), pytest.raises(AssertionError):
            encode([long], cache, device="cpu")
    for _ in range(2):  # and again when it is in the cache
        with pytest.warns(UserWarning, match=said):
            encode([long], cache, device="cpu")
    assert torch.equal(cache.load([fits]), cache.load([long]))
    assert torch.equal(cache.load([long]), pipeline.encode_prompt(long)[0])


def test_a_dictionary_saved_by_torch_is_imported(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache", "DeepFloyd/IF-I-M-v1.0")
    content = {"A dog": torch.randn(1, 77, 16).half(), "": torch.randn(1, 77, 16).half()}
    torch.save(content, tmp_path / "prompts.pth")
    assert cache.import_torch(tmp_path / "prompts.pth") == ["A dog", ""]
    assert torch.equal(cache.load(["a dog", ""]), torch.cat(list(content.values())))
    torch.save({"A dog": torch.zeros(1, 77, 16), "a cat": torch.zeros(1, 77, 16)}, tmp_path / "prompts.pth")
    assert cache.import_torch(tmp_path / "prompts.pth") == ["a cat"]  # what is there stays
    assert torch.equal(cache.load(["a dog"]), content["A dog"])
    with pytest.raises(ValueError, match=r"^e=.*prompts.pth: widths D of 16, allowed is 32, the UNet's$"):
        read_torch(tmp_path / "prompts.pth", "e", 32)


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([torch.zeros(1, 77, 4)], "is of type list, allowed is a dictionary of prompts"),
        ({}, "is of type dict, allowed is a dictionary of prompts"),
        ({1: torch.zeros(1, 77, 4)}, "key 1, allowed are prompts, as text"),
        ({"a": torch.zeros(77, 4)}, r"'a' is \(77, 4\), allowed are tensors \(1, 77, D\)"),
        ({"a": torch.zeros(1, 77, 4, dtype=torch.int64)}, r"'a' is \(1, 77, 4\), allowed are .*, floating point"),
        ({"a": torch.zeros(1, 77, 4), "b": "c"}, "'b' is str, allowed are tensors"),
        ({"a": torch.zeros(1, 77, 4), "b": torch.zeros(1, 77, 8)}, "widths D of 4, 8, allowed is one"),
        ({"a": Evil()}, "torch cannot read it safely"),
    ],
)
def test_any_other_file_is_refused_whole(tmp_path: Path, capsys, content, reason: str) -> None:
    path = tmp_path / "prompts.pth"
    torch.save(content, path)
    cache = EmbeddingCache(tmp_path / "cache", "m")
    with pytest.raises(ValueError, match=reason) as error:
        cache.import_torch(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"embeddings={path}: ")
    assert not cache.directory.exists() and "unpickled" not in capsys.readouterr().out


def test_a_file_that_is_not_torchs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.pth"
    for make in (lambda: None, lambda: path.write_text("hello"), lambda: path.write_bytes(b"")):
        make()
        with pytest.raises(ValueError, match=r"torch cannot read it safely \(.+\)$"):
            EmbeddingCache(tmp_path / "cache", "m").import_torch(path)


def test_deepfloyds_tokenizer_is_a_sentencepiece_file_alone(tiny_if: Path, tmp_path: Path) -> None:
    """The hub's folders have spiece.model and no tokenizer.json."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path / "if"
    shutil.copytree(tiny_if / "stage_1", folder)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "corpus").write_text("an oil painting of a snowy village\na photo of a dog\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus"), model_prefix=str(folder / "tokenizer" / "spiece"), vocab_size=26,

        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, model_type="unigram", minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "spiece.model"))
    tokens = [*pieces.encode("a snowy dog"), 1]
    cache = EmbeddingCache(tmp_path / "cache", folder)
    encode(["a snowy dog"], cache, device="cpu")

    from transformers import T5EncoderModel

    encoder = T5EncoderModel.from_pretrained(folder, subfolder="text_encoder").eval()
    with torch.no_grad():
        expected = encoder(torch.tensor([tokens]))[0]
    torch.testing.assert_close(cache.load(["a snowy dog"])[:, : len(tokens)], expected, rtol=1e-4, atol=1e-4)
