"""Runs of several functions in turn, so that a change of the machine's clock meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Rounds", "take_turns"]

WARMUP = 3
MIN_ROUNDS = 5
# What is faster than this is called several times in its turn.
TURN_SECONDS = 0.01
# A pause before each turn. Threads of OpenMP spin for up to ten milliseconds behind their last job and would take CPUs
# from whoever comes next; they sleep by then.
PAUSE_SECONDS = 0.02


@dataclass
class Rounds:
    """Seconds for one call of each function, one entry for each round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """The median time of a call in seconds."""
        return statistics.median(self.seconds[name])

    def spread(self, name: str) -> float:
        """How far the middle half of the times lies apart, relative to the median."""
        low, middle, high = statistics.quantiles(self.seconds[name], n=4)
        return (high - low) / middle

    def ratio(self, name: str, base: str) -> float:
        """The median over rounds of the time of `name` over that of `base` in the same round."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return statistics.median(other / own for other, own in pairs)

    def row(self, name: str, base: str) -> dict[str, Any]:
        """What a report says of one function beside `base`."""
        return {
            "runtime": name,
            "median_ms": self.median(name) * 1e3,
            "best_ms": min(self.seconds[name]) * 1e3,
            "spread": self.spread(name),
            "runs": len(self.seconds[name]),
            "ratio": self.ratio(name, base),
        }


def _calls_in_a_turn(call: Callable[[], object]) -> int:
    calls = 1
    while True:
        began = time.perf_counter()
        for _ in range(calls):
            call()
        seconds = time.perf_counter() - began
        if seconds >= TURN_SECONDS / 2:
            return max(1, round(calls * TURN_SECONDS / seconds))
        calls *= 4


def _turn(call: Callable[[], object], calls: int) -> float:
    if calls > 1:
        call()  # uncounted: it meets the caches that another one left, and wakes threads
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def take_turns(
    functions: Mapping[str, Callable[[], object]], seconds: float, *, min_rounds: int = MIN_ROUNDS
) -> Rounds:
    """Calls each of `functions` in turn, in rounds, for about `seconds` in all and at least `min_rounds` rounds.

    The order is turned by one from round to round.

    Example:
        >>> rounds = take_turns({"a": lambda: sorted(data), "b": lambda: np.sort(array)}, 1.0)
        >>> rounds.ratio("a", "b")
    """
    for call in functions.values():
        for _ in range(WARMUP):
            call()
    calls = {name: _calls_in_a_turn(call) for name, call in functions.items()}
    names = list(functions)
    times: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    number = 0
    while number < min_rounds or time.perf_counter() < end:
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(PAUSE_SECONDS if len(names) > 1 else 0)
            times[name].append(_turn(functions[name], calls[name]))
        number += 1
    return Rounds(times)
