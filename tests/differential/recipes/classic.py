"""Operators of ai.onnx.ml: trees, linear and support vector models, encoders, scalers, maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from tests.differential import types
from tests.differential.case import recipe
from tests.differential.draw import Draw, Node
from tests.differential.recipes.movement import exact

ML = "ai.onnx.ml"
POST = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


def features(d: Draw, kind: str, columns: int) -> np.ndarray:
    x = d.array(kind, (d.extent(1, 5), columns), -4, 4)
    return np.round(x * 2) / 2 + np.zeros((), x.dtype) if types.is_float(kind) else x


@recipe("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(1, 3, empty=0))
    indices = d.rng.integers(0, x.shape[-1], (1, d.extent(1, 4)))

    def expect(x: Any, i: Any) -> Any:
        y = np.take(x, i.reshape(-1), -1)
        return y.reshape(1, -1) if x.ndim == 1 else y

    return exact([x, indices], expect=expect)


@recipe("Binarizer", domain=ML)
def binarizer(d: Draw) -> Node:
    x = d.array(d.kind(), d.shape(0, 3), -4, 4)
    return exact([x], d.attributes(threshold=lambda: float(d.integer(-2, 2))))


@recipe("CastMap", domain=ML)
def cast_map(d: Draw) -> Node:
    target = d.kind("T2")
    text = d.kind("T1") == "map(int64, string)"
    x: Any = {i: d.choice(["1", "2", "-3"]) if text else float(d.integer(-3, 3)) for i in d.some([0, 1, 3], 1)}
    name = {"tensor(string)": "TO_STRING", "tensor(float)": "TO_FLOAT", "tensor(int64)": "TO_INT64"}[target]
    attrs: dict[str, Any] = {"cast_to": name}
    sparse = d.chance()
    if sparse:
        attrs.update(map_form="SPARSE", max_map=5)

    def expect(x: Any) -> Any:
        keys = range(5) if sparse else sorted(x)
        if target == "tensor(string)":
            return np.array([[str(x.get(k, "0")) for k in keys]], object)
        return np.array([[float(x.get(k, 0)) for k in keys]]).astype(types.dtype(target))

    if target == "tensor(string)":
        d.need(text and not sparse)
    return exact([x], attrs, expect=expect)


@recipe("CategoryMapper", domain=ML)
def category_mapper(d: Draw) -> Node:
    forward = d.kind("T1") == "tensor(string)"
    d.bind("T2", "tensor(int64)" if forward else "tensor(string)")
    words, numbers = ["a", "b", "ab"], [3, 5, 1]
    attrs: dict[str, Any] = {"cats_strings": words, "cats_int64s": numbers}
    if d.chance():
        attrs.update(default_int64=7, default_string="none")
    x = d.array(d.kind("T1"), d.shape(0, 3), 0, 6)
    table = dict(zip(words, numbers)) if forward else dict(zip(numbers, words))
    other = attrs.get("default_int64", -1) if forward else attrs.get("default_string", "_Unused")

    def expect(x: Any) -> Any:
        found = [table.get(v, other) for v in x.reshape(-1).tolist()]
        return np.array(found, np.int64 if forward else object).reshape(x.shape)

    return exact([x], attrs, expect=expect)


@recipe("DictVectorizer", domain=ML)
def dict_vectorizer(d: Draw) -> Node:
    key, _, value = types.split(d.kind("T1"))[1].partition(",")
    d.bind("T2", types.tensor(value.strip()))
    x = d.value(d.kind("T1"))
    if key == "string":
        words = ["key c", "zz", "a", "b"]
        attrs: dict[str, Any] = {"string_vocabulary": words}
    else:
        words = [17, 2, 0, 1, 3]
        attrs = {"int64_vocabulary": words}
    dtype = types.dtype(value.strip())
    empty = "" if value.strip() == "string" else 0

    def expect(x: Any) -> Any:
        return np.array([[x.get(w, empty) for w in words]]).astype(dtype)

    return exact([x], attrs, expect=expect)


@recipe("FeatureVectorizer", domain=ML)
def feature_vectorizer(d: Draw) -> Node:
    rows, columns = d.extent(1, 4), [d.extent(1, 3) for _ in range(d.integer(1, 3))]
    inputs = [d.array(d.kind("T1"), (rows, n)) for n in columns]
    return exact(
        inputs,
        {"inputdimensions": columns},
        expect=lambda *xs: np.concatenate([x.astype(np.float32) for x in xs], 1),
        only=True,
    )


@recipe("Imputer", domain=ML)
def imputer(d: Draw) -> Node:
    x = d.array(d.kind(), (d.extent(1, 4), d.extent(1, 4)), -2, 2)
    count = d.choice([1, x.shape[1]])
    if types.is_float(d.kind()):
        x = np.round(x) + np.zeros((), x.dtype)
        missing = d.choice([float("nan"), 1.0])
        if np.isnan(missing):
            x = np.where(x == 1, np.array(np.nan, x.dtype), x)
        fill: Any = [d.real(-9, 9) for _ in range(count)]
        attrs: dict[str, Any] = {"imputed_value_floats": fill, "replaced_value_float": missing}
    else:
        missing = 1
        fill = [d.integer(-9, 9) for _ in range(count)]
        attrs = {"imputed_value_int64s": fill, "replaced_value_int64": 1}

    def expect(x: Any) -> Any:
        bad = np.isnan(x) if missing != missing else x == missing
        return np.where(bad, np.array(fill).astype(x.dtype), x)

    return exact([x], attrs, expect=expect)


@recipe("LabelEncoder", domain=ML)
def label_encoder(d: Draw) -> Node:
    source, target = d.kind("T1"), d.kind("T2")
    names = {"tensor(int64)": "int64s", "tensor(float)": "floats", "tensor(string)": "strings"}
    if d.version == 1:
        d.bind("T2", "tensor(int64)" if source == "tensor(string)" else "tensor(string)")
        forward = source == "tensor(string)"
        words = ["a", "b", "ab"]
        attrs: dict[str, Any] = {"classes_strings": words}
        if d.chance():
            attrs.update(default_int64=7, default_string="none")
        x = d.array(source, d.shape(0, 2), 0, 4)
        other = attrs.get("default_int64", -1) if forward else attrs.get("default_string", "_Unused")

        def expect1(x: Any) -> Any:
            if forward:
                found: Any = [words.index(v) if v in words else other for v in x.reshape(-1).tolist()]
                return np.array(found, np.int64).reshape(x.shape)
            found = [words[v] if 0 <= v < 3 else other for v in x.reshape(-1).tolist()]
            return np.array(found, object).reshape(x.shape)

        return exact([x], attrs, expect=expect1)
    keys: Any = ["a", "b", "ab"] if source == "tensor(string)" else [1, 3, -2]
    values: Any = ["x", "größe", ""] if target == "tensor(string)" else [5, 0, -1]
    if d.version >= 4 and (source not in names or target not in names or d.chance()):
        attrs = {
            "keys_tensor": numpy_helper.from_array(np.array(keys).astype(types.dtype(source))),
            "values_tensor": numpy_helper.from_array(np.array(values).astype(types.dtype(target))),
            "default_tensor": numpy_helper.from_array(
                np.array(["other"] if target == "tensor(string)" else [9]).astype(types.dtype(target))
            ),
        }
        default: Any = "other" if target == "tensor(string)" else 9
    else:
        as_float = {"floats": float, "int64s": int, "strings": str}
        attrs = {
            "keys_" + names[source]: [as_float[names[source]](k) for k in keys],
            "values_" + names[target]: [as_float[names[target]](v) for v in values],
        }
        default = {"floats": -0.0, "int64s": -1, "strings": "_Unused"}[names[target]]
        if d.chance():
            default = {"floats": 2.5, "int64s": 77, "strings": "none"}[names[target]]
            attrs["default_" + names[target][:-1]] = default
    x = d.array(source, d.shape(0, 3), -3, 4)
    x = np.round(x) + np.zeros((), x.dtype) if types.is_float(source) else x
    table = dict(zip(keys, values))

    def expect(x: Any) -> Any:
        found = [table.get(v, default) for v in x.reshape(-1).tolist()]
        return np.array(found).astype(types.dtype(target)).reshape(x.shape)

    return exact([x], attrs, expect=expect)


def _labels(d: Draw, variable: str, count: int) -> dict[str, Any]:
    if d.kind(variable) == "tensor(string)":
        return {"classlabels_strings": ["red", "green", "blue", "größe"][:count]}
    key = "classlabels_int64s" if d.has("classlabels_int64s") else "classlabels_ints"
    return {key: [5, 3, 9, 0][:count]}


@recipe("LinearClassifier", domain=ML)
def linear_classifier(d: Draw) -> Node:
    columns, classes = d.extent(1, 4), d.integer(2, 4)
    x = features(d, d.kind("T1"), columns)
    attrs: dict[str, Any] = {
        "coefficients": [d.real(-1, 1) for _ in range(columns * classes)],
        "intercepts": [d.real(-1, 1) for _ in range(classes)],
        "post_transform": d.choice(POST[:4]),
        **d.attributes(multi_class=lambda: d.integer(0, 1)),
        **_labels(d, "T2", classes),
    }
    return as_floats(Node([x], attrs, outputs=2, steps=64, scale=16, version=d.version), d.kind("T1"))


@recipe("LinearRegressor", domain=ML)
def linear_regressor(d: Draw) -> Node:
    columns, targets = d.extent(1, 4), d.extent(1, 3)
    x = features(d, d.kind(), columns)
    coefficients = [d.real(-1, 1) for _ in range(columns * targets)]
    intercepts = [d.real(-1, 1) for _ in range(targets)] if d.chance() else []
    attrs: dict[str, Any] = {"coefficients": coefficients, "targets": targets}
    if intercepts:
        attrs["intercepts"] = intercepts

    def expect(x: Any) -> Any:
        y = x.astype(np.float64) @ np.array(coefficients).reshape(targets, columns).T
        return (y + (np.array(intercepts) if intercepts else 0)).astype(np.float32)

    return Node([x], attrs, steps=64, scale=16, expect=expect)


@recipe("Normalizer", domain=ML)
def normalizer(d: Draw) -> Node:
    x = d.array(d.kind(), (d.extent(1, 4), d.extent(1, 5)), 1, 5)
    return Node([x], d.attributes(norm=lambda: d.choice(["MAX", "L1", "L2"])))


@recipe("OneHotEncoder", domain=ML)
def one_hot_encoder(d: Draw) -> Node:
    text = d.kind() == "tensor(string)"
    x = d.array(d.kind(), d.shape(1, 2, empty=0), 0, 3)
    x = np.round(x) + np.zeros((), x.dtype) if types.is_float(d.kind()) else x
    words: Any = ["a", "b", "ab"] if text else [1, 0, 2]
    attrs: dict[str, Any] = {"cats_strings" if text else "cats_int64s": words}
    attrs.update(d.attributes(zeros=lambda: 1))

    def expect(x: Any) -> Any:
        return np.array([[v == w for w in words] for v in x.reshape(-1)], np.float32).reshape(*x.shape, len(words))

    return exact([x], attrs, expect=expect)


@recipe("Scaler", domain=ML)
def scaler(d: Draw) -> Node:
    x = d.array(d.kind(), (d.extent(1, 4), d.extent(1, 5)))
    count = d.choice([1, x.shape[1]])
    attrs = {"offset": [d.real(-2, 2) for _ in range(count)], "scale": [d.real(0.5, 2) for _ in range(count)]}
    return as_floats(Node([x], attrs, scale=16, version=d.version), d.kind())


@recipe("ZipMap", domain=ML)
def zip_map(d: Draw) -> Node:
    x = d.array("float", (d.extent(1, 3), 3))
    text = "string" in d.kind()
    keys: Any = ["a", "größe", ""] if text else [4, 0, 9]
    attrs = {"classlabels_strings" if text else "classlabels_int64s": keys}
    return exact([x], attrs, expect=lambda x: [[dict(zip(keys, row.tolist())) for row in x]], only=True)


def _kernel(d: Draw) -> dict[str, Any]:
    kind = d.choice(["LINEAR", "POLY", "RBF", "SIGMOID"])
    params = [d.real(0.1, 0.5), d.real(0, 0.5), float(d.integer(1, 3))]
    return {"kernel_type": kind, "kernel_params": params}


@recipe("SVMRegressor", domain=ML)
def svm_regressor(d: Draw) -> Node:
    columns, count = d.extent(1, 4), d.extent(1, 4)
    attrs: dict[str, Any] = {
        **_kernel(d),
        "n_supports": count,
        "support_vectors": [d.real(-1, 1) for _ in range(count * columns)],
        "coefficients": [d.real(-1, 1) for _ in range(count)],
        "rho": [d.real(-1, 1)],
        **d.attributes(one_class=lambda: 0),
    }
    return as_floats(Node([features(d, d.kind(), columns)], attrs, steps=256, scale=256, version=d.version), d.kind())


@recipe("SVMClassifier", domain=ML)
def svm_classifier(d: Draw) -> Node:
    columns, classes = d.extent(1, 4), d.integer(2, 4)
    per = [d.extent(1, 3) for _ in range(classes)]
    count, pairs = sum(per), classes * (classes - 1) // 2
    attrs: dict[str, Any] = {
        **_kernel(d),
        "vectors_per_class": per,
        "support_vectors": [d.real(-1, 1) for _ in range(count * columns)],
        "coefficients": [d.real(-1, 1) for _ in range(count * (classes - 1))],
        "rho": [d.real(-1, 1) for _ in range(pairs)],
        **_labels(d, "T2", classes),
    }
    if d.chance():
        attrs["prob_a"] = [d.real(-1, -0.5) for _ in range(pairs)]
        attrs["prob_b"] = [d.real(-0.2, 0.2) for _ in range(pairs)]
    return as_floats(
        Node([features(d, d.kind("T1"), columns)], attrs, outputs=2, steps=512, scale=256, version=d.version),
        d.kind("T1"),
    )


class Forest:
    """Random trees, node by node in the order of the attributes."""

    def __init__(self, d: Draw, columns: int, *, modes: list[str]) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.leaves: list[tuple[int, int]] = []
        self.trees = d.extent(1, 4)
        for tree in range(self.trees):
            self.grow(d, tree, columns, 0, modes, [0])

    def grow(self, d: Draw, tree: int, columns: int, depth: int, modes: list[str], next_id: list[int]) -> int:
        node = next_id[0]
        next_id[0] += 1
        row = {"tree": tree, "node": node, "feature": 0, "value": 0.0, "mode": "LEAF", "true": 0, "false": 0, "nan": 0}
        self.nodes.append(row)
        if depth == 3 or (depth and d.chance(0.3)):
            self.leaves.append((tree, node))
            return node
        row.update(
            feature=d.integer(0, columns - 1), value=d.integer(-8, 8) / 2, mode=d.choice(modes), nan=d.integer(0, 1)
        )
        row["true"] = self.grow(d, tree, columns, depth + 1, modes, next_id)
        row["false"] = self.grow(d, tree, columns, depth + 1, modes, next_id)
        return node

    def attrs(self, tensor: Any = None) -> dict[str, Any]:
        values = [row["value"] for row in self.nodes]
        given: dict[str, Any] = {
            "nodes_treeids": [row["tree"] for row in self.nodes],
            "nodes_nodeids": [row["node"] for row in self.nodes],
            "nodes_featureids": [row["feature"] for row in self.nodes],
            "nodes_modes": [row["mode"] for row in self.nodes],
            "nodes_truenodeids": [row["true"] for row in self.nodes],
            "nodes_falsenodeids": [row["false"] for row in self.nodes],
            "nodes_missing_value_tracks_true": [row["nan"] for row in self.nodes],
        }
        if tensor is None:
            given["nodes_values"] = values
        else:
            given["nodes_values_as_tensor"] = numpy_helper.from_array(np.array(values, tensor))
        return given


def as_floats(node: Node, kind: str) -> Node:
    """Judged with the integer features as floats, which the judges know."""
    if types.is_integer(kind):
        node.like = Node([node.inputs[0].astype(np.float32)], node.attrs, kinds=["tensor(float)"], version=node.version)
    return node


def _tree_features(d: Draw, kind: str, columns: int) -> np.ndarray:
    x = features(d, kind, columns)
    if types.is_float(kind) and d.chance(0.3):
        x = np.where(d.rng.random(x.shape) < 0.2, np.array(np.nan, x.dtype), x)
    return x


def _one_mode(d: Draw) -> list[str]:
    return MODES if d.chance(0.4) else [d.choice(MODES)]


@recipe("TreeEnsembleRegressor", domain=ML)
def tree_regressor(d: Draw) -> Node:
    columns, targets = d.extent(1, 4), d.extent(1, 3)
    kind = d.kind()
    tensor = np.float64 if d.version >= 3 and types.element(kind) == "double" else None
    forest = Forest(d, columns, modes=_one_mode(d))
    attrs: dict[str, Any] = {
        **forest.attrs(tensor),
        "n_targets": targets,
        "post_transform": d.choice(POST[:4]) if targets > 1 else "NONE",
        **d.attributes(aggregate_function=lambda: d.choice(["SUM", "AVERAGE", "MIN", "MAX"])),
    }
    rows = [(t, n, k) for t, n in forest.leaves for k in d.some(range(targets), 1)]
    attrs["target_treeids"], attrs["target_nodeids"], attrs["target_ids"] = ([r[i] for r in rows] for i in range(3))
    weights = [d.real(-2, 2) for _ in rows]
    base = [d.real(-1, 1) for _ in range(targets)] if d.chance() else []
    _weights(attrs, "target_weights", weights, base, tensor)
    return as_floats(Node([_tree_features(d, kind, columns)], attrs, steps=256, scale=16, version=d.version), kind)


def _weights(attrs: dict[str, Any], name: str, weights: list[float], base: list[float], tensor: Any) -> None:
    if tensor is None:
        attrs[name] = weights
        if base:
            attrs["base_values"] = base
        return
    attrs[name + "_as_tensor"] = numpy_helper.from_array(np.array(weights, tensor))
    if base:
        attrs["base_values_as_tensor"] = numpy_helper.from_array(np.array(base, tensor))


@recipe("TreeEnsembleClassifier", domain=ML)
def tree_classifier(d: Draw) -> Node:
    columns, classes = d.extent(1, 4), d.integer(3, 4)
    kind = d.kind("T1")
    tensor = np.float64 if d.version >= 3 and types.element(kind) == "double" else None
    forest = Forest(d, columns, modes=_one_mode(d))
    attrs: dict[str, Any] = {
        **forest.attrs(tensor),
        "post_transform": d.choice(POST[:4]),
        **_labels(d, "T2", classes),
    }
    rows = [(t, n, k) for t, n in forest.leaves for k in d.some(range(classes), 2)]
    attrs["class_treeids"], attrs["class_nodeids"], attrs["class_ids"] = ([r[i] for r in rows] for i in range(3))
    weights = [d.real(0.1, 2) for _ in rows]
    base = [d.real(-1, 1) for _ in range(classes)] if d.chance() else []
    _weights(attrs, "class_weights", weights, base, tensor)
    return as_floats(
        Node([_tree_features(d, kind, columns)], attrs, outputs=2, steps=256, scale=16, version=d.version), kind
    )


@recipe("TreeEnsemble", domain=ML)
def tree_ensemble(d: Draw) -> Node:
    """Trees as versions from 5 on write them: leaves apart from nodes; a node has two branches."""
    columns, targets, kind = d.extent(1, 4), d.extent(1, 3), d.kind()
    dtype = types.dtype(kind)
    nodes: list[list[Any]] = []
    leaves: list[tuple[int, float]] = []
    modes = [d.integer(0, 5)] if d.chance(0.6) else list(range(6))

    def grow(depth: int) -> tuple[int, int]:
        """Index of the branch, and whether it is a leaf."""
        if depth == 3 or (depth and d.chance(0.3)):
            leaves.append((d.integer(0, targets - 1), d.real(-2, 2)))
            return len(leaves) - 1, 1
        at = len(nodes)
        row: list[Any] = [d.integer(0, columns - 1), d.integer(-8, 8) / 2, d.choice(modes), d.integer(0, 1)]
        nodes.append(row)
        row.extend([*grow(depth + 1), *grow(depth + 1)])
        return at, 0

    roots = [grow(0)[0] for _ in range(d.extent(1, 3))]
    feature, split, mode, nan, true, true_leaf, false, false_leaf = map(list, zip(*nodes))
    attrs: dict[str, Any] = {
        "tree_roots": roots,
        "n_targets": targets,
        "nodes_featureids": feature,
        "nodes_splits": numpy_helper.from_array(np.array(split).astype(dtype)),
        "nodes_modes": numpy_helper.from_array(np.array(mode, np.uint8)),
        "nodes_missing_value_tracks_true": nan,
        "nodes_truenodeids": true,
        "nodes_trueleafs": true_leaf,
        "nodes_falsenodeids": false,
        "nodes_falseleafs": false_leaf,
        "leaf_targetids": [k for k, _ in leaves],
        "leaf_weights": numpy_helper.from_array(np.array([w for _, w in leaves]).astype(dtype)),
        **d.attributes(aggregate_function=lambda: d.integer(0, 3), post_transform=lambda: d.integer(0, 3)),
    }
    x = _tree_features(d, kind, columns)
    node = Node([x], attrs, steps=256, scale=16, roundings=2)
    wide: dict[str, Any] = {}
    if types.element(kind) == "float16":
        kind, x = "tensor(float)", x.astype(np.float32)
        for name in ("nodes_splits", "leaf_weights"):
            wide[name] = numpy_helper.from_array(numpy_helper.to_array(attrs[name]).astype(np.float32))
    # onnxruntime numbers softmax and logistic the other way round.
    if attrs.get("post_transform") in (1, 2):
        wide["post_transform"] = 3 - attrs["post_transform"]
    node.like = Node([x], {**attrs, **wide}, kinds=[kind])
    return node
