"""What the scripts beside it share: arguments, models and their feeds, and peers that may be missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sardonyx import InferenceSession
from sardonyx.cli.feeds import add_dim_argument, dims_from, random_feeds
from sardonyx.measure import RUNTIMES, Report, why_not

PEERS = tuple(name for name in RUNTIMES if name != "sardonyx")
# Extents of symbolic dimensions that make_models.py uses, besides the batch "N".
DIMS = {"S": 128}


def parser(
    description: str | None,
    examples: str,
    peers: Sequence[str] = PEERS,
    usual: Sequence[str] = ("onnxruntime", "openvino"),
) -> argparse.ArgumentParser:
    """A parser with the arguments that every script takes; `usual` are the peers unless others are named."""
    made = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--against", nargs="*", default=list(usual), choices=peers, metavar="PEER",
        help=f"what to compare with, of {', '.join(peers)} (default {' '.join(usual)}; what is missing is left out)",
    )  # fmt: skip
    made.add_argument("--threads", type=int, default=0, metavar="N", help="threads for each (default: all CPUs)")
    Report.add_arguments(made)
    return made


def add_models(made: argparse.ArgumentParser, only: Sequence[str] = ()) -> None:
    """Adds models, as files or folders, to the arguments; `only` are the names taken from a folder by default."""
    made.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="model files, or folders of them")
    made.add_argument("--only", nargs="+", default=list(only), metavar="NAME", help="models to take from the folders")
    add_dim_argument(made)


def models_of(args: argparse.Namespace) -> list[Path]:
    """The models that the arguments name."""
    found: list[Path] = []
    for path in args.models:
        inside = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
        found += [model for model in inside if not path.is_dir() or not args.only or model.stem in args.only]
    if not found:
        raise SystemExit("no models there; `python bench/make_models.py FOLDER` makes some")
    return found


def runtimes_of(args: argparse.Namespace, model: Path, report: Report) -> list[str]:
    """Sardonyx and the peers that can take part with a model; the report says why others cannot."""
    names = ["sardonyx"]
    for name in args.against:
        reason = why_not(name, str(model))
        if reason is None:
            names.append(name)
        else:
            report.note(f"left out: {reason}")
    return names


def feeds_of(model: Path, args: argparse.Namespace, batch: int, **more: int) -> dict[str, Any]:
    """Random feeds for a batch; masks are all ones."""
    session = InferenceSession(str(model))
    symbols = {dim for port in session.get_inputs() for dim in port.shape[:1] if isinstance(dim, str)}
    feeds = random_feeds(session, {**DIMS, **dict.fromkeys(symbols, batch), **dims_from(args.dim), **more})
    return {name: np.ones_like(value) if "mask" in name else value for name, value in feeds.items()}
