"""Data sets: where they come from, and how they are served to a training run. A person's pictures are in `pictures`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoiselab.data.captioned import Captioned, CaptionedFolder, ColouredMNIST
    from denoiselab.data.collection import FASHION_MNIST_FILES, MNIST_FILES, Collection, DataError
    from denoiselab.data.loader import IndexedLoader, StepLoader
    from denoiselab.data.module import MNIST, FashionMNIST, ImageDataModule, Synthetic
    from denoiselab.data.sources import fetch

__all__ = [
    "FASHION_MNIST_FILES",
    "MNIST",
    "MNIST_FILES",
    "Captioned",
    "CaptionedFolder",
    "Collection",
    "ColouredMNIST",
    "DataError",
    "FashionMNIST",
    "ImageDataModule",
    "IndexedLoader",
    "StepLoader",
    "Synthetic",
    "fetch",
]

# Imported when asked for (PEP 562): `denoiselab.data.pictures` is used before torch is.
_HOMES = {
    "captioned": ("Captioned", "CaptionedFolder", "ColouredMNIST"),
    "collection": ("FASHION_MNIST_FILES", "MNIST_FILES", "Collection", "DataError"),
    "loader": ("IndexedLoader", "StepLoader"),
    "module": ("MNIST", "FashionMNIST", "ImageDataModule", "Synthetic"),
    "sources": ("fetch",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"denoiselab.data.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
