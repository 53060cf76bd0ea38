"""Peak memory of loading and running models, each in a fresh process, without the interpreter and the imports."""

from __future__ import annotations

from common import add_models, feeds_of, models_of, parser, runtimes_of

from sardonyx.cli.output import Output
from sardonyx.measure import Report
from sardonyx.measure.tables import memory_rows, memory_table

EXAMPLES = """examples:
  python bench/memory.py models
  python bench/memory.py models --only bert_base --batch 8 --markdown

Pages of a mapped file count while they are resident."""


def main() -> None:
    made = parser(__doc__, EXAMPLES)
    add_models(made)
    made.add_argument("--batch", nargs="+", type=int, default=[1], metavar="N", help="batches (default 1)")
    args = made.parse_args()
    table = memory_table(model="model", batch="batch")
    report = Report("Memory", table)
    models = models_of(args)
    for model in Output.progress(models, len(models), "models"):
        names = runtimes_of(args, model, report)
        for batch in args.batch:
            rows = memory_rows(names, str(model), feeds_of(model, args, batch), args.threads)
            table.rows += [{"model": model.stem, "batch": batch, **row} for row in rows]
    report.write(args)


if __name__ == "__main__":
    main()
