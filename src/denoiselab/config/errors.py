"""One clear line for a mistake, in place of a traceback."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hydra.core.override_parser.overrides_parser import OverrideParseException
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from denoiselab.config.check import nearest
from denoiselab.config.schema import SCHEMA_SUFFIX

# Asked for by the user, in which case nothing is hidden. Hydra's own handling of it is then always on: otherwise Hydra
# prints an abridged traceback and exits.
_FULL_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"
os.environ["HYDRA_FULL_ERROR"] = "1"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line on standard error and exit status 1 where the user made a mistake.

    HYDRA_FULL_ERROR=1 in the environment shows the whole traceback.
    """
    try:
        yield
    except Exception as error:
        line = None if _FULL_TRACEBACK else explain(error)
        if line is None:
            raise
        sys.exit(f"error: {line}")


def run_script(main: Callable[[], None]) -> None:
    """Runs a Hydra main, with `one_line_errors` for what goes wrong while Hydra composes its config."""
    with one_line_errors():
        main()


def explain(error: BaseException) -> str | None:
    """The one line for an error that a user can mend; None for what is our own mistake."""
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error)
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return explain(error.__cause__)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: allowed is KEY=VALUE, GROUP=CHOICE ({_first_line(error)})"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _config_mistake(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    if isinstance(error, ValueError) or type(error).__name__ in ("NotFinite", "DataError"):
        return " ".join(str(error).split())
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    options = [option for option in error.options or [] if not option.endswith(SCHEMA_SUFFIX)]
    return f"{group}={choice}: allowed are {', '.join(options)}{nearest(choice, options)}"


def _config_mistake(error: BaseException) -> str:
    """Unknown key, or a value of the wrong type, wherever it stands."""
    cause = error
    while not isinstance(cause, OmegaConfBaseException) and cause.__cause__ is not None:
        cause = cause.__cause__
    override = re.search(r"(?:Could not override|Error merging override) '?([^'\\s]+?)'?[.\\s]", str(error))
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        key = str(cause.full_key or (override.group(1) if override else cause.key))
        known = [str(name) for name in OmegaConf.to_container(cause.parent_node, resolve=False)]  # type: ignore[union-attr]
        known = [name for name in known if not name.startswith("_")]
        return f"{key}: unknown key; allowed are {', '.join(known)}{nearest(key.rsplit('.')[-1], known)}"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {_first_line(cause)}"
    return " ".join(str(error).split())
