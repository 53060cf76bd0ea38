"""`sardonyx bench`: times a model, against other runtimes where they are installed, in turn in one process."""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sardonyx.cli.feeds import add_dim_argument, dims_from, feeds_from
from sardonyx.cli.output import Output, UsageError
from sardonyx.cli.precision import add_precision_argument, options_from
from sardonyx.session import InferenceSession

_EXAMPLES = """examples:
  sardonyx bench model.onnx
  sardonyx bench model.onnx --against onnxruntime openvino --batch 1 8 32
  sardonyx bench model.onnx --threads 1 --seconds 10

With --precision bf16 OpenVINO computes in bf16 as well; onnxruntime has no such option and computes in f32.
The runtimes take turns, run by run, so that a change of the machine's clock meets all of them alike. A ratio is the
other's median time over that of Sardonyx: above 1, Sardonyx is faster."""

Runner = Callable[[dict[str, Any]], list[Any]]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench", help="time a model", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    parser.add_argument(
        "--against", nargs="+", default=[], choices=("onnxruntime", "openvino"), help="runtimes to compare with"
    )
    parser.add_argument("--batch", nargs="+", type=int, metavar="N", help="extents for the first, symbolic, dimension")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="as for `sardonyx run`")
    parser.add_argument("--threads", type=int, default=0, help="threads for every runtime (default: all CPUs)")
    parser.add_argument("--seconds", type=float, default=3.0, help="time to measure for each batch (default 3)")
    add_precision_argument(parser)
    add_dim_argument(parser)
    return parser


def _sardonyx(args: argparse.Namespace) -> Runner:
    session = InferenceSession(args.model, options_from(args))
    return lambda feeds: session.run(None, feeds)


def _onnxruntime(args: argparse.Namespace) -> Runner:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = runtime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    return lambda feeds: list(session.run(None, feeds))


def _openvino(args: argparse.Namespace) -> Runner:
    core = importlib.import_module("openvino").Core()
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": args.precision}
    if args.threads:
        config["INFERENCE_NUM_THREADS"] = args.threads
    request = core.compile_model(args.model, "CPU", config).create_infer_request()

    def run(feeds: dict[str, Any]) -> list[Any]:
        results = request.infer(list(feeds.values()), share_inputs=True)
        return [results[k] for k in range(len(results))]

    return run


_MAKERS = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def _measure(runners: dict[str, Runner], feeds: dict[str, Any], seconds: float) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runners}
    for run in runners.values():
        for _ in range(3):
            run(feeds)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["sardonyx"]) < 5:
        for name, run in runners.items():
            began = time.perf_counter()
            run(feeds)
            times[name].append(time.perf_counter() - began)
    return times


def _largest_difference(ours: list[Any], theirs: list[Any]) -> float:
    worst = 0.0
    for a, b in zip(ours, theirs, strict=False):
        if isinstance(a, np.ndarray) and a.dtype.kind in "fiub" and a.size:
            scale = max(1.0, float(np.abs(b).max()))
            worst = max(worst, float(np.abs(a.astype(np.float64) - np.asarray(b).astype(np.float64)).max()) / scale)
    return worst


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    runners = {"sardonyx": _sardonyx(args)}
    for name in args.against:
        try:
            runners[name] = _MAKERS[name](args)
        except ImportError:
            raise UsageError(f"{name} is not installed: pip install {name}") from None
    ports = InferenceSession(args.model).get_inputs()
    session = InferenceSession(args.model)
    rows: list[dict[str, Any]] = []
    for batch in args.batch or [0]:
        dims = dims_from(args.dim)
        if batch:
            dims |= {dim: batch for port in ports for dim in port.shape[:1] if isinstance(dim, str)}
        feeds = feeds_from(session, args.input, dims)
        if not args.json:
            output.note(f"measuring {args.seconds:g} s for {', '.join(runners)}")
        times = _measure(runners, feeds, args.seconds * len(runners))
        reference = runners["sardonyx"](feeds)
        ours = statistics.median(times["sardonyx"])
        for name, values in times.items():
            median = statistics.median(values)
            rows.append(
                {
                    "batch": batch or 1,
                    "runtime": name,
                    "median_ms": median * 1e3,
                    "best_ms": min(values) * 1e3,
                    "runs": len(values),
                    "ratio": median / ours,
                    "largest_difference": _largest_difference(reference, runners[name](feeds)),
                }
            )
    columns = ["batch", "runtime", "median_ms", "best_ms", "runs", "ratio"]
    output.table(args.model, columns, [[row[name] for name in columns] for row in rows])
    output.result({"model": args.model, "threads": args.threads, "rows": rows})
    return 0
