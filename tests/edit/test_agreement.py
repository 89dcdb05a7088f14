"""A model's agreement with a picture, and anagrams of which the best candidate is kept."""

from __future__ import annotations

import pytest
import torch
from toy import SIZE, Toy, picture

from denoiselab.edit import Anagram
from denoiselab.edit.agreement import agreement, best
from denoiselab.edit.anagram import CANDIDATES
from denoiselab.noise import Cosine, ImageNoise, RectifiedFlow


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_a_model_agrees_most_with_the_picture_of_the_prompt(low: float) -> None:
    toy = Toy(Cosine(1000), low)
    pictures = torch.stack([picture("a"), (picture("a") + picture("b")) / 2, picture("b"), picture("")])
    condition, unconditional = toy.condition(["a"] * 4), toy.condition([""])
    assert condition is not None and unconditional is not None
    noise = ImageNoise(0, [7] * 4, "agreement")
    scores = agreement(toy.denoiser, toy.pixels(pictures), condition, unconditional, noise)
    assert scores[0] == scores.max() > 0
    assert scores[0] > scores[1] > scores[2]
    assert scores[3] == scores.min() < 0  # without a prompt it is estimated exactly


def test_the_score_is_the_difference_of_the_errors_of_eps() -> None:
    """The toy believes in its prompt's picture, so that its error of eps is alpha / sigma times that of x_0."""
    toy = Toy(RectifiedFlow())
    noise = ImageNoise(0, [0], "agreement")
    condition, unconditional = toy.condition(["a"]), toy.condition([""])
    assert condition is not None and unconditional is not None
    score = agreement(toy.denoiser, picture("b")[None], condition, unconditional, noise)
    times = (torch.tensor([300, 450, 600, 750]) + 1) / 1000
    factor = (((1 - times) / times) ** 2).mean()
    wrong, right = ((picture(word) - picture("b")).square().mean() for word in ("", "a"))
    torch.testing.assert_close(score, (factor * (wrong - right))[None], rtol=1e-4, atol=1e-6)


def test_the_best_candidate_of_each_image_is_kept_with_its_frames() -> None:
    made = [{"": torch.full((3, 1, 2, 2), float(k)), "frames": torch.full((3, 4, 1, 2, 2), float(k))} for k in range(2)]
    kept = best(made, torch.tensor([[0.1, 0.9, 0.5], [0.2, 0.3, 0.4]]))
    assert kept[""][:, 0, 0, 0].tolist() == [1, 0, 0]
    assert kept["frames"][:, 0, 0, 0, 0].tolist() == [1, 0, 0]


def test_an_anagram_keeps_the_candidate_that_its_worst_view_speaks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidate k of image n is the picture of the number n + k CANDIDATES, whatever its batch."""
    toy, edit = Toy(Cosine(1000)), Anagram(prompts=["a", "b"], count=2, best_of=3)

    def candidate(self: Anagram, sampler: object, job: object, images: list[int]) -> dict[str, torch.Tensor]:
        values = [images_ % CANDIDATES + (images_ // CANDIDATES) / 4 for images_ in images]
        return {"": torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, SIZE, SIZE) / 4}

    def favourite(self: Anagram, sampler: object, pictures: torch.Tensor, images: list[int]) -> torch.Tensor:
        share = 4 * pictures[:, 0, 0, 0] % 1
        return torch.where(torch.tensor(images) == 0, -(share - 0.5).abs(), share)

    monkeypatch.setattr(Anagram, "candidate", candidate)
    monkeypatch.setattr(Anagram, "agreement", favourite)
    assert (4 * edit.run(toy).images[:, 0, 0, 0]).tolist() == [0.5, 1.5]


@pytest.mark.parametrize(("count", "prompts"), [(0, ["a", "b"]), (-1, ["a", "b"])])
def test_a_number_of_candidates_that_is_none(count: int, prompts: list[str]) -> None:
    with pytest.raises(ValueError, match=f"edit.best_of={count}: allowed is 1 or more"):
        Anagram(prompts=prompts, best_of=count).run(Toy(Cosine(1000)))
