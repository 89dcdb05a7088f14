"""Ours against other people's loops with our network in them: `python -m pip install -e ".[bench]"`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import ours
import peers
import pytest
import torch
from table import Table
from timing import Maker, timed


def test_torchcfm(table: Table, tmp_path: Path) -> None:
    pytest.importorskip("torchcfm", reason='no row of torchcfm: pip install -e ".[bench]"')
    width, batch, steps = table.size(cpu=(64, 64, 20), cuda=(64, 64, 200), quick=(8, 16, 4))
    sizes = (width, batch, steps, table.device)
    ways: dict[str, Maker] = {
        "ours": partial(ours.trainer, "class UNet", *sizes, tmp_path),
        "peer": partial(peers.torchcfm_training, *sizes),
    }
    name, goal = f"training, class UNet, D = {width}, batch {batch}", table.goal(cpu=2, cuda=4)
    against = "our UNet in torchcfm's loop, fp32"
    seconds, note = timed(ways, table.rounds), ours.differences("class UNet", width, batch, table.device)
    table.compare(name, against, seconds, "ours", "peer", batch * steps, goal, note=note)


def test_denoising_diffusion_pytorch(table: Table, tmp_path: Path) -> None:
    peer, goal = "denoising-diffusion-pytorch", table.goal(cpu=2, cuda=4)
    pytest.importorskip("denoising_diffusion_pytorch", reason=f'no rows of {peer}: pip install -e ".[bench]"')
    width, batch, steps = table.size(cpu=(64, 64, 20), cuda=(64, 64, 200), quick=(8, 16, 4))
    sizes = (width, batch, steps, table.device)
    ways: dict[str, Maker] = {
        "ours": partial(ours.trainer, "time UNet", *sizes, tmp_path / "ours", averaged=True),
        "peer": partial(peers.lucidrains_training, *sizes, tmp_path / "peer", table.rounds),
    }
    name, against = f"training, time UNet, D = {width}, batch {batch}", f"our UNet in {peer}'s Trainer, fp32"
    note = "both with clipped gradients and averaged weights (ours every step, theirs every tenth); theirs decodes PNGs"
    table.compare(name, against, timed(ways, table.rounds), "ours", "peer", batch * steps, goal, note=note)

    width, count, steps = table.size(cpu=(64, 40, 20), cuda=(64, 40, peers.T), quick=(8, 10, 2))
    theirs = partial(peers.lucidrains_sampling, width, count, table.device, steps)
    name = f"sampling, time UNet, D = {width}, {steps} of {peers.T} DDPM steps, batch {count}"
    compare_sampling(table, name, f"our UNet in {peer}'s sampler, fp32", theirs, width, count, steps, peers.T)


def test_diffusers(table: Table) -> None:
    width, count, steps = table.size(cpu=(64, 40, 20), cuda=(64, 40, 100), quick=(8, 10, 2))
    theirs = partial(peers.diffusers_sampling, width, count, table.device, steps)
    name = f"sampling, time UNet, D = {width}, DDPM in {steps} steps, batch {count}"
    compare_sampling(table, name, "our UNet in diffusers' DDPMPipeline, fp32", theirs, width, count, steps, steps)


def compare_sampling(
    table: Table, name: str, against: str, theirs: Maker, width: int, count: int, steps: int, total: int
) -> None:
    """Rows of sample.py as it is and with backbone.dtype=auto: the first `steps` of `total` DDPM steps."""
    made = {"kind": "time UNet", "width": width, "solver": {"name": "ddpm", "variance": "posterior"}}
    made |= {"steps": steps, "total": total}
    dtypes = {"sample.py": "fp32", "sample.py with backbone.dtype=auto": "auto"}
    settings = {way: {**made, "dtype": dtype} for way, dtype in dtypes.items()}
    ways: dict[str, Maker] = {way: partial(ours.sampling, count, table.device, **settings[way]) for way in settings}
    seconds = timed({**ways, "peer": theirs}, table.rounds)
    x = torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(table.device)
    plain, automatic = (ours.sampler(device=table.device, **settings[way])(x) for way in settings)
    notes = ["", f"pixels differ from float32's by at most {float((automatic - plain).abs().max()):.1e}"]
    for way, note in zip(ways, notes, strict=True):
        row, goal = f"{name}, as {way} computes it", table.goal(cpu=2, cuda=4)
        table.compare(row, against, seconds, way, "peer", count, goal, note=note)
