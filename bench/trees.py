"""Gradient boosting in Sardonyx beside ONNX Runtime, the library that trained it, and lleaves."""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
from common import parser
from onnx import helper

from sardonyx.cli.output import Output
from sardonyx.measure import Report, Table, installed, largest_difference, load, take_turns

EXAMPLES = """examples:
  python bench/trees.py
  python bench/trees.py --trainer lightgbm --trees 200 --rows 1 1000 --markdown
  python bench/trees.py --trainer sklearn --leaves 64 --against onnxruntime

Needs scikit-learn with skl2onnx, or lightgbm with onnxmltools. The data are made up; the trees are trained on part of
them. A ratio is another's time over that of Sardonyx: above 1, Sardonyx is faster."""

Predict = Callable[[Any], Any]
PEERS = ("onnxruntime", "lleaves")
TRAINING_ROWS = 20_000
FLOAT_OPSET = {"": 15, "ai.onnx.ml": 3}


def data_of(rows: int, features: int, seed: int) -> tuple[Any, Any]:
    """Normal features and a target with interactions, so that trees have something to split."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, features), np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + np.abs(x[:, 3:8]).sum(1) + 0.5 * random.standard_normal(rows)
    return x, y.astype(np.float32)


def lightgbm_models(args: argparse.Namespace, x: Any, y: Any, folder: Path) -> tuple[Path, dict[str, Predict]]:
    """LightGBM's regressor, and lleaves on the same trees where it is installed."""
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    threads = args.threads or len(os.sched_getaffinity(0))
    trainer = lightgbm.LGBMRegressor(n_estimators=args.trees, num_leaves=args.leaves, n_jobs=threads, verbose=-1)
    trainer.fit(x, y)
    model = convert_lightgbm(trainer, initial_types=[("x", FloatTensorType([None, x.shape[1]]))], target_opset=15)
    path = folder / "lightgbm.onnx"
    path.write_bytes(model.SerializeToString())
    booster = trainer.booster_
    others: dict[str, Predict] = {"lightgbm": lambda rows: booster.predict(rows, num_threads=threads)}
    if "lleaves" in args.against and installed("lleaves"):
        import lleaves

        booster.save_model(folder / "trees.txt")
        compiled = lleaves.Model(model_file=str(folder / "trees.txt"))
        compiled.compile()
        others["lleaves"] = lambda rows: compiled.predict(rows, n_jobs=threads)
    return path, others


def make_node(*args: Any, **attributes: Any) -> onnx.NodeProto:
    """make_node for a converter that gives lists with booleans, which protobuf does not take for integers."""
    for key, value in attributes.items():
        if isinstance(value, list) and any(isinstance(item, (bool, np.bool_)) for item in value):
            attributes[key] = [int(item) for item in value]
    return helper.make_node(*args, **attributes)


def sklearn_models(args: argparse.Namespace, x: Any, y: Any, folder: Path) -> tuple[Path, dict[str, Predict]]:
    """scikit-learn's histogram gradient boosting."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import HistGradientBoostingRegressor

    trainer = HistGradientBoostingRegressor(
        max_iter=args.trees, max_leaf_nodes=args.leaves, early_stopping=False, random_state=args.seed
    )
    trainer.fit(x, y)
    path = folder / "sklearn.onnx"
    with mock.patch("skl2onnx.common._container.make_node", make_node):
        path.write_bytes(to_onnx(trainer, x[:1], target_opset=FLOAT_OPSET).SerializeToString())
    return path, {"sklearn": trainer.predict}


TRAINERS = {
    "lightgbm": (("lightgbm", "onnxmltools"), lightgbm_models),
    "sklearn": (("sklearn", "skl2onnx"), sklearn_models),
}


def rows_of(trainer: str, args: argparse.Namespace, report: Report) -> list[dict[str, Any]]:
    """Trains, converts and times one library's trees."""
    needed, train = TRAINERS[trainer]
    missing = [name for name in needed if installed(name) is None]
    if missing:
        report.note(f"trees of {trainer} left out: {', '.join(missing)} not installed")
        return []
    x, y = data_of(max(TRAINING_ROWS, *args.rows), args.features, args.seed)
    found = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of converters, and of predict() about names of features
        path, others = train(args, x[:TRAINING_ROWS], y[:TRAINING_ROWS], Path(folder))
        runners = {"sardonyx": load("sardonyx", str(path), args.threads)}
        if "onnxruntime" in args.against and installed("onnxruntime"):
            runners["onnxruntime"] = load("onnxruntime", str(path), args.threads)
        name = onnx_input(path)
        predict: dict[str, Predict] = {
            **{key: lambda rows, runner=runner: runner({name: rows})[0].ravel() for key, runner in runners.items()},
            **others,
        }
        for count in args.rows:
            rows = np.ascontiguousarray(x[:count])
            calls = {key: lambda call=call, rows=rows: call(rows) for key, call in predict.items()}
            rounds = take_turns(calls, args.seconds * len(calls))
            reference = predict["sardonyx"](rows)
            for key, call in predict.items():
                difference = largest_difference([reference], [np.asarray(call(rows))])
                row = {**rounds.row(key, "sardonyx"), "largest_difference": difference}
                row["ns_per_row"] = row["median_ms"] * 1e6 / count
                found.append({"trees": trainer, "rows": count, **row})
    return found


def onnx_input(path: Path) -> str:
    """The name of a model's only input."""
    from sardonyx import InferenceSession

    return InferenceSession(str(path)).get_inputs()[0].name


def main() -> None:
    made = parser(__doc__, EXAMPLES, PEERS, PEERS)
    made.add_argument("--trainer", nargs="+", default=list(TRAINERS), choices=list(TRAINERS), help="(default: both)")
    made.add_argument("--trees", type=int, default=1000, help="(default 1000)")
    made.add_argument("--leaves", type=int, default=31, help="leaves of a tree (default 31)")
    made.add_argument("--features", type=int, default=50, help="(default 50)")
    made.add_argument("--rows", nargs="+", type=int, default=[1, 100_000], help="rows at a time (default 1 100000)")
    made.add_argument("--seconds", type=float, default=3.0, help="time to measure for each row (default 3)")
    made.add_argument("--seed", type=int, default=0, help="of the data and the training (default 0)")
    args = made.parse_args()
    columns = {
        "trees": "trees of", "rows": "rows", "runtime": "runtime", "median_ms": "median ms", "ns_per_row": "ns a row",
        "spread": "spread", "ratio": "ratio", "largest_difference": "difference",
    }  # fmt: skip
    table = Table(f"{args.trees} trees of {args.leaves} leaves, {args.features} features", columns)
    table.plot = ("bar", "case", "ratio", "runtime")
    report = Report("Trees", table)
    for name in args.against:
        if installed(name) is None:
            report.note(f"{name} left out: it is not installed")
    for trainer in Output.progress(args.trainer, len(args.trainer), "trees"):
        rows = rows_of(trainer, args, report)
        table.rows += [{**row, "case": f"{trainer}, {row['rows']} rows"} for row in rows]
    report.write(args)


if __name__ == "__main__":
    main()
