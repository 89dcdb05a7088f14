"""The network of text-to-image runs: its words, and that what it saves is what it was."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from toy import draw_zeros

from denoiselab.backbones import load_backbone
from denoiselab.backbones.text_unet import TextUNet
from denoiselab.denoise import Upscaler
from denoiselab.noise import Cosine

CAPTIONS = ["a photo of a red seven", "The digit seven, in red", "7 red-ish"]
PATH = Cosine(1000)


def network(upscaler: bool = False) -> TextUNet:
    """A network of a few thousand weights that knows the words of CAPTIONS."""
    torch.manual_seed(0)
    net = TextUNet(16, (8, 8), text_width=16, vocabulary=32, groups=4, head_width=8, upscaler=upscaler)
    assert net.learn(CAPTIONS) == 0
    draw_zeros(net.unet)
    return net.eval()


def words_of(net: TextUNet, prompt: str) -> list[str]:
    """A prompt's tokens without the padding."""
    (tokens,) = net.tokens([prompt])
    return list(net.tokenizer.convert_ids_to_tokens(tokens[tokens != 0]))


def test_a_word_is_a_token_and_case_does_not_count() -> None:
    net = network()
    assert words_of(net, "A photo of the RED seven") == ["▁a", "▁photo", "▁of", "▁the", "▁red", "▁seven", "</s>"]
    assert words_of(net, "seven, red-ish") == ["▁seven", ",", "▁red", "-", "ish", "</s>"]
    assert words_of(net, "") == ["</s>"]
    assert net.tokens(["", "a"]).shape == (2, 77)


def test_a_word_that_no_caption_had_is_unknown() -> None:
    assert "<unk>" in words_of(network(), "a purple seven")
    assert "<unk>" not in words_of(network(), "a red seven")


def test_the_most_frequent_words_are_kept_whatever_the_order_of_the_captions() -> None:
    net = network()
    few = TextUNet(16, (8, 8), text_width=16, vocabulary=3, groups=4, head_width=8)
    assert few.learn(CAPTIONS) == len(net.words) - 3
    assert few.words == net.words[:3] == ["▁red", "▁a", "▁seven"]
    net.learn(reversed(CAPTIONS))
    assert net.words == network().words
    few.learn(CAPTIONS, always=["quality"])
    assert few.words == [*net.words[:2], "▁quality"]


@torch.no_grad()
def test_it_begins_with_an_answer_of_zero_and_branches_that_add_nothing() -> None:
    net = TextUNet(16, (8, 8), text_width=16, vocabulary=32, groups=4, head_width=8)
    net.learn(CAPTIONS)
    x, t, prompts = torch.randn(2, 3, 16, 16), torch.tensor([1, 1000]), net.embed(net.tokens(CAPTIONS[:2]))
    assert not net(x, t, prompts).any()
    torch.nn.init.normal_(net.unet.conv_out.weight)
    answers = net(x, t, prompts)
    torch.testing.assert_close(answers, net(x, t.flip(0), prompts.flip(0)))  # neither time nor words say anything yet
    assert answers.std() > 0.1


def test_padding_says_what_the_words_say_and_nothing_of_its_own() -> None:
    """With an embedding of its own, the same in every prompt, paddings of different prompts would be more alike."""
    net = network()

    def apart() -> float:
        red, seven = net.embed(net.tokens(["a red seven", "the digit, in"]))
        return float((red[-1] - seven[-1]).square().mean())

    without = apart()
    net.text_encoder.shared.weight.data[0] = torch.randn(16, generator=torch.Generator().manual_seed(0))
    assert without > 1.3 * apart()


def test_an_embedding_depends_on_its_own_prompt_alone() -> None:
    net = network()
    alone, beside = net.embed(net.tokens(["a red seven"])), net.embed(net.tokens(["7", "a red seven", ""]))
    torch.testing.assert_close(alone[0], beside[1])
    assert (beside[0] - beside[1]).abs().max() > 0.1
    assert not alone.requires_grad


def test_the_text_encoder_is_the_same_whatever_the_seed_and_the_stage() -> None:
    torch.manual_seed(7)
    other = TextUNet(32, (8, 16), text_width=16, vocabulary=32, groups=4, head_width=8, upscaler=True)
    ours, theirs = network().text_encoder.state_dict(), other.text_encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_text_encoder_is_not_trained() -> None:
    assert not any(parameter.requires_grad for parameter in network().text_encoder.parameters())


@pytest.mark.parametrize("prediction", ["eps", "velocity"])
def test_what_it_saves_loads_as_deepfloyd_with_the_same_estimate(
    tmp_path: Path, no_network: None, prediction: str
) -> None:
    net, prompts = network(), ["a red seven", "7"]
    net.save_pipeline(tmp_path / "pipeline", "eps")
    net.save_pipeline(tmp_path / "pipeline", prediction)  # in place of what is there
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    backbone = load_backbone(tmp_path / "pipeline", prompts=prompts, device="cpu", cache=str(tmp_path / "cache"))
    assert backbone.shape == (3, 16, 16) and backbone.threshold == net.threshold == (0.95, 1.0)
    net.threshold = (0.95, 1.5)
    net.save_pipeline(tmp_path / "other", prediction)
    assert load_backbone(tmp_path / "other", device="cpu", cache=str(tmp_path / "cache")).threshold == (0.95, 1.5)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([1000, 3])
    with torch.no_grad():
        ours = net.denoiser(PATH, prediction)(x, t, net.embed(net.tokens(prompts)))
        theirs = backbone.denoiser(x, t, backbone.condition(prompts))
    torch.testing.assert_close(ours.eps, theirs.eps, rtol=1e-4, atol=1e-5)
    assert ours.log_variance_weight is not None and theirs.log_variance_weight is not None
    torch.testing.assert_close(ours.log_variance_weight, theirs.log_variance_weight, rtol=1e-4, atol=1e-5)


def test_diffusers_reads_it_without_code_of_ours(tmp_path: Path, no_network: None) -> None:
    from diffusers import DiffusionPipeline

    net = network()
    net.save_pipeline(tmp_path / "pipeline", "eps")
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "pipeline")
    assert type(pipeline).__name__ == "IFPipeline"
    embedding, _ = pipeline.encode_prompt("a red seven", do_classifier_free_guidance=False)
    torch.testing.assert_close(embedding, net.embed(net.tokens(["a red seven"])), rtol=1e-4, atol=1e-5)


def test_a_stage_ii_loads_as_one(tmp_path: Path, no_network: None) -> None:
    net = network(upscaler=True)
    net.threshold = (0.95, 1.2)
    for low_resolution in (8, 4):
        net.save_pipeline(tmp_path / "upscaler", "velocity", low_resolution)
        backbone = load_backbone(tmp_path / "upscaler", device="cpu", noise_level=50, cache=str(tmp_path / "cache"))
        assert isinstance(backbone, Upscaler) and backbone.scale == 16 // low_resolution
    assert backbone.threshold == (0.95, 1.2)
    pictures, eps = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 16, 16)
    context = net.context(pictures, PATH, torch.tensor([50, 50]), eps)
    torch.testing.assert_close(backbone.context(pictures, eps), context, rtol=1e-4, atol=1e-5)


def test_words_never_seen_are_warned_about_and_again(tmp_path: Path) -> None:
    network().save_pipeline(tmp_path / "pipeline", "eps")
    for _ in range(2):
        with pytest.warns(UserWarning, match="'a purple dog': the tokenizer has never seen 'purple, dog'"):
            load_backbone(tmp_path / "pipeline", ["a purple dog"], device="cpu", cache=str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone(tmp_path / "pipeline", ["a red seven"], device="cpu", cache=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (8, 12)}, r"model.net.widths=\[8, 12\]: allowed are multiples of model.net.groups=8"),
        ({"widths": ()}, "model.net.widths="),
        ({"head_width": 5}, "model.net.head_width=5: allowed is what divides the last width, 8"),
        ({"resolution": 15}, "model.net.resolution=15: allowed is a multiple of 2"),
        ({"threshold_most": 0.9}, "model.net.threshold_most=0.9: allowed is 1 or more"),
        ({"text_width": 18}, "model.net.text_width=18: allowed is a multiple of 4"),
    ],
)
def test_sizes_that_make_no_network(settings: dict[str, object], message: str) -> None:
    good = {"resolution": 16, "widths": (8, 8), "text_width": 16, "head_width": 8}
    with pytest.raises(ValueError, match=message):
        TextUNet(**(good | settings))  # type: ignore[arg-type]
