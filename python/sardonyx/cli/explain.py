"""`sardonyx explain`: what the passes did to a model, what kept them from doing more, and which kernels run."""

from __future__ import annotations

import argparse
import collections
from typing import Any

from sardonyx.cli.feeds import add_dim_argument, dims_from, random_feeds
from sardonyx.cli.output import Output
from sardonyx.session import InferenceSession

_EXAMPLES = """examples:
  sardonyx explain model.onnx                 passes that fired and that did not, with reasons
  sardonyx explain model.onnx --run --dim N=8 also runs it once, to show the kernel of each node"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command's arguments."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain", help="what the passes did and why", description=__doc__, epilog=_EXAMPLES
    )
    parser.add_argument("model", help="path of the model")
    parser.add_argument("--run", action="store_true", help="run once on random inputs, so that kernels are known")
    add_dim_argument(parser)
    return parser


def main(args: argparse.Namespace, output: Output) -> int:
    """Runs the command."""
    session = InferenceSession(args.model)
    if args.run:
        session.run(None, random_feeds(session, dims_from(args.dim)))
    events = session._core.explain()
    placements = session.get_provider_report()
    fired = collections.Counter(row["name"] for row in events if row["fired"])
    missed = collections.Counter((row["name"], row["reason"]) for row in events if not row["fired"])
    output.table("passes that fired", ["pass", "times"], [[name, count] for name, count in fired.most_common()])
    output.table(
        "passes that did not",
        ["pass", "times", "reason"],
        [[n, count, why] for (n, why), count in missed.most_common()],
    )
    kernels = collections.Counter((row.op, row.kernel) for row in placements)
    output.table(
        f"{len(placements)} nodes run on the CPU", ["operator", "kernel", "nodes"],
        [[op, kernel, count] for (op, kernel), count in kernels.most_common()],
    )  # fmt: skip
    output.result({"passes": events, "nodes": [vars(row) for row in placements]})
    return 0
