"""Resident memory of MNIST training beyond what importing the libraries takes, in MiB.

python tests/benchmarks/memory.py [override ...]        e.g. experiment=class_flow data.steps_per_epoch=20
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import train  # noqa: E402

from denoiselab import config  # noqa: E402


def main() -> None:
    import lightning  # noqa: F401
    import torchvision  # noqa: F401
    import wandb  # noqa: F401
    from hydra import compose, initialize_config_dir

    import denoiselab.training  # noqa: F401

    imported = peak()
    overrides = sys.argv[1:] or ["experiment=class_flow", "trainer.max_epochs=1", "data.steps_per_epoch=30"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), tempfile.TemporaryDirectory() as directory:
        resolved = config.train_config(compose("train", [*overrides, "trainer.sampling_steps=5"]), overrides)
        print(yaml.safe_dump(resolved["trainer"]))
        train.train(resolved, Path(directory), sweep=None)
    print(f"imports: {imported:.0f} MiB, peak while training: {peak():.0f} MiB, beyond: {peak() - imported:.0f} MiB")


def peak() -> float:
    """Highest resident memory of this process so far, in MiB (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
