"""Reading models: element types, names, broken graphs, bodies, functions, versions and options."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx
from sardonyx import _core, errors

FLOAT = TensorProto.FLOAT


def info(name: str, dtype: int = FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initializers: list[onnx.TensorProto] | None = None,
    opset: int = 21,
    ir: int = 10,
    **fields: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers or [])
    opsets = fields.pop("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, **fields)


def session(model: onnx.ModelProto | bytes | str, **options: Any) -> sx.InferenceSession:
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return sx.InferenceSession(data, **options)


def run(model: onnx.ModelProto | bytes, feeds: dict[str, Any] | None = None) -> list[Any]:
    return list(session(model).run(None, feeds or {}))


def problems(model: onnx.ModelProto | bytes) -> list[tuple[str, str, str]]:
    return _core.check_bytes(model.SerializeToString() if isinstance(model, onnx.ModelProto) else model)


def one_input(*nodes: onnx.NodeProto, output: str = "y", **fields: Any) -> onnx.ModelProto:
    """A model over x: f32[2,3]."""
    return model_of(list(nodes), [info("x", FLOAT, [2, 3])], [info(output)], **fields)


X = np.arange(6, dtype=np.float32).reshape(2, 3)
IDENTITY = helper.make_node("Identity", ["x"], ["y"], name="copy")


# --- tensors

ARRAYS = {
    "f32": np.array([1.5, -0.0, np.inf], np.float32),
    "f64": np.array([1.5, -0.0, 1e300], np.float64),
    "f16": np.array([1.5, -0.0, 65504], np.float16),
    "bf16": np.array([1.5, -0.0, 3e38]).astype(ml_dtypes.bfloat16),
    "u8": np.array([0, 1, 255], np.uint8),
    "i8": np.array([-128, 1, 127], np.int8),
    "u16": np.array([0, 1, 65535], np.uint16),
    "i16": np.array([-32768, 1, 32767], np.int16),
    "u32": np.array([0, 1, 2**32 - 1], np.uint32),
    "i32": np.array([-(2**31), 1, 2**31 - 1], np.int32),
    "u64": np.array([0, 1, 2**64 - 1], np.uint64),
    "i64": np.array([-(2**63), 1, 2**63 - 1], np.int64),
    "bool": np.array([True, False, True]),
    "c64": np.array([1 + 2j, -3j, 4], np.complex64),
    "c128": np.array([1 + 2j, -3j, 4], np.complex128),
    "f8e4m3fn": np.array([1.5, -0.0, 448]).astype(ml_dtypes.float8_e4m3fn),
    "f8e4m3fnuz": np.array([1.5, 0.0, 240]).astype(ml_dtypes.float8_e4m3fnuz),
    "f8e5m2": np.array([1.5, -0.0, np.inf]).astype(ml_dtypes.float8_e5m2),
    "f8e5m2fnuz": np.array([1.5, 0.0, 57344]).astype(ml_dtypes.float8_e5m2fnuz),
    "f8e8m0": np.array([1, 2, 0.5]).astype(ml_dtypes.float8_e8m0fnu),
    "i4": np.array([-8, 7, -1, 3, 0]).astype(ml_dtypes.int4),
    "u4": np.array([15, 0, 7, 8, 1]).astype(ml_dtypes.uint4),
    "i2": np.array([-2, 1, -1, 0, 1]).astype(ml_dtypes.int2),
    "u2": np.array([3, 0, 1, 2, 3]).astype(ml_dtypes.uint2),
    "f6": np.array([3, 0, -1.5, 2, 0.25]).astype(ml_dtypes.float6_e2m3fn),
    "f4": np.array([6, -0.5, 0, 1, 3]).astype(ml_dtypes.float4_e2m1fn),
}


def typed(array: np.ndarray[Any, Any], name: str) -> onnx.TensorProto:
    """The array in the typed fields of a TensorProto."""
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=dtype, dims=array.shape)
    if dtype in (TensorProto.FLOAT, TensorProto.COMPLEX64):
        tensor.float_data.extend(array.view(np.float32))
    elif dtype in (TensorProto.DOUBLE, TensorProto.COMPLEX128):
        tensor.double_data.extend(array.view(np.float64))
    elif dtype == TensorProto.INT64:
        tensor.int64_data.extend(array)
    elif dtype in (TensorProto.FLOAT6E2M3, TensorProto.FLOAT6E3M2):
        tensor.int32_data.extend(int(code) for code in array.view(np.uint8))
    elif dtype in (TensorProto.UINT32, TensorProto.UINT64):
        tensor.uint64_data.extend(array.astype(np.uint64))
    else:
        raw = np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)
        size = array.dtype.itemsize if len(raw) >= array.nbytes else 1
        words = raw.view({1: np.uint8, 2: np.uint16, 4: np.int32}[size])
        if array.dtype in (np.int8, np.int16):
            words = array
        tensor.int32_data.extend(int(word) for word in words)
    return tensor


@pytest.mark.parametrize("form", ["raw", "typed"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_element_types(kind: str, form: str) -> None:
    array = ARRAYS[kind]
    tensor = numpy_helper.from_array(array, "c") if form == "raw" else typed(array, "c")
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), array)
    (result,) = run(model_of([], [], [info("c", tensor.data_type)], [tensor]))
    assert result.dtype == array.dtype
    if kind in ("i4", "i2"):  # whose unused high bits may differ
        np.testing.assert_array_equal(result, array)
    else:
        assert result.tobytes() == array.tobytes()


def test_raw_bools_are_normalised() -> None:
    tensor = onnx.TensorProto(name="c", data_type=TensorProto.BOOL, dims=[3], raw_data=b"\x00\x02\xff")
    (result,) = run(model_of([], [], [info("c", TensorProto.BOOL)], [tensor]))
    assert result.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": numpy_helper.from_array(np.array([[1, 2]], np.int16))}, np.array([[1, 2]], np.int16)),
        ({"value_float": 0.5}, np.float32(0.5)),
        ({"value_floats": [0.5, 1.0]}, np.array([0.5, 1], np.float32)),
        ({"value_int": -3}, np.int64(-3)),
        ({"value_ints": [1, -3]}, np.array([1, -3])),
        ({"value_string": "ä"}, np.array("ä", object)),
        ({"value_strings": ["", "b"]}, np.array(["", "b"], object)),
        (
            {
                "sparse_value": helper.make_sparse_tensor(
                    numpy_helper.from_array(np.array([5, 7], np.float32), "v"),
                    numpy_helper.from_array(np.array([1, 5]), "i"),
                    [2, 3],
                )
            },
            np.array([[0, 5, 0], [0, 0, 7]], np.float32),
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_constants(attributes: dict[str, Any], expected: np.ndarray[Any, Any]) -> None:
    dtype = TensorProto.STRING if expected.dtype == object else helper.np_dtype_to_tensor_dtype(expected.dtype)
    (result,) = run(model_of([helper.make_node("Constant", [], ["c"], **attributes)], [], [info("c", dtype)]))
    np.testing.assert_array_equal(result, expected)


def test_sparse_initializer() -> None:
    model = one_input(IDENTITY, output="s")
    values = numpy_helper.from_array(np.array([5, 7], np.float32), "s")
    indices = numpy_helper.from_array(np.array([[0, 1], [1, 2]]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 3]))
    np.testing.assert_array_equal(run(model, {"x": X})[0], [[0, 5, 0], [0, 0, 7]])


# --- names


@pytest.mark.parametrize("name", ["input.1", "20", "a/b", "a:0", "class", " ", "ä\n", "_", '"'])
def test_any_name(name: str) -> None:
    nodes = [
        helper.make_node("Identity", [name], [name + "'"]),
        helper.make_node("Identity", [name + "'"], [name + "''"]),
    ]
    model = model_of(nodes, [info(name, FLOAT, ["N", 3])], [info(name + "''")])
    made = session(model)
    assert [arg.name for arg in (*made.get_inputs(), *made.get_outputs())] == [name, name + "''"]
    np.testing.assert_array_equal(made.run(None, {name: X})[0], X)


def test_outputs_that_are_inputs_or_initializers() -> None:
    weight = numpy_helper.from_array(np.float32([1, 2]), "w")
    model = model_of(
        [], [info("x", FLOAT, [2, 3])], [info("x", FLOAT, [2, 3]), info("w"), info("x", FLOAT, [2, 3])], [weight]
    )
    first, second, third = run(model, {"x": X})
    np.testing.assert_array_equal(first, X)
    np.testing.assert_array_equal(second, [1, 2])
    np.testing.assert_array_equal(third, X)


def test_nodes_in_any_order() -> None:
    names = ["x", *(f"t{i}" for i in range(9)), "y"]
    nodes = [helper.make_node("Identity", [a], [b]) for a, b in itertools.pairwise(names)]
    random.Random(1).shuffle(nodes)
    np.testing.assert_array_equal(run(one_input(*nodes), {"x": X})[0], X)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (["x>t", "x>t", "t>y"], "the name 't' is given to two values: outputs of Identity 't' and Identity 't'"),
        (["x>x", "x>y"], "the name 'x' is given to two values: an input of the graph and an output of Identity 'x'"),
        (["x>w", "x>y"], "the name 'w' is given to two values: an initializer"),
        (["z>y"], "Identity 'y' reads 'z', which is no input, initializer or output of another node"),
        (["x>t"], "output 'y' of the graph is no input, initializer or output of a node"),
        (
            ["b>a", "a>b", "b>y"],
            "the graph has a cycle; it goes through or feeds Identity 'a', Identity 'b', Identity 'y'",
        ),
        (["y>y"], "the graph has a cycle"),
    ],
)
def test_broken_graphs(nodes: list[str], message: str) -> None:
    made = [helper.make_node("Identity", [node.split(">")[0]], [node.split(">")[1]]) for node in nodes]
    model = one_input(*made)
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1]), "w"))
    with pytest.raises(errors.InvalidGraph) as caught:
        session(model)
    assert message in str(caught.value)


def test_duplicate_inputs_and_initializers() -> None:
    model = one_input(IDENTITY)
    model.graph.input.append(info("x", FLOAT, [2, 3]))
    for _ in range(2):
        model.graph.initializer.append(numpy_helper.from_array(np.float32([1]), "w"))
    found = [message for _, _, message in problems(model)]
    assert found == ["input 'x' is listed twice", "initializer 'w' has the name of another initializer"]


# --- bodies


def branch(node: onnx.NodeProto, output: str, *more: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node, *more], output, [], [info(output)])


def conditional(then: onnx.GraphProto, other: onnx.GraphProto, output: str, condition: str = "c") -> onnx.NodeProto:
    return helper.make_node("If", [condition], [output], then_branch=then, else_branch=other)


def test_nested_captures() -> None:
    """A value is captured through two levels, a constant too; a body gives back what it captures."""
    deep = conditional(
        branch(helper.make_node("Concat", ["x", "w"], ["o1"], axis=0), "o1"),
        branch(helper.make_node("Identity", ["x"], ["o2"]), "o2"),
        "o3",
        "d",
    )
    node = conditional(branch(deep, "o3"), helper.make_graph([], "e", [], [info("x")]), "y")
    inputs = [info("x", FLOAT, ["N", 3]), info("c", TensorProto.BOOL, []), info("d", TensorProto.BOOL, [])]
    weight = numpy_helper.from_array(np.float32([[9, 9, 9]]), "w")
    made = session(model_of([node], inputs, [info("y")], [weight]))
    for c in (True, False):
        for d in (True, False):
            (result,) = made.run(None, {"x": X, "c": np.array(c), "d": np.array(d)})
            np.testing.assert_array_equal(result, np.concatenate([X, [[9, 9, 9]]]) if c and d else X)


def test_shadowing_is_refused() -> None:
    body = branch(helper.make_node("Identity", ["x"], ["t"]), "t")
    nodes = [helper.make_node("Identity", ["x"], ["t"]), conditional(body, branch(IDENTITY, "y"), "z")]
    model = model_of(nodes, [info("x", FLOAT, [2, 3]), info("c", TensorProto.BOOL, [])], [info("z"), info("t")])
    with pytest.raises(errors.InvalidGraph, match="'t' of Identity 't' in a nested graph has the name of a value"):
        session(model)


def nested(depth: int) -> onnx.ModelProto:
    graph = branch(helper.make_node("Identity", ["x"], ["o0"]), "o0")
    for i in range(1, depth):
        graph = branch(
            conditional(graph, branch(helper.make_node("Identity", ["x"], [f"e{i}"]), f"e{i}"), f"o{i}"), f"o{i}"
        )
    model = model_of([], [info("x", FLOAT, [2, 3]), info("c", TensorProto.BOOL, [])], [info(f"o{depth - 1}")])
    model.graph.node.extend(graph.node)
    return model


def test_depth() -> None:
    feeds = {"x": X, "c": np.array(True)}
    np.testing.assert_array_equal(run(nested(12), feeds)[0], X)


# --- functions


def function(
    name: str, inputs: list[str], outputs: list[str], nodes: list[onnx.NodeProto], **fields: Any
) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, inputs, outputs, nodes, opsets, **fields)


def with_functions(nodes: list[onnx.NodeProto], functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("f", 1)]
    return one_input(*nodes, opset_imports=imports, functions=functions)


def call(name: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(name, inputs, outputs, domain="f", name=f"{name}_of_{outputs[0]}", **attributes)


def reference(node: onnx.NodeProto, attribute: str, to: str, kind: int) -> onnx.NodeProto:
    node.attribute.append(onnx.AttributeProto(name=attribute, ref_attr_name=to, type=kind))
    return node


def test_functions() -> None:
    """Nested calls, attributes by reference with and without a default, inner names like those of the model."""
    ints = onnx.AttributeProto.INTS
    turn = reference(helper.make_node("Transpose", ["a"], ["t"]), "perm", "perm", ints)
    turn_twice = [call("Turn", ["x"], ["t"]), reference(call("Turn", ["t"], ["y"]), "perm", "order", ints)]
    functions = [
        function("Turn", ["a"], ["t"], [turn], attribute_protos=[helper.make_attribute("perm", [1, 0])]),
        function("TurnTwice", ["x"], ["y"], turn_twice, attributes=["order"]),
    ]
    nodes = [call("TurnTwice", ["x"], ["t"], order=[0, 1]), call("TurnTwice", ["t"], ["u"]), call("Turn", ["u"], ["y"])]
    np.testing.assert_array_equal(run(with_functions(nodes, functions), {"x": X})[0], X)


def test_function_with_a_body() -> None:
    """A body within a function captures a value of the function."""
    node = conditional(
        branch(helper.make_node("Identity", ["t"], ["u"]), "u"),
        branch(helper.make_node("Transpose", ["t"], ["v"]), "v"),
        "r",
        "k",
    )
    pick = function("Pick", ["k", "x"], ["r"], [helper.make_node("Identity", ["x"], ["t"]), node])
    model = with_functions([call("Pick", ["c", "x"], ["t"]), call("Pick", ["c", "t"], ["y"])], [pick])
    model.graph.input.append(info("c", TensorProto.BOOL, []))
    made = session(model)
    for c in (True, False):
        np.testing.assert_array_equal(made.run(None, {"x": X, "c": np.array(c)})[0], X)


def test_function_outputs_that_are_inputs() -> None:
    swap = function("Both", ["a"], ["a", "b"], [helper.make_node("Transpose", ["a"], ["b"])])
    model = with_functions([call("Both", ["x"], ["y", ""])], [swap])
    np.testing.assert_array_equal(run(model, {"x": X})[0], X)


def test_function_overloads() -> None:
    first = function("F", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], overload="one")
    second = function("F", ["a"], ["b"], [helper.make_node("Transpose", ["a"], ["b"])], overload="two")
    model = with_functions([call("F", ["x"], ["y"], overload="two")], [first, second])
    np.testing.assert_array_equal(run(model, {"x": X})[0], X.T)


def test_recursive_function() -> None:
    loop = function("F", ["a"], ["b"], [call("F", ["a"], ["b"])])
    with pytest.raises(errors.InvalidGraph, match="the function 'F' calls itself"):
        session(with_functions([call("F", ["x"], ["y"])], [loop]))


def test_exploding_functions() -> None:
    functions = [function("F0", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])])]
    for i in range(1, 40):
        twice = [call(f"F{i - 1}", ["a"], ["t"]), call(f"F{i - 1}", ["t"], ["b"])]
        functions.append(function(f"F{i}", ["a"], ["b"], twice))
    started = time.monotonic()
    with pytest.raises(errors.InvalidGraph, match="unfold to more than"):
        session(with_functions([call("F39", ["x"], ["y"])], functions))
    assert time.monotonic() - started < 20


# --- what is not supported


def test_unsupported_operators_are_all_listed() -> None:
    body = branch(helper.make_node("Inner", ["x"], ["i"], domain="acme"), "i")
    nodes = [
        helper.make_node("Foo", ["x"], ["t"], name="first", domain="acme"),
        helper.make_node("Foo", ["x"], ["u"], domain="acme"),
        helper.make_node("Identty", ["t"], ["v"], name="typo"),
        conditional(body, branch(helper.make_node("Identity", ["x"], ["o"]), "o"), "y"),
        call("F", ["x"], ["w"]),
    ]
    inside = function("F", ["a"], ["b"], [helper.make_node("Hidden", ["a"], ["b"], domain="acme", name="deep")])
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("acme", 3), helper.make_opsetid("f", 1)]
    model = one_input(*nodes, opset_imports=imports, functions=[inside])
    model.graph.input.append(info("c", TensorProto.BOOL, []))
    with pytest.raises(errors.NotImplemented) as caught:
        session(model)
    text = str(caught.value)
    assert "operator acme::Foo of Foo 'first' (opset 3, input f32) is not supported, also Foo 'u'" in text
    assert "operator Identty of Identty 'typo' (opset 21, " in text
    assert "did you mean 'Identity'?" in text
    assert "operator acme::Inner of Inner 'i' (opset 3, input f32)" in text
    assert "operator acme::Hidden of Hidden 'F_of_w/deep' (opset 3, input f32)" in text
    assert len(problems(model)) == 5


def test_versions() -> None:
    with pytest.raises(errors.NotImplemented, match=r"opset 29 of ai\.onnx; this release knows up to 28"):
        session(one_input(IDENTITY, opset=29))
    with pytest.raises(errors.NotImplemented, match="IR version 15; this release reads up to 14"):
        session(one_input(IDENTITY, ir=15))
    with pytest.raises(errors.InvalidGraph, match=r"no opset_import for the domain 'ai\.onnx' of Identity 'copy'"):
        session(one_input(IDENTITY, opset_imports=[helper.make_opsetid("acme", 1)]))
    imports = [helper.make_opsetid("ai.onnx", 21), helper.make_opsetid("unused.domain", 999)]
    np.testing.assert_array_equal(run(one_input(IDENTITY, opset_imports=imports), {"x": X})[0], X)
    unknown = one_input(IDENTITY)
    unknown.ClearField("ir_version")
    with pytest.raises(errors.InvalidGraph, match="IR version 0"):
        session(unknown)


def test_all_problems_are_found() -> None:
    bad = onnx.TensorProto(name="w", data_type=FLOAT, dims=[3], raw_data=b"1234")
    nodes = [helper.make_node("Foo", ["w"], ["a"]), helper.make_node("Identity", ["missing"], ["b"]), IDENTITY]
    model = model_of(nodes, [info("x", FLOAT, [2])], [info("y"), info("z")], [bad])
    found = problems(model)
    assert [kind for kind, _, _ in found] == ["InvalidGraph", "NotImplemented", "InvalidGraph", "InvalidGraph"]
    assert [where for _, where, _ in found] == ["initializer 'w'", "Foo 'a'", "Identity 'b'", "output 'z'"]
    assert "has 4 bytes of data; f32[3] needs 12" in found[0][2]


# --- options


def test_free_dimensions() -> None:
    x = info("x", FLOAT, ["N", "S", 4])
    x.type.tensor_type.shape.dim[1].denotation = "TIME"
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], [x], [info("y", FLOAT, ["N", "S", 4])])
    assert session(model).get_outputs()[0].shape == ["N", "S", 4]
    options = sx.SessionOptions()
    options.add_free_dimension_override_by_name("N", 2)
    options.add_free_dimension_override_by_denotation("TIME", 3)
    made = session(model, sess_options=options)
    assert made.get_inputs()[0].shape == [2, 3, 4]
    assert made.get_outputs()[0].shape == [2, 3, 4]


def test_replaced_initializer() -> None:
    model = model_of([], [], [info("w")], [numpy_helper.from_array(np.float32([1, 2]), "w")])
    options = sx.SessionOptions()
    options.add_initializer("w", sx.OrtValue.ortvalue_from_numpy(np.float32([3, 4])))
    assert session(model, sess_options=options).run(None, {})[0].tolist() == [3, 4]
    options = sx.SessionOptions()
    options.add_initializer("w", sx.OrtValue.ortvalue_from_numpy(np.float32([3, 4, 5])))
    with pytest.raises(
        errors.InvalidArgument, match=r"initializer 'w' is to be replaced by f32\[3\]; f32\[2\] expected"
    ):
        session(model, sess_options=options)


@pytest.mark.parametrize("ir", [3, 10])
def test_initializers_among_the_inputs(ir: int) -> None:
    """From IR version 4 on a caller may replace them, before they have to be listed."""
    weight = numpy_helper.from_array(np.float32([[1, 2, 3]]), "w")
    inputs = [info("w", FLOAT, [1, 3]), info("x", FLOAT, ["N", 3])]
    model = model_of(
        [helper.make_node("Concat", ["x", "w"], ["y"], axis=0)], inputs, [info("y")], [weight], opset=8, ir=ir
    )
    made = session(model)
    assert [arg.name for arg in made.get_inputs()] == ["x"]
    assert [arg.name for arg in made.get_overridable_initializers()] == (["w"] if ir >= 4 else [])
    np.testing.assert_array_equal(made.run(None, {"x": X})[0], np.concatenate([X, [[1, 2, 3]]]))
    if ir >= 4:
        feeds = {"x": X, "w": np.float32([[7, 8, 9]])}
        np.testing.assert_array_equal(made.run(None, feeds)[0], np.concatenate([X, [[7, 8, 9]]]))
