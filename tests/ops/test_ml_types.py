"""Every element type and version that the schemas of ai.onnx.ml name gives what f32, or int64 labels, give."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import defs, helper, numpy_helper

from tests.ops.harness import compare, session

DOMAIN = "ai.onnx.ml"
KINDS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(string)": object,
}
X = np.array([[0, 1, 2], [3, 4, 5], [2, 2, 0]])
NAMES = [str(i) for i in range(6)]
NODES = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [1, 0, 0],
    "nodes_values": [1.0, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
}
VOTES = {"treeids": [0, 0], "nodeids": [1, 2], "ids": [0, 1], "weights": [0.25, 0.75]}
SUPPORT = {
    "kernel_type": "RBF",
    "kernel_params": [0.5, 0.0, 3.0],
    "coefficients": [1.0, -1.0],
    "support_vectors": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    "rho": [0.125],
}


def tensor(name: str, values: Any, kind: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def labels(op: str, kind: Any) -> dict[str, Any]:
    if kind is object:
        return {"classlabels_strings": NAMES[:2]}
    return {"classlabels_int64s" if op.startswith("Tree") else "classlabels_ints": [0, 1]}


def attributes(op: str, x: Any, label: Any, version: int) -> dict[str, Any]:
    """Attributes for an input of dtype `x` and labels of dtype `label` (both object for strings)."""
    whole = np.dtype(x).kind == "i"
    if op == "Imputer":
        if whole:
            return {"imputed_value_int64s": [9], "replaced_value_int64": 2}
        return {"imputed_value_floats": [9.0], "replaced_value_float": 2.0}
    if op == "LabelEncoder":
        if version == 1:
            return {"classes_strings": NAMES}
        names = {object: "strings", np.int64: "int64s", np.float32: "floats"}
        if x in names and label in names:
            given = {
                object: NAMES,
                np.int64: list(range(6)),
                np.float32: [float(i) for i in range(6)],
            }
            return {f"keys_{names[x]}": given[x], f"values_{names[label]}": given[label]}
        return {
            "keys_tensor": tensor("keys", NAMES if x is object else range(6), x),
            "values_tensor": tensor("values", NAMES if label is object else range(6), label),
            "default_tensor": tensor("default", ["none"] if label is object else [7], label),
        }
    if op == "OneHotEncoder":
        return {"cats_strings": NAMES} if x is object else {"cats_int64s": list(range(6))}
    if op == "TreeEnsemble":
        return {
            "n_targets": 2,
            "tree_roots": [0],
            "nodes_featureids": [1],
            "nodes_splits": tensor("splits", [1], x),
            "nodes_modes": tensor("modes", [0], np.uint8),
            "nodes_truenodeids": [0],
            "nodes_falsenodeids": [1],
            "nodes_trueleafs": [1],
            "nodes_falseleafs": [1],
            "leaf_targetids": [0, 1],
            "leaf_weights": tensor("weights", [0.25, 0.75], x),
        }
    tables: dict[str, dict[str, Any]] = {
        "ArrayFeatureExtractor": {},
        "Binarizer": {"threshold": 2.0},
        "CategoryMapper": {"cats_strings": NAMES, "cats_int64s": list(range(6))},
        "FeatureVectorizer": {"inputdimensions": [3]},
        "LinearClassifier": {"coefficients": [1.0, -1.0, 0.5, 2.0, 0.0, -0.5], "intercepts": [0.5, 0.25]},
        "LinearRegressor": {"coefficients": [1.0, -1.0, 0.5], "intercepts": [0.5]},
        "Normalizer": {"norm": "L2"},
        "Scaler": {"offset": [1.0], "scale": [0.5]},
        "SVMClassifier": SUPPORT | {"vectors_per_class": [1, 1]},
        "SVMRegressor": SUPPORT | {"n_supports": 2},
        "TreeEnsembleClassifier": NODES | {f"class_{name}": values for name, values in VOTES.items()},
        "TreeEnsembleRegressor": NODES | {"n_targets": 2} | {f"target_{name}": v for name, v in VOTES.items()},
    }
    more = labels(op, label) if op.endswith("Classifier") else {}
    return tables[op] | more


def run(op: str, version: int, x: Any, label: Any) -> list[Any]:
    """The outputs for input dtype `x` and label dtype `label`, through a model whose input has a type and no shape."""
    values = X.astype(str).astype(object) if x is object else X.astype(x)
    inputs, feeds = ["x"], {"x": values}
    infos = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(x)), None)]
    if op == "ArrayFeatureExtractor":
        inputs.append("i")
        infos.append(helper.make_tensor_value_info("i", onnx.TensorProto.INT64, None))
        feeds["i"] = np.array([2, 0])
    outputs = ["y", "z"][: 2 if op.endswith("Classifier") else 1]
    node = helper.make_node(op, inputs, outputs, domain=DOMAIN, **attributes(op, x, label, version))
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=name) for name in outputs])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, version)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    found: list[Any] = session(model, "ORT_ENABLE_ALL").run(None, feeds)
    return found


def cases() -> list[Any]:
    found = []
    for schema in defs.get_all_schemas_with_history():
        if schema.domain != DOMAIN or schema.deprecated or not schema.inputs[0].type_str.startswith("T"):
            continue
        allowed = {c.type_param_str: sorted(c.allowed_type_strs) for c in schema.type_constraints}
        first = schema.inputs[0].type_str
        if any("map" in kind for kind in allowed[first]):
            continue
        for x in allowed[first]:
            for label in allowed.get("T2", ["tensor(int64)"]):
                converts = schema.name == "CategoryMapper" or (schema.name, schema.since_version) == ("LabelEncoder", 1)
                if converts and (x == "tensor(string)") == (label == "tensor(string)"):
                    continue  # these map strings to integers or integers to strings
                name = f"{schema.name}-{schema.since_version}-{x[7:-1]}-{label[7:-1]}"
                found.append(pytest.param(schema.name, schema.since_version, KINDS[x], KINDS[label], id=name))
    return found


@pytest.mark.parametrize(("op", "version", "x", "label"), cases())
def test_every_type(op: str, version: int, x: Any, label: Any) -> None:
    (schema,) = [
        s for s in defs.get_all_schemas_with_history() if (s.domain, s.name, s.since_version) == (DOMAIN, op, version)
    ]
    plain = [np.asarray(y) for y in run(op, version, *PLAIN.get((op, version), (np.float32, np.int64)))]
    for output, found, expected in zip(schema.outputs, run(op, version, x, label), plain):
        kind = {"T": x, "T1": x, "T2": label}.get(output.type_str) or KINDS[output.type_str]
        if kind is object:
            compare(found, expected.astype(int).astype(str).astype(object), what=output.name)
        else:
            compare(found, expected.astype(int if np.dtype(kind).kind == "i" else float).astype(kind), what=output.name)


# What the other types are compared with, where it is not f32 with int64 labels.
PLAIN = {
    ("LabelEncoder", 1): (object, np.int64),
    ("CategoryMapper", 1): (object, np.int64),
}
