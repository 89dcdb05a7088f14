"""Training of text-to-image models: which caption a step sees, the hybrid loss, stage II."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toy import draw_zeros

from denoiselab.backbones.text_unet import TextUNet
from denoiselab.noise import Cosine, RectifiedFlow
from denoiselab.training import Optimizer, TextModule, UpscalerModule
from denoiselab.training.text import NULL_PROMPT
from denoiselab.training.variance import variance_bound

CAPTIONS = [["a red one", "one in red"], ["a blue two"], ["a red three", "three in red", "red three", "the red three"]]
OPTIMIZER = Optimizer(lr=1e-3, schedule="constant", final=1.0, warmup_steps=0, betas=(0.9, 0.99))
PATH = Cosine(1000)


def text_module(empty: float = 0.1, null: float = 0.05) -> TextModule:
    torch.manual_seed(0)
    net = TextUNet(16, (8, 8), text_width=16, vocabulary=32, groups=4, head_width=8)
    return knowing(TextModule(net, PATH, "eps", OPTIMIZER, seed=0, empty=empty, null=null))


def upscaler_module() -> UpscalerModule:
    torch.manual_seed(0)
    net = TextUNet(16, (8, 8), text_width=16, vocabulary=32, groups=4, head_width=8, upscaler=True)
    return knowing(UpscalerModule(net, PATH, "eps", OPTIMIZER, seed=0, empty=0.1, null=0.05, low_resolution=4))


def knowing(module: TextModule, captions: Sequence[Sequence[str]] = CAPTIONS, names: Sequence[str] = ()) -> TextModule:
    """The module as a run has it that has begun."""
    draw_zeros(module.net.unet)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data = SimpleNamespace(captions=captions, names=names)
    module._trainer = SimpleNamespace(datamodule=data, strategy=strategy, global_rank=0, world_size=1)
    module.setup("fit")
    return module


def embedded(module: TextModule, prompt: str) -> torch.Tensor:
    return module.prompt_condition([prompt])[0]


@pytest.mark.parametrize(
    ("label", "u", "prompt"),
    [
        (2, 0.0999, ""),
        (2, 0.1, NULL_PROMPT),
        (2, 0.1499, NULL_PROMPT),
        (2, 0.15, "a red three"),
        (2, 0.15 + 0.85 * 0.26, "three in red"),
        (2, 0.15 + 0.85 * 0.51, "red three"),
        (2, 0.99999994, "the red three"),
        (0, 0.574, "a red one"),
        (0, 0.576, "one in red"),
        (1, 0.99999994, "a blue two"),
        (0, 0.99999994, "one in red"),
    ],
)
def test_a_step_draws_a_caption_of_the_label_or_says_nothing(label: int, u: float, prompt: str) -> None:
    module = text_module()
    condition = module.training_condition(torch.tensor([label]), torch.tensor([u]))
    torch.testing.assert_close(condition[0], embedded(module, prompt))


def test_embeddings_of_few_captions_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = knowing(text_module()), knowing(text_module())
    labels, u = torch.tensor([0, 1, 2, 2]), torch.tensor([0.05, 0.12, 0.3, 0.99])
    expected = few.training_condition(labels, u), few.condition(labels)
    few.on_train_start()
    assert few.embeddings is not None
    monkeypatch.setattr("denoiselab.training.text.TABLED", few.embeddings.nbytes - 1)
    many.on_train_start()
    for module in (few, many):
        for made, plain in zip((module.training_condition(labels, u), module.condition(labels)), expected, strict=True):
            torch.testing.assert_close(made, plain, rtol=0, atol=1e-6)
        encoded = []
        module.net.text_encoder.register_forward_pre_hook(lambda *_, encoded=encoded: encoded.append(1))
        module.training_condition(labels, u)
        assert encoded == [1] * (module is many)


def test_captions_are_drawn_equally_often() -> None:
    module = text_module(empty=0.5, null=0.25)
    u = (torch.arange(4000) + 0.5) / 4000
    condition = module.training_condition(torch.full((4000,), 2), u)
    wanted = {"": 2000, NULL_PROMPT: 1000, "a red three": 250, "red three": 250, "the red three": 250}
    for prompt, count in wanted.items():
        same = (condition - embedded(module, prompt)).flatten(1).abs().amax(1) < 1e-5
        assert abs(int(same.sum()) - count) <= 1, prompt


def test_the_only_caption_can_be_the_empty_one() -> None:
    module = text_module(empty=1.0, null=0.0)
    condition = module.training_condition(torch.tensor([0, 1]), torch.tensor([0.0, 0.99999994]))
    torch.testing.assert_close(condition[1], embedded(module, ""))


def test_validation_sees_the_first_caption() -> None:
    module = text_module()
    torch.testing.assert_close(module.condition(torch.tensor([1, 2]))[1], embedded(module, "a red three"))


def test_what_captions_lose_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    module = text_module()
    assert capsys.readouterr().out == ""
    knowing(module, [[" ".join(["red"] * length)] for length in (75, 76, 77, 200)])
    assert capsys.readouterr().out == "captions: 2 of 4 have more than 77 tokens, and are cut\n"  # </s> is one
    knowing(module, [[f"w{n}" for n in range(40)]])
    words = len(NULL_PROMPT.split())
    assert capsys.readouterr().out == f"captions: {8 + words} words found no room in model.net.vocabulary=32\n"


OTHERS = [["a red one"], *CAPTIONS[1:]]


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        ((CAPTIONS, ()), (OTHERS, ()), "captions"),
        ((CAPTIONS, "abc"), (OTHERS, "abc"), "captions"),
        ((CAPTIONS, "abc"), (CAPTIONS, "abd"), "pictures"),
        ((CAPTIONS, "abc"), (CAPTIONS, ()), "pictures"),
    ],
)
def test_a_run_goes_on_with_its_captions_and_pictures(before: Any, now: Any, what: str) -> None:
    module = text_module()
    saved: dict[str, Any] = {}
    knowing(module, *before).on_save_checkpoint(saved)
    module.on_load_checkpoint(saved)
    with pytest.raises(ValueError, match=f"^resume: allowed is the data that the run had; its {what} were others$"):
        knowing(module, *now).on_load_checkpoint(saved)
    if what == "pictures":  # of a run that kept nothing of them
        del saved["pictures"]
        module.on_load_checkpoint(saved)


@pytest.mark.parametrize("prediction", ["eps", "velocity"])
def test_the_loss_is_that_of_the_mean_and_the_bound(prediction: str) -> None:
    module = text_module()
    module.prediction = prediction
    x_0, eps, t = torch.rand(3, 3, 16, 16), torch.randn(3, 3, 16, 16), torch.tensor([1, 500, 1000])
    condition = module.condition(torch.tensor([0, 1, 2]))
    alpha, sigma = (each.float().view(3, 1, 1, 1) for each in (PATH.alpha(t), PATH.sigma(t)))
    x_t = alpha * (2 * x_0 - 1) + sigma * eps
    value, v = module.net(x_t, t, condition).chunk(2, 1)
    target = eps if prediction == "eps" else alpha * eps - sigma * (2 * x_0 - 1)
    mean_eps = value if prediction == "eps" else sigma * x_t + alpha * value  # (Salimans & Ho 2022, appendix D)
    expected = F.mse_loss(value, target) + 0.003 * variance_bound(PATH, eps, mean_eps, v, t).mean()
    torch.testing.assert_close(module.loss(x_0, t, eps, condition), expected)


def test_the_variance_learns_through_the_bound_alone() -> None:
    """Without it the channels of v get no gradient."""
    module = text_module()
    module.bound_weight = 0.0
    x_0, eps = torch.rand(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    t, condition = torch.tensor([10, 900]), module.condition(torch.tensor([0, 1]))
    module.loss(x_0, t, eps, condition).backward()
    gradient = module.net.unet.conv_out.weight.grad
    assert gradient[:3].abs().sum() > 0 and gradient[3:].abs().sum() == 0
    module.bound_weight = 1.0
    module.loss(x_0, t, eps, condition).backward()
    assert gradient[3:].abs().sum() > 0


def test_pixels_are_those_of_deepfloyd() -> None:
    module = text_module()
    assert module.pictures(torch.tensor([-1.0, 0.0, 1.0, 1.2])).tolist() == [0.0, 0.5, 1.0, 1.0]


def test_times_of_stage_ii_come_with_a_noise_level() -> None:
    times = upscaler_module().training_times(5000, torch.Generator().manual_seed(0))
    assert times.shape == (5000, 2)
    (least_t, most_t), (least, most) = ((int(each.min()), int(each.max())) for each in times.unbind(1))
    assert 1 <= least_t < 5 and 0 <= least < 5
    assert 995 < most_t <= 1000 and 994 < most <= 999


def test_stage_ii_is_told_the_small_picture_and_its_level() -> None:
    module = upscaler_module()
    seen = []
    module.net.unet.register_forward_hook(
        lambda _, inputs, options, out: seen.append((inputs, options)), with_kwargs=True
    )
    x_0, eps = torch.rand(2, 3, 16, 16), torch.randn(2, 6, 16, 16)
    t = torch.tensor([[700, 0], [20, 400]])
    module.loss(x_0, t, eps, module.condition(torch.tensor([0, 1])))
    ((x, times), options) = seen[0]
    assert times.tolist() == [699, 19] and options["class_labels"].tolist() == [0, 400]
    small = x_0.unflatten(2, (4, 4)).unflatten(4, (4, 4)).mean((3, 5))  # (2, 3, 4, 4)
    torch.testing.assert_close(module.small(x_0), small)
    context = F.interpolate(2 * small - 1, (16, 16), mode="bilinear", align_corners=True)
    context = PATH.add_noise(context, torch.tensor([1, 401]), eps[:, 3:])
    torch.testing.assert_close(x, torch.cat([PATH.add_noise(2 * x_0 - 1, t[:, 0], eps[:, :3]), context], 1))


def test_what_is_no_text_model() -> None:
    net = text_module().net
    for path, prediction in (
        (RectifiedFlow(), "velocity"),
        (Cosine(300), "eps"),
        (PATH, "x_0"),
        (PATH, "v_prediction"),
    ):
        with pytest.raises(
            ValueError, match=f"^{prediction} on .*: allowed are eps, as IF's, and velocity on Cosine with T=1000"
        ):
            TextModule(net, path, prediction, OPTIMIZER, 0, 0.1, 0.05)
    with pytest.raises(ValueError, match=r"model.empty=0.9, model.null=0.2: allowed are probabilities"):
        TextModule(net, PATH, "eps", OPTIMIZER, 0, 0.9, 0.2)
    with pytest.raises(ValueError, match=r"model.low_resolution=5: allowed is a divisor of the data's 16"):
        UpscalerModule(net, PATH, "eps", OPTIMIZER, 0, 0.1, 0.05, low_resolution=5)
