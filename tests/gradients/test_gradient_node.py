"""ai.onnx.preview.training.Gradient: what its attributes name, and what is refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import sardonyx as sx
from tests.gradients.harness import NEWEST_OPSET, TRAINING


def build(nodes: list[onnx.NodeProto], inputs: dict[str, Any], outputs: list[str]) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    graph = helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name=name) for name in outputs])
    opsets = [helper.make_opsetid("", NEWEST_OPSET), helper.make_opsetid(TRAINING, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def gradient(inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Gradient", inputs, outputs, domain=TRAINING, name="grad", **attributes)


def run(nodes: list[onnx.NodeProto], outputs: list[str], **feeds: Any) -> list[Any]:
    arrays = {name: np.float32(value) for name, value in feeds.items()}
    model = build(nodes, {name: array.shape for name, array in arrays.items()}, outputs)
    return sx.InferenceSession(model).run(outputs, arrays)


H = helper.make_node("Mul", ["w", "x"], ["h"])
Y = helper.make_node("Mul", ["h", "z"], ["y"])


def test_by_an_intermediate_value() -> None:
    found = run([H, Y, gradient(["h", "z"], ["dh", "dz"], xs=["h", "z"], y="y")], ["dh", "dz"], w=2, x=3, z=5)
    assert found == [5, 6]


def test_at_other_values_than_the_graph_computes() -> None:
    nodes = [H, Y, gradient(["other", "z"], ["dh", "dz"], xs=["h", "z"], y="y")]
    assert run(nodes, ["dh", "dz", "y"], w=2, x=3, z=5, other=7) == [5, 7, 30]


def test_one_value_in_two_places_is_two_variables() -> None:
    nodes = [H, gradient(["a", "a"], ["dw", "dx"], xs=["w", "x"], y="h")]
    assert run(nodes, ["dw", "dx"], w=2, x=3, a=4) == [4, 4]
    square = [
        helper.make_node("Mul", ["w", "h"], ["q"]),
        *[H],
        gradient(["a", "a"], ["dw", "dh"], xs=["w", "h"], y="q"),
    ]
    assert run([square[1], square[0], square[2]], ["dw", "dh"], w=2, x=3, a=4) == [4, 4]


def test_what_zs_names_is_independent() -> None:
    square = helper.make_node("Mul", ["w", "h"], ["q"])
    through = run([H, square, gradient(["w"], ["dw"], xs=["w"], y="q")], ["dw"], w=2, x=3)
    fixed = run([H, square, gradient(["w", "h"], ["dw"], xs=["w"], zs=["h"], y="q")], ["dw"], w=2, x=3)
    assert (through, fixed) == ([12], [6])


def test_of_a_gradient() -> None:
    cube = [helper.make_node("Mul", ["x", "x"], ["s"]), helper.make_node("Mul", ["s", "x"], ["c"])]
    nodes = [*cube, gradient(["x"], ["d"], xs=["x"], y="c"), gradient(["x"], ["dd"], xs=["x"], y="d")]
    assert run(nodes, ["d", "dd"], x=3) == [27, 18]


def test_zeros_where_nothing_depends_on_the_variable() -> None:
    found = run([H, Y, gradient(["a", "h"], ["", "dh"], xs=["a", "h"], y="y")], ["dh"], w=2, x=3, z=5, a=[1, 2])
    assert found == [5]
    (da,) = run([H, Y, gradient(["a"], ["da"], xs=["a"], y="y")], ["da"], w=2, x=3, z=5, a=[1, 2])
    assert da.tolist() == [0, 0]


def test_before_the_nodes_that_it_differentiates() -> None:
    assert run([gradient(["w"], ["dw"], xs=["w"], y="h"), H], ["dw"], w=2, x=3) == [3]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (gradient(["w"], ["d"], xs=["w"], y="nowhere"), "'nowhere'.*no value of its graph"),
        (gradient(["w"], ["d"], xs=["w", "x"], y="h"), "1 inputs; one for each of the 2 names"),
        (gradient(["w"], ["d", "e"], xs=["w"], y="h"), "2 outputs; 1 to 1 expected"),
        (gradient(["w"], ["d"], xs=["w"]), "lacks the attribute 'y'"),
        (gradient(["w"], ["d"], y="h"), "lacks the attribute 'xs'"),
        (gradient(["w"], ["d"], xs=["w"], y="i"), "gradient of 'i' does not exist: it is i64"),
        (gradient(["i"], ["d"], xs=["i"], y="h"), "gradient with respect to 'i' does not exist"),
        (gradient(["w"], ["d"], xs=["w"], y="b"), r"BitCast 'cast'\] has no gradient: it reads the bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(node: onnx.NodeProto, message: str) -> None:
    cast = helper.make_node("Cast", ["w"], ["i"], to=TensorProto.INT64)
    bits = helper.make_node("BitCast", ["w"], ["b"], to=TensorProto.FLOAT, name="cast")
    with pytest.raises(Exception, match=message):
        sx.InferenceSession(build([H, cast, bits, node], {"w": [], "x": []}, ["h", "d"]))
