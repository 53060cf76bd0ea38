"""`sardonyx run`: runs a model once and shows or saves what comes out."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from sardonyx.cli.feeds import add_dim_argument, dims_from, feeds_from
from sardonyx.cli.output import Output
from sardonyx.cli.precision import add_precision_argument, options_from
from sardonyx.session import InferenceSession

_EXAMPLES = """examples:
  sardonyx run model.onnx                                 random values for every input
  sardonyx run model.onnx --input x=picture.png --input y=data.npy --output-dir out
  sardonyx run model.onnx --input 'ids=[[1, 2, 3]]' --fetch encoder/add_3"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run", help="run a model once", description="Runs a model once and shows what comes out.", epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=VALUE",
        help="a .npy, .npz, picture or .txt file, JSON numbers, or the word random; inputs left out are random",
    )  # fmt: skip
    parser.add_argument("--fetch", action="append", metavar="NAME", help="a tensor to return (default: all outputs)")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="save each result as DIR/NAME.npy")
    parser.add_argument("--seed", type=int, default=0, help="seed of random inputs (default 0)")
    add_precision_argument(parser)
    add_dim_argument(parser)
    return parser


def _describe(value: Any) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        return {"type": type(value).__name__, "value": repr(value)[:200]}
    row: dict[str, Any] = {"type": str(value.dtype), "shape": list(value.shape)}
    if value.size and value.dtype.kind in "fiu":
        row |= {"min": value.min().item(), "mean": float(value.mean()), "max": value.max().item()}
        row["nan"] = int(np.isnan(value).sum()) if value.dtype.kind == "f" else 0
    row["first"] = [item.item() if hasattr(item, "item") else item for item in value.ravel()[:8]]
    return row


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    session = InferenceSession(args.model, options_from(args))
    feeds = feeds_from(session, args.input, dims_from(args.dim), args.seed)
    began = time.perf_counter()
    results = session.run(args.fetch, feeds)
    seconds = time.perf_counter() - began
    names = args.fetch or [port.name for port in session.get_outputs()]
    rows = {name: _describe(value) for name, value in zip(names, results, strict=True)}
    if args.output_dir is not None:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        for index, (name, value) in enumerate(zip(names, results, strict=True)):
            path = args.output_dir / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name) or index}.npy"
            np.save(path, np.asarray(value, object if isinstance(value, (list, dict)) else None))
            rows[name]["file"] = str(path)
    for name, row in rows.items():
        shape = "x".join(map(str, row["shape"])) if row.get("shape") else "scalar" if "shape" in row else ""
        spread = f"  min {row['min']:.6g}  mean {row['mean']:.6g}  max {row['max']:.6g}" if "mean" in row else ""
        output.text(f"{name}: {row['type']} {shape}{spread}")
        output.text(f"  {row.get('value') or row['first']}")
    output.text(f"{seconds * 1e3:.2f} ms (first run)")
    output.result({"outputs": rows, "seconds": seconds})
    return 0
