"""Reports: tables of rows with the machine and the command that made them, as text, JSON, Markdown and plots."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sardonyx.cli.output import Output, UsageError
from sardonyx.measure.runtimes import installed

__all__ = ["Report", "Table", "machine"]

Row = dict[str, Any]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, CPUs that the process may use, system and versions."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ("sardonyx", "onnxruntime", "openvino", "torch", "lightgbm", "scikit-learn", "lleaves", "numpy")
    modules = {"scikit-learn": "sklearn"}
    versions = {name: installed(modules.get(name, name)) for name in packages}
    return {
        "processor": _processor(),
        "cpus": cpus,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version is not None},
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        if value == 0 or 1e-3 <= abs(value) < 1e5:
            return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return f"{value:.1e}"
    return str(value)


@dataclass
class Table:
    """Rows under named columns.

    `columns` maps a row's key to the heading. `plot` draws it: ("bar" or "line", key of x, key of y, key of series).
    """

    title: str
    columns: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    plot: tuple[str, str, str, str] | None = None

    def markdown(self) -> str:
        """The table in Markdown, with its title above."""
        cells = [[_text(row.get(key)) for key in self.columns] for row in self.rows]
        lines = [
            f"## {self.title}",
            "",
            "| " + " | ".join(self.columns.values()) + " |",
            "|---" * len(self.columns) + "|",
        ]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
        return "\n".join(lines) + "\n"


class Report:
    """Tables, with notes on what was left out and why.

    Example:
        >>> report = Report("Whole models", Table("times", {"model": "model", "median_ms": "ms"}))
        >>> report.tables[0].rows.append({"model": "resnet50", "median_ms": 35.6})
        >>> print(report.markdown())
    """

    def __init__(self, title: str, *tables: Table, text: str = "") -> None:
        self.title = title
        self.text = text  # what a reader must know, in Markdown
        self.tables = list(tables)
        self.notes: list[str] = []
        self.command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])

    def note(self, line: str) -> None:
        """Remembers what was left out and why, and says it on standard error at once."""
        if line not in self.notes:
            self.notes.append(line)
            print(line, file=sys.stderr, flush=True)

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "title": self.title,
            "command": self.command,
            "machine": machine(),
            "notes": self.notes,
            "tables": [{"title": table.title, "rows": table.rows} for table in self.tables],
        }

    def markdown(self) -> str:
        """Everything, in Markdown."""
        about = machine()
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        where = f"{about['processor']}, {about['cpus']} CPUs, {about['system']}; {versions}"
        head = [f"# {self.title}", "", f"`{self.command}` on {where}.", "", *([self.text, ""] if self.text else [])]
        notes = [f"- {line}" for line in self.notes]
        return "\n".join(head + [table.markdown() for table in self.tables] + notes) + ("\n" if notes else "")

    def plot(self, path: Path) -> None:
        """Draws every table that says how into one picture.

        Raises:
            UsageError: matplotlib is not installed.
        """
        try:
            figure_module = importlib.import_module("matplotlib.figure")
        except ImportError:
            raise UsageError("plots need matplotlib: pip install 'sardonyx[bench]'") from None
        drawn = [table for table in self.tables if table.plot is not None and table.rows]
        figure = figure_module.Figure(figsize=(10, 4 * max(1, len(drawn))), layout="constrained")
        for index, table in enumerate(drawn):
            _draw(figure.add_subplot(len(drawn), 1, index + 1), table)
        figure.savefig(path, dpi=120)

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Adds `--json`, `--markdown` and `--plot`."""
        for form in ("json", "markdown"):
            parser.add_argument(
                f"--{form}",
                nargs="?",
                const="-",
                metavar="FILE",
                help=f"write {form.capitalize()} (default: to stdout)",
            )
        parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the tables (.png, .svg or .pdf)")

    def write(self, args: argparse.Namespace) -> None:
        """Writes what `add_arguments` asked for; tables as text where nothing goes to standard output."""
        forms: list[tuple[str | None, Callable[[], str]]] = [
            (args.json, lambda: json.dumps(self.document(), indent=1) + "\n"),
            (args.markdown, self.markdown),
        ]
        for target, make in forms:
            if target == "-":
                print(make(), end="")
            elif target is not None:
                Path(target).write_text(make(), encoding="utf-8")
        if args.plot is not None:
            self.plot(args.plot)
        if "-" not in (args.json, args.markdown):
            self.show(Output(False))

    def show(self, output: Output) -> None:
        """Prints the tables as text."""
        for table in self.tables:
            cells = [["" if row.get(key) is None else row[key] for key in table.columns] for row in table.rows]
            output.table(table.title, list(table.columns.values()), cells)


def _draw(axes: Any, table: Table) -> None:
    assert table.plot is not None
    kind, x, y, series = table.plot
    names = list(dict.fromkeys(str(row[series]) for row in table.rows))
    places = list(dict.fromkeys(row[x] for row in table.rows))
    for index, name in enumerate(names):
        rows = [row for row in table.rows if str(row[series]) == name and row.get(y) is not None]
        values = [row[y] for row in rows]
        if kind == "line":
            axes.plot([row[x] for row in rows], values, marker="o", label=name)
        else:
            width = 0.8 / len(names)
            at: Sequence[float] = [places.index(row[x]) + width * (index - (len(names) - 1) / 2) for row in rows]
            axes.bar(at, values, width, label=name)
    if kind == "bar":
        axes.set_xticks(range(len(places)), [str(place) for place in places], rotation=45, ha="right")
    axes.set_title(table.title)
    axes.set_xlabel(table.columns.get(x, x))
    axes.set_ylabel(table.columns.get(y, y))
    axes.legend()
