"""`sardonyx check`: every problem that keeps a model from running, not only the first."""

from __future__ import annotations

import argparse
import os
from typing import Any

from sardonyx import _core
from sardonyx.cli.output import Output

_EXAMPLES = """examples:
  sardonyx check model.onnx
  sardonyx check model.onnx --json"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check", help="list all problems of a model", description="Lists every problem of a model.", epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    return parser


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; 1 where there are problems."""
    if not os.path.exists(args.model):
        raise FileNotFoundError(f"there is no file '{args.model}'")
    problems = [
        {"kind": kind, "where": where, "message": message} for kind, where, message in _core.check_file(args.model)
    ]
    for problem in problems:
        output.text(f"{problem['kind']}: {problem['message']}")
    output.text(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "no problems")
    output.result({"model": args.model, "problems": problems})
    return 1 if problems else 0
