"""What an edit keeps of a photo between the steps of a solver, at the noise level that the step has reached."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from denoiselab.noise import GaussianPath


class HoldPhoto:
    """x_s <- blend(x_s, alpha_s photo + sigma_s eps), with fresh eps, and at s = 0 the photo itself.

    The known part is noised to the level of the *next* time, as in RePaint (Lugmayr et al. 2022, algorithm 1) and the
    course; diffusers' inpainting pastes the clean photo at every step.

    Args:
        path: the model's.
        photo: (B, C, H, W), the model's pixels.
        blend: (made (B, C, H, W), known (B, C, H, W)) -> (B, C, H, W), e.g. by a mask.
        noise: draws eps; a generator of its own, so that holding does not change what the solver draws.
    """

    def __init__(
        self,
        path: GaussianPath,
        photo: Tensor,
        blend: Callable[[Tensor, Tensor], Tensor],
        noise: Callable[[Tensor], Tensor],
    ) -> None:
        self.path, self.photo, self.blend, self.noise = path, photo, blend, noise

    def __call__(self, x: Tensor, s: Tensor) -> Tensor:
        if self.path.sigma(s) == 0:
            return self.blend(x, self.photo)
        return self.blend(x, self.path.add_noise(self.photo, s, self.noise(x)))
