"""Every operator of ai.onnx either has a case of its gradient, gives zeros, or says why it has none."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import sardonyx as sx
from sardonyx._core import operators
from tests.gradients.harness import NEWEST_OPSET, TRAINING, Case

if TYPE_CHECKING:
    from sardonyx._core import OperatorRow

ROWS: dict[str, OperatorRow] = {row["name"]: row for row in operators() if row["domain"] == ""}
# What is differentiated by rules of other domains; quantized operators of com.microsoft become such that give zeros.
OTHERS = {
    (row["domain"], row["name"])
    for row in operators()
    if row["gradient"] == "rule"
    and row["domain"] not in ("", "sardonyx")
    and not row["domain"].startswith("ai.sardonyx")
}


def cases() -> list[Case]:
    """All cases of the modules beside this one."""
    found: list[Case] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.stem == Path(__file__).stem:
            continue
        module = importlib.import_module(f"tests.gradients.{path.stem}")
        for value in vars(module).values():
            if isinstance(value, list):
                found += [case for case in value if isinstance(case, Case)]
    return found


def names(gradient: str) -> list[str]:
    return sorted(name for name, row in ROWS.items() if row["gradient"] == gradient)


def test_every_rule_has_a_case() -> None:
    covered = {case.op for case in cases() if not case.domain}
    assert not [name for name in names("rule") + names("imported") if name not in covered]


def test_every_rule_of_other_domains_has_a_case() -> None:
    assert not OTHERS - {(case.domain, case.op) for case in cases()}


def test_every_case_differentiates() -> None:
    for case in cases():
        assert case.variables() or case.op in names("zero"), case.name()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name())
def test_unknown_ranks_are_an_error_at_most(case: Case) -> None:
    """Each input in turn, and all of them, without a shape."""
    nodes, infos, feeds = case.graph(False)
    xs = [f"x{i}" for i in case.variables()]
    if not xs:
        return
    zs = [name for name in feeds if name not in xs]
    y = next(name for name in case.outputs if name)
    attrs = {"zs": zs} if zs else {}
    gradients = [f"d{x}" for x in xs]
    nodes.append(helper.make_node("Gradient", xs + zs, gradients, domain=TRAINING, xs=xs, y=y, **attrs))
    for hidden in [*({info.name} for info in infos), {info.name for info in infos}]:
        declared = []
        for info in infos:
            declared.append(onnx.ValueInfoProto())
            declared[-1].CopyFrom(info)
            if info.name in hidden:
                declared[-1].type.tensor_type.ClearField("shape")
        model = case.model(list(nodes), declared, gradients, [])
        try:
            found = sx.InferenceSession(model).run(None, feeds)
        except (sx.errors.InvalidGraph, sx.errors.NotImplemented) as error:
            assert re.search("unknown|known|does not exist|has no gradient", str(error)), str(error)
            continue
        for x, gradient in zip(xs, found, strict=True):
            assert gradient.shape == feeds[x].shape


@pytest.mark.parametrize("name", names("none"))
def test_without_a_rule_says_why(name: str) -> None:
    assert ROWS[name]["gradient_note"], f"{name} has neither a gradient nor a reason"


def floats(row: OperatorRow) -> list[int]:
    return [i for i, port in enumerate(row["inputs"]) if not port["any_kind"] and "f32" in port["types"]]


# Inputs of operators that move in steps, where a float32 of shape [2, 3] will not do.
X = np.array([[0.3, -1.2, 2.1], [0.6, 1.4, -0.8]], np.float32)
SCALE, ZERO_POINT = np.array(0.1, np.float32), np.array(3, np.uint8)
ZERO: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Bernoulli": ([np.abs(X) / 3], {}),
    "EyeLike": ([X], {}),
    "QuantizeLinear": ([X, np.array(0.1, np.float32), np.array(3, np.uint8)], {}),
    "RandomNormalLike": ([X], {}),
    "RandomUniformLike": ([X], {}),
    "MelWeightMatrix": (
        [np.array(4), np.array(32), np.array(8000), np.array(100, np.float32), np.array(3000, np.float32)],
        {},
    ),
    "NonMaxSuppression": ([np.zeros((1, 2, 4), np.float32), np.zeros((1, 1, 2), np.float32)], {}),
    "Multinomial": ([X], {"sample_size": 2}),
    "QLinearConv": (
        [
            np.ones((1, 1, 2, 2), np.uint8),
            SCALE,
            ZERO_POINT,
            np.ones((1, 1, 1, 1), np.uint8),
            SCALE,
            ZERO_POINT,
            SCALE,
            ZERO_POINT,
        ],
        {},
    ),
    "QLinearMatMul": (
        [np.ones((2, 2), np.uint8), SCALE, ZERO_POINT, np.ones((2, 2), np.uint8), SCALE, ZERO_POINT, SCALE, ZERO_POINT],
        {},
    ),
}


@pytest.mark.parametrize("name", [name for name in names("zero") if floats(ROWS[name])])
def test_steps_give_zeros(name: str) -> None:
    """The path through the operator carries nothing, and the one beside it is not disturbed."""
    row = ROWS[name]
    inputs, attrs = ZERO.get(name, ([X] * max(1, sum(p["presence"] == "required" for p in row["inputs"])), {}))
    feeds = {f"x{i}": np.asarray(x) for i, x in enumerate(inputs)}
    moved = [f"x{i}" for i in floats(row) if i < len(inputs) and feeds[f"x{i}"].dtype == np.float32]
    nodes = [helper.make_node(name, list(feeds), ["y"], **attrs)]
    nodes.append(helper.make_node("Cast", ["y"], ["f"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("ReduceSum", ["f"], ["s"], keepdims=0))
    nodes.append(helper.make_node("ReduceSum", [moved[0]], ["t"], keepdims=0))
    nodes.append(helper.make_node("Add", ["s", "t"], ["loss"]))
    nodes.append(helper.make_node("Gradient", moved, [f"d{x}" for x in moved], domain=TRAINING, xs=moved, y="loss"))
    infos = [
        helper.make_tensor_value_info(x, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for x, v in feeds.items()
    ]
    graph = helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name=f"d{x}") for x in moved])
    opsets = [helper.make_opsetid("", NEWEST_OPSET), helper.make_opsetid(TRAINING, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    found = sx.InferenceSession(model).run(None, feeds)
    for i, (x, gradient) in enumerate(zip(moved, found, strict=True)):
        np.testing.assert_array_equal(gradient, np.full(feeds[x].shape, 1 if i == 0 else 0, np.float32))
