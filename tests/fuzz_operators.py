"""Mutates the cases of tests/ops and runs them in child processes: each must run or say what is wrong, and no more.

`python -m tests.fuzz_operators --seconds 600 --seed 7` prints what it finds; a mutant is run again by its number with
`--only 1234`. What counts as a finding: a crash, a hang, an exception that is no error of sardonyx, an error that does
not name the node, and a difference between the model as it is and the model with constants folded and nodes fused.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import importlib
import os
import pickle
import random
import re
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from tests.ops import harness
from tests.ops.harness import Case, Constant

HANG_SECONDS = 20.0
MEMORY_BYTES = 3 << 30
# Work that the specification asks for, however long it takes.
ENDLESS = {"Loop", "Scan", "SequenceMap"}
# Their results differ from run to run.
RANDOM = re.compile(r"Random|Bernoulli|Multinomial|Dropout")

INTEGERS = [0, 1, -1, 2, -2, 7, 1000, 2**31 - 1, -(2**31), 2**32, 2**40, -(2**40), 2**62, -(2**62), 2**63 - 1, -(2**63)]
REALS = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, 1e30, -1e30, 3e38, float("nan"), float("inf"), float("-inf")]
TEXTS = ["", "x", "NOTSET", "SAME_UPPER", "linear", "nearest", "\0", "ä" * 40, "none", "sum"]
DTYPES = [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_, object]


def all_cases() -> list[Case]:
    cases = []
    for path in sorted((Path(__file__).parent / "ops").glob("test_*.py")):
        module = importlib.import_module(f"tests.ops.{path.stem}")
        for test in vars(module).values():
            for mark in getattr(test, "pytestmark", []):
                if mark.name != "parametrize":
                    continue
                for value in mark.args[1]:
                    case = value.case if isinstance(value, harness.Raises) else value
                    if isinstance(case, Case) and _small(case):
                        cases.append(case)
    return cases


def _small(case: Case) -> bool:
    return sum(np.asarray(harness._plain(x)).size for x in case.inputs if not isinstance(x, list)) < 20000


class Mutator:
    """One or a few changes to a copy of a case; the same for the same random state."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def mutate(self, case: Case) -> Case:
        inputs = [copy.copy(x) for x in case.inputs]
        attrs = dict(case.attrs)
        opset, outputs = case.opset, case.output_names()
        for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
            what = self.rng.random()
            if what < 0.62 and inputs:
                i = self.rng.randrange(len(inputs))
                inputs[i] = self.input(inputs[i])
            elif what < 0.68 and inputs:
                inputs = self.arity(inputs)
            elif what < 0.92 and attrs:
                self.attribute(attrs)
            elif what < 0.97:
                opset = self.rng.randint(1, 28) if case.domain == "" else opset
            else:
                outputs = self.rng.choice(
                    [outputs[:1], [*outputs, "extra"], outputs[:-1] or outputs, ["", *outputs[1:]]]
                )
        if not any(outputs):
            outputs = case.output_names()
        while inputs and inputs[-1] is None:
            inputs.pop()
        return Case(case.op, inputs, attrs, opset=opset, domain=case.domain, outputs=outputs)

    def arity(self, inputs: list[Any]) -> list[Any]:
        i = self.rng.randrange(len(inputs))
        changed = [
            [*inputs[:i], None, *inputs[i + 1 :]],
            inputs[:i],
            [*inputs, inputs[i]],
            [*inputs[:i], *inputs[i + 1 :]],
        ]
        return self.rng.choice(changed)

    def input(self, given: Any) -> Any:
        if given is None or isinstance(given, (list, tuple)):
            return given
        value = np.array(harness._plain(given))
        value = self.rng.choice([self.elements, self.elements, self.shape, self.dtype])(value)
        return Constant(value) if isinstance(given, Constant) or self.rng.random() < 0.3 else value

    def elements(self, value: np.ndarray) -> np.ndarray:
        if value.size == 0:
            return value
        flat = value.reshape(-1)
        places = [self.rng.randrange(flat.size) for _ in range(self.rng.choice([1, 1, 2]))]
        if self.rng.random() < 0.2:
            places = list(range(flat.size))
        fill = self.scalar(value)
        for place in places:
            flat[place] = fill
        return flat.reshape(value.shape)

    def scalar(self, value: np.ndarray) -> Any:
        if value.dtype.kind in "OUS":
            return self.rng.choice(TEXTS)
        if value.dtype == np.bool_:
            return self.rng.random() < 0.5
        if value.dtype.kind in "iu":
            info = np.iinfo(value.dtype)
            choices = [*INTEGERS, *value.shape, int(info.min), int(info.max)]
            return np.array(min(max(self.rng.choice(choices), info.min), info.max), value.dtype)
        with np.errstate(all="ignore"):
            try:
                return np.array(self.rng.choice(REALS)).astype(value.dtype)
            except (TypeError, ValueError):
                return value.reshape(-1)[0]

    def shape(self, value: np.ndarray) -> np.ndarray:
        kinds = ["scalar", "flat", "more", "empty", "shorter", "longer", "vector", "less", "none"]
        kind = self.rng.choice(kinds)
        axis = self.rng.randrange(value.ndim) if value.ndim else 0
        if kind == "scalar":
            return value.reshape(-1)[:1].reshape(()) if value.size else value
        if kind == "flat":
            return value.reshape(-1)
        if kind == "more":
            return np.expand_dims(value, self.rng.randint(0, value.ndim))
        if value.ndim == 0:
            return value.reshape(1)
        if kind == "empty":
            return np.take(value, [], axis)
        if kind == "shorter":
            return np.take(value, range(max(value.shape[axis] - 1, 0)), axis)
        if kind == "longer":
            extent = value.shape[axis]
            return np.take(value, [*range(extent), *[max(extent - 1, 0)] * (extent > 0)], axis) if value.size else value
        if kind == "vector":
            return value.reshape(-1)[: self.rng.randint(0, value.size)]
        if kind == "less" and value.shape[axis] > 0:
            return np.take(value, 0, axis)
        return np.zeros((0,) * value.ndim, value.dtype)

    def dtype(self, value: np.ndarray) -> np.ndarray:
        target = self.rng.choice([*DTYPES, ml_dtypes.bfloat16])
        with np.errstate(all="ignore"), contextlib.suppress(TypeError, ValueError, OverflowError):
            if target is object:
                return np.array([str(x) for x in value.reshape(-1)], object).reshape(value.shape)
            return value.astype(target)
        return value

    def attribute(self, attrs: dict[str, Any]) -> None:
        name = self.rng.choice(sorted(attrs))
        value = attrs[name]
        if self.rng.random() < 0.1:
            del attrs[name]
        elif isinstance(value, (bool, int, np.integer)):
            attrs[name] = self.rng.choice(INTEGERS)
        elif isinstance(value, float):
            attrs[name] = self.rng.choice(REALS)
        elif isinstance(value, str):
            attrs[name] = self.rng.choice(TEXTS)
        elif isinstance(value, (list, tuple)) and value:
            items = list(value)
            i = self.rng.randrange(len(items))
            kind = self.rng.random()
            if kind < 0.2:
                items = items[:i]
            elif kind < 0.3:
                items.append(items[i])
            elif isinstance(items[i], (int, np.integer)):
                items[i] = self.rng.choice(INTEGERS)
            elif isinstance(items[i], float):
                items[i] = self.rng.choice(REALS)
            elif isinstance(items[i], str):
                items[i] = self.rng.choice(TEXTS)
            if items:
                attrs[name] = items


def mutant(cases: list[Case], seed: int, number: int) -> Case:
    rng = random.Random(f"{seed}/{number}")
    return Mutator(rng).mutate(rng.choice(cases))


@dataclasses.dataclass
class Outcome:
    error: BaseException | None = None
    values: list[Any] | None = None


def attempt(case: Case, level: str, initializers: bool, symbolic: bool) -> Outcome | None:
    """None where the harness itself cannot write the mutant as a model."""
    try:
        model = case.model(initializers=initializers, symbolic=symbolic)
        model.SerializeToString()
        feeds = case.feeds(initializers=initializers)
    except Exception:
        return None
    try:
        return Outcome(values=harness.session(model, level).run(None, feeds))
    except Exception as error:
        return Outcome(error=error)


def complaint(outcome: Outcome, case: Case) -> str | None:
    error = outcome.error
    if error is None:
        return None
    text = f"{type(error).__name__}: {error}"
    if text.startswith("ValueError: array is too big"):
        return None  # an empty array whose other extents NumPy does not take
    if type(error).__module__ != "sardonyx.errors":
        return "no error of sardonyx: " + text
    if "assertion" in text.lower():
        return "an assertion: " + text
    if "node" not in text and case.op not in text and "input" not in text and "output" not in text:
        return "names no node: " + text
    return None


def check(case: Case) -> str | None:
    """What is wrong with how a mutant is treated, or None."""
    plain = attempt(case, "ORT_DISABLE_ALL", False, True)
    folded = attempt(case, "ORT_ENABLE_ALL", True, False)
    if plain is None or folded is None:
        return None
    for outcome in (plain, folded):
        found = complaint(outcome, case)
        if found:
            return found
    if (plain.error is None) != (folded.error is None):
        error = plain.error or folded.error
        if "memory" in str(error) or "symbolic" in str(error):
            return None
        which = "only as it is" if plain.error else "only with constants"
        return f"fails {which}: {type(error).__name__}: {error}"
    if plain.values is not None and folded.values is not None and not RANDOM.search(case.op):
        try:
            harness.compare(folded.values, plain.values, rtol=1e-2, atol=1e-2)
        except (AssertionError, ValueError) as error:
            return "two results: " + str(error)[:400]
    return None


def describe(case: Case) -> str:
    inputs = []
    for x in case.inputs:
        value = harness._plain(x)
        if value is None:
            inputs.append("None")
        elif isinstance(value, (list, tuple)):
            inputs.append(f"list of {len(value)}")
        else:
            array = np.asarray(value)
            text = np.array2string(array.reshape(-1)[:12], separator=",").replace("\n", "")
            inputs.append(("const " if isinstance(x, Constant) else "") + f"{array.dtype}{list(array.shape)} {text}")
    attrs = {k: v for k, v in case.attrs.items() if not isinstance(v, onnx.GraphProto)}
    return f"{case.domain}:{case.op} opset={case.opset} {attrs} outputs={case.outputs}\n    " + "\n    ".join(inputs)


def child(cases: list[Case], seed: int, numbers: range, limit: int, out: int) -> None:
    """Writes (number, started) and (number, finding) records; a record that is missing tells of a crash.

    `limit` bounds the memory beyond what the process holds already, which is much in a long run of tests.
    """
    if limit:
        limit += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with np.errstate(all="ignore"):
        for number in numbers:
            case = mutant(cases, seed, number)
            if case.op in ENDLESS:
                continue
            write(out, (number, None, True))
            try:
                found = check(case)
            except MemoryError:
                found = None
            write(out, (number, found, False))


def write(out: int, record: Any) -> None:
    data = pickle.dumps(record)
    os.write(out, struct.pack("<I", len(data)) + data)


def read(source: int) -> Any:
    """The next record; None at the end, False when none comes in time."""
    ready, _, _ = select.select([source], [], [], HANG_SECONDS)
    if not ready:
        return False
    head = os.read(source, 4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack("<I", head)
    data = b""
    while len(data) < size:
        data += os.read(source, size - len(data))
    return pickle.loads(data)


def findings(seed: int, numbers: range, limit: int = MEMORY_BYTES, seconds: float = 1e9) -> Iterator[tuple[int, str]]:
    cases = all_cases()
    deadline = time.monotonic() + seconds
    at = numbers.start
    while at < numbers.stop and time.monotonic() < deadline:
        source, out = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(source)
            try:
                child(cases, seed, range(at, numbers.stop), limit, out)
                os._exit(0)
            finally:
                os._exit(1)
        os.close(out)
        running = None
        stopped = False
        while True:
            record = read(source)
            if record is None:
                break
            if record is False or time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                stopped = True
                if record is False and running is not None:
                    yield running, "hangs"
                break
            number, found, started = record
            running = number if started else None
            at = number + 1
            if found:
                yield number, found
        os.close(source)
        _, status = os.waitpid(pid, 0)
        if not stopped and status != 0:
            if running is not None:
                yield running, f"crash: {'signal ' + str(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else status}"
            else:
                at += 1
        elif not stopped and running is None:
            break


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one mutant, run in this process")
    parser.add_argument("--no-limit", action="store_true", help="do not limit memory (sanitizers need much)")
    options = parser.parse_args()
    cases = all_cases()
    if options.only is not None:
        case = mutant(cases, options.seed, options.only)
        print(describe(case))
        print(check(case))
        return 0
    count, seen = 0, {}
    limit = 0 if options.no_limit else MEMORY_BYTES
    for number, found in findings(options.seed, range(options.first, 1 << 40), limit, options.seconds):
        case = mutant(cases, options.seed, number)
        key = (case.domain, case.op, re.sub(r"[-\d.e+]+", "#", found)[:160])
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            continue
        count += 1
        print(f"--- {number}: {found}\n{describe(case)}", flush=True)
    print(f"{count} kinds of findings")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
