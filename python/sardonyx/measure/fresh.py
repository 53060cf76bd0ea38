"""Start-up and memory of a runtime, each measured in a fresh child process."""

from __future__ import annotations

import json
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sardonyx.measure.runtimes import Unavailable

__all__ = ["measure_memory", "measure_startup"]


def _child(task: str, runtime: str, model: str, threads: int, feeds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feeds"
        path.write_bytes(pickle.dumps([dict(feed) for feed in feeds]))
        command = [sys.executable, "-m", "sardonyx.measure.child", task, runtime, model, str(threads), str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise Unavailable(f"{runtime} failed on '{model}': {lines[-1] if lines else f'status {done.returncode}'}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_memory(runtime: str, model: str, feeds: Mapping[str, Any], threads: int = 0) -> dict[str, float]:
    """Bytes that loading `model` and running it three times took, on top of the interpreter and the runtime's modules.

    Returns:
        `peak`: the most that was resident at a time; `after`: what is still resident after the runs.
    """
    return _child("memory", runtime, model, threads, [feeds])


def measure_startup(
    runtimes: Sequence[str],
    model: str,
    feeds: Mapping[str, Any],
    other_feeds: Mapping[str, Any] | None = None,
    threads: int = 0,
    repeats: int = 3,
) -> dict[str, dict[str, float]]:
    """Medians over `repeats` fresh processes of each runtime, in turn, after one whose times are not counted.

    Returns:
        For each runtime, in seconds: `import`; `create` (the session); `first_run`; `run` (a later one); and, with
        `other_feeds` of other shapes, `new_shape`: how much longer the first run at these takes than later ones.
    """
    both = [feeds] if other_feeds is None else [feeds, other_feeds]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runtimes}
    for number in range(repeats + 1):
        for name in runtimes:
            times = _child("startup", name, model, threads, both)
            if number > 0:
                found[name].append(times)
    return {
        name: {key: statistics.median(times[key] for times in all_times) for key in all_times[0]}
        for name, all_times in found.items()
    }
