"""Times whole models in Sardonyx and its peers, in turn in one process."""

from __future__ import annotations

import math

from common import add_models, feeds_of, models_of, parser, runtimes_of

from sardonyx.cli.output import Output
from sardonyx.measure import Report, Table, load
from sardonyx.measure.tables import time_rows, times_table

EXAMPLES = """examples:
  python bench/models.py models                          every model of a folder, batches 1 and 8
  python bench/models.py models --only resnet50 --batch 1 --seconds 10
  python bench/models.py models --markdown table.md --json table.json --plot table.png

The ratio is a peer's time over that of Sardonyx, the median over rounds: above 1, Sardonyx is faster."""


def summary_of(times: Table) -> Table:
    """One row for each model and batch, and the geometric mean of the fastest peers' ratios."""
    runtimes = list(dict.fromkeys(row["runtime"] for row in times.rows))
    columns = {"model": "model", "batch": "batch", **{name: f"{name}, ms" for name in runtimes}}
    table = Table("medians beside the fastest peer", {**columns, "ratio": "fastest peer / sardonyx"})
    for row in times.rows:
        if row["runtime"] == "sardonyx":
            table.rows.append({"model": row["model"], "batch": row["batch"]})
        elif row["ratio"] <= table.rows[-1].get("ratio", math.inf):
            table.rows[-1]["ratio"] = row["ratio"]
        table.rows[-1][row["runtime"]] = row["median_ms"]
    ratios = [row["ratio"] for row in table.rows if "ratio" in row]
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        table.rows.append({"model": "geometric mean", "ratio": mean})
        table.rows.append({"model": "lowest", "ratio": min(ratios)})
    return table


def main() -> None:
    made = parser(__doc__, EXAMPLES)
    add_models(made)
    made.add_argument("--batch", nargs="+", type=int, default=[1, 8], metavar="N", help="batches (default 1 8)")
    made.add_argument("--seconds", type=float, default=5.0, help="time to measure for each row (default 5)")
    args = made.parse_args()
    times = times_table("times", "model", model="model", batch="batch")
    report = Report("Whole models", times)
    models = models_of(args)
    for model in Output.progress(models, len(models), "models"):
        names = runtimes_of(args, model, report)
        runners = {name: load(name, str(model), args.threads) for name in names}
        for batch in args.batch:
            rows = time_rows(runners, feeds_of(model, args, batch), args.seconds)
            times.rows += [{"model": model.stem, "batch": batch, **row} for row in rows]
    report.tables.append(summary_of(times))
    report.write(args)


if __name__ == "__main__":
    main()
