"""Compares what two runs of a model give: how far apart, where, and what is not a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sardonyx.errors import Fail

__all__ = ["Mismatch", "OutputReport", "Report", "compare"]


class Mismatch(Fail, AssertionError):
    """Two runs that should give the same do not.

    Attributes:
        report: what differs.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass
class OutputReport:
    """How far one output is from what it should be.

    Attributes:
        name: of the output.
        run: which run it is from, such as "batch 2".
        equal: whether type and shape are the same and no element is an outlier.
        max_abs, max_rel: the largest differences between finite elements, absolute and by the size of the wanted one.
        outliers: elements that differ by more than atol + rtol * |wanted|, or where only one is NaN or infinite.
        size: elements altogether.
        worst: the index of the largest outlier, or else of the largest difference; None without elements.
        nans, infs: such elements in (what was wanted, what was given).
        problem: a difference of type or shape in words; "" without.
    """

    name: str
    run: str = ""
    equal: bool = True
    max_abs: float = 0.0
    max_rel: float = 0.0
    outliers: int = 0
    size: int = 0
    worst: tuple[int, ...] | None = None
    nans: tuple[int, int] = (0, 0)
    infs: tuple[int, int] = (0, 0)
    problem: str = ""

    def __str__(self) -> str:
        where = f"'{self.name}'" + (f" ({self.run})" if self.run else "")
        if self.problem:
            return f"{where}: {self.problem}"
        text = f"{where}: max abs {self.max_abs:.3g}, max rel {self.max_rel:.3g}"
        if self.outliers:
            text += f", {self.outliers} of {self.size} elements too far off, the worst at {self.worst}"
        for what, (wanted, given) in (("NaN", self.nans), ("infinite", self.infs)):
            if wanted or given:
                text += f", {given} {what} where {wanted} expected"
        return text


@dataclass
class Report:
    """Whether two runs give the same; true where they do.

    Attributes:
        outputs: one report for each output of each run.
        first_divergence: the first value inside the model that differs, with its operator; "" where none was found.
    """

    outputs: list[OutputReport] = field(default_factory=list)
    first_divergence: str = ""

    @property
    def equal(self) -> bool:
        """Whether all outputs are equal."""
        return all(output.equal for output in self.outputs)

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        lines = ["the outputs are equal" if self.equal else "the outputs differ"]
        lines += [f"  {output}" for output in self.outputs]
        if self.first_divergence:
            lines.append(f"  first to differ: {self.first_divergence}")
        return "\n".join(lines)


def compare(
    name: str, wanted: npt.NDArray[Any], given: npt.NDArray[Any], rtol: float, atol: float, run: str = ""
) -> OutputReport:
    """Compares one output; elements are equal where |given - wanted| <= atol + rtol * |wanted|, NaN where NaN is."""
    report = OutputReport(name, run, size=int(wanted.size))
    if wanted.dtype != given.dtype or wanted.shape != given.shape:
        report.equal = False
        report.problem = f"{given.dtype}{list(given.shape)} where {wanted.dtype}{list(wanted.shape)} was expected"
        return report
    if not wanted.size:
        return report
    if wanted.dtype.kind not in "fV":
        far = wanted != given
        report.outliers = int(far.sum())
        report.worst = _index(np.argmax(far), wanted.shape)
        report.equal = not report.outliers
        return report
    a, b = given.astype(np.float64), wanted.astype(np.float64)
    report.nans = (int(np.isnan(b).sum()), int(np.isnan(a).sum()))
    report.infs = (int(np.isinf(b).sum()), int(np.isinf(a).sum()))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.where(same, 0.0, np.where(finite, np.abs(a - b), np.inf))
        size = np.where(finite, np.abs(b), 0.0)
    outlier = distance > atol + rtol * size
    report.max_abs = float(np.max(distance, where=finite, initial=0.0))
    report.max_rel = float(np.max(distance / np.maximum(size, 1e-30), where=finite & (distance > 0), initial=0.0))
    report.outliers = int(outlier.sum())
    report.worst = _index(np.argmax(np.where(outlier, distance, -1.0) if report.outliers else distance), wanted.shape)
    report.equal = not report.outliers
    return report


def _index(flat: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(flat), shape))


def outlier_lines(wanted: Mapping[str, Any], given: Mapping[str, Any], rtol: float, atol: float) -> list[str]:
    """`a[i]=..., b[i]=...` for each element that is too far off, a being what was wanted; at most 100 an output."""
    lines = []
    for name, array in wanted.items():
        a, b = np.asarray(array).ravel(), np.asarray(given[name]).ravel()
        if a.shape != b.shape:
            continue
        places = np.flatnonzero(~np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True))
        lines += [f"a[{i}]={a[i]}, b[{i}]={b[i]}" for i in places[:100]]
        if len(places) > 100:
            lines.append(f"... and {len(places) - 100} more of '{name}'")
    return lines
