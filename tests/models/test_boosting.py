"""Converted LightGBM and XGBoost models beside their libraries and beside onnxruntime, on thresholds too."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

import sardonyx as sx
from tests.models.classic import ROWS, dataset, near, peer, rows_of, rows_on, same

onnxmltools = pytest.importorskip("onnxmltools")
# An OSError where the machine has no OpenMP library (libgomp.so.1), which its wheel does not bring.
lightgbm = pytest.importorskip("lightgbm", exc_type=(ImportError, OSError))
xgboost = pytest.importorskip("xgboost")


def branches(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The inner nodes of a tree of either library."""
    below = node.get("children") or [node[side] for side in ("left_child", "right_child") if side in node]
    if below:
        yield node
    for child in below:
        yield from branches(child)


def splits(model: Any) -> list[tuple[int, float]]:
    if isinstance(model, lightgbm.LGBMModel):
        trees = [tree["tree_structure"] for tree in model.booster_.dump_model()["tree_info"]]
        return [(node["split_feature"], node["threshold"]) for tree in trees for node in branches(tree)]
    trees = [json.loads(tree) for tree in model.get_booster().get_dump(dump_format="json")]
    return [(int(node["split"][1:]), node["split_condition"]) for tree in trees for node in branches(tree)]


def converted(model: Any, features: int) -> onnx.ModelProto:
    types = [("X", onnxmltools.convert.common.data_types.FloatTensorType([None, features]))]
    if isinstance(model, xgboost.XGBModel):
        return onnxmltools.convert_xgboost(model, initial_types=types, target_opset=15)
    return onnxmltools.convert_lightgbm(model, initial_types=types, zipmap=False, target_opset=15)


def models(regression: bool) -> list[Any]:
    lgbm = lightgbm.LGBMRegressor if regression else lightgbm.LGBMClassifier
    xgb = xgboost.XGBRegressor if regression else xgboost.XGBClassifier
    return [
        lgbm(n_estimators=20, num_leaves=15, verbose=-1),
        lgbm(n_estimators=20, num_leaves=15, verbose=-1, boosting_type="dart"),
        xgb(n_estimators=20, max_depth=4),
    ]


@pytest.mark.parametrize("data", ["digits", "iris", "binary", "breast_cancer", "missing", "diabetes"])
@pytest.mark.parametrize("which", range(3), ids=["lightgbm", "dart", "xgboost"])
def test_boosted_trees(data: str, which: int) -> None:
    x, y = dataset(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = models(data == "diabetes")[which].fit(x, y)
        graph = converted(model, x.shape[1])
    rows = np.concatenate([rows_of(x), rows_on(splits(model), rows_of(x))])
    session = sx.InferenceSession(graph.SerializeToString())
    found = session.run(None, {"X": rows})
    for i, (ours, theirs) in enumerate(zip(found, peer(graph, {"X": rows}))):
        same(ours, theirs, f"output {i} beside onnxruntime", 1e-5)
    # LightGBM's thresholds are f64 and its converter rounds them to the nearest f32: onnxruntime judges rows on them.
    judged = rows if isinstance(model, xgboost.XGBModel) else rows[:ROWS]
    near(found[0][: len(judged)].reshape(len(judged)), model.predict(judged), "predictions", 1e-5)
    if data != "diabetes":
        near(found[1][: len(judged)], model.predict_proba(judged), "probabilities", 1e-5)
    for count in (0, 1, 7):
        for few, all_rows in zip(session.run(None, {"X": rows[:count]}), found):
            same(few, all_rows[:count], f"a batch of {count}", 0)
