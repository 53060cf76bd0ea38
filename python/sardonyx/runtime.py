"""Functions about the installation and the process, named as in onnxruntime."""

from __future__ import annotations

import logging
import os
import platform

from sardonyx import _core
from sardonyx.errors import InvalidArgument
from sardonyx.providers import get_available_providers

__all__ = [
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_build_info",
    "get_device",
    "get_version_string",
    "has_collective_ops",
    "preload_dlls",
    "print_debug_info",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_global_thread_pool_sizes",
    "set_seed",
]

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def get_version_string() -> str:
    """The version of Sardonyx."""
    return _core.__version__


def get_device() -> str:
    """`CPU`."""
    return "CPU"


def get_build_info() -> str:
    """One line about this build."""
    return f"Sardonyx {_core.__version__}, {platform.machine()}"


def print_debug_info() -> None:
    """Prints what a report of a fault should carry."""
    print(get_build_info())
    print(f"Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs")
    print(f"providers: {', '.join(get_available_providers())}")


def set_default_logger_severity(severity: int) -> None:
    """Sets what the logger named `sardonyx` lets through: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal."""
    if not 0 <= severity < len(_LEVELS):
        raise InvalidArgument(f"severity {severity} is not one of 0 (verbose) to 4 (fatal)")
    logging.getLogger("sardonyx").setLevel(_LEVELS[severity])


def set_default_logger_verbosity(level: int) -> None:
    """Accepted for compatibility; has no effect."""


def set_global_thread_pool_sizes(intra_op_num_threads: int = 0, inter_op_num_threads: int = 0) -> None:
    """Accepted for compatibility: one pool serves all sessions; SessionOptions.intra_op_num_threads caps a session."""


def set_seed(seed: int) -> None:
    """Seeds the operators that draw random values and have no seed of their own, in every session of the process.

    The same runs after the same seed give the same numbers, on any number of threads.

    Example:
        >>> set_seed(7)
    """
    _core.set_random_seed(seed % (1 << 64))


def has_collective_ops() -> bool:
    """False."""
    return False


def preload_dlls(cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: str | None = None) -> None:
    """Nothing to load."""


def enable_telemetry_events() -> None:
    """Nothing is ever sent."""


def disable_telemetry_events() -> None:
    """Nothing is ever sent."""
