"""Weights & Biases."""

from __future__ import annotations

import netrc
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger


def wandb_mode() -> str:
    """ "online" where an account is configured (WANDB_API_KEY, or `wandb login`'s netrc entry), else "offline".

    WANDB_MODE, where set, decides. Nothing is asked and nothing is looked up on the network.
    """
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        return "online" if netrc.netrc(os.environ.get("NETRC")).hosts.get(host) else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"


def git_state(folder: Path) -> dict[str, Any]:
    """{"commit", "branch", "dirty"} of the repository that folder is in; nothing where there is none, or no git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "dirty": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


def wandb_logger(
    directory: str | Path,
    name: str,
    run_config: dict[str, Any],
    project: str,
    entity: str | None,
    group: str | None,
    tags: Sequence[str],
) -> WandbLogger:
    """A logger that records the run's config and git state, under directory/wandb when offline as well.

    Args:
        run_config: the resolved config, a plain container.
        group: runs of one sweep share it.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    Path(directory).mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        save_dir=directory,
        name=name,
        project=project,
        entity=entity,
        group=group,
        tags=list(tags),
        mode=wandb_mode(),  # type: ignore[arg-type]
        config={**run_config, "git": git_state(Path(__file__).parent)},
    )
