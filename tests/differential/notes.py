"""Where a judge is not believed, and why."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any


def always(case: Any) -> bool:
    return True


# Judge, operator (a pattern), first and last opset of the domain, when it is wrong, and how.
DISTRUSTED: list[tuple[str, str, int, int, Callable[[Any], bool], str]] = []

# Kinds that a schema names and that no model can hold, by operator and version.
IMPOSSIBLE: dict[tuple[str, int], dict[str, str]] = {}


def distrusted(judge: str, op: str, opset: int, case: Any) -> str | None:
    """Why the judge is not asked about this case, or None."""
    for who, pattern, first, last, when, reason in DISTRUSTED:
        if who == judge and fnmatch.fnmatchcase(op, pattern) and first <= opset <= last and when(case):
            return reason
    return None


def impossible(schema: Any, kind: str) -> str | None:
    """Why the kind cannot be drawn for this version, or None."""
    return IMPOSSIBLE.get((schema.name, schema.since_version), {}).get(kind)
