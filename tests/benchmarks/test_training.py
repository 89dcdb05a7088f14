"""Training: against a notebook's loop, against our own step in a bare loop, and against the hardware."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path

import ours
import pytest
import references
import torch
from table import Table
from timing import Maker, timed
from workload import DROPOUT, network, pictures


@pytest.mark.parametrize("kind", ["class UNet", "denoiser"])
def test_training(kind: str, table: Table, tmp_path: Path) -> None:
    if kind == "class UNet":
        width, batch, steps = table.size(cpu=(64, 64, 30), cuda=(64, 64, 200), quick=(8, 16, 2))
    else:
        width, batch, steps = table.size(cpu=(128, 256, 3), cuda=(128, 256, 30), quick=(8, 16, 2))
    sizes = (kind, width, batch, steps, table.device)
    ways: dict[str, Maker] = {
        "reference": partial(references.training, *sizes),
        "ours": partial(ours.trainer_beside_limit, *sizes, tmp_path),
    }
    if kind == "class UNet":
        ways["bare"] = partial(ours.bare_loop, *sizes)
    seconds = timed(ways, table.rounds)
    name, count = f"training, {kind}, D = {width}, batch {batch}", batch * steps
    goal = table.goal(cpu=3.5, cuda=10) if kind == "class UNet" else table.goal(cpu=3, cuda=4)
    note = differences(kind, width, batch, table.device)
    table.compare(name, "eager fp32 loop of a notebook", seconds, "ours", "reference", count, goal, note=note)
    if kind == "class UNet":
        goal, against = table.goal(cpu=1.05, cuda=1.1), "our step in a bare loop"
        table.compare(name, against, seconds, "ours", "bare", count, goal, "times as long")

    flops = steps * ours.training_flops(kind, width, batch)
    limit = max(seconds["limit"])  # what other work on the machine took of it is not the hardware's
    shares = [flops / taken / limit for taken in seconds["ours"]]
    rate, limit = flops / statistics.median(seconds["ours"]) / 1e12, limit / 1e12
    goal, note = table.goal(cpu=0.75, cuda=0.3), f"{flops / count / 1e9:.3g} GFLOP an image, counted"
    table.add(name, "large matrix products", rate, limit, "TFLOP/s", "share", shares, goal, note)


def differences(kind: str, width: int, batch: int, device: torch.device) -> str:
    """How far loss and gradients of one batch are from the reference's, which has the same weights and noise."""
    net, model, data = network(kind, width).to(device), ours.module(kind, width, device), pictures(batch, 1)
    x_0 = data.train_images.float() / 255
    drawn = x_0, data.train_labels, *model.draw(batch, x_0, torch.Generator().manual_seed(0))
    x_0, labels, t, eps, u = (each.to(device) for each in drawn)
    theirs = references.loss(kind, net, x_0, labels, t, eps, u >= DROPOUT)
    theirs.backward()  # and then there is memory for the other
    mine = ours.loss(model, x_0, labels, t, eps, u)
    mine.backward()
    pairs = [(a.grad, b.grad) for a, b in zip(model.net.parameters(), net.parameters(), strict=True)]
    most = max(float((a - b).abs().max()) for a, b in pairs)  # type: ignore[operator]
    largest = max(float(b.abs().max()) for _, b in pairs)  # type: ignore[union-attr]
    return (
        f"{ours.default_precision(device.type)}; loss of one batch {mine.item():.6f}, theirs {theirs.item():.6f}; "
        f"gradients differ by at most {most:.1e}, the largest is {largest:.1e}"
    )
