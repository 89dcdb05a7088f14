"""Data sets: where they come from, and how they are served to a training run."""

from denoiselab.data.collection import FASHION_MNIST_FILES, MNIST_FILES, Collection, DataError
from denoiselab.data.loader import IndexedLoader, StepLoader
from denoiselab.data.module import MNIST, FashionMNIST, ImageDataModule, Synthetic
from denoiselab.data.sources import fetch

__all__ = [
    "FASHION_MNIST_FILES",
    "MNIST",
    "MNIST_FILES",
    "Collection",
    "DataError",
    "FashionMNIST",
    "ImageDataModule",
    "IndexedLoader",
    "StepLoader",
    "Synthetic",
    "fetch",
]
