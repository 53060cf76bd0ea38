"""What `sardonyx.measure.fresh` runs in a child: TASK RUNTIME MODEL THREADS FEEDS; prints one JSON object."""

from __future__ import annotations

import importlib
import json
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sardonyx.measure.resident import resident_growth
from sardonyx.measure.runtimes import Runner, load

Feeds = dict[str, Any]


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def _import_seconds(module: str) -> float:
    """Time to import a module where only NumPy is there already."""
    code = f"import numpy, time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def startup(runtime: str, model: str, threads: int, feeds: list[Feeds]) -> dict[str, float]:
    """Seconds for each step up to a steady run."""
    result = {"import": _import_seconds(runtime)}
    importlib.import_module(runtime)
    result["create"], run = _seconds(lambda: load(runtime, model, threads))
    result["first_run"], _ = _seconds(lambda: run(feeds[0]))
    result["run"] = statistics.median(_seconds(lambda: run(feeds[0]))[0] for _ in range(5))
    if len(feeds) > 1:
        first, _ = _seconds(lambda: run(feeds[1]))
        result["new_shape"] = first - statistics.median(_seconds(lambda: run(feeds[1]))[0] for _ in range(5))
    return result


def memory(runtime: str, model: str, threads: int, feeds: list[Feeds]) -> dict[str, float]:
    """Bytes resident beyond those of the interpreter and the imported modules."""
    importlib.import_module(runtime)

    def work() -> Runner:
        run = load(runtime, model, threads)
        for _ in range(3):
            run(feeds[0])
        return run

    return resident_growth(work)


def main() -> None:
    """Does the task that the arguments name."""
    task, runtime, model, threads, path = sys.argv[1:]
    with open(path, "rb") as file:
        feeds = pickle.load(file)  # the parent's, from a folder of its own
    print(json.dumps({"startup": startup, "memory": memory}[task](runtime, model, int(threads), feeds)))


if __name__ == "__main__":
    main()
