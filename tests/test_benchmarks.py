"""tests/benchmarks: what is timed in turn computes the same, and the table says what was timed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

sys.path.append(str(Path(__file__).parent / "benchmarks"))

import operations
import ours
import peers
import references
from table import Row, Table
from timing import Figures, timed
from workload import digits, network

CPU, WIDTH, BATCH = torch.device("cpu"), 6, 4


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 whatever the hardware, and this process's memory as it is."""
    monkeypatch.setattr(ours, "default_precision", lambda _: "32-true")
    monkeypatch.setattr(ours, "convolution_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(ours, "keep_freed_memory", lambda: None)


def test_ways_are_run_in_turn_after_a_round_to_warm_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ways = {name: partial(partial, os.system, f"echo {name} >> {log}") for name in ("ours", "reference")}
    seconds = timed(ways | {"measured": partial(partial, Figures, own=2.0)}, rounds=2)
    assert log.read_text().split() == ["ours", "reference"] * 3
    assert {name: len(taken) for name, taken in seconds.items()} == {"ours": 2, "reference": 2, "own": 2}
    assert seconds["own"] == [2.0, 2.0] and min(seconds["ours"]) > 0


def test_a_way_that_fails_is_shown() -> None:
    with pytest.raises(RuntimeError, match="invalid literal for int"):
        timed({"ours": partial(int, "no number")}, rounds=1)  # type: ignore[dict-item]


def test_a_row_pairs_the_rounds(tmp_path: Path) -> None:
    seconds = {"ours": [1.0, 2.0, 1.0], "reference": [3.0, 4.0, 8.0]}
    table = Table(CPU, rounds=3, quick=False, path=tmp_path / "table.json")
    table.meant = True  # as with two threads
    table.compare("training", "loop", seconds, "ours", "reference", count=8, goal=table.goal(cpu=3.0, cuda=10.0))
    table.compare("training", "loop", seconds, "reference", "ours", 8, 2.0, "times as long", note="a note")
    faster, longer = table.rows
    assert (faster.ours, faster.theirs) == (8.0, 2.0)  # of the medians 1 and 4 seconds
    assert (faster.median, faster.low, faster.high, faster.reached) == (3.0, 2.0, 8.0, True)  # of 3, 2, 8
    assert (longer.median, longer.low, longer.high, longer.reached) == (3.0, 2.0, 8.0, False)
    written = json.loads(table.path.read_text())["rows"]
    assert [(row["reached"], row["values"]) for row in written] == [(True, [3.0, 2.0, 8.0]), (False, [3.0, 2.0, 8.0])]
    shown = table.markdown().replace("*", "")
    assert "3.00 times as fast (2.00 to 8.00)" in shown and "at least 3, reached" in shown and "2: a note" in shown
    assert "3.00 times as long (2.00 to 8.00)" in shown and "at most 2, not reached" in shown


def test_the_record_says_what_was_measured_on_what(tmp_path: Path) -> None:
    table = Table(CPU, rounds=1, quick=False, path=tmp_path / "table.json", words=["-k", "peers"])
    table.add("start", "", None, None, "", "s", [5.0], goal=None)
    record = json.loads(table.path.read_text())
    assert record["words"] == ["-k", "peers"] and set(record["git"]) in (set(), {"commit", "branch", "dirty"})
    assert record["packages"]["lightning"] == version("lightning")
    assert record["packages"]["torch"] == torch.__version__
    assert record["machine"]["threads"] == torch.get_num_threads() and record["machine"]["device"]
    assert datetime.now() - datetime.fromisoformat(record["began"]) < timedelta(minutes=5)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_peer_s_network_computes_in_the_precision_that_its_row_says(bf16: bool) -> None:
    net, seen = peers.TimeUNet(WIDTH, bf16).eval(), []
    layer = next(each for each in net.modules() if isinstance(each, nn.Conv2d))
    layer.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    answer = net(torch.randn(BATCH, 1, 28, 28), torch.arange(BATCH))
    assert seen == [torch.bfloat16 if bf16 else torch.float32] and answer.dtype == torch.float32


def test_the_readme_shows_the_rows_of_the_record_that_ships() -> None:
    root = Path(__file__).parents[1]
    record = json.loads((root / "outputs" / "gallery" / "benchmarks.json").read_text())
    assert not record["quick"] and record["git"]["dirty"] is False
    shown = (root / "README.md").read_text().splitlines()
    for number, row in enumerate(record["rows"], start=1):
        assert f"| {number} | {' | '.join(Row(**row).cells())} |" in shown
    assert f"commit {record['git']['commit'][:7]}" in "\n".join(shown)


def test_a_goal_is_for_the_machine_that_it_is_meant_for(tmp_path: Path) -> None:
    table = Table(CPU, rounds=1, quick=False, path=tmp_path / "table.json")
    assert table.meant == (torch.get_num_threads() == 2)
    table.meant = False
    table.add("start", "", None, None, "", "s", [5.0], goal=8.0)
    assert table.rows[0].reached is None


def test_a_quick_row_reaches_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    table = Table(CPU, rounds=1, quick=True, path=tmp_path / "table.json", say=said.append)
    table.add("start", "", None, None, "", "s", [5.0], goal=8.0)
    assert said == ["no measurement | start | **5.00** s"]
    assert table.rows[0].cells()[-2:] == ["**5.00** s", ""] and table.markdown().startswith("NOT A MEASUREMENT")
    assert (table.size(cpu=30, quick=2), table.goal(cpu=8, cuda=15)) == (2, 8)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--rounds=0"], "--rounds=0: allowed is 1 or more"),
        (["--json=folder"], "--json=folder: allowed is a file, this is a folder"),
        (["--json", "old.json"], "allowed is pytest tests/benchmarks by itself, with --json=FILE in one word"),
    ],
)
def test_a_wrong_option_is_answered_in_a_line(tmp_path: Path, words: list[str], answer: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # the settings of the folder above
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.json").touch()
    shutil.copytree(Path(__file__).parent / "benchmarks", tmp_path / "benchmarks")
    asked = [sys.executable, "-m", "pytest", "benchmarks", *words]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr.strip() == f"ERROR: {answer}"


@pytest.mark.parametrize("kind", ["class UNet", "time UNet", "denoiser"])
def test_ours_trains_on_the_reference_s_loss(kind: str) -> None:
    net, module = network(kind, WIDTH), ours.module(kind, WIDTH, CPU)
    x_0, labels = torch.rand(BATCH, 1, 28, 28), digits(BATCH, CPU)
    t, eps, u = module.draw(BATCH, x_0, torch.Generator().manual_seed(0))
    u[0] = 0  # its class is dropped
    theirs = references.loss(kind, net, x_0, labels, t, eps, u >= references.DROPOUT)
    mine = ours.loss(module, x_0, labels, t, eps, u)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)
    for a, b in zip(
        torch.autograd.grad(mine, list(module.net.parameters())),
        torch.autograd.grad(theirs, list(net.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["fp32", None])  # as sample.py and as train.py computes
def test_ours_samples_the_reference_s_pictures(dtype: str | None) -> None:
    made = {"kind": "class UNet", "width": WIDTH, "solver": {"name": "euler"}, "steps": 3, "total": 6, "scale": 5.0}
    net, x, labels = network("class UNet", WIDTH).eval(), torch.randn(12, 1, 28, 28), digits(12, CPU)
    mine = ours.sampler(**made, device=CPU, dtype=dtype)(x)
    theirs = references.guided_euler(net, x, labels, 3, 6, 5.0)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)
    for other in references.guided_euler(net, x, labels.flip(0), 3, 6, 5.0), x:
        assert float((mine - other).abs().max()) > 1e-3  # so that digits and steps are seen


@pytest.mark.parametrize(("change", "on"), [("", None), *ours.TRAINING_CHANGES.items()])
def test_a_change_of_training_is_the_only_one(monkeypatch: pytest.MonkeyPatch, change: str, on: str | None) -> None:
    found, batches, loss, decode = {"without kept memory"}, [], ours.loss, ours.Decoded.__getitem__

    def seen_loss(module: nn.Module, x_0: torch.Tensor, *others: torch.Tensor, cast: bool) -> object:
        layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
        found.update({"in float32"} if not cast else set())
        if not all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in layers):
            found.add("in NCHW")
        batches.append(tuple(x_0.shape))
        return loss(module, x_0, *others, cast=cast)

    def seen_decode(self: ours.Decoded, index: int) -> object:
        found.add("with pictures that a DataLoader decodes")
        return decode(self, index)

    def seen_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
        found.update(set() if optimizer.defaults["fused"] else {"with Adam unfused"})

    monkeypatch.setattr(ours, "keep_freed_memory", lambda: found.discard("without kept memory"))
    monkeypatch.setattr(ours, "loss", seen_loss)
    monkeypatch.setattr(ours.Decoded, "__getitem__", seen_decode)
    hook = register_optimizer_step_pre_hook(seen_step)
    try:
        ours.bare_loop("class UNet", WIDTH, BATCH, 3, CPU, change=change)()
    finally:
        hook.remove()
    assert batches == [(BATCH, 1, 28, 28)] * 3
    assert found == ({change} if change and on != "cuda" else set())


def test_a_dataloader_decodes_the_pictures_that_are_held() -> None:
    data = ours.pictures(BATCH, 3)
    decoded = ours.Decoded(data.train_images, data.train_labels)
    for index in range(len(decoded)):
        x, label = decoded[index]
        assert torch.equal(x, data.train_images[index] / 255) and label == data.train_labels[index]


def test_operations_are_told_apart() -> None:
    flops, seconds = operations.profiled(ours.bare_loop("class UNet", WIDTH, BATCH, 3, CPU))
    assert list(seconds) == ["convolutions", "GELU", "BatchNorm", "the rest"] and min(seconds.values()) > 0
    assert flops == operations.RUNS * 3 * ours.training_flops("class UNet", WIDTH, BATCH)


@pytest.mark.parametrize("change", ours.SAMPLING_CHANGES)
def test_a_change_of_sampling_takes_effect_and_keeps_the_pictures(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setattr(ours, "convolution_dtype", lambda *_: torch.bfloat16)
    made = {"kind": "class UNet", "width": WIDTH, "solver": {"name": "euler"}, "steps": 2, "total": 6, "scale": 5.0}
    x = torch.randn(12, 1, 28, 28)
    pictures, other = (ours.sampler(**made, device=CPU, dtype="auto", change=each)(x) for each in ("", change))
    assert 0 < float((pictures - other).abs().max()) < 0.1


def test_flops_are_those_of_the_layers() -> None:
    forward: list[int] = []

    def count(layer: nn.Conv2d | nn.ConvTranspose2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        pixels = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        forward.append(2 * layer.weight.numel() * pixels[:, 0].numel())

    net = network("denoiser", WIDTH)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    net(torch.rand(BATCH, 1, 28, 28))
    # Backward there are as many for the weights, and as many for the inputs but for the picture itself.
    assert ours.training_flops("denoiser", WIDTH, BATCH) == 3 * sum(forward) - forward[0]
