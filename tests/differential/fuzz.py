"""Random nodes of every operator version for as long as one likes: python -m tests.differential.fuzz --help."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
import onnx

import tests.differential.recipes as recipes
from tests.differential import notes
from tests.differential.case import Case, Mismatch, constraints, draw_case, schemas
from tests.differential.draw import Reject

assert recipes


def choose(operators: Sequence[str], version: int | None) -> list[onnx.defs.OpSchema]:
    """The operator versions to draw from; operators by name, or domain::name."""
    return [
        schema
        for (domain, name), versions in schemas().items()
        for schema in versions
        if (not operators or name in operators or f"{domain}::{name}" in operators)
        and (version is None or schema.since_version == version)
        and not notes.missing(schema)
    ]


def smallest(case: Case, error: Mismatch) -> tuple[Case, Mismatch]:
    """A failing case of the same operator version and types with as few elements as some tries find."""
    best = case, error
    for attempt in range(200):
        try:
            other = Case(case.schema, case.kinds, (attempt,), small=True)
        except Reject:
            continue
        if other.size() >= best[0].size():
            continue
        try:
            other.check()
        except Mismatch as found:
            best = other, found
    return best


def report(case: Case, error: Mismatch) -> str:
    """The mismatch on a node as small as can be found, its model and inputs, and how to run it again."""
    small, found = smallest(case, error)
    kinds = " ".join(f"--kind '{variable}={kind}'" for variable, kind in small.kinds.items())
    domain = f"{small.schema.domain}::" if small.schema.domain else ""
    return (
        f"\n{found}\n\n{small.describe()}\n\n"
        f"Again: python -m tests.differential.fuzz --op {domain}{small.schema.name} "
        f"--version {small.schema.since_version} {kinds} --case {','.join(map(str, small.seed))}"
        f"{' --small' if small.small else ''}"
    )


def run(
    *,
    seed: int,
    draws: int | None = None,
    seconds: float = 60,
    failures: int = 1,
    chosen: Sequence[onnx.defs.OpSchema] | None = None,
    pinned: dict[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Checks random nodes until one of the limits is reached; how many, and a report of each mismatch."""
    chosen = chosen or choose([], None)
    rng = np.random.default_rng(seed)
    stop = time.monotonic() + seconds
    done = 0
    reports: list[str] = []
    while len(reports) < failures and (time.monotonic() < stop if draws is None else done < draws):
        done += 1
        schema = chosen[int(rng.integers(len(chosen)))]
        allowed = list(constraints(schema).items())
        kinds = dict(pinned or {})
        if allowed and not kinds:
            variable, choices = allowed[int(rng.integers(len(allowed)))]
            kinds = {variable: choices[int(rng.integers(len(choices)))]}
        if any(notes.impossible(schema, kind) for kind in kinds.values()):
            continue
        try:
            case = draw_case(schema, kinds, (seed, done))
        except Reject:
            continue
        try:
            case.check()
        except Mismatch as error:
            reports.append(report(case, error))
    return done, reports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="stop after this time")
    parser.add_argument("--draws", type=int, help="stop after this many nodes instead")
    parser.add_argument("--seed", type=int, help="of the whole run; by default another one every time")
    parser.add_argument("--op", action="append", default=[], help="only this operator (repeatable)")
    parser.add_argument("--version", type=int, help="only the operator version that this opset introduced")
    parser.add_argument("--failures", type=int, default=1, help="stop after this many mismatches")
    parser.add_argument("--kind", action="append", default=[], help="type of a type variable: T=tensor(float)")
    parser.add_argument("--case", help="run this one case, as a report names it")
    parser.add_argument("--small", action="store_true", help="the case was drawn small")
    options = parser.parse_args()
    pinned = dict(item.split("=", 1) for item in options.kind)
    chosen = choose(options.op, options.version)
    if not chosen:
        print("no operator version of that name")
        return 2
    if options.case:
        case = Case(chosen[0], pinned, tuple(map(int, options.case.split(","))), small=options.small)
        print(case.describe())
        case.check()
        print("agrees")
        return 0
    seed = int(time.time()) if options.seed is None else options.seed
    start = time.monotonic()
    done, reports = run(
        seed=seed,
        draws=options.draws,
        seconds=options.seconds,
        failures=options.failures,
        chosen=chosen,
        pinned=pinned,
    )
    print("\n".join(reports))
    print(f"{done} nodes, {len(reports)} mismatches, seed {seed}, {time.monotonic() - start:.0f} s")
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())
