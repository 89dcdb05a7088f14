"""Configuration of the scripts: schemas, allowed values, and one-line answers to mistakes. Imports no torch."""

from denoiselab.config.check import ConfigError, check
from denoiselab.config.errors import one_line_errors, run_script
from denoiselab.config.resume import going_on, same_config, save_config, train_config
from denoiselab.config.schema import rank, register

__all__ = [
    "ConfigError",
    "check",
    "going_on",
    "one_line_errors",
    "rank",
    "register",
    "run_script",
    "same_config",
    "save_config",
    "train_config",
]
