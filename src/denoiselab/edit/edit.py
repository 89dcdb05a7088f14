"""What every edit is: jobs of numbered images, made by a Sampler, and a figure of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from denoiselab.denoise import EVERYWHERE, Backbone, Denoiser, Estimate, Guide, Threshold, check_guidance
from denoiselab.edit.names import INCREMENTAL
from denoiselab.edit.times import strided
from denoiselab.noise import ImageNoise
from denoiselab.sample import Callback, Hold, make_solver, sample


@dataclass(frozen=True)
class Job:
    """Images 0, ..., count - 1 of one setting.

    Attributes:
        name: of its files, unique in the edit.
        count: of its images.
        label: for people.
        settings: what tells the job from the edit's others, e.g. {"guidance_scale": 7.0}.
        given: whether it shows what the edit was given, and not a result.
    """

    name: str
    count: int
    label: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    given: bool = False


@dataclass(frozen=True)
class Figure:
    """Rows of pictures (C, H, W) in [0, 1], equally long, with labels."""

    rows: list[list[Tensor]]
    row_labels: list[str] | None = None
    column_labels: list[str] | None = None
    title: str | None = None


class Sampler:
    """A backbone with all that is the same for every image of a run: times, solver, seed, how guidance acts.

    Every draw is keyed by (seed, image number, purpose), so an image does not depend on those beside it.

    Args:
        backbone: what denoises.
        times: indices from noisy to clean, as `edit.times` makes them; None: 990, 960, ..., 0.
        solver: name and options, as `make_solver` takes them; None: the backbone's own.
        seed: of every image.
        progress: whether to show a bar over the steps.
        record: whether to keep every step, for animations.
        guidance_interval, guidance_rescale: `Guide`'s interval and rescale, wherever an edit guides.
    """

    def __init__(
        self,
        backbone: Backbone,
        times: Sequence[int] | None = None,
        solver: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: bool = False,
        record: bool = True,
        guidance_interval: Sequence[float] = EVERYWHERE,
        guidance_rescale: float = 0.0,
    ) -> None:
        self.backbone, self.seed, self.progress, self.record = backbone, seed, progress, record
        self.guidance_interval, self.guidance_rescale = guidance_interval, guidance_rescale
        self.times = strided() if times is None else list(times)
        self.solver = dict(backbone.solver if solver is None else solver)
        self.path_times(self.times)  # a mistake is answered before anything is made
        make_solver(**self.solver)
        check_guidance(guidance_interval, guidance_rescale)
        if backbone.threshold is not None and self.solver["name"] in INCREMENTAL:
            raise ValueError(
                f"solver={self.solver['name']}: allowed are ddpm, ddim, dpmpp; {backbone.name} has dynamic "
                "thresholding, which moves x_0 alone, and a step by increments undoes it"
            )

    def noise(self, images: Sequence[int], purpose: str) -> ImageNoise:
        """Draws for the images of these numbers, one generator each."""
        return ImageNoise(self.seed, images, purpose)

    def start(self, images: Sequence[int]) -> Tensor:
        """The pure noise (B, C, H, W) that images are made from."""
        channels, height, width = self.backbone.shape
        like = torch.empty(len(images), channels, height, width, device=self.backbone.device)
        return self.noise(images, "start")(like)

    def path_times(self, indices: Sequence[int]) -> Tensor:
        """Indices as times of the backbone's path, then 0, the clean picture: (steps + 1,).

        Raises ValueError where the path has fewer steps than the list.
        """
        path = self.backbone.denoiser.path
        times = path.at_index(list(indices))
        times = torch.cat([times, times.new_zeros(1)])
        if not bool((times[1:] < times[:-1]).all()):
            raise ValueError(f"times={list(indices)}: allowed are times that differ on a path of {path.T:g} steps")
        return times

    def time(self, index: int) -> Tensor:
        """An index as a time of the backbone's path, ()."""
        return self.backbone.denoiser.path.at_index(index)

    def noised(self, photo: Tensor, index: int, images: Sequence[int]) -> Tensor:
        """The forward process at an index: a photo (C, H, W) in [0, 1] as noisy pixels (B, C, H, W)."""
        pixels = self.photo(photo, len(images))
        return self.backbone.denoiser.path.add_noise(pixels, self.time(index), self.noise(images, "forward")(pixels))

    def photo(self, photo: Tensor, count: int) -> Tensor:
        """A picture (C, H, W) in [0, 1] as the backbone's pixels, `count` times, (B, C, H, W), on its device.

        Raises ValueError for a picture of another shape than the backbone's.
        """
        if tuple(photo.shape) != tuple(self.backbone.shape):
            raise ValueError(f"image of shape {tuple(photo.shape)}: allowed is {tuple(self.backbone.shape)}")
        return self.backbone.pixels(photo.to(self.backbone.device)).expand(count, -1, -1, -1)

    def scale(self, guidance_scale: float | None) -> float:
        """The guidance scale in force: as asked, or else the backbone's usual one."""
        return self.backbone.guidance_scale if guidance_scale is None else guidance_scale

    def condition(self, prompts: Sequence[Sequence[str]]) -> Tensor | None:
        """The conditions (B, V, ...) of B images with V prompts each."""
        flat = self.backbone.condition([prompt for each in prompts for prompt in each])
        return None if flat is None else flat.unflatten(0, (len(prompts), -1))

    def guided(self, guidance_scale: float | None, prompts: Sequence[Sequence[str]]) -> Denoiser:
        """The backbone's denoiser under classifier-free guidance, where there is something to guide by.

        Scale 1 needs no second branch, and neither does the empty prompt, whose branches are the same.
        """
        scale, unconditional = self.scale(guidance_scale), self.backbone.condition([""])
        if unconditional is None:
            if scale != 1:
                raise ValueError(f"guidance_scale={scale:g}: allowed is 1, {self.backbone.name} takes no condition")
            return self.backbone.denoiser
        if not any(prompt for each in prompts for prompt in each):
            scale = 0
        interval, rescale = self.guidance_interval, self.guidance_rescale
        return Guide(self.backbone.denoiser, scale, unconditional, interval=interval, rescale=rescale)

    def plain(self, guidance_scale: float | None, prompts: Sequence[str]) -> tuple[Denoiser, Tensor | None]:
        """A guided and thresholded denoiser for one prompt an image, and its condition (B, ...)."""
        rows = [[prompt] for prompt in prompts]
        condition = self.condition(rows)
        return self.thresholded(self.guided(guidance_scale, rows)), None if condition is None else condition[:, 0]

    def thresholded(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with the backbone's dynamic thresholding, if it has one, around all else."""
        return denoiser if self.backbone.threshold is None else Threshold(denoiser, *self.backbone.threshold)

    def run(
        self,
        denoiser: Denoiser,
        x: Tensor,
        images: Sequence[int],
        condition: Tensor | None,
        times: Tensor | None = None,
        hold: Hold | None = None,
        callback: Callback | None = None,
        label: str = "",
        record: bool = True,
    ) -> dict[str, Tensor]:
        """From x (B, C, H, W) at times[0] to the end: {"": pictures (B, C, H, W), "frames": (B, F, C, H, W)} in [0, 1].

        Frames are x before the first step and after each; there are none unless they are recorded.

        Args:
            times: (steps + 1,), of the path; None: all of the run's.
            hold, callback: as `sample` takes them.
            label: of the progress bar.
            record: whether frames are kept, where the sampler keeps any.
        """
        times = self.path_times(self.times) if times is None else times
        backbone = self.backbone
        falling = int((times[1:] < times[:-1]).sum())
        record = record and self.record
        frames = [backbone.pictures(x).cpu()] if record else []
        with tqdm(total=falling, desc=label, unit="step", leave=False, disable=not self.progress) as bar:

            def after(step: int, s: Tensor, x: Tensor, estimate: Estimate) -> None:
                if record:
                    frames.append(backbone.pictures(x).cpu())
                if callback is not None:
                    callback(step, s, x, estimate)
                bar.update()

            noise = self.noise(images, "sampling")
            x = sample(denoiser, x, times, make_solver(**self.solver), noise, condition, after, hold)
        if not x.isfinite().all():
            raise ValueError(f"{label}: {backbone.name} answered with NaN or infinite pixels")
        result = {"": backbone.pictures(x).cpu()}
        return result | ({"frames": torch.stack(frames, dim=1)} if record else {})


# (name of the job, number of the image, role) -> picture (C, H, W) in [0, 1].
Cells = Callable[[str, int, str], Tensor]


@dataclass(kw_only=True)
class Edit(ABC):
    """An edit: a list of jobs, how to make their images, and the figure that shows them.

    Images are made in batches of any size and order; `make` may use of a batch only its images' numbers.

    Attributes:
        network: whether the backbone's network is called, or only its path, shape and conditions are of use.
    """

    network: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raises ValueError for what a notebook easily mistakes: a word for a list of words, a path for a picture."""
        prompts, image = getattr(self, "prompts", ()), getattr(self, "image", None)
        if isinstance(prompts, str):
            raise ValueError(f"prompts={prompts!r}: allowed is a list, [{prompts!r}]")
        if image is not None and not isinstance(image, Tensor):
            raise ValueError(f"image={image}: allowed is a tensor (C, H, W), as data.pictures.load_picture reads it")

    @abstractmethod
    def jobs(self, sampler: Sampler) -> list[Job]:
        """What is to be made.

        Raises ValueError for settings that do not fit the backbone or the times.
        """

    @abstractmethod
    def make(self, sampler: Sampler, job: Job, images: Sequence[int]) -> dict[str, Tensor]:
        """The job's images of these numbers, by role, each (B, C, H, W) in [0, 1] on the CPU.

        The role "" is the result; others are shown beside it. "frames" are (B, F, C, H, W): the way to it.
        """

    @abstractmethod
    def figure(self, sampler: Sampler, cell: Cells) -> Figure:
        """The edit's figure."""

    def prompts_of(self, job: Job, image: int) -> list[str]:
        """What the image was asked to show; nothing where no model is asked."""
        return []

    def roles_read(self, job: Job, image: int) -> dict[str, str]:
        """By role, what the image and the pictures beside it were each asked to show; nothing where nobody can say."""
        prompts = self.prompts_of(job, image)
        return {"": prompts[0]} if len(prompts) == 1 and self.network else {}

    def first_prompts(self, job: Job, images: Sequence[int]) -> list[str]:
        """The first prompt of each image."""
        return [self.prompts_of(job, image)[0] for image in images]

    @torch.no_grad()
    def run(self, backbone: Backbone, seed: int = 0, **settings: Any) -> Result:
        """Makes everything at once, e.g. in a notebook: run(backbone, seed=1, solver={"name": "ddim"}).

        Args:
            settings: `times`, `solver`, `progress`, `guidance_interval` and `guidance_rescale` of `Sampler`.
        """
        sampler = Sampler(backbone, seed=seed, **settings)
        jobs = self.jobs(sampler)
        made = {job.name: self.make(sampler, job, range(job.count)) for job in jobs}
        figure = self.figure(sampler, lambda job, image, role: made[job][role][image])
        return Result(made, [job.name for job in jobs if not job.given], figure)


def repeated(picture: Tensor, count: int) -> dict[str, Tensor]:
    """What `make` answers for a picture (C, H, W) that was given: {"": (count, C, H, W)} on the CPU."""
    return {"": picture.cpu().float().expand(count, -1, -1, -1)}


@dataclass(frozen=True)
class Result:
    """What an edit made.

    Attributes:
        made: by job and role, (B, C, H, W) in [0, 1]; the role "frames" is (B, F, C, H, W).
        jobs: the names of those that are results; the others show what the edit was given.
        figure: the edit's figure.
    """

    made: dict[str, dict[str, Tensor]] = field(repr=False)
    jobs: list[str]
    figure: Figure = field(repr=False)

    @property
    def images(self) -> Tensor:
        """The results of all jobs, (B, C, H, W) in [0, 1]."""
        return torch.cat([self.made[job][""] for job in self.jobs])

    @property
    def pil(self) -> list[Any]:
        """The results as PIL images."""
        from torchvision.transforms.functional import to_pil_image

        return [to_pil_image((255 * image).round().to(torch.uint8)) for image in self.images]
