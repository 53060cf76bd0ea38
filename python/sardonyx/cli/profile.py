"""`sardonyx profile`: time and bytes of every node, as a table and as a trace for Perfetto."""

from __future__ import annotations

import argparse
import collections
from pathlib import Path
from typing import Any

from sardonyx.cli.feeds import add_dim_argument, dims_from, feeds_from
from sardonyx.cli.output import Output, amount
from sardonyx.cli.precision import add_precision_argument, options_from
from sardonyx.profile import write_trace
from sardonyx.session import InferenceSession

_EXAMPLES = """examples:
  sardonyx profile model.onnx --top 20
  sardonyx profile model.onnx --runs 50 --trace trace.json     open the trace at https://ui.perfetto.dev
  sardonyx profile model.onnx --input x=picture.png --by operator"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "profile", help="time of every node", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="as for `sardonyx run`")
    parser.add_argument("--runs", type=int, default=10, help="runs to measure, after 2 that are not (default 10)")
    parser.add_argument("--top", type=int, default=15, help="rows to print (default 15)")
    parser.add_argument("--by", choices=("node", "operator"), default="node", help="one row for each (default node)")
    parser.add_argument("--threads", type=int, default=0, help="most threads to use (default: all CPUs)")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a Chrome trace")
    add_precision_argument(parser)
    add_dim_argument(parser)
    return parser


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    session = InferenceSession(args.model, options_from(args))
    feeds = feeds_from(session, args.input, dims_from(args.dim))
    for _ in range(2):
        session.run(None, feeds)
    session._core.set_profiling(True)
    for _ in output.progress(range(args.runs), args.runs, "run"):
        session.run(None, feeds)
    session._core.set_profiling(False)
    events = session._core.take_profile()
    if args.trace is not None:
        write_trace(args.trace, events)
    totals: dict[str, dict[str, Any]] = collections.OrderedDict()
    for event in events:
        key = event["name"] if args.by == "node" else event["op"]
        row = totals.setdefault(
            key, {"name": key, "op": event["op"], "kernel": event["kernel"], "us": 0.0, "bytes": 0, "calls": 0}
        )
        row["us"] += event["duration_us"] / args.runs
        row["bytes"] += (event["bytes_read"] + event["bytes_written"]) / args.runs
        row["calls"] += 1
    rows = sorted(totals.values(), key=lambda row: -row["us"])
    whole = sum(row["us"] for row in rows) or 1.0
    output.table(
        f"{whole / 1e3:.3f} ms in nodes for each run",
        [args.by, "kernel", "us", "%", "bytes", "GB/s"],
        [
            [row["name"], row["kernel"], row["us"], 100 * row["us"] / whole, amount(row["bytes"], "B"),
             row["bytes"] / row["us"] / 1e3 if row["us"] else 0.0]
            for row in rows[: args.top]
        ],
    )  # fmt: skip
    if len(rows) > args.top:
        output.text(f"... and {len(rows) - args.top} more (--top)")
    if args.trace is not None:
        output.text(f"trace written to {args.trace}")
    output.result({"us_per_run": whole, "rows": rows})
    return 0
