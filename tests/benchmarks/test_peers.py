"""Ours against other people's loops with our network in them: `python -m pip install -e ".[bench]"`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import ours
import peers
import pytest
import torch
from table import Table
from timing import Maker, Way, timed
from workload import noise

from denoiselab.backbones.checkpoint import convolution_dtype
from denoiselab.training.trainer import default_precision


def precisions(device: torch.device) -> dict[str, bool]:
    """Those of a peer, and whether it is bf16: float32 as it comes, and bf16 where ours trains in it."""
    return {"fp32": False} | ({"bf16": True} if default_precision(device.type) == "bf16-mixed" else {})


def test_torchcfm(table: Table, tmp_path: Path) -> None:
    pytest.importorskip("torchcfm", reason='no row of torchcfm: pip install -e ".[bench]"')
    width, batch, steps = table.size(cpu=(64, 64, 20), cuda=(64, 64, 200), quick=(8, 16, 4))
    sizes = (width, batch, steps, table.device)
    ways: dict[str, Maker] = {"ours": partial(ours.trainer, "class UNet", *sizes, tmp_path)}
    theirs = precisions(table.device)
    ways |= {each: partial(peers.torchcfm_training, *sizes, bf16) for each, bf16 in theirs.items()}
    seconds, note = timed(ways, table.rounds), ours.differences("class UNet", width, batch, table.device)
    name = f"training, class UNet, D = {width}, batch {batch}"
    in_each_precision(table, name, "our UNet in torchcfm's loop", seconds, "ours", theirs, batch * steps, note)


def test_denoising_diffusion_pytorch(table: Table, tmp_path: Path) -> None:
    peer = "denoising-diffusion-pytorch"
    pytest.importorskip("denoising_diffusion_pytorch", reason=f'no rows of {peer}: pip install -e ".[bench]"')
    width, batch, steps = table.size(cpu=(64, 64, 20), cuda=(64, 64, 200), quick=(8, 16, 4))
    sizes = (width, batch, steps, table.device)
    ways: dict[str, Maker] = {"ours": partial(ours.trainer, "time UNet", *sizes, tmp_path / "ours", averaged=True)}
    theirs = precisions(table.device)
    for each, bf16 in theirs.items():
        ways[each] = partial(peers.lucidrains_training, *sizes, tmp_path / each, table.rounds, bf16)
    name, against = f"training, time UNet, D = {width}, batch {batch}", f"our UNet in {peer}'s Trainer"
    note = (
        "both with clipped gradients and averaged weights (ours every step, theirs every tenth); theirs decodes PNGs; "
    )
    note += ours.differences("time UNet", width, batch, table.device)
    in_each_precision(table, name, against, timed(ways, table.rounds), "ours", theirs, batch * steps, note)

    width, count, steps = table.size(cpu=(64, 40, 20), cuda=(64, 40, peers.T), quick=(8, 10, 2))
    name = f"sampling, time UNet, D = {width}, {steps} of {peers.T} DDPM steps, batch {count}"
    sampler = partial(peers.lucidrains_sampling, width, count, table.device, steps)
    compare_sampling(table, name, f"our UNet in {peer}'s sampler", sampler, width, count, steps, peers.T)


def test_diffusers(table: Table) -> None:
    width, count, steps = table.size(cpu=(64, 40, 20), cuda=(64, 40, 100), quick=(8, 10, 2))
    name = f"sampling, time UNet, D = {width}, DDPM in {steps} steps, batch {count}"
    sampler = partial(peers.diffusers_sampling, width, count, table.device, steps)
    compare_sampling(table, name, "our UNet in diffusers' DDPMPipeline", sampler, width, count, steps, steps)


def compare_sampling(
    table: Table,
    name: str,
    against: str,
    sampler: Callable[[bool], Way],
    width: int,
    count: int,
    steps: int,
    total: int,
) -> None:
    """Rows of sample.py as it is and with backbone.dtype=auto: the first `steps` of `total` DDPM steps."""
    made = {"kind": "time UNet", "width": width, "solver": {"name": "ddpm", "variance": "posterior"}}
    made |= {"steps": steps, "total": total, "device": table.device}
    plain, automatic = {**made, "dtype": "fp32"}, {**made, "dtype": "auto"}
    theirs = precisions(table.device)
    ways: dict[str, Maker] = {each: partial(sampler, bf16) for each, bf16 in theirs.items()}
    ways["plain"] = partial(ours.sampling, count, **plain)
    reduced = convolution_dtype("auto", table.device) != torch.float32
    if reduced:
        ways["automatic"] = partial(ours.sampling, count, **automatic)
    seconds, images = timed(ways, table.rounds), count * steps / total
    x = noise(count, table.device)
    unfolded = ours.sampler(**plain, change="with BatchNorm unfolded")(x)

    def note(settings: dict[str, Any]) -> str:
        difference, largest = float((ours.sampler(**settings)(x) - unfolded).abs().max()), float(unfolded.abs().max())
        return f"pixels differ from float32's, unfolded, by at most {difference:.1e}, the largest is {largest:.1f}"

    way = f"{name}, as sample.py computes it"
    in_each_precision(table, way, against, seconds, "plain", ["fp32"], images, note(plain))
    if reduced:
        way = f"{name}, as sample.py with backbone.dtype=auto computes it"
        in_each_precision(table, way, against, seconds, "automatic", theirs, images, note(automatic))


def in_each_precision(
    table: Table,
    name: str,
    against: str,
    seconds: dict[str, list[float]],
    way: str,
    theirs: Iterable[str],
    count: float,
    note: str,
) -> None:
    """A row for each of the peer's precisions; the goal is against the peer as it comes."""
    for each in theirs:
        goal = table.goal(cpu=2, cuda=4) if each == "fp32" else None
        table.compare(name, f"{against}, {each}", seconds, way, each, count, goal, note=note)
