"""Text, tables, progress and JSON for the command line; rich draws them where it is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["Output", "UsageError", "amount"]

T = TypeVar("T")


class UsageError(Exception):
    """The command was called in a way that cannot work; ends it with status 2."""


def amount(value: float, unit: str = "") -> str:
    """1234567 as `1.23 M`, with the unit behind the prefix."""
    for step, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= step:
            return f"{value / step:.2f} {prefix}{unit}"
    return f"{value:g} {unit}".rstrip()


class Output:
    """Where a command says what it found: text, or one JSON document at the end."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def text(self, line: str = "") -> None:
        """Prints a line, unless JSON was asked for."""
        if not self.as_json:
            print(line)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table, unless JSON was asked for; numbers stand to the right."""
        if self.as_json:
            return
        cells = [[_cell(value) for value in row] for row in rows]
        right = [bool(rows) and all(isinstance(row[k], (int, float)) for row in rows) for k in range(len(columns))]
        if sys.stdout.isatty() and self._rich_table(title, columns, cells, right):
            return
        widths = [max([len(name), *(len(row[k]) for row in cells)]) for k, name in enumerate(columns)]
        print(title)
        for row in [list(columns), *cells]:
            parts = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
            print("  " + "  ".join(parts).rstrip())
        print()

    @staticmethod
    def _rich_table(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> bool:
        try:
            from rich.console import Console
            from rich.markup import escape
            from rich.table import Table
        except ImportError:
            return False
        table = Table(title=title, title_justify="left")
        for name, to_right in zip(columns, right, strict=True):
            table.add_column(name, justify="right" if to_right else "left")
        for row in cells:
            table.add_row(*(escape(cell) for cell in row))
        Console().print(table)
        return True

    @staticmethod
    def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
        """Goes through `items` with a bar on stderr where somebody is looking; `total` may be unknown."""
        if not sys.stderr.isatty():
            yield from items
            return
        try:
            from rich.console import Console
            from rich.progress import Progress
        except ImportError:
            for index, item in enumerate(items):
                print(f"\r{what} {index + 1}/{total}\033[K", end="", file=sys.stderr, flush=True)
                yield item
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            return
        # Drawn between items only: a thread that redraws would take time from what is measured.
        with Progress(console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
            task = bar.add_task(what, total=total)
            bar.refresh()
            for item in items:
                yield item
                bar.update(task, advance=1, refresh=True)

    def note(self, line: str) -> None:
        """Says on stderr what takes long."""
        print(line, file=sys.stderr, flush=True)

    def result(self, document: Any) -> None:
        """Prints the JSON document, where JSON was asked for."""
        if self.as_json:
            print(json.dumps(document, indent=1, default=str))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
