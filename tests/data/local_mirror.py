"""A web server on this machine in place of MNIST's."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEAD = "http://127.0.0.1:9/"  # nothing listens: refused at once


@dataclass
class Mirror:
    """A server's folder, its address, and what it was asked for."""

    folder: Path
    address: str
    requests: list[str] = field(default_factory=list)
