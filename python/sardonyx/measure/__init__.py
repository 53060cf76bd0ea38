"""Measurements: runtimes in turn, start-up and memory in fresh processes, reports as JSON, Markdown and plots.

`sardonyx bench` and the scripts of the repository's `bench/` are made of these parts.
"""

from __future__ import annotations

from sardonyx.measure.fresh import measure_memory, measure_startup
from sardonyx.measure.outputs import largest_difference
from sardonyx.measure.report import Report, Table, machine
from sardonyx.measure.resident import resident_growth
from sardonyx.measure.rounds import Rounds, take_turns
from sardonyx.measure.runtimes import RUNTIMES, Runner, Unavailable, installed, load, why_not

__all__ = [
    "RUNTIMES",
    "Report",
    "Rounds",
    "Runner",
    "Table",
    "Unavailable",
    "installed",
    "largest_difference",
    "load",
    "machine",
    "measure_memory",
    "measure_startup",
    "resident_growth",
    "take_turns",
    "why_not",
]
