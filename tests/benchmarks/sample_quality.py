"""How many of a class model's samples a digit classifier recognises.

    python tests/benchmarks/sample_quality.py RUN_DIRECTORY [--count 1000] [--guidance 5]

Trains and keeps a classifier of at least 99 % test accuracy first (about a minute), under outputs/.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import yaml
from hydra.utils import instantiate

from denoiselab.backbones import load_denoiser
from denoiselab.data import MNIST
from denoiselab.denoise import Guide
from denoiselab.evaluation.digits import accuracy, digit_classifier
from denoiselab.evaluation.quality import recognised
from denoiselab.figures import save_grid
from denoiselab.noise import ImageNoise
from denoiselab.sample import sample

BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", default="last.ckpt")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    config = yaml.safe_load((options.run / "config.yaml").read_text())
    data = MNIST(config["data"].get("root", "data"), batch_size=64, seed=0, val_size=1000)
    data.prepare_data()
    data.setup()
    splits = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    judge = digit_classifier(Path("outputs/digit_classifier.pt"), *splits)
    print(f"classifier: {accuracy(judge, data.test_images, data.test_labels):.2%} of the test set")

    network = load_denoiser(options.run / "checkpoints" / options.checkpoint)
    denoiser = Guide(network, options.guidance, torch.zeros(1, 10))
    solver, steps = instantiate(config["solver"]), config["callbacks"]["samples"]["steps"]
    times = network.path.times(steps)
    images, labels, start = [], torch.arange(options.count) % 10, time.perf_counter()
    for first in range(0, options.count, BATCH):
        indices = range(first, min(first + BATCH, options.count))
        noise = ImageNoise(options.seed, indices, "sampling")
        x = noise(torch.empty(len(indices), 1, 28, 28))
        condition = torch.eye(10)[labels[indices.start : indices.stop]]
        images.append(sample(denoiser, x, times, solver, noise, condition).clamp(0, 1))
        print(
            f"{indices.stop}/{options.count} samples, {indices.stop / (time.perf_counter() - start):.1f}/s", flush=True
        )
    samples = torch.cat(images)
    right = recognised(judge, samples, labels)
    print(f"recognised: {right.float().mean():.2%} of {options.count} ({config['solver']['name']}, {steps} steps)")
    print("by digit: " + ", ".join(f"{digit}: {right[labels == digit].float().mean():.1%}" for digit in range(10)))
    path = options.run / "figures" / "unrecognised.png"
    if not bool(right.all()):
        save_grid(samples[~right], path, 10, title="samples that the classifier did not recognise")
        print(f"those not recognised: {path}")


if __name__ == "__main__":
    main()
