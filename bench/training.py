"""Training steps in Sardonyx beside torch, eager and compiled, in turn in one process; peak memory in fresh ones."""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import parser

from sardonyx import losses, nn, optim
from sardonyx.cli.output import Output
from sardonyx.graph import Executor, placeholder
from sardonyx.measure import Report, Rounds, Table, installed, resident_growth, take_turns
from sardonyx.measure.tables import MIB

EXAMPLES = """examples:
  python bench/training.py
  python bench/training.py --only cnn mlp --against torch --markdown training.md --json training.json
  python bench/training.py --only resnet18 --profile --against       time by operator of ours, no peers

A step is forward, backward and update on one batch that stays the same. All start from the same weights; before
anything is timed their losses over --check steps must agree to 1e-4 of the loss. Ratios are a peer's time over ours:
above 1, Sardonyx is faster. torch updates with its fused optimizers. torch.compile builds its kernels with a C++
compiler (g++ or clang++, found on PATH or named by CXX), which takes a minute for each model the first time."""

PEERS = ("torch", "torch.compile")
RUNTIMES = ("sardonyx", *PEERS)
TOLERANCE = 1e-4
MEMORY_STEPS = 3
VOCABULARY, TOKENS, HIDDEN = 30522, 128, 128

Step = Callable[[], float]


@dataclass
class Case:
    """A network, a batch for it and an optimizer; `network` makes it of the layers of sardonyx.nn or of torch.nn."""

    network: Callable[[Any], Any]
    inputs: Callable[[np.random.Generator], Any]
    classes: int
    optimizer: str
    settings: dict[str, float]


def cnn(layers: Any) -> Any:
    """The convolutional network that SINGA's examples train on digits of 28x28."""
    return layers.Sequential(
        layers.Conv2d(1, 20, 5), layers.ReLU(), layers.MaxPool2d(2),
        layers.Conv2d(20, 50, 5), layers.ReLU(), layers.MaxPool2d(2),
        layers.Flatten(), layers.Linear(800, 500), layers.ReLU(), layers.Linear(500, 10),
    )  # fmt: skip


def mlp(layers: Any) -> Any:
    """Three linear layers: 784, 512, 512, 10."""
    return layers.Sequential(
        layers.Linear(784, 512), layers.ReLU(), layers.Linear(512, 512), layers.ReLU(), layers.Linear(512, 10)
    )


def resnet18(layers: Any) -> Any:
    """ResNet-18 with a thousand classes."""
    if layers is nn:
        return importlib.import_module("sardonyx.compat.flowvision.models").resnet18()
    return importlib.import_module("make_models").import_torchvision().models.resnet18(weights=None)


def bert_tiny(layers: Any) -> Any:
    """Two encoder layers of width 128 over BERT's vocabulary, and a classifier over the first token. No dropout."""

    class BertTiny(layers.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = layers.Embedding(VOCABULARY, HIDDEN)
            self.positions = layers.Embedding(TOKENS, HIDDEN)
            self.norm = layers.LayerNorm(HIDDEN)
            self.encoder = layers.Sequential(
                *(
                    layers.TransformerEncoderLayer(
                        HIDDEN, 2, 4 * HIDDEN, dropout=0.0, activation="gelu", batch_first=True
                    )
                    for _ in range(2)
                )
            )
            self.pooler = layers.Sequential(layers.Linear(HIDDEN, HIDDEN), layers.Tanh())
            self.classifier = layers.Linear(HIDDEN, 2)

        def forward(self, ids: Any) -> Any:
            x = self.encoder(self.norm(self.tokens(ids) + self.positions.weight))
            return self.classifier(self.pooler(x[:, 0]))

    return BertTiny()


def pictures(*shape: int) -> Callable[[np.random.Generator], Any]:
    """A batch of normal numbers."""
    return lambda random: random.standard_normal(shape, np.float32)


CASES = {
    "cnn": Case(cnn, pictures(64, 1, 28, 28), 10, "SGD", {"lr": 0.01, "momentum": 0.9}),
    "resnet18": Case(resnet18, pictures(16, 3, 64, 64), 1000, "SGD", {"lr": 0.001, "momentum": 0.9}),
    "bert_tiny": Case(bert_tiny, lambda random: random.integers(0, VOCABULARY, (16, TOKENS)), 2, "AdamW", {"lr": 1e-4}),
    "mlp": Case(mlp, pictures(64, 784), 10, "SGD", {"lr": 0.01, "momentum": 0.9}),
}


def batch_of(case: Case, seed: int) -> tuple[Any, Any]:
    """Inputs and right classes."""
    random = np.random.default_rng(seed)
    inputs = case.inputs(random)
    return inputs, random.integers(0, case.classes, len(inputs))


class Ours:
    """A training step in Sardonyx."""

    def __init__(self, case: Case, seed: int, threads: int, start: Mapping[str, Any] | None = None) -> None:
        del start  # all others start as this one does
        nn.init.seed(seed)
        self.network = network = case.network(nn)
        inputs, labels = batch_of(case, seed)
        x = placeholder("x", inputs.dtype, ("batch", *inputs.shape[1:]))
        t = placeholder("t", np.int64, ("batch",))
        loss = losses.softmax_cross_entropy(network(x), t)
        update = getattr(optim, case.optimizer)(**case.settings).minimize(loss)
        self.executor = Executor([loss, update], threads=threads)
        self.feeds = {x: inputs, t: labels}

    def __call__(self) -> float:
        return float(self.executor.run(self.feeds)[0])


class Torchs:
    """A training step in torch, eager."""

    compiled = False

    def __init__(self, case: Case, seed: int, threads: int, start: Mapping[str, Any] | None = None) -> None:
        import torch

        torch.set_num_threads(threads)
        network = case.network(torch.nn)
        if start is not None:
            state = {name: torch.from_numpy(value.copy()) for name, value in start.items()}
            lacking = network.load_state_dict(state, strict=False).missing_keys
            assert all(name.endswith("num_batches_tracked") for name in lacking), lacking
        self.optimizer = getattr(torch.optim, case.optimizer)(network.parameters(), fused=True, **case.settings)
        inputs, labels = (torch.from_numpy(value) for value in batch_of(case, seed))

        def forward() -> Any:
            return torch.nn.functional.cross_entropy(network(inputs), labels)

        self.forward = torch.compile(forward) if self.compiled else forward

    def __call__(self) -> float:
        self.optimizer.zero_grad()
        loss = self.forward()
        loss.backward()
        self.optimizer.step()
        return float(loss.item())


class Compiled(Torchs):
    """A training step in torch whose network and loss, forward and backward, torch.compile has compiled."""

    compiled = True


STEPS: dict[str, Any] = {"sardonyx": Ours, "torch": Torchs, "torch.compile": Compiled}


def compiled_step(step: Step) -> list[float]:
    """The first step, in which torch.compile compiles; tells what is missing where that fails."""
    try:
        return [step()]
    except Exception as error:
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Unusable(
            f"torch.compile failed ({type(error).__name__}: {line}); it needs a C++ compiler, such as g++ on PATH or "
            "the one that the variable CXX names, and the headers of Python"
        ) from error


class Unusable(Exception):
    """A peer cannot take part; the message says why."""


def steps_of(name: str, args: argparse.Namespace, report: Report) -> dict[str, Step]:
    """A step of each runtime, behind `--check` steps in which the losses agreed."""
    ours = Ours(CASES[name], args.seed, args.threads)
    start = ours.network.state_dict()
    expected = [ours() for _ in range(args.check)]
    steps: dict[str, Step] = {"sardonyx": ours}
    for peer in args.against:
        step = STEPS[peer](CASES[name], args.seed, args.threads, start)
        try:
            found = compiled_step(step) if peer == "torch.compile" else []
        except Unusable as error:
            report.note(f"{name}: {error}")
            continue
        found += [step() for _ in range(args.check - len(found))]
        apart = max(abs(a - b) / abs(b) for a, b in zip(expected, found))
        if not apart <= TOLERANCE:
            raise SystemExit(f"{name}: losses {expected} in sardonyx, {found} in {peer}: {apart:.1e} apart")
        steps[peer] = step
    return steps


def memory_of(name: str, runtime: str, args: argparse.Namespace) -> float:
    """Bytes at the peak of a fresh process that makes the network and takes a few steps, less those of the imports."""
    command = [sys.executable, __file__, "--only", name, "--peak-of", runtime]
    command += ["--threads", str(args.threads), "--seed", str(args.seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak"])


def print_peak(name: str, runtime: str, args: argparse.Namespace) -> None:
    """What `memory_of` runs in a child."""
    if runtime != "sardonyx":
        importlib.import_module("torch._dynamo" if runtime == "torch.compile" else "torch")

    def work() -> None:
        step = STEPS[runtime](CASES[name], args.seed, args.threads)
        for _ in range(MEMORY_STEPS):
            step()

    print(json.dumps(resident_growth(work)))


def profile_table(name: str, ours: Ours, runs: int) -> Table:
    """Time by operator of ours."""
    totals: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0])
    for row in ours.executor.profile(ours.feeds, runs=runs):
        kernel = totals[f"{row['op']} {row['kernel']}".strip()]
        kernel[0] += row["duration_us"] / runs
        kernel[1] += 1 / runs
    whole = sum(us for us, _ in totals.values())
    columns = {"operator": "operator", "us": "us a step", "share": "%", "nodes": "nodes"}
    table = Table(f"{name} in Sardonyx by operator: {whole / 1e3:.2f} ms a step", columns)
    for kernel, (us, nodes) in sorted(totals.items(), key=lambda item: -item[1][0]):
        table.rows.append({"operator": kernel, "us": us, "share": 100 * us / whole, "nodes": round(nodes)})
    return table


def rows_of(name: str, rounds: Rounds, peaks: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row for each runtime."""
    rows = []
    for runtime in rounds.seconds:
        row = {"model": name, **rounds.row(runtime, "sardonyx"), "steps_per_second": 1 / rounds.median(runtime)}
        if peaks:
            row["peak_mib"] = peaks[runtime] / MIB
            row["memory_ratio"] = peaks[runtime] / peaks["sardonyx"]
        rows.append(row)
    return rows


def means_of(times: Table) -> Table:
    """The geometric means over models of each peer's ratios."""
    columns = {"runtime": "runtime", "models": "models", "ratio": "time, ratio", "memory_ratio": "memory, ratio"}
    table = Table("geometric means", columns)
    for peer in PEERS:
        rows = [row for row in times.rows if row["runtime"] == peer]
        if rows:
            table.rows.append({"runtime": peer, "models": len(rows)})
        for key in ("ratio", "memory_ratio"):
            values = [row[key] for row in rows if key in row]
            if values:
                table.rows[-1][key] = math.exp(sum(map(math.log, values)) / len(values))
    return table


def arguments() -> argparse.Namespace:
    """What the command line says."""
    made = parser(__doc__, EXAMPLES, PEERS, PEERS)
    made.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="NAME",
                      help=f"models to train, of {', '.join(CASES)} (default: all)")  # fmt: skip
    made.add_argument("--seconds", type=float, default=5.0, help="time to measure for each row (default 5)")
    made.add_argument("--check", type=int, default=4, metavar="N", help="steps whose losses must agree (default 4)")
    made.add_argument("--no-memory", action="store_true", help="leave out peak memory, which takes a process a row")
    made.add_argument("--profile", action="store_true", help="add the time by operator of ours")
    made.add_argument("--seed", type=int, default=0, help="of weights and batches (default 0)")
    made.add_argument("--peak-of", choices=RUNTIMES, help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.check < 1:
        made.error(f"--check is {args.check}; at least one step expected")
    args.threads = args.threads or len(os.sched_getaffinity(0))
    return args


def main() -> None:
    args = arguments()
    if args.peak_of is not None:
        print_peak(args.only[0], args.peak_of, args)
        return
    columns = {
        "model": "model", "runtime": "runtime", "median_ms": "median ms", "steps_per_second": "steps a second",
        "spread": "spread", "runs": "rounds", "ratio": "ratio", "peak_mib": "peak MiB", "memory_ratio": "peak, ratio",
    }  # fmt: skip
    times = Table(f"training steps on {args.threads} threads", columns, plot=("bar", "model", "ratio", "runtime"))
    report = Report("Training", times)
    if args.against and installed("torch") is None:
        report.note("left out: torch is not installed: pip install torch torchvision")
        args.against = []
    profiles = []
    for name in Output.progress(args.only, len(args.only), "models"):
        steps = steps_of(name, args, report)
        rounds = take_turns(steps, args.seconds * len(steps))
        if args.profile:
            profiles.append(profile_table(name, steps["sardonyx"], runs=20))
        peaks = {} if args.no_memory else {runtime: memory_of(name, runtime, args) for runtime in steps}
        times.rows += rows_of(name, rounds, peaks)
        del steps
        gc.collect()
        with contextlib.suppress(KeyError):
            sys.modules["torch._dynamo"].reset()
    report.tables += [means_of(times), *profiles]
    report.write(args)


if __name__ == "__main__":
    main()
