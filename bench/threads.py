"""Times models on 1, 2, 4 ... threads up to the number of CPUs, with the efficiency of each."""

from __future__ import annotations

import os

from common import add_models, feeds_of, models_of, parser, runtimes_of

from sardonyx.cli.output import Output
from sardonyx.measure import Report, load
from sardonyx.measure.tables import time_rows, times_table

EXAMPLES = """examples:
  python bench/threads.py models --only resnet50 bert_base --plot threads.png
  python bench/threads.py models --sweep 1 3 6 --batch 8

Efficiency is the time on one thread over the number of threads times the time on them: 1 is perfect."""


def sweep_of(cpus: int) -> list[int]:
    """Powers of two below `cpus`, and `cpus`."""
    return [*(1 << k for k in range(cpus.bit_length()) if 1 << k < cpus), cpus]


def main() -> None:
    made = parser(__doc__, EXAMPLES)
    add_models(made, only=("resnet50", "mobilenet_v2", "bert_base"))
    made.add_argument("--batch", type=int, default=1, metavar="N", help="batch (default 1)")
    made.add_argument("--seconds", type=float, default=3.0, help="time to measure for each row (default 3)")
    cpus = len(os.sched_getaffinity(0))
    made.add_argument("--sweep", nargs="+", type=int, default=sweep_of(cpus), metavar="N", help="numbers of threads")
    args = made.parse_args()
    table = times_table("threads", "threads", model="model", threads="threads")
    table.columns["efficiency"] = "efficiency"
    table.plot = ("line", "threads", "efficiency", "series")
    report = Report("Threads", table)
    models = models_of(args)
    for model in Output.progress(models, len(models), "models"):
        names = runtimes_of(args, model, report)
        feeds = feeds_of(model, args, args.batch)
        alone: dict[str, float] = {}
        for threads in args.sweep:
            for row in time_rows({name: load(name, str(model), threads) for name in names}, feeds, args.seconds):
                work = row["median_ms"] * threads
                row["efficiency"] = alone.setdefault(row["runtime"], work) / work
                row["series"] = f"{model.stem}, {row['runtime']}"
                table.rows.append({"model": model.stem, "threads": threads, **row})
    report.write(args)


if __name__ == "__main__":
    main()
