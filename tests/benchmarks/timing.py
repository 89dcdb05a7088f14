"""Several ways of doing the same, timed in turn; and what the machine could do at best."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import torch

# A way is made once and then run again and again. A run is timed, unless it answers with Figures.
Way = Callable[[], object]
Maker = Callable[[], Way]


class Figures(dict[str, float]):
    """What a way has measured itself, by name."""


def timed(makers: Mapping[str, Maker], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, or the figures it answered with, from every round; ways are run in turn, one at a time.

    Each way is made in a process of its own, which waits while another works: how a process gets its memory is among
    what is compared, and cannot be had both ways in one. A round before the first is warm-up.

    Args:
        makers: of the ways, by name; a module's functions, or partials of them, which a process can be given.
        rounds: how often each way is run.

    Raises RuntimeError with the traceback of a way that fails.
    """
    figures: dict[str, list[float]] = {}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_Process(make)) for name, make in makers.items()}
        for process in processes.values():
            process.receive()  # made
        for round_ in range(rounds + 1):
            for name, process in processes.items():
                answer = process.run()
                if round_:
                    for own, figure in (answer if isinstance(answer, Figures) else {name: answer}).items():
                        figures.setdefault(own, []).append(figure)
    return figures


class _Process:
    """A process that makes a way and runs it when it is told to."""

    def __init__(self, make: Maker) -> None:
        # Each is forked from one process that has imported these and done nothing, so that CUDA allows it.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["denoiselab.training", "denoiselab.backbones.deepfloyd"])
        self.end, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, make))
        self.process.start()
        other.close()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.end.close()
        self.process.join(timeout=60)
        if self.process.is_alive():
            self.process.kill()

    def run(self) -> Any:
        self.end.send("run")
        return self.receive()

    def receive(self) -> Any:
        try:
            answer = self.end.recv()
        except EOFError:
            raise RuntimeError("the process of a way has died") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def _serve(end: Connection, make: Maker) -> None:
    """Answers with figures or a traceback, until there is nobody to answer."""
    try:
        way = make()
        end.send(None)
        while end.recv():
            start = time.perf_counter()
            answer = way()
            synchronise()
            seconds = time.perf_counter() - start
            end.send(answer if isinstance(answer, Figures) else seconds)
    except (EOFError, BrokenPipeError):
        pass
    except Exception:
        end.send(traceback.format_exc())


def synchronise() -> None:
    """Waits for the GPU, where one is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best in two seconds: what the hardware reaches in this type."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU too
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
