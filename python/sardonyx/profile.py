"""Profiles as traces that chrome://tracing and Perfetto open."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from sardonyx import _core

__all__ = ["write_trace"]


def write_trace(path: str | os.PathLike[str], events: Sequence[_core.ProfileRow]) -> None:
    """Writes node events (times in microseconds) as a Chrome trace, one complete event ("ph": "X") for each node.

    Args:
        events: rows of `Executor.profile`, or those that a session collects.

    Example:
        >>> write_trace("step.json", executor.profile(feeds))
    """
    process = os.getpid()
    rows = [
        {
            "cat": "Node",
            "name": f"{event['name']}_kernel_time",
            "ph": "X",
            "pid": process,
            "tid": 0,
            "ts": event["start_us"],
            "dur": event["duration_us"],
            "args": {
                "op_name": event["op"],
                "node": event["name"],
                "kernel": event["kernel"],
                "provider": "CPUExecutionProvider",
                "bytes_read": event["bytes_read"],
                "bytes_written": event["bytes_written"],
                "input_types": event["input_types"],
                "output_types": event["output_types"],
            },
        }
        for event in events
    ]
    Path(path).write_text(json.dumps(rows), encoding="utf-8")


def trace_file_name(prefix: str) -> str:
    """`<prefix><date>_<time>_<process>.json`."""
    return f"{prefix}{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}.json"
