"""`sardonyx bench`: times a model, against other runtimes where they are installed, in turn in one process."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sardonyx.cli.feeds import add_dim_argument, dims_from, feeds_from
from sardonyx.cli.output import Output, UsageError
from sardonyx.cli.precision import add_precision_argument
from sardonyx.measure import Report, Unavailable, load
from sardonyx.measure.tables import memory_rows, memory_table, startup_rows, startup_table, time_rows, times_table
from sardonyx.session import InferenceSession

_EXAMPLES = """examples:
  sardonyx bench model.onnx
  sardonyx bench model.onnx --against onnxruntime openvino --batch 1 8 32
  sardonyx bench model.onnx --threads 1 2 4 --plot threads.png
  sardonyx bench model.onnx --against onnxruntime --startup --memory --markdown report.md

With --precision bf16 OpenVINO computes in bf16 as well; onnxruntime has no such option and computes in f32.
The runtimes take turns, run by run, so that a change of the machine's clock meets all of them alike. A ratio is the
other's time over that of Sardonyx, the median over rounds: above 1, Sardonyx is faster. Start-up and memory are
measured in fresh processes. torch takes part where torch.export saved model.pt2 beside model.onnx."""

PEERS = ("onnxruntime", "openvino", "torch")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench", help="time a model", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    parser.add_argument("--against", nargs="+", default=[], choices=PEERS, help="runtimes to compare with")
    parser.add_argument("--batch", nargs="+", type=int, metavar="N", help="extents for the first, symbolic, dimension")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="as for `sardonyx run`")
    parser.add_argument(
        "--threads", nargs="+", type=int, default=[0], metavar="N", help="threads for every runtime (default: all CPUs)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="time to measure for each row (default 3)")
    parser.add_argument("--startup", action="store_true", help="measure start-up as well")
    parser.add_argument("--memory", action="store_true", help="measure memory as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the tables (.png, .svg or .pdf)")
    add_precision_argument(parser)
    add_dim_argument(parser)
    return parser


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    session = InferenceSession(args.model)
    names = ["sardonyx", *args.against]
    given = dims_from(args.dim)
    feeds_by_batch: dict[int, dict[str, Any]] = {}
    symbols = {dim for port in session.get_inputs() for dim in port.shape[:1] if isinstance(dim, str)}
    for batch in args.batch or [0]:
        first = dict.fromkeys(symbols, batch) if batch else {}
        feeds_by_batch[batch or 1] = feeds_from(session, args.input, given | first)
    del session
    times = times_table(args.model, "batch", batch="batch", threads="threads")
    if len(args.threads) > 1:
        times.plot = ("line", "threads", "median_ms", "runtime")
    report = Report(f"sardonyx bench {Path(args.model).name}", times)
    try:
        for threads in args.threads:
            runners = {name: load(name, args.model, threads, args.precision) for name in names}
            for batch, feeds in feeds_by_batch.items():
                output.note(f"measuring {args.seconds:g} s for {', '.join(runners)}")
                rows = time_rows(runners, feeds, args.seconds)
                times.rows += [{"batch": batch, "threads": threads, **row} for row in rows]
        batches = list(feeds_by_batch.values())
        if args.startup:
            report.tables.append(startup_table())
            report.tables[-1].rows += startup_rows(names, args.model, batches, args.threads[0])
        if args.memory:
            report.tables.append(memory_table())
            report.tables[-1].rows += memory_rows(names, args.model, batches[0], args.threads[0])
    except Unavailable as error:
        raise UsageError(str(error)) from None
    if args.markdown is not None:
        args.markdown.write_text(report.markdown(), encoding="utf-8")
    if args.plot is not None:
        report.plot(args.plot)
    report.show(output)
    document = report.document()
    output.result({"model": args.model, "threads": args.threads[0], "rows": times.rows, **document})
    return 0
