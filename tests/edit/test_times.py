"""edit/times.py: lists of indices end clean, and RePaint's walk."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import assume, given
from hypothesis import strategies as st

from denoiselab.edit.times import check_start, explicit, linspace, resampled, shifted, strided
from denoiselab.noise import DDPM, Cosine, RectifiedFlow


def test_the_write_ups_list() -> None:
    assert strided() == list(range(990, -1, -30)) and len(strided()) == 34
    assert strided(30, 690) == list(range(690, -1, -30))


@given(st.integers(1, 999))
def test_every_stride_ends_clean_and_starts_as_noisy_as_it_can(stride: int) -> None:
    indices = strided(stride)
    assert indices[-1] == 0 and 999 - stride < indices[0] <= 999
    assert {a - b for a, b in pairwise(indices)} == {stride}


@pytest.mark.parametrize("steps", [2, 5, 6, 20, 40, 1000])
def test_linspace_is_diffusers_linspace(steps: int) -> None:
    scheduler = DDPMScheduler(1000, timestep_spacing="linspace")
    scheduler.set_timesteps(steps)
    assert linspace(steps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("steps", [2, 5, 50, 1000])
def test_a_shift_of_one_is_linspace(steps: int) -> None:
    even = [round(999 * (1 - k / (steps - 1))) for k in range(steps)]
    assert shifted(steps, 1.0) == shifted(steps, 1) == linspace(steps) == even


def test_shifted_by_hand() -> None:
    assert shifted(5, 3.0) == [999, 899, 749, 500, 0]  # 3 t / (1 + 2 t) of 1, 3/4, 1/2, 1/4, 0: 9/10, 3/4, 1/2
    assert shifted(5, 1 / 3) == [999, 500, 250, 100, 0]


@given(st.integers(2, 60), st.floats(0.1, 10))
def test_shifting_falls_from_999_to_0_and_is_mirrored_by_the_inverse(steps: int, shift: float) -> None:
    """With 1 / shift noise and clean swap: 1 - t' is the same function of 1 - t."""
    try:
        indices, mirrored = shifted(steps, shift), shifted(steps, 1 / shift)
    except ValueError:
        assume(False)
    assert (indices[0], indices[-1], len(indices)) == (999, 0, steps)
    assert all(a > b for a, b in pairwise(indices))
    assert all(abs(a + b - 999) <= 1 for a, b in zip(indices, reversed(mirrored), strict=True))
    noisy = sum(index >= 500 for index in indices)
    even = sum(index >= 500 for index in linspace(steps))
    assert noisy >= even if shift > 1 else noisy <= even


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: strided(0), r"times.stride=0: allowed is 1 to 999"),
        (lambda: strided(1000), r"times.stride=1000: allowed is 1 to 999"),
        (lambda: strided(30, 995), r"times.first=995: allowed is a multiple of times.stride=30 up to 990"),
        (lambda: strided(30, 1020), r"times.first=1020: allowed"),
        (lambda: strided(30, 0), r"times.first=0: allowed"),
        (lambda: linspace(1), r"times.steps=1: allowed is 2 to 1000"),
        (lambda: linspace(1001), r"times.steps=1001"),
        (lambda: shifted(1, 3.0), r"times.steps=1: allowed is 2 to 1000"),
        (lambda: shifted(1, 3.0, "edit"), r"edit.steps=1: allowed is 2 to 1000"),
        (lambda: shifted(9, 0.0), r"times.shift=0.0: allowed is a positive number"),
        (lambda: shifted(9, float("nan")), r"times.shift=nan: allowed is a positive number"),
        (lambda: shifted(9, float("inf")), r"times.shift=inf: allowed is a positive number"),
        (lambda: shifted(900, 3.0), r"times.steps=900: allowed are fewer with times.shift=3, .* of 1000 steps"),
        (lambda: shifted(3, 1e-6, "edit"), r"edit.steps=3: allowed are fewer with edit.shift=1e-06"),
        (lambda: explicit([]), r"times.indices=\[\]: allowed"),
        (lambda: explicit([900, 30]), r"times.indices=\[900, 30\]: .* not be clean"),
        (lambda: explicit([900, 900, 0]), r"allowed are indices that fall strictly"),
        (lambda: explicit([30, 60, 0]), r"allowed are indices that fall strictly"),
        (lambda: explicit([1000, 0]), r"at most 999"),
        (lambda: check_start(34, strided(), "edit.start"), r"edit.start=34: allowed is 0 to 33"),
        (lambda: check_start(-1, strided(), "edit.start"), r"edit.start=-1: allowed"),
    ],
)
def test_lists_that_would_not_end_clean_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_explicit_list_stays_as_it_is() -> None:
    assert explicit([999, 500, 1, 0]) == [999, 500, 1, 0]


def test_indices_are_the_same_share_of_every_path() -> None:
    assert Cosine(1000).at_index([999, 690, 0]).tolist() == [1000, 691, 1]  # diffusers' index and one
    assert DDPM(300, 1e-4, 0.02).at_index([999, 499, 0]).tolist() == [300, 150, 1]
    assert RectifiedFlow().at_index([999, 499]).tolist() == pytest.approx([1.0, 0.5])
    assert RectifiedFlow().at_index(0).dtype == torch.float32 and Cosine(1000).at_index(5).dtype == torch.int64


def test_no_jumps_is_the_plain_walk() -> None:
    assert resampled(7, 3, 1) == list(range(8))


def test_repaints_walk() -> None:
    assert resampled(6, 2, 2) == [0, 1, 2, 0, 1, 2, 3, 4, 2, 3, 4, 5, 6]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5))
def test_a_walk_steps_down_by_one_and_jumps_by_the_jump(steps: int, jump: int, times: int) -> None:
    walk = resampled(steps, jump, times)
    assert walk[0] == 0 and walk[-1] == steps and walk.count(steps) == 1
    moves = [b - a for a, b in pairwise(walk)]
    assert set(moves) <= {1, -jump}
    assert moves.count(-jump) == (times - 1) * ((steps - 1) // jump)


def test_the_lists_need_no_torch() -> None:
    code = "import sys, denoiselab.edit.times; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
