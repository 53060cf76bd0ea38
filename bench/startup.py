"""Start-up in fresh processes, a plan for a new shape, and what a call of a model of one node costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from common import add_models, feeds_of, models_of, parser, runtimes_of
from onnx import TensorProto, helper

import sardonyx
from sardonyx.cli.output import Output
from sardonyx.measure import Report, Table, installed, load, take_turns
from sardonyx.measure.tables import startup_rows, startup_table

EXAMPLES = """examples:
  python bench/startup.py models
  python bench/startup.py models --only resnet50 --repeats 7 --json startup.json

A ratio is a peer's time over that of Sardonyx: above 1, Sardonyx is faster. "new shape" is how much longer the first
run of two rows takes than a later one. One uncounted process of each runtime brings the file into memory."""


def one_node_model(path: Path) -> None:
    """Writes x + y of one element."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y", "z")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "one_node", ports[:2], ports[2:])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[opset]), path)


def _session_calls(runtime: Any, model: str, feeds: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Ways to call a session of onnxruntime's interface."""
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    values = {name: runtime.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("z", "cpu")
    into = session.io_binding()
    for name, value in values.items():
        into.bind_ortvalue_input(name, value)
    into.bind_ortvalue_output("z", runtime.OrtValue.ortvalue_from_numpy(np.zeros_like(feeds["x"])))
    return {
        "run": lambda: session.run(None, feeds),
        "run, output named": lambda: session.run(["z"], feeds),
        "run_with_ort_values": lambda: session.run_with_ort_values(["z"], values),
        "run_with_iobinding": lambda: session.run_with_iobinding(binding),
        "run_with_iobinding, bound output": lambda: session.run_with_iobinding(into),
    }


def call_table(peers: list[str], seconds: float) -> Table:
    """Microseconds for a steady call of one node."""
    columns = {"call": "call", "runtime": "runtime", "us": "us", "spread": "spread", "ratio": "ratio"}
    table = Table("a steady call of a model of one node", columns, plot=("bar", "call", "us", "runtime"))
    feeds = {"x": np.ones(1, np.float32), "y": np.ones(1, np.float32)}
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "one_node.onnx")
        one_node_model(Path(model))
        ways = {"sardonyx": _session_calls(sardonyx, model, feeds)}
        if "onnxruntime" in peers:
            import onnxruntime

            ways["onnxruntime"] = _session_calls(onnxruntime, model, feeds)
        for name in peers:
            if name not in ways:
                runner = load(name, model)
                ways[name] = {"run": lambda runner=runner: runner(feeds)}
        for way in ways["sardonyx"]:
            calls = {name: of[way] for name, of in ways.items() if way in of}
            rounds = take_turns(calls, seconds)
            for name in calls:
                row = rounds.row(name, "sardonyx")
                table.rows.append({"call": way, "us": row["median_ms"] * 1e3, **row})
    return table


def main() -> None:
    made = parser(__doc__, EXAMPLES)
    add_models(made)
    made.add_argument("--repeats", type=int, default=3, metavar="N", help="processes for each row (default 3)")
    made.add_argument("--seconds", type=float, default=1.0, help="time for each way to call one node (default 1)")
    args = made.parse_args()
    table = startup_table(model="model")
    report = Report("Start-up", table)
    models = models_of(args)
    for model in Output.progress(models, len(models), "models"):
        names = runtimes_of(args, model, report)
        feeds = [feeds_of(model, args, batch) for batch in (1, 2)]
        rows = startup_rows(names, str(model), feeds, args.threads, args.repeats)
        table.rows += [{"model": model.stem, **row} for row in rows]
    report.tables.append(
        call_table([name for name in args.against if name != "torch" and installed(name)], args.seconds)
    )
    report.write(args)


if __name__ == "__main__":
    main()
