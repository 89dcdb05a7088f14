"""Where the time of our training step and of our guided step goes, and the rates of large matrix products (on a CPU).

python tests/benchmarks/operations.py

By torch's profiler, which slows what is short.
"""

from __future__ import annotations

import ours
import torch
from timing import Way, matrix_product_rate
from torch.utils.flop_counter import FlopCounterMode
from workload import EULER, SCALE

CPU, WIDTH, RUNS = torch.device("cpu"), 64, 4
OPERATIONS = {"convolutions": "conv", "GELU": "gelu", "BatchNorm": "batch_norm"}  # and how the profiler names them


def main() -> None:
    reduced = ours.training_dtype(CPU)
    print(f"large matrix products in {torch.float32}: {matrix_product_rate(CPU, torch.float32) / 1e12:.3f} TFLOP/s")
    guided = {"kind": "class UNet", "width": WIDTH, "solver": {"name": "euler"}, "total": EULER, "scale": SCALE}
    ways = {
        "training step, batch 64": ours.bare_loop("class UNet", WIDTH, 64, 10, CPU),
        "guided step with backbone.dtype=auto, batch 40": ours.sampling(40, CPU, **guided, steps=10, dtype="auto"),
    }
    for name, way in ways.items():
        before = matrix_product_rate(CPU, reduced)
        flops, seconds = profiled(way)
        rate = max(before, matrix_product_rate(CPU, reduced))  # what other work took of it is not the hardware's
        shares = ", ".join(f"{operation} {taken / sum(seconds.values()):.0%}" for operation, taken in seconds.items())
        share = flops / seconds["convolutions"] / rate
        print(f"{name}: {shares}; convolutions at {share:.0%} of the {rate / 1e12:.3f} TFLOP/s in {reduced}")


def profiled(way: Way) -> tuple[int, dict[str, float]]:
    """FLOPs of some runs, and their seconds by operation."""
    with FlopCounterMode(display=False) as counter:  # and warms up
        way()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(RUNS):
            way()
    seconds = dict.fromkeys([*OPERATIONS, "the rest"], 0.0)
    for event in profile.key_averages():
        key = event.key.lower()
        operation = next((each for each, word in OPERATIONS.items() if word in key), "the rest")
        seconds[operation] += event.self_cpu_time_total / 1e6
    return RUNS * counter.get_total_flops(), seconds


if __name__ == "__main__":
    main()
