"""Every edit on a backbone whose pictures are known, so that its result is known too, exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import pil_to_tensor
from toy import SIZE, Toy, picture

from denoiselab.denoise import Denoiser, Estimate, Upscaler
from denoiselab.edit import (
    Anagram,
    Blur,
    Edit,
    Encode,
    Evaluate,
    Forward,
    Generate,
    Hybrid,
    Inpaint,
    Iterative,
    OneStep,
    Sampler,
    SDEdit,
    Upscale,
    gaussian_blur,
    make_factors,
    make_view,
)
from denoiselab.edit.times import linspace
from denoiselab.noise import DDPM, Cosine, GaussianPath, ImageNoise, RectifiedFlow

PATHS: dict[str, GaussianPath] = {"ddpm": DDPM(300, 1e-4, 0.02), "cosine": Cosine(1000), "flow": RectifiedFlow()}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
every_range = pytest.mark.parametrize("low", [0.0, -1.0])
PHOTO = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
MASK = torch.zeros(1, SIZE, SIZE)
MASK[:, :, : SIZE // 2] = 1
EDITS: dict[str, Edit] = {
    "forward": Forward(image=PHOTO),
    "blur": Blur(image=PHOTO),
    "one_step": OneStep(image=PHOTO, prompt="a"),
    "iterative": Iterative(image=PHOTO, prompt="a"),
    "generate": Generate(prompts=["a", "b"], count=3),
    "sdedit": SDEdit(image=PHOTO, prompts=["a", "b"], starts=[3, 20], count=2),
    "inpaint": Inpaint(image=PHOTO, mask=MASK, prompts=["a", "b"], count=2),
    "anagram": Anagram(prompts=["a", "b"], count=3),
    "hybrid": Hybrid(prompts=["a", "b"], count=3),
    "encode": Encode(prompts=["", "a", "b"]),
}
every_edit = pytest.mark.parametrize("name", EDITS)


def close(got: Tensor, expected: Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(got, expected.expand_as(got), rtol=0, atol=atol)


@every_path
@every_range
@pytest.mark.parametrize("solver", ["ddim", "dpmpp", "euler"])
def test_generate_finds_each_prompts_picture(path: GaussianPath, low: float, solver: str) -> None:
    result = Generate(prompts=["a", "b"], count=2).run(Toy(path, low, solver=solver))
    assert result.images.shape == (4, 1, SIZE, SIZE)
    for n, word in enumerate("abab"):
        close(result.images[n], picture(word))
    assert [image.size for image in result.pil] == [(SIZE, SIZE)] * 4


def test_guidance_goes_beyond_the_prompt_by_its_scale() -> None:
    result = Generate(prompts=["a"], guidance_scales=[0, 1, 1.2]).run(Toy(PATHS["flow"]))
    empty, a = picture(""), picture("a")
    for got, expected in zip(result.images, (empty, a, empty + 1.2 * (a - empty)), strict=True):
        close(got, expected.clamp(0, 1))


def test_generate_makes_a_job_of_every_scale_and_number_of_steps_from_the_same_noise() -> None:
    edit = Generate(prompts=["a", "b"], guidance_scales=[1, 3], steps=[4, 6])
    result = edit.run(Toy(PATHS["flow"]), seed=1)
    assert list(result.made) == ["g1_s4", "g1_s6", "g3_s4", "g3_s6"]
    assert {roles["frames"].shape[1] for roles in result.made.values()} == {5, 7}
    first = [roles["frames"][:, 0] for roles in result.made.values()]
    assert all(torch.equal(each, first[0]) for each in first)
    assert result.figure.row_labels == ["a", "b"] and len(result.figure.column_labels) == 4


@every_path
@every_range
def test_forward_is_the_forward_process(path: GaussianPath, low: float) -> None:
    backbone, seed = Toy(path, low), 3
    result = Forward(image=PHOTO, t=[250, 750]).run(backbone, seed=seed)
    assert torch.equal(result.made["original"][""][0], PHOTO)
    pixels = PHOTO * (1 - low) + low
    for t in (250, 750):
        eps = ImageNoise(seed, [0], "forward")(pixels[None])
        x_t = path.add_noise(pixels[None], path.at_index(t), eps)
        close(result.made[f"t{t}"][""], ((x_t - low) / (1 - low)).clamp(0, 1))


def test_blur_and_one_step_restore_the_same_noisy_pictures() -> None:
    backbone = Toy(PATHS["cosine"], -1)
    blurred = Blur(image=PHOTO).run(backbone, seed=2)
    estimated = OneStep(image=PHOTO, prompt="b").run(backbone, seed=2)
    sampler = Sampler(backbone, seed=2)
    for t in (250, 500, 750):
        assert torch.equal(blurred.made[f"t{t}"]["noisy"], estimated.made[f"t{t}"]["noisy"])
        x_t = sampler.noised(PHOTO, t, [0])
        close(blurred.made[f"t{t}"][""], backbone.pictures(gaussian_blur(x_t, 2.0)))
        close(estimated.made[f"t{t}"][""], picture("b"))


@every_path
def test_iterative_shows_its_way_and_what_it_is_compared_with(path: GaussianPath) -> None:
    backbone = Toy(path)
    result = Iterative(image=PHOTO, start=10, every=5, prompt="a").run(backbone)
    made = result.made["iterative"]
    close(made[""], picture("a"))
    close(made["one_step"], picture("a"), 1e-3)
    assert torch.equal(made["original"][0], PHOTO)
    assert [name for name in made if name.startswith("t")] == ["t690", "t540", "t390", "t240", "t090"]
    sampler = Sampler(backbone)
    close(made["t690"], backbone.pictures(sampler.noised(PHOTO, 690, [0])))
    assert torch.equal(made["t540"], made["frames"][:, 5]) and torch.equal(made["t690"], made["frames"][:, 0])
    assert len(result.figure.rows) == 2


def test_sdedit_starts_from_the_photo_noised_to_each_start() -> None:
    backbone = Toy(PATHS["cosine"], -1)
    result = EDITS["sdedit"].run(backbone, seed=4)
    sampler = Sampler(backbone, seed=4)
    for start, t in ((3, 900), (20, 390)):
        made = result.made[f"start{start:02d}"]
        close(made["frames"][:, 0], backbone.pictures(sampler.noised(PHOTO, t, range(4))))
        assert made["frames"].shape[1] == 34 - start + 1
        for n, word in enumerate("abab"):
            close(made[""][n], picture(word))
    assert result.figure.column_labels == ["start 3, t = 900", "start 20, t = 390", "original"]
    assert torch.equal(result.figure.rows[0][-1], PHOTO)


@every_path
@every_range
@pytest.mark.parametrize("resamples", [1, 3])
def test_inpainting_keeps_the_photo_exactly_and_makes_the_rest(path: GaussianPath, low: float, resamples: int) -> None:
    edit = Inpaint(image=PHOTO, mask=MASK, prompts=["a"], resamples=resamples, jump=5)
    result = edit.run(Toy(path, low)).made["inpainted"][""][0]
    assert torch.equal(result[MASK == 0], ((PHOTO * (1 - low) + low - low) / (1 - low)).clamp(0, 1)[MASK == 0])
    close(result[MASK == 1], picture("a")[MASK == 1])


@every_path
def test_the_known_region_is_the_forward_process_at_the_next_time_at_every_step(path: GaussianPath) -> None:
    backbone, seed = Toy(path, -1), 7
    frames = Inpaint(image=PHOTO, mask=MASK, prompts=["a"]).run(backbone, seed=seed).made["inpainted"]["frames"][0]
    noise, pixels = ImageNoise(seed, [0], "known"), 2 * PHOTO[None] - 1
    times = Sampler(backbone).path_times(Sampler(backbone).times)
    for frame, t in zip(frames, times, strict=True):
        known = pixels if t == 0 else path.add_noise(pixels, t, noise(pixels))
        close(frame[MASK == 0], backbone.pictures(known)[0][MASK == 0], 1e-6)


@every_path
@every_range
@pytest.mark.parametrize("views", [["identity", "rotate_180"], ["negate", "flip_vertical", {"jigsaw": 1}]], ids=str)
def test_an_anagram_is_the_mean_of_the_pictures_turned_back(path: GaussianPath, low: float, views: list[Any]) -> None:
    words = ["a", "b", "c"][: len(views)]
    result = Anagram(prompts=words, views=views, count=2).run(Toy(path, low))
    made, expected = result.made["anagram"], torch.zeros(1, SIZE, SIZE)
    for view, word in zip(views, words, strict=True):
        turned = make_view(view, SIZE)
        expected += (turned.inverse(picture(word)[None] - 0.5)[0] + 0.5) / len(views)
    close(made[""], expected)
    for n, view in enumerate(views):
        close(made[f"view{n}"], make_view(view, SIZE).displayed(made[""]))


def test_weights_and_turns_of_an_anagram() -> None:
    prompts, turned = ["a", "b"], picture("b").rot90(2, (-2, -1))
    weighted = Anagram(prompts=prompts, weights=[3, 1], count=1).run(Toy(PATHS["flow"]))
    close(weighted.images[0], (3 * picture("a") + turned) / 4)
    alternating = Anagram(prompts=prompts, reduction="alternating", count=1).run(Toy(PATHS["flow"]))
    close(alternating.images[0], turned)  # the last of 34 steps is the second view's


@every_path
@every_range
@pytest.mark.parametrize(("factors", "channels"), [("low_high", 1), ("three_bands", 1), ("grey_colour", 3)])
def test_a_hybrid_is_the_sum_of_the_pictures_factors(
    path: GaussianPath, low: float, factors: str, channels: int
) -> None:
    maps = make_factors(factors, SIZE, channels)
    words = ["a", "b", "c"][: len(maps)]
    made = Hybrid(prompts=words, factors=factors, count=2).run(Toy(path, low, channels)).made["hybrid"]
    expected = sum(f(picture(word, channels)[None]) for f, word in zip(maps, words, strict=True))
    close(made[""], expected.clamp(0, 1))


def test_an_inverse_hybrid_keeps_the_photos_factor() -> None:
    low, high = make_factors("low_high", SIZE, 1)
    photo = 0.3 + 0.4 * PHOTO
    for held, expected in (
        (0, low(photo[None]) + high(picture("b")[None])),
        (1, low(picture("a")[None]) + high(photo[None])),
    ):
        edit = Hybrid(prompts=["a", "b"], image=photo, held=held, count=1)
        close(edit.run(Toy(PATHS["cosine"], -1)).made["hybrid"][""], expected.clamp(0, 1))


def test_encode_shows_how_alike_prompts_are() -> None:
    made = Encode(prompts=["a", "b"]).run(Toy(PATHS["flow"])).made["similarity"][""]
    assert torch.equal(made[0, 0, 0, ::8], torch.tensor([1.0, 0.0]))


# --- what holds for all


@every_edit
def test_an_image_depends_on_seed_and_number_alone(name: str) -> None:
    edit, backbone = EDITS[name], Toy(PATHS["cosine"], -1, solver="ddpm")
    sampler, other = Sampler(backbone, seed=1), Sampler(backbone, seed=2)
    differs = False
    for job in edit.jobs(sampler):
        together = edit.make(sampler, job, range(job.count))
        for n in reversed(range(job.count)):
            alone = edit.make(sampler, job, [n])
            assert alone.keys() == together.keys()
            for role in alone:
                close(alone[role][0], together[role][n], 1e-5)
                differs |= not torch.equal(edit.make(other, job, [n])[role], alone[role])
    assert differs == (name != "encode")


@every_edit
def test_jobs_images_and_figures_fit_together(name: str) -> None:
    result = EDITS[name].run(Toy(PATHS["flow"]))
    for roles in result.made.values():
        assert "" in roles
        for role, images in roles.items():
            assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
            assert images.ndim == (5 if role == "frames" else 4)
    figure = result.figure
    assert len({len(row) for row in figure.rows}) == 1
    assert figure.row_labels is None or len(figure.row_labels) == len(figure.rows)
    assert figure.column_labels is None or len(figure.column_labels) == len(figure.rows[0])


@pytest.mark.parametrize("name", ["generate", "sdedit", "inpaint", "anagram", "hybrid"])
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_the_network_runs_once_a_step(name: str, scale: float) -> None:
    """Guidance, views and factors of all images of a job in one call."""
    backbone = Toy(PATHS["cosine"])
    backbone.guidance_scale = scale
    edit = EDITS[name]
    sampler = Sampler(backbone)
    for job in edit.jobs(sampler):
        backbone.denoiser.calls.clear()
        made = edit.make(sampler, job, range(job.count))
        if "frames" in made:
            assert len(backbone.denoiser.calls) == made["frames"].shape[1] - 1
            branches = (2 if scale != 1 else 1) * (2 if name in ("anagram", "hybrid") else 1)
            assert set(backbone.denoiser.calls) == {job.count * branches}


@pytest.mark.parametrize("name", ["iterative", "generate", "sdedit", "inpaint", "anagram", "hybrid"])
def test_guidance_acts_in_the_samplers_interval_in_every_edit(name: str) -> None:
    """Both branches on the steps in it, one on the others, at half the cost."""
    backbone, edit = Toy(PATHS["flow"]), EDITS[name]
    backbone.guidance_scale = 7.0
    if name == "iterative":
        edit = Iterative(image=PHOTO, prompt="a", guidance_scale=7.0)
    sampler = Sampler(backbone, guidance_interval=[0.2, 0.6])
    for job in [job for job in edit.jobs(sampler) if not job.given]:
        backbone.denoiser.calls.clear()
        steps = edit.make(sampler, job, range(job.count))["frames"].shape[1] - 1
        times = sampler.path_times(sampler.times)[-1 - steps : -1]
        views = 2 if name in ("anagram", "hybrid") else 1
        expected = [job.count * views * (2 if 0.2 <= t <= 0.6 else 1) for t in times]
        assert len(set(expected)) == 2
        assert backbone.denoiser.calls[-steps:] == expected  # iterative's one step comes first


def test_rescaling_keeps_a_guided_picture_at_the_prompts_contrast() -> None:
    edit = Generate(prompts=["a"], guidance_scales=[1.3])
    for low in (0.0, -1.0):
        backbone = Toy(PATHS["cosine"], low)
        plain, rescaled = (edit.run(backbone, guidance_rescale=phi).images for phi in (0.0, 1.0))
        guided = picture("") + 1.3 * (picture("a") - picture(""))
        close(plain, guided.clamp(0, 1))
        deviation = guided - guided.mean()
        close(rescaled, (guided.mean() + deviation / deviation.std() * picture("a").std()).clamp(0, 1))


def test_the_times_of_generates_steps_are_shifted() -> None:
    sampler, edit = Sampler(Toy(PATHS["cosine"])), Generate(prompts=["a"], steps=[5], shift=3.0)
    assert edit.times(sampler, 5).tolist() == [1000, 900, 750, 501, 1, 0]
    assert torch.equal(edit.times(sampler, None), sampler.path_times(sampler.times))
    even = Generate(prompts=["a"], steps=[5]).times(sampler, 5)
    assert torch.equal(even, sampler.path_times(linspace(5)))


def test_frames_are_kept_only_where_they_are_recorded() -> None:
    edit, sampler = EDITS["generate"], Sampler(Toy(PATHS["flow"]), record=False)
    assert edit.make(sampler, edit.jobs(sampler)[0], [0]).keys() == {""}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: Forward(image=PHOTO, t=[1000]).run(Toy(PATHS["flow"])), r"edit.t=1000: allowed is 0 to 999"),
        (lambda: Forward(image=PHOTO[:, :8]).run(Toy(PATHS["flow"])), r"image of shape \(1, 8, 16\): allowed is"),
        (lambda: Iterative(image=PHOTO, start=34).run(Toy(PATHS["flow"])), r"edit.start=34: allowed is 0 to 33"),
        (lambda: SDEdit(image=PHOTO, prompts=["a"], starts=[40]).run(Toy(PATHS["flow"])), r"edit.starts=40: allowed"),
        (lambda: Sampler(Toy(PATHS["ddpm"]), times=[*range(999, -1, -1)]), r"times=.*differ on a path of 300 steps"),
        (lambda: Sampler(Toy(PATHS["ddpm"]), solver={"name": "ddpmm"}), r"solver='ddpmm': allowed are"),
        (lambda: Sampler(Toy(PATHS["flow"]), guidance_interval=[0.6, 0.2]), r"guidance_interval=\[0.6, 0.2\]: allowed"),
        (lambda: Sampler(Toy(PATHS["flow"]), guidance_rescale=2), r"guidance_rescale=2: allowed is 0 to 1"),
        (lambda: Generate(prompts=["a"], steps=[900], shift=3).run(Toy(PATHS["flow"])), r"edit.steps=900: .* fewer"),
        (lambda: Inpaint(image=PHOTO, mask=MASK, prompts=["a"], jump=0).run(Toy(PATHS["flow"])), r"edit.jump=0"),
        (
            lambda: Inpaint(image=PHOTO, mask=MASK, prompts=["a"], resamples=2).run(Toy(PATHS["flow"], solver="dpmpp")),
            r"solver=dpmpp: allowed with edit.resamples > 1",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(run, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run()


def test_pixels_that_are_no_numbers_are_an_error_and_not_a_black_picture() -> None:
    backbone = Toy(PATHS["flow"])
    backbone.denoiser.pictures[1] = torch.nan
    with pytest.raises(ValueError, match="toy answered with NaN or infinite pixels"):
        Generate(prompts=["a"]).run(backbone)


# --- what is returned, and settings that do not fit each other


@every_edit
def test_images_are_the_results_alone_and_pil_their_rounded_bytes(name: str) -> None:
    edit, backbone = EDITS[name], Toy(PATHS["cosine"], -1)
    result = edit.run(backbone)
    count = sum(job.count for job in edit.jobs(Sampler(backbone)) if not job.given)
    assert len(result.images) == len(result.pil) == count
    for image, pil in zip(result.images, result.pil, strict=True):
        assert torch.equal(pil_to_tensor(pil), (255 * image).round().to(torch.uint8))
    if name in ("sdedit", "inpaint", "forward"):
        assert not any(torch.equal(image, PHOTO) for image in result.images)


class Large(Upscaler, Toy):
    """`Toy` as a second stage, whose result is its prompt's picture whatever it enlarges."""

    noise_level, scale = 50, 4

    def __init__(self) -> None:
        Toy.__init__(self, PATHS["cosine"], -1, channels=3, solver="ddim")
        known = self.denoiser

        class First(Denoiser):
            path = known.path

            def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Estimate:
                return known(x_t[:, :3], t, condition)

        self.denoiser = First()

    def context(self, pictures: Tensor, eps: Tensor) -> Tensor:
        return interpolate(self.pixels(pictures), scale_factor=4) + 0 * eps


SMALL = torch.rand(2, 3, SIZE // 4, SIZE // 4, generator=torch.Generator().manual_seed(1))


def test_a_second_stage_makes_each_pictures_prompt_and_returns_it_alone() -> None:
    result = Upscale(pictures=SMALL, prompts=[["a"], ["b"]]).run(Large())
    assert result.images.shape == (2, 3, SIZE, SIZE) and len(result.pil) == 2
    close(result.images[0], picture("a", 3))
    close(result.images[1], picture("b", 3))
    assert "frames" not in result.made["upscaled"]


def test_a_second_stage_goes_on_with_an_anagrams_views_and_a_hybrids_factors() -> None:
    prompts = [["a", "b"]] * 2
    turned = picture("b", 3).rot90(2, (-2, -1))
    anagram = Upscale(pictures=SMALL, prompts=prompts, views=["identity", "rotate_180"], weights=[3, 1]).run(Large())
    close(anagram.images[0], (3 * picture("a", 3) + turned) / 4)
    low, high = make_factors("low_high", SIZE, 3)
    hybrid = Upscale(pictures=SMALL, prompts=prompts, factors="low_high").run(Large())
    close(hybrid.images[0], (low(picture("a", 3)[None]) + high(picture("b", 3)[None]))[0].clamp(0, 1))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Anagram(prompts=["a"]), r"edit.prompts=\[a\]: allowed is 2, as many as edit.views"),
        (Anagram(prompts=["a", "b"], reduction="alternate"), r"edit.reduction=alternate: .*did you mean alternating"),
        (Anagram(prompts=["a", "b"], weights=[1, -1]), r"edit.weights=\[1, -1\]: allowed is null"),
        (Anagram(prompts=["a", "b"], weights=[1, 1], reduction="alternating"), r"edit.weights=.* null with"),
        (Hybrid(prompts=["a"]), r"edit.prompts=\[a\]: allowed is 2, as many as edit.factors"),
        (Hybrid(prompts=["a", "b"], image=PHOTO, held=2), r"edit.held=2: allowed is 0 to 1"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused_in_python_too(edit: Edit, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edit.run(Toy(PATHS["flow"]))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Upscale(pictures=SMALL, prompts=[["a"]] * 2, views=["pixels"]), r"edit.views\[0\]=pixels: allowed are views"),
        (Upscale(pictures=SMALL[:, :, :2], prompts=[["a"]] * 2), r"edit.run: pictures of 2x4; allowed are 4x4"),
    ],
)
def test_a_second_stage_refuses_what_is_another_picture_at_its_size(edit: Edit, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edit.run(Large())


def test_a_first_stage_is_no_second_one() -> None:
    with pytest.raises(ValueError, match="edit=upscale: allowed is a backbone with a second stage, toy has none"):
        Upscale(pictures=SMALL, prompts=[["a"]] * 2).run(Toy(PATHS["flow"]))


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_step_by_increments_is_refused_under_dynamic_thresholding(solver: str) -> None:
    backbone = Toy(PATHS["cosine"], -1, solver=solver)
    backbone.threshold = (0.95, 1.5)
    with pytest.raises(ValueError, match=f"solver={solver}: allowed are ddpm, ddim, dpmpp"):
        Generate(prompts=["a"]).run(backbone)


def test_a_word_is_no_list_of_words_and_a_path_no_picture() -> None:
    with pytest.raises(ValueError, match=r"prompts='69': allowed is a list, \['69'\]"):
        Generate(prompts="69")
    with pytest.raises(
        ValueError, match=r"image=photo.jpg: allowed is a tensor .C, H, W., as data.pictures.load_picture reads it"
    ):
        SDEdit(image="photo.jpg", prompts=["a"])
    assert "tensor" not in repr(Generate(prompts=["a"]).run(Toy(PATHS["flow"])))


# Evaluate


@every_path
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_samples_to_be_measured_go_all_the_way_from_the_noisiest_time(path: GaussianPath, shift: float) -> None:
    sampler = Sampler(Toy(path))
    times = Evaluate(prompts=["a"], steps=[7], shift=shift).times(sampler, 7)
    assert len(times) == 8 and float(times[0]) == path.T and float(times[-1]) == 0
    assert times.is_floating_point() != path.discrete
    even = [1 - k / 7 for k in range(8)]
    expected = [path.T * shift * t / (1 + (shift - 1) * t) for t in even]
    assert times.tolist() == pytest.approx(expected, abs=0.5 if path.discrete else 1e-6)


@every_path
def test_their_times_are_those_of_training_s_samples(path: GaussianPath) -> None:
    for steps in range(1, 51):  # at 40 of 300 some lie between two whole times
        times = Evaluate(prompts=["a"], steps=[steps]).times(Sampler(Toy(path)), steps)
        assert times.tolist() == path.times(steps).tolist()


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "euler", "heun", "dpmpp"])
def test_the_evaluations_that_it_tells_are_those_that_are_made(solver: str) -> None:
    backbone = Toy(RectifiedFlow(), solver=solver)
    sampler = Sampler(backbone)
    edit = Evaluate(prompts=["a", "b"], samples=4, steps=[1, 5])
    for job in edit.jobs(sampler):
        backbone.denoiser.calls.clear()  # type: ignore[attr-defined]
        edit.make(sampler, job, range(4))
        assert len(backbone.denoiser.calls) == job.settings["evaluations"]  # type: ignore[attr-defined]


def test_samples_are_of_the_prompts_in_turn_and_without_frames() -> None:
    sampler = Sampler(Toy(RectifiedFlow()))
    edit = Evaluate(prompts=["a", "b", "c"], samples=7, steps=[2])
    (job,) = edit.jobs(sampler)
    assert job.count == 7 and [edit.prompts_of(job, n) for n in range(4)] == [["a"], ["b"], ["c"], ["a"]]
    made = edit.make(sampler, job, range(7))
    assert made.keys() == {""}
    for n, word in enumerate("abcabca"):
        close(made[""][n], picture(word))
