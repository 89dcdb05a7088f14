"""Weights & Biases."""

from __future__ import annotations

import netrc
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger

from denoiselab.training.callbacks import Preempted

MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
SECONDS_TO_CONNECT = 30


def wandb_mode() -> str:
    """The mode "online" where an account is configured (WANDB_API_KEY, or `wandb login`'s netrc entry), else "offline".

    WANDB_MODE, where set, decides. Nothing is asked and nothing is looked up on the network.

    Raises ValueError for a WANDB_MODE that wandb does not know.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode:
        if mode not in MODES:
            raise ValueError(f"WANDB_MODE={mode}: allowed are {', '.join(MODES)}")
        return mode
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


def recorded_id(directory: str | Path) -> str | None:
    """The id of the last record in directory/wandb, [offline-]run-DATE_TIME-.../run-ID.wandb; None without one."""
    records = Path(directory).glob("wandb/*run-*/run-*.wandb")
    last = max(records, key=lambda record: record.parent.name.removeprefix("offline-"), default=None)
    return None if last is None else last.stem.removeprefix("run-")


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

    An account that cannot be reached or does not let us in is no reason not to train: it is said in one line, and the
    record is kept offline. A run directory that was recorded before goes on under the same id.

    Args:
        run_config: the resolved config, a plain container.
        group: runs of one sweep share it.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    Path(directory).mkdir(parents=True, exist_ok=True)
    config = {**run_config, "git": git_state(Path(__file__).parent)}
    before = recorded_id(directory)

    def start(mode: str) -> wandb.Run:
        return wandb.init(
            dir=directory,
            name=name,
            project=project,
            entity=entity,
            group=group,
            tags=list(tags),
            config=config,
            id=before,
            resume="allow" if before and mode == "online" else None,  # offline it is the sync that joins the two
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(init_timeout=SECONDS_TO_CONNECT),
        )

    try:
        run = start(wandb_mode())
    except wandb.Error as error:
        reason = str(error).splitlines()[0]
        print(f"warning: Weights & Biases cannot be used, the record stays offline: {reason}", file=sys.stderr)
        run = start("offline")
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(save_dir=directory, project=project, experiment=run)


@contextmanager
def recording(logger: WandbLogger | None) -> Iterator[None]:
    """Ends the logger's run with the body, as failed where that raises (but not where it was preempted and saved); the
    next run of a sweep then has its own.
    """
    failed = True
    try:
        yield
        failed = False
    except Preempted:
        failed = False
        raise
    finally:
        if logger:
            logger.experiment.finish(exit_code=int(failed))
