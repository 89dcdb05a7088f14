"""The digit classifiers that judge generated MNIST digits: `load_digits("features")` and `load_digits("judge")`.

One gives the features in which sets of images are compared, the other, of another architecture and seed, says which
digit an image shows: a model cannot please both for the same wrong reason. `train.py experiment=digit_features` and
`experiment=digit_judge` trained them on the MNIST training set; they never saw a generated image. They are kept in this
package in half precision.
"""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from denoiselab.files import write_atomically

SHIPPED = ("features", "judge")
POOLINGS = ("max", "average")


class DigitClassifier(nn.Module):
    """Convolutions at 28, 14 and 7 pixels with 1, 2 and 4 times `width` channels, pooled, and a linear layer.

    Takes images x: (B, 1, 28, 28) float in [0, 1] and returns logits: (B, 10).

    Args:
        width: channels at full resolution, > 0. There are 4 width features.
        depth: convolutions at each resolution, >= 1; the first of all is 5 x 5, the others 3 x 3.
        pooling: "max" (with ReLU) or "average" (with GELU), between resolutions and at the end.
    """

    def __init__(self, width: int, depth: int = 1, pooling: str = "max") -> None:
        super().__init__()
        if width < 1 or depth < 1 or pooling not in POOLINGS:
            raise ValueError(
                f"width={width}, depth={depth}, pooling={pooling!r}: allowed are positive numbers and "
                f"{' or '.join(POOLINGS)}"
            )
        self.settings = {"width": width, "depth": depth, "pooling": pooling}
        self.num_features = 4 * width
        pool, activation = (nn.MaxPool2d, nn.ReLU) if pooling == "max" else (nn.AvgPool2d, nn.GELU)
        layers: list[nn.Module] = []
        inside = 1
        for level in range(3):
            for n in range(depth):
                outside, side = width * 2**level, 3 if layers else 5
                layers.append(nn.Conv2d(inside, outside, side, padding=side // 2, bias=False))
                # Pooling comes before BatchNorm and the activation because they then run on a quarter of the pixels.
                layers += [pool(2)] if n == depth - 1 and level < 2 else []
                layers += [nn.BatchNorm2d(outside), activation()]
                inside = outside
        self.convolutions = nn.Sequential(*layers)
        self.pooling = pooling
        self.classify = nn.Linear(self.num_features, 10)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate features, (B, 1, 28, 28) in [0, 1] -> (B, 4 width)."""
        x = (x - 0.1307) / 0.3081  # mean and standard deviation of the MNIST training pixels
        x = self.convolutions(x)  # (B, 4 width, 7, 7)
        return x.amax((2, 3)) if self.pooling == "max" else x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))  # (B, 10)


def save_digits(classifier: DigitClassifier, path: str | Path, about: dict[str, Any]) -> None:
    """Write the weights in half precision, with the architecture and `about` as metadata, whole or not at all."""
    halves = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in classifier.state_dict().items()
    }
    metadata = {"net": json.dumps(classifier.settings), "about": json.dumps(about)}
    with write_atomically(path) as temporary:
        temporary.write_bytes(save(halves, metadata))


def load_digits(name: str | Path) -> DigitClassifier:
    """A shipped classifier, "features" or "judge", or one of a file of `save_digits`; on the CPU, in eval mode.

    Raises ValueError, in one line, for a name that is neither.
    """
    if name in SHIPPED:
        with as_file(files("denoiselab.evaluation") / f"digit_{name}.safetensors") as path:
            return _read(path)
    if not Path(name).is_file():
        raise ValueError(f"classifier {str(name)!r}: allowed are {', '.join(SHIPPED)}, or a file of save_digits")
    return _read(Path(name))


def _read(path: Path) -> DigitClassifier:
    with safe_open(path, "pt") as file:
        classifier = DigitClassifier(**json.loads(file.metadata()["net"]))
        classifier.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return classifier.to(memory_format=torch.channels_last).eval()


def about_digits(name: str) -> dict[str, Any]:
    """What `save_digits` was told of a shipped classifier."""
    with as_file(files("denoiselab.evaluation") / f"digit_{name}.safetensors") as path, safe_open(path, "pt") as file:
        return json.loads(file.metadata()["about"])  # type: ignore[no-any-return]


def as_floats(images: Tensor) -> Tensor:
    """Images uint8, or float in [0, 1], as float32 in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


@torch.inference_mode()
def features(classifier: DigitClassifier, images: Tensor, batch_size: int = 500) -> Tensor:
    """The classifier's features of images (N, 1, 28, 28), uint8 or float in [0, 1]: (N, F) float64 on the CPU."""
    device = next(classifier.parameters()).device
    batches = [classifier.features(as_floats(x.to(device))).cpu() for x in images.split(batch_size)]
    return torch.cat(batches).double()


@torch.inference_mode()
def read_digits(classifier: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """The digit that the classifier sees in each image (N, 1, 28, 28), uint8 or float in [0, 1]: (N,) in 0..9."""
    device = next(classifier.parameters()).device
    return torch.cat([classifier(as_floats(x.to(device))).argmax(1).cpu() for x in images.split(batch_size)])
