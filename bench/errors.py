"""Measures the error of each fast path against float64, beside a plain f32 computation and what is promised."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
from error_cases import FAMILIES

from sardonyx.cli.output import Output
from sardonyx.measure import Report, Table

EXAMPLES = """examples:
  python bench/errors.py --markdown docs/reference/numerical-error.md
  python bench/errors.py --only convolutions products

Every tier of kernels runs in a process of its own. "plain f32" sums one by one in f32, or is NumPy's f32 function. u is
2^-24. The exit status is 1 where an error is larger than promised."""

TEXT = """Largest errors against float64. They count in units of what cannot be helped: u = 2^-24, half the distance of
neighbours at 1, times the magnitudes that go into a result. "plain f32" is the error, in the same units, of summing one
by one in f32, or of NumPy's f32 function. "promised" is the most that Sardonyx allows itself: for a sum the number of
its terms, the bound that holds for any order; for Winograd convolution six times the plain error, or six units. Tests
hold every tier of kernels to the promises."""
BEST = "best"
TIERS = ("baseline", "avx2", BEST)


def measured(tier: str, families: list[str], seed: int) -> list[dict[str, Any]]:
    """The rows of one tier, from a child that is held to it."""
    environment = {key: value for key, value in os.environ.items() if key != "SARDONYX_ISA"}
    if tier != BEST:
        environment["SARDONYX_ISA"] = tier
    command = [sys.executable, __file__, "--rows", "--seed", str(seed), "--only", *families]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def merged(by_tier: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row for each path, with a column for each tier and a verdict."""
    found = []
    for rows in zip(*by_tier.values(), strict=True):
        row = dict(rows[-1])
        row |= {tier: of_tier["error"] for tier, of_tier in zip(by_tier, rows, strict=True)}
        ran = row["expected_kernel"] in row["kernels"]
        kept = all(of_tier["error"] <= of_tier["bound"] for of_tier in rows)
        row["holds"] = ("yes" if kept else "NO") if ran else f"NO: not '{row['expected_kernel']}'"
        found.append(row)
    return found


def main() -> int:
    made = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--only", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), metavar="FAMILY")
    made.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    made.add_argument("--rows", action="store_true", help="print the rows of this process's tier as JSON and stop")
    Report.add_arguments(made)
    args = made.parse_args()
    if args.rows:
        rows = [case.errors() for family in args.only for case in FAMILIES[family](np.random.default_rng(args.seed))]
        print(json.dumps(rows))
        return 0
    columns = {
        "path": "path", "kernels": "kernels", "length": "length", "units": "errors count in", "plain": "plain f32",
        "baseline": "baseline", "avx2": "avx2", BEST: "best tier here", "bound": "promised", "holds": "holds",
    }  # fmt: skip
    table = Table("Largest errors against float64", columns)
    tiers = Output.progress(TIERS, len(TIERS), "tiers")
    table.rows += merged({tier: measured(tier, args.only, args.seed) for tier in tiers})
    report = Report("Numerical error", table, text=TEXT)
    report.write(args)
    return 0 if all(row["holds"] == "yes" for row in table.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
