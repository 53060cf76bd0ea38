"""A short turn of the fuzzer of tests/fuzz_operators.py, from the same mutants each time."""

from __future__ import annotations

from tests import fuzz_operators

MUTANTS = 20000


def test_mutants_run_or_say_what_is_wrong() -> None:
    seed = 1
    found = list(fuzz_operators.findings(seed, range(MUTANTS)))
    cases = fuzz_operators.all_cases()
    told = [f"{n}: {text}\n{fuzz_operators.describe(fuzz_operators.mutant(cases, seed, n))}" for n, text in found]
    assert not told, "\n".join(told)
