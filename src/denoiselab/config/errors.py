"""One clear line for a mistake, in place of a traceback."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from hydra.core.override_parser.overrides_parser import OverrideParseException
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from denoiselab.config.check import ConfigError
from denoiselab.config.schema import SCHEMA_SUFFIX, rank
from denoiselab.nearest import nearest

# Asked for by the user, in which case nothing is hidden. Hydra's own handling of it is then always on: otherwise Hydra
# prints an abridged traceback and exits. Processes that this one starts find both variables.
_FULL_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1" and "DENOISELAB_ONE_LINE" not in os.environ
if not _FULL_TRACEBACK:
    os.environ |= {"HYDRA_FULL_ERROR": "1", "DENOISELAB_ONE_LINE": "1"}


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
        if type(error).__name__ in ("ConfigError", "NotFinite") and rank() > 0:
            sys.exit(1)  # every rank finds it, and rank 0 says so
        sys.exit(f"error: {line}")


def run_script(main: Callable[[], None], config: Path) -> None:
    """Runs a Hydra main, with `one_line_errors` for what goes wrong while Hydra composes its config.

    Warnings are a line each.

    Args:
        config: the YAML that Hydra composes; `--help` answers with the `hydra.help.template` in it. Hydra would get to
            the same text by composing everything and listing every group twice, in seconds.
    """
    OmegaConf.register_new_resolver("choices", lambda group: ", ".join(_choices(config.parent / group)), replace=True)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    with one_line_errors():
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(OmegaConf.load(config).hydra.help.template, end="")
        else:
            main()


def _choices(group: Path) -> list[str]:
    return sorted(path.stem for path in group.glob("*.yaml"))


def explain(error: BaseException) -> str | None:
    """The one line for an error that a user can mend; None for what is our own mistake."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        if isinstance(error.__cause__, TypeError) and "keyword argument" in str(error.__cause__):
            return " ".join(str(error).split())  # a key that no schema saw, in the config of a run to resume
        return explain(error.__cause__)
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: allowed is KEY=VALUE, GROUP=CHOICE ({_first_line(error)})"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _config_mistake(error)
    if isinstance(error, AssertionError | AttributeError) and (override := _override_at(error)):
        return f"{override}: allowed is no such key here, the node that it belongs to is null"
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        where = "hydra.run.dir: allowed is a folder that can be made; " if _makes_the_run_directory(error) else ""
        return f"{where}{name}{error.strerror or error}"
    if isinstance(error, ValueError) or type(error).__name__ in ("NotFinite", "MisconfigurationException"):
        hint = (
            "" if isinstance(error, ConfigError) or _raised_here(error) else " (HYDRA_FULL_ERROR=1 shows the traceback)"
        )
        return " ".join(str(error).split()) + hint
    return None


def _makes_the_run_directory(error: BaseException) -> bool:
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    return [name for name in modules if name.split(".")[0] not in sys.stdlib_module_names][-1:] == ["hydra.core.utils"]


def _raised_here(error: BaseException) -> bool:
    """Whether our own code found the mistake, whose line then says all; what a library found may need a search."""
    frames = list(walk_tb(error.__traceback__))
    return bool(frames) and str(frames[-1][0].f_globals.get("__name__")).startswith("denoiselab")


def _override_at(error: BaseException) -> str | None:
    """The KEY=VALUE that Hydra was applying: where the key lies below null, OmegaConf fails without naming it."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_apply_overrides_to_config" and "override" in frame.f_locals:
            return str(frame.f_locals["override"].input_line)
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _unknown_choice(error: MissingConfigException) -> str:
    if not error.options:
        return _first_line(error)
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    options = [option for option in error.options if not option.endswith(SCHEMA_SUFFIX)]
    return f"{group}={choice}: allowed are {', '.join(options)}{nearest(choice, options)}"


def _config_mistake(error: BaseException) -> str:
    """Unknown key, or a value of the wrong type, wherever it stands."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__ or cause.__context__
    if ours := re.match(r"ConfigError raised while resolving interpolation: (.*)", str(cause)):
        return ours.group(1)
    if cause is None:
        return " ".join(str(error).split())
    file = re.match(r"In '(.+?)':", str(error))
    where = f" (in {file.group(1)})" if file else ""
    key = str(cause.full_key or cause.key or "")
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        known = [str(name) for name in cause.parent_node if not str(name).startswith("_")]  # type: ignore[union-attr]
        known = [name for name in known if name != "hydra"]
        asked = _first_line(error).rpartition("Could not override '")[2].partition("'")[0] or key
        paths = [path for path in _paths(cause.parent_node) if path.endswith(f".{asked}")] if "." in asked else []
        hint = f" (did you mean {paths[0]}?)" if paths else nearest(key.rsplit(".")[-1], known)
        return f"{asked if paths else key}: unknown key; allowed are {', '.join(known)}{hint}{where}"
    return (_wrong_type(key, cause) if key else " ".join(str(error).split())) + where


def _paths(node: Any, prefix: str = "") -> list[str]:
    """The dotted names of every key below a node."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return []
    below = [_paths(node._get_node(name), f"{prefix}{name}.") for name in map(str, node)]
    return [f"{prefix}{name}" for name in map(str, node)] + [path for paths in below for path in paths]


def _wrong_type(key: str, error: OmegaConfBaseException) -> str:
    message = _first_line(error)
    if bad := re.match(r"Value '(.*)' of type '.*' could not be converted to (\w+)", message):
        kind = {"Integer": "a whole number", "Float": "a number"}
        return f"{key}={bad.group(1)}: allowed is {kind.get(bad.group(2), bad.group(2))}"
    if bad := re.match(r"Value '(.*)' is not a valid bool", message):
        return f"{key}={bad.group(1)}: allowed is true or false"
    if "is not a ListConfig" in message:
        value = getattr(error, "value", None)
        return f"{key}={value}: allowed is a list, e.g. {key}=[{value}]"
    if message.endswith("is not Optional"):
        return f"{key}=null: allowed is a value"
    return f"{key}: {message}"
