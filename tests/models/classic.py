"""Classical models beside the library that trained them and beside onnxruntime, row by row."""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import skl2onnx
from sklearn import base, datasets
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import sardonyx as sx

OPSETS = {"": 21, "ai.onnx.ml": 3}
ROWS = 1000


@functools.cache
def dataset(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features in f32 and targets: a built-in set by its name, or a seeded one."""
    if name == "multilabel":
        x, y = datasets.make_multilabel_classification(300, 6, n_classes=3, random_state=1)
    elif name == "multitarget":
        x, y = datasets.make_regression(300, 5, n_targets=3, noise=1.0, random_state=2)
    elif name == "binary":
        x, y = datasets.make_classification(400, 8, random_state=3)
    elif name == "digits":
        x, y = datasets.load_digits(return_X_y=True)
        x, y = x[:600], y[:600]
    elif name == "missing":
        x, y = dataset("binary")
        x = np.where(np.random.default_rng(4).random(x.shape) < 0.2, np.nan, x)
    elif name == "words":
        x, y = datasets.load_iris(return_X_y=True)
        y = np.array(["setosa", "versicolor", "virgínica"])[y]
    else:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    if name in ("wine", "breast_cancer"):
        x = StandardScaler().fit_transform(x)
    return x.astype(np.float32), y


def rows_of(x: np.ndarray) -> np.ndarray:
    """ROWS rows: the set itself and others mixed from its columns."""
    rng = np.random.default_rng(5)
    mixed = np.stack([rng.choice(column, max(1, ROWS - len(x))) for column in x.T], axis=1)
    return np.concatenate([x, mixed])[:ROWS]


def splits(model: Any) -> Iterator[tuple[int, float]]:
    """The (feature, threshold) of every inner node of all trees within a scikit-learn model."""
    if hasattr(model, "tree_"):
        inner = model.tree_.children_left >= 0
        yield from zip(model.tree_.feature[inner].tolist(), model.tree_.threshold[inner].tolist())
    elif hasattr(model, "_predictors"):
        for predictor in (p for predictors in model._predictors for p in predictors):
            inner = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            yield from zip(inner["feature_idx"].tolist(), inner["num_threshold"].tolist())
    elif hasattr(model, "estimators_") and not isinstance(model, base.TransformerMixin):
        trees = np.ravel(model.estimators_)
        columns = getattr(model, "estimators_features_", None) or [None] * len(trees)
        for tree, chosen in zip(trees, columns):
            for feature, threshold in splits(tree):
                yield (feature if chosen is None else int(chosen[feature])), threshold


def rows_on(found: Sequence[tuple[int, float]], x: np.ndarray) -> np.ndarray:
    """Rows of x with most features moved onto thresholds: the nearest f32 or one of its neighbours."""
    rng = np.random.default_rng(6)
    rows = x[rng.integers(len(x), size=2 * ROWS if found else 0)].copy()
    by_feature: dict[int, list[float]] = {}
    for feature, threshold in found:
        if np.isfinite(threshold):
            by_feature.setdefault(feature, []).append(threshold)
    for feature, thresholds in by_feature.items():
        values = rng.choice(np.asarray(thresholds), len(rows)).astype(np.float32)
        away = rng.choice(np.array([-np.inf, 0, np.inf], np.float32), len(rows))
        values = np.where(away == 0, values, np.nextafter(values, away))
        rows[:, feature] = np.where(rng.random(len(rows)) < 0.7, values, rows[:, feature])
    return rows


def peer(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    """What onnxruntime gives."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, feeds)
    return outputs


def same(found: Any, expected: Any, what: str, rtol: float) -> None:
    """Equal kinds, types, shapes, keys and labels; numbers within |expected| and the largest of them times rtol."""
    assert type(found) is type(expected), f"{what}: {type(found)}, expected {type(expected)}"
    if isinstance(expected, list):
        assert len(found) == len(expected), what
        for i, (f, e) in enumerate(zip(found, expected)):
            same(f, e, f"{what}[{i}]", rtol)
    elif isinstance(expected, dict):
        assert [(type(k), k) for k in found] == [(type(k), k) for k in expected], what
        for key in expected:
            same(found[key], expected[key], f"{what}[{key!r}]", rtol)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
        near(found, expected, what, rtol)
    else:
        near(found, expected, what, rtol)


def near(found: Any, expected: Any, what: str, rtol: float) -> None:
    """Labels equal, numbers within the tolerance, whatever their dtypes."""
    found, expected = np.asarray(found), np.asarray(expected)
    if expected.dtype.kind == "f" or found.dtype.kind == "f":
        largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * largest, equal_nan=True, err_msg=what)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=what)


@dataclasses.dataclass
class Fit:
    """An estimator, what it is trained on, and how near its converted form must be.

    options: of the converter, for this estimator.
    double: converted for f64 inputs.
    rtol: |y - expected| <= rtol * (|expected| + the largest |expected|) for scores; labels must always be equal.
    other: why the converter's graph means something else than the estimator; then onnxruntime alone is the judge.
    empty: the converter's graph allows an empty batch.
    rounded: why thresholds of the graph are others than the estimator's; then onnxruntime alone judges rows on them.
    tied: why labels of scikit-learn and of onnxruntime differ on ties of scores; then onnxruntime judges scores only.
    """

    estimator: Any
    data: str
    _: dataclasses.KW_ONLY
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    double: bool = False
    rtol: float = 1e-5
    other: str = ""
    rounded: str = ""
    tied: str = ""
    empty: bool = True

    def name(self) -> str:
        words = re.sub(r"\s+", "", repr(self.estimator)).replace("random_state=0", "")
        return f"{self.data}-{words[:90]}" + ("-f64" if self.double else "")

    def run(self) -> None:
        x, y = dataset(self.data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = base.clone(self.estimator).fit(x, y)
            options = dict(self.options)
            if base.is_classifier(model) and not isinstance(model, LinearSVC):
                options.setdefault("zipmap", False)
            sample = x[:1].astype(np.float64) if self.double else x[:1]
            graph = convert(model, sample, options)
        rows = np.concatenate([rows_of(x), rows_on(list(splits(model)), rows_of(x))]).astype(sample.dtype)
        session = sx.InferenceSession(graph.SerializeToString())
        name = session.get_inputs()[0].name
        ours = session.run(None, {name: rows})
        theirs = peer(graph, {name: rows})
        assert len(ours) == len(theirs)
        for i, (found, expected) in enumerate(zip(ours, theirs)):
            labels = np.asarray(expected).dtype.kind not in "f"
            if not (self.tied and labels):
                same(found, expected, f"output {i} beside onnxruntime", self.rtol)
        if not self.other:
            judged = rows[:ROWS] if self.rounded else rows
            for i, (found, expected) in enumerate(zip(ours, self.expected(model, judged))):
                found, expected = found[: len(judged)], np.asarray(expected)
                if i == 0:
                    expected = expected.reshape(np.shape(found))
                near(found, expected, f"output {i} beside scikit-learn", self.rtol)
        for count in (1, 7):
            few = session.run(None, {name: rows[:count]})
            for found, expected in zip(few, ours):
                expected = expected[:count] if len(expected) == len(rows) else expected[:, :count]
                same(found, expected, f"a batch of {count}", 0)
        if self.empty:
            for found, expected in zip(session.run(None, {name: rows[:0]}), ours):
                expected = expected[:0] if len(expected) == len(rows) else expected[:, :0]
                same(found, expected, "an empty batch", 0)

    def expected(self, model: Any, rows: np.ndarray) -> list[Any]:
        """Labels and scores, or the transformed rows."""
        if not hasattr(model, "predict"):
            moved = model.transform(rows)
            return [moved.toarray() if hasattr(moved, "toarray") else moved]
        results = [model.predict(rows)]
        scores = None
        if hasattr(model, "predict_proba") and not self.options.get("raw_scores"):
            scores = model.predict_proba(rows)
        elif hasattr(model, "decision_function"):
            scores = model.decision_function(rows)
            if np.ndim(scores) == 1 and base.is_classifier(model):
                scores = np.stack([-scores, scores], axis=1)
        if scores is not None and base.is_classifier(model):
            results.append(scores)
        return results


def convert(model: Any, sample: Any, options: dict[str, Any] | None = None, **how: Any) -> onnx.ModelProto:
    """The converted model."""
    options = {id(model): options} if options else None
    with mock.patch("skl2onnx.common._container.make_node", _make_node):
        found: onnx.ModelProto = skl2onnx.to_onnx(model, sample, options=options, target_opset=OPSETS, **how)
    return found


def _make_node(*args: Any, **attributes: Any) -> onnx.NodeProto:
    """make_node for converters that give booleans where the serialization takes integers only."""
    for name, value in attributes.items():
        if isinstance(value, list) and any(isinstance(item, (bool, np.bool_)) for item in value):
            attributes[name] = [int(item) for item in value]
    return onnx.helper.make_node(*args, **attributes)
