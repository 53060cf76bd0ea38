"""`sardonyx run | inspect | check | convert | explain | bench | profile | train | demo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sardonyx import __version__
from sardonyx.cli import bench, check, convert, demo, explain, inspect, profile, run, train
from sardonyx.cli.output import Output, UsageError
from sardonyx.errors import Error

__all__ = ["main"]

_COMMANDS = (run, inspect, check, convert, explain, bench, profile, train, demo)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sardonyx",
        description="Runs, trains, looks into, converts and measures ONNX models.",
        epilog="Exit status: 0 good, 1 the check failed or the model cannot be run, 2 wrong use.",
    )
    parser.add_argument("--version", action="version", version=f"sardonyx {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        command = module.add_parser(commands)
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        command.set_defaults(main=module.main)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; messages about faults go to stderr."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.main(args, Output(args.json))
    except UsageError as error:
        print(f"sardonyx {args.command}: {error}", file=sys.stderr)
        return 2
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        print(f"sardonyx {args.command}: {error}", file=sys.stderr)
        return 2
    except Error as error:
        print(f"sardonyx {args.command}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return status
