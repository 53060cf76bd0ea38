"""The option `--precision` of the commands that run a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from sardonyx.options import Precision, SessionOptions


def add_precision_argument(parser: argparse._ActionsContainer, kinds: Iterable[Precision] = Precision) -> None:
    """Adds the option, with a choice of `kinds`."""
    parser.add_argument(
        "--precision", choices=[kind.value for kind in kinds], default=Precision.F32.value,
        help="what products may be computed in (default f32)",
    )  # fmt: skip


def options_from(args: argparse.Namespace) -> SessionOptions:
    """Options of a session that say what `--precision`, and `--threads` where the command has it, said."""
    options = SessionOptions()
    options.precision = Precision(args.precision)
    options.intra_op_num_threads = getattr(args, "threads", 0)
    return options
