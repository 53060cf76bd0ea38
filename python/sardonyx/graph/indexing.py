"""What stands between brackets, `x[1:, None, ids]`, as the operators that it comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Index", "read_index"]


@dataclass
class Index:
    """Slices of x, then what is gathered from them, then axes that go and axes that come.

    Attributes:
        starts, ends, axes, steps: as ONNX's Slice takes them.
        gathered: axes of the slices, and what else was given there: arrays, lists or tensors.
        dropped: axes that integers stand for.
        added: places of new axes, where those have gone.
    """

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    axes: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    gathered: list[tuple[int, Any]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    added: list[int] = field(default_factory=list)

    def _cut(self, axis: int, start: int, end: int, step: int = 1) -> None:
        self.starts.append(start)
        self.ends.append(end)
        self.axes.append(axis)
        self.steps.append(step)


def read_index(keys: Sequence[Any], rank: Callable[[], int]) -> Index:
    """Integers, slices, Ellipsis and None as NumPy reads them; all else is to be gathered.

    Args:
        rank: the number of axes of what is indexed, asked for only where Ellipsis needs it.
    """
    keys = list(keys)
    if any(k is Ellipsis for k in keys):
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        taken = sum(k is not None for k in keys) - 1
        keys[at : at + 1] = [slice(None)] * (rank() - taken)
    index = Index()
    limit = np.iinfo(np.int64)
    axis = 0
    for place, k in enumerate(keys):
        if k is None:
            index.added.append(place - len(index.dropped))
            continue
        if isinstance(k, (int, np.integer)):
            index._cut(axis, int(k), int(k) + 1 if k != -1 else limit.max)
            index.dropped.append(axis)
        elif not isinstance(k, slice):
            index.gathered.append((axis, k))
        elif k != slice(None):
            step = 1 if k.step is None else int(k.step)
            start = (0 if step > 0 else limit.max) if k.start is None else int(k.start)
            index._cut(axis, start, (limit.max if step > 0 else limit.min) if k.stop is None else int(k.stop), step)
        axis += 1
    return index
