"""Resident memory of this process."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

__all__ = ["resident_growth"]


def _status(field: str) -> int:
    """Bytes behind a field of /proc/self/status. (What getrusage says of a peak goes back to the parent's.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def resident_growth(work: Callable[[], object]) -> dict[str, float]:
    """Bytes that were resident during `work` (`peak`) and with its result alive (`after`), on top of those before it.

    For fresh processes with the modules imported: memory that was freed before is taken again without any growth.
    """
    gc.collect()
    before = _status("VmRSS")
    with contextlib.suppress(OSError):  # the peak begins anew, where the system allows that
        Path("/proc/self/clear_refs").write_text("5")
    result = work()
    after = _status("VmRSS")
    peak = max(_status("VmHWM"), after)  # the kernel notes peaks a few pages late
    del result
    return {"peak": peak - before, "after": after - before}
