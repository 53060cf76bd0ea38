"""`sardonyx convert`: writes a model for another opset, for any batch size, or with weights in a second file."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from sardonyx.cli.output import Output
from sardonyx.export import export

_EXAMPLES = """examples:
  sardonyx convert model.onnx -o model13.onnx --opset 13
  sardonyx convert model.onnx -o any.onnx --dynamic-batch           one symbol, N, for the batch
  sardonyx convert model.onnx -o any.onnx --dynamic-batch batch
  sardonyx convert model.onnx -o big.onnx --external-data           weights in big.onnx.data
  sardonyx convert model.onnx -o small.onnx --simplify"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "convert", help="write a model for another opset or any batch", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the model to write")
    parser.add_argument("--opset", type=int, metavar="N", help="version of ai.onnx to write for, 7 or newer")
    parser.add_argument(
        "--dynamic-batch",
        nargs="?",
        const=True,
        default=False,
        metavar="SYMBOL",
        help="let inputs have a batch of any size, which is checked at three sizes",
    )
    parser.add_argument("--external-data", action="store_true", help="put weights into one file beside the model")
    parser.add_argument("--simplify", action="store_true", help="fold constants and drop what has no effect first")
    return parser


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    report = export(
        args.model,
        args.output,
        opset=args.opset,
        dynamic_batch=args.dynamic_batch,
        external_data=args.external_data,
        simplify=args.simplify,
    )
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in report.opsets.items())
    output.text(f"{args.output}: {opsets}, IR {report.ir_version}")
    if report.batch is not None:
        batch = report.batch
        was = f" in place of {batch.was}" if batch.was else ""
        output.text(f"batch: {batch.symbol}{was}, run with {', '.join(map(str, batch.sizes))} items; "
                    f"largest difference {batch.max_difference:.2g}")  # fmt: skip
        for node in batch.repaired:
            output.text(f"  repaired {node}")
    output.result(
        {
            "path": args.output,
            "opsets": {domain or "ai.onnx": version for domain, version in report.opsets.items()},
            "ir_version": report.ir_version,
            "batch": dataclasses.asdict(report.batch) if report.batch is not None else None,
        }
    )
    return 0
