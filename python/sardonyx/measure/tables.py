"""Tables of a model's times, start-up and memory in several runtimes, compared with the first that is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sardonyx.measure.fresh import measure_memory, measure_startup
from sardonyx.measure.outputs import largest_difference
from sardonyx.measure.report import Row, Table
from sardonyx.measure.rounds import take_turns
from sardonyx.measure.runtimes import Runner

__all__ = ["memory_rows", "memory_table", "startup_rows", "startup_table", "time_rows", "times_table"]

Feeds = Mapping[str, Any]
MIB = 1 << 20


def times_table(title: str, plot_over: str, **keys: str) -> Table:
    """A table for `time_rows`, with the columns `keys` in front and a plot over one of them."""
    columns = {
        "runtime": "runtime", "median_ms": "median ms", "best_ms": "best ms", "spread": "spread", "runs": "rounds",
        "ratio": "ratio", "largest_difference": "difference",
    }  # fmt: skip
    return Table(title, {**keys, **columns}, plot=("bar", plot_over, "ratio", "runtime"))


def time_rows(runners: Mapping[str, Runner], feeds: Feeds, seconds: float) -> list[Row]:
    """Times the runners in turn, `seconds` for each, and compares their outputs."""
    given = dict(feeds)

    def call(runner: Runner) -> Any:
        return lambda: runner(given)

    rounds = take_turns({name: call(runner) for name, runner in runners.items()}, seconds * len(runners))
    base = next(iter(runners))
    reference = runners[base](given)
    return [
        {**rounds.row(name, base), "largest_difference": largest_difference(reference, runner(given))}
        for name, runner in runners.items()
    ]


def startup_table(title: str = "start-up in a fresh process, ms", **keys: str) -> Table:
    """A table for `startup_rows`."""
    columns = {
        "runtime": "runtime", "import_ms": "import", "create_ms": "create session", "first_run_ms": "first run",
        "run_ms": "later run", "new_shape_ms": "new shape", "create_ratio": "create, ratio",
        "ready_ratio": "create and first run, ratio",
    }  # fmt: skip
    return Table(title, {**keys, **columns}, plot=("bar", next(iter(keys), "runtime"), "create_ms", "runtime"))


def startup_rows(
    runtimes: Sequence[str], model: str, feeds: Sequence[Feeds], threads: int = 0, repeats: int = 3
) -> list[Row]:
    """Start-up of each runtime; `feeds` holds one set of feeds, or two of different shapes."""
    found = measure_startup(runtimes, model, feeds[0], feeds[1] if len(feeds) > 1 else None, threads, repeats)
    base = found[runtimes[0]]
    return [
        {
            "runtime": name,
            **{f"{key}_ms": seconds * 1e3 for key, seconds in times.items()},
            "create_ratio": times["create"] / base["create"],
            "ready_ratio": (times["create"] + times["first_run"]) / (base["create"] + base["first_run"]),
        }
        for name, times in found.items()
    ]


def memory_table(title: str = "memory beyond interpreter and imports, MiB", **keys: str) -> Table:
    """A table for `memory_rows`."""
    columns = {"runtime": "runtime", "peak_mib": "peak", "after_mib": "after runs", "ratio": "peak, ratio"}
    return Table(title, {**keys, **columns}, plot=("bar", next(iter(keys), "runtime"), "peak_mib", "runtime"))


def memory_rows(runtimes: Sequence[str], model: str, feeds: Feeds, threads: int = 0) -> list[Row]:
    """Memory of each runtime, each in a fresh process."""
    rows: list[Row] = []
    for name in runtimes:
        used = measure_memory(name, model, feeds, threads)
        rows.append({"runtime": name, "peak_mib": used["peak"] / MIB, "after_mib": used["after"] / MIB})
        rows[-1]["ratio"] = rows[-1]["peak_mib"] / max(rows[0]["peak_mib"], 1e-9)
    return rows
