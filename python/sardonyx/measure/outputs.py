"""Outputs of two runtimes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["largest_difference"]


def largest_difference(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The largest difference of two lists of outputs, each relative to the output's largest magnitude or 1.

    Outputs that are no numbers are left out; different shapes, or a NaN on one side only, give infinity.
    """
    worst = 0.0
    for own, other in zip(ours, theirs, strict=False):
        if not isinstance(own, np.ndarray) or own.dtype.kind not in "fiub" or not own.size:
            continue
        a, b = own.astype(np.float64), np.asarray(other).astype(np.float64)
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        finite = np.isfinite(b)
        if finite.any():
            scale = max(1.0, float(np.abs(b[finite]).max()))
            worst = max(worst, float(np.abs(a[finite] - b[finite]).max()) / scale)
    return worst
