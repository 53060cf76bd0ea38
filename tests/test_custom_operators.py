"""Operators made of Python functions: registration, inference, calls, errors, where they may stand in a model."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import sardonyx as sx
from sardonyx import errors

X = np.arange(6, dtype=np.float32).reshape(2, 3)
LEVELS = list(sx.GraphOptimizationLevel)


@pytest.fixture(autouse=True)
def _only_built_in() -> Iterator[None]:
    before = sx.registered_operators()
    yield
    for row in sx.registered_operators():
        if row not in before:
            sx.unregister_operator(*row)


def model(text: str) -> onnx.ModelProto:
    """The graph in `text` with opsets of ai.onnx and t, the domain of the tests."""
    return parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21, "t" : 3]> {text}')


def one_node(
    *, inputs: int = 1, outputs: int = 1, dtype: int = TensorProto.FLOAT, op: str = "Op", **attributes: Any
) -> onnx.ModelProto:
    """A model of one node t::Op whose outputs are declared without a type."""
    node = helper.make_node(
        op, [f"x{i}" for i in range(inputs)], [f"y{i}" for i in range(outputs)], name="n", domain="t", **attributes
    )
    infos = [helper.make_tensor_value_info(f"x{i}", dtype, None) for i in range(inputs)]
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("t", 3)], ir_version=10
    )


def call(proto: onnx.ModelProto, *inputs: Any, level: int = 99) -> list[Any]:
    options = sx.SessionOptions()
    options.graph_optimization_level = level
    return sx.InferenceSession(proto, options).run(None, list(inputs))


@pytest.mark.parametrize("level", LEVELS)
def test_a_function_runs_between_other_nodes(level: int) -> None:
    sx.register_operator("t", "Scale", lambda x, *, factor=2.0: x * np.float32(factor), infer=lambda x, **_: x)
    proto = model("g (float[N,3] x) => (float[N,3] y) { a = Neg(x) b = t.Scale <factor = 3.0> (a) y = Relu(b) }")
    (y,) = call(proto, -X, level=level)
    np.testing.assert_array_equal(y, 3 * X)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_types_that_only_a_run_tells(level: int, dtype: Any) -> None:
    sx.register_operator("t", "Op", lambda x: (x + 1).astype(dtype))
    proto = model("""g (float[N,3] x) => (y, z, s, f) {
        a = t.Op(x) y = Add(a, a) b = Transpose(y) z = t.Op(b) s = Shape(z) f = Cast <to = 11> (z)
    }""")
    for output in proto.graph.output:
        output.ClearField("type")
    for x in (X, X, X[:1]):
        y, z, s, f = call(proto, x, level=level)
        expected = 2 * (x + 1)
        np.testing.assert_array_equal(y, expected.astype(dtype), strict=True)
        np.testing.assert_array_equal(z, expected.T.astype(dtype) + dtype(1), strict=True)
        assert s.tolist() == [3, len(x)]
        np.testing.assert_array_equal(f, z.astype(np.float64), strict=True)


def test_the_type_may_change_from_run_to_run() -> None:
    returned = [X, X.astype(np.int64), X]
    sx.register_operator("t", "Op", lambda x: returned[int(x[0])])
    session = sx.InferenceSession(
        helper.make_model(
            helper.make_graph(
                [helper.make_node("Op", ["x"], ["a"], domain="t"), helper.make_node("Neg", ["a"], ["y"])],
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
                [onnx.ValueInfoProto(name="y")],
            ),
            opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("t", 1)],
        )
    )
    for k, value in enumerate(returned):
        (y,) = session.run(None, [np.array([k], np.float32)])
        np.testing.assert_array_equal(y, -value, strict=True)


def test_declared_types_serve_where_there_is_no_infer() -> None:
    sx.register_operator("t", "Op", lambda x: x.astype(np.int64))
    proto = model("g (float[2,3] x) => (int64[2,3] y) { a = t.Op(x) y = Neg(a) }")
    np.testing.assert_array_equal(call(proto, X)[0], -X.astype(np.int64), strict=True)
    sx.register_operator("t", "Op", lambda x: x.astype(np.int32), replace=True)
    wrong = model("g (float[2,3] x) => (int64[2,3] y) { y = t.Op(x) }")
    with pytest.raises(errors.InvalidArgument, match=r"t::Op.*returned tensor\(int32\)\[2,3\].*to be tensor\(int64\)"):
        call(wrong, X)


def test_infer_sees_types_and_decides_them() -> None:
    seen = []

    def infer(x: Any, y: Any, **attributes: Any) -> Any:
        seen.append((x, y, attributes))
        return sx.TensorType(np.float64, (x.shape[1], x.shape[0])), "seq(tensor(float))"

    sx.register_operator("t", "Op", lambda x, y, *, k: (x.T.astype(np.float64), [x]), infer=infer)
    proto = model("g (float[N,3] x, seq(float[2]) q) => (double[3,N] y, seq(float) z) { y, z = t.Op <k = 4> (x, q) }")
    session = sx.InferenceSession(proto)
    assert seen[0][0] == sx.TensorType(np.dtype(np.float32), ("N", 3))
    assert seen[0][1:] == ("seq(tensor(float))", {"k": 4})
    ports = [(port.type, port.shape) for port in session.get_outputs()]
    assert ports == [("tensor(double)", [3, "N"]), ("seq(tensor(float))", [])]
    y, z = session.run(None, {"x": X, "q": [np.ones(2, np.float32)]})
    np.testing.assert_array_equal(y, X.T.astype(np.float64), strict=True)
    np.testing.assert_array_equal(z[0], X)
    assert seen[-1][0].shape == (2, 3)


def test_infer_may_give_dtypes_and_nothing() -> None:
    sx.register_operator("t", "Op", lambda x: (x, x > 2), infer=lambda x: (None, bool))
    proto = one_node(outputs=2)
    y, z = call(proto, X)
    np.testing.assert_array_equal(y, X)
    assert z.dtype == bool


@pytest.mark.parametrize("result", ["no type", 5, object(), sx.TensorType("datetime64[s]")])
def test_infer_that_gives_no_types(result: Any) -> None:
    sx.register_operator("t", "Op", lambda x: x, infer=lambda x: result)
    with pytest.raises(errors.Error, match=r"t::Op 'n'.*cannot be typed") as caught:
        call(one_node(), X)
    assert isinstance(caught.value.__cause__, (TypeError, errors.InvalidArgument))


def test_a_result_that_infer_did_not_promise() -> None:
    sx.register_operator("t", "Op", lambda x: x[:1], infer=lambda x: x)
    proto = model("g (float[2,3] x) => (float[2,3] y) { y = t.Op(x) }")
    with pytest.raises(errors.InvalidArgument, match=r"returned tensor\(float\)\[1,3\].*was to be.*\[2,3\]"):
        call(proto, X)


def test_inputs_are_read_only_views_that_may_be_kept() -> None:
    kept: list[Any] = []

    def keep(x: Any) -> Any:
        assert not x.flags.writeable and not x.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1
        kept.append(x)
        return x

    sx.register_operator("t", "Op", keep)
    proto = model("g (float[N,3] x) => (float[N,3] y) { a = Neg(x) b = t.Op(a) y = Relu(b) }")
    session = sx.InferenceSession(proto)
    for k in range(4):
        np.testing.assert_array_equal(session.run(None, [-X - k])[0], X + k)
    for k, array in enumerate(kept):
        np.testing.assert_array_equal(array, X + k)


def test_memory_that_a_function_keeps_is_never_written_to() -> None:
    cache = np.ones((2, 3), np.float32)
    pair = (cache, cache)
    for returned in (lambda x: cache, lambda x: pair, lambda x: (cache[:], 1)):
        sx.register_operator("t", "Op", returned, replace=True)
        proto = model("g (float[2,3] x) => (float[2,3] y) { a = t.Op(x) y = Neg(a) }")
        np.testing.assert_array_equal(call(proto, X)[0], -cache)
        call(model("g (float[2,3] x) => (float[2,3] y) { y = t.Op(x) }"), X)[0][:] = 7
        np.testing.assert_array_equal(cache, np.ones((2, 3)))


def test_large_results_are_taken_over() -> None:
    made: list[int] = []

    def make(x: Any) -> Any:
        y = np.full((1000, 100), 3, np.float32)
        made.append(y.ctypes.data)
        return y

    sx.register_operator("t", "Op", make)
    (y,) = call(one_node(), X)
    assert y.ctypes.data == made[0]


VALUES = [
    *(np.array([[0, 1, 1]]).astype(t) for t in "?bhilqBHILQefd"),
    np.array([1 + 2j], np.complex64),
    np.array([1, 2], ml_dtypes.bfloat16),
    np.array([1, -2], ml_dtypes.int4),
    np.array([1, -2], ml_dtypes.float8_e4m3fn),
    np.array([["a", "ä"], ["", "日本"]], object),
    np.zeros((0, 3), np.float32),
    np.array(5.0),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(12.0)[::-2],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{v.dtype}{list(v.shape)}")
def test_every_element_type(value: Any) -> None:
    seen = []

    def same(x: Any) -> Any:
        seen.append(x)
        return x

    sx.register_operator("t", "Op", same)
    number = TensorProto.STRING if value.dtype == object else helper.np_dtype_to_tensor_dtype(value.dtype)
    (y,) = call(one_node(dtype=number), value)
    np.testing.assert_array_equal(y, value, strict=True)
    np.testing.assert_array_equal(seen[0], value, strict=True)


def test_attributes_of_all_kinds() -> None:
    seen: dict[str, Any] = {}

    def note(x: Any, **attributes: Any) -> Any:
        seen.update(attributes)
        return x

    sx.register_operator("t", "Op", note)
    tensor = numpy_helper.from_array(X, "t")
    call(
        one_node(
            i=-3,
            f=0.5,
            s="grün",
            t=tensor,
            ii=[1, 2],
            ff=[0.5, 1.5],
            ss=["a", "b"],
            tt=[tensor, tensor],
            p=helper.make_tensor_type_proto(TensorProto.INT8, None),
        ),
        X,
    )
    np.testing.assert_array_equal(seen.pop("t"), X)
    np.testing.assert_array_equal(seen.pop("tt"), [X, X])
    assert seen == {
        "i": -3,
        "f": 0.5,
        "s": "grün",
        "ii": (1, 2),
        "ff": (0.5, 1.5),
        "ss": ("a", "b"),
        "p": "tensor(int8)",
    }


def test_a_graph_is_no_attribute_for_a_function() -> None:
    sx.register_operator("t", "Op", lambda x, **_: x)
    with pytest.raises(errors.InvalidGraph, match=r"'body'.*graph"):
        call(one_node(body=helper.make_graph([], "b", [], [])), X)


def test_absent_inputs_and_outputs_that_nobody_wants() -> None:
    sx.register_operator("t", "Op", lambda a, b=None, c=None, d=4: (a, np.array([b is None, d == 4]), a + c))
    proto = model('g (float[2,3] x) => (float[2,3] y) { p, , y = t.Op(x, "", x) }')
    del proto.graph.node[0].output[:]
    proto.graph.node[0].output.extend(["p", "", "y"])
    np.testing.assert_array_equal(call(proto, X)[0], 2 * X)
    proto.graph.node[0].output[1] = "m"
    proto.graph.output.append(onnx.ValueInfoProto(name="m"))
    assert call(proto, X)[1].tolist() == [True, True]


def test_sequences_maps_and_optionals() -> None:
    sx.register_operator("t", "Reverse", lambda q: q[::-1])
    proto = model("g (seq(float[N]) q) => (seq(float[N]) y) { y = t.Reverse(q) }")
    session = sx.InferenceSession(proto)
    y = session.run(None, {"q": [np.ones(2, np.float32), np.zeros(3, np.float32)]})[0]
    assert [a.tolist() for a in y] == [[0, 0, 0], [1, 1]]
    sx.register_operator(
        "t", "Maybe", lambda o: None if o is None else o + 1, infer=lambda o: "optional(tensor(float))"
    )
    session = sx.InferenceSession(model("g (optional(float[2]) o) => (optional(float[2]) y) { y = t.Maybe(o) }"))
    assert session.run(None, {"o": None}) == [None]
    assert session.run(None, {"o": np.ones(2, np.float32)})[0].tolist() == [2, 2]


def test_sequences_and_maps_take_the_type_of_the_output() -> None:
    proto = model("g (float[2] x) => (seq(float[N]) y) { y = t.Op(x) }")
    for value, expected in (([], []), ([[1, 2], [3]], [[1, 2], [3]]), ([np.ones(1, np.float32)], [[1]])):
        sx.register_operator("t", "Op", lambda x, v=value: v, replace=True)
        (y,) = call(proto, X[0, :2])
        assert [a.tolist() for a in y] == expected
        assert all(a.dtype == np.float32 for a in y)
    sx.register_operator("t", "Op", lambda x: [np.ones(1, np.float64)], replace=True)
    with pytest.raises(errors.InvalidArgument, match=r"t::Op.*list for output 0.*wrong element type"):
        call(proto, X[0, :2])
    sx.register_operator(
        "t", "Op", lambda x: {"a": 1, "b": 2}, infer=lambda x: "map(string,tensor(float))", replace=True
    )
    assert call(one_node(), X)[0] == {"a": 1.0, "b": 2.0}


def test_plain_values_take_the_type_of_the_output() -> None:
    proto = model("g (float[2,3] x) => (float y) { y = t.Op(x) }")
    for value in (2, 2.0, np.float64(2), [[1, 2.5]]):
        sx.register_operator("t", "Op", lambda x, v=value: v, replace=True)
        np.testing.assert_array_equal(call(proto, X)[0], np.asarray(value, np.float32), strict=True)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: None, "returned None for output 0"),
        (lambda x: (), "returned 0 outputs; 1 expected"),
        (lambda x: {1: object()}, "dict for output 0"),
        (lambda x: object(), "object for output 0"),
        (lambda x: np.zeros(2, "datetime64[s]"), "ndarray for output 0.*datetime64"),
        (lambda x: [[1], [1, 2]], "list for output 0.*array"),
    ],
)
def test_bad_returns(returned: Callable[..., Any], message: str) -> None:
    sx.register_operator("t", "Op", returned)
    with pytest.raises(errors.Error, match=rf"(?s)\[t::Op 'n'\].*{message}"):
        call(one_node(), X)


def test_too_few_outputs() -> None:
    sx.register_operator("t", "Op", lambda x: x)
    with pytest.raises(
        errors.InvalidArgument, match=r"\[t::Op 'n'\].*returned one numpy.ndarray; a tuple of 2 outputs"
    ):
        call(one_node(outputs=2), X)
    sx.register_operator("t", "Op", lambda x: (x, x), replace=True)
    with pytest.raises(errors.InvalidArgument, match="returned 2 outputs; 3 expected"):
        call(one_node(outputs=3), X)


def test_an_exception_is_the_cause_of_ours() -> None:
    class Odd(Exception):
        pass

    def fail(x: Any) -> Any:
        raise Odd("no way")

    sx.register_operator("t", "Op", fail)
    with pytest.raises(errors.Fail, match=r"\[t::Op 'n'\] failed: Odd: no way") as caught:
        call(one_node(), X)
    assert isinstance(caught.value.__cause__, Odd)
    assert caught.value.__cause__.__traceback__ is not None

    def refuse(x: Any) -> Any:
        raise errors.InvalidArgument("not that one")

    sx.register_operator("t", "Op", refuse, replace=True)
    with pytest.raises(errors.InvalidArgument, match=r"\[t::Op 'n'\] failed: not that one"):
        call(one_node(), X)

    def interrupt(x: Any) -> Any:
        raise KeyboardInterrupt

    sx.register_operator("t", "Op", interrupt, replace=True)
    with pytest.raises(KeyboardInterrupt):
        call(one_node(), X)


def test_a_session_goes_on_after_an_exception() -> None:
    def sometimes(x: Any) -> Any:
        if x[0] < 0:
            raise ValueError("negative")
        return x

    sx.register_operator("t", "Op", sometimes)
    session = sx.InferenceSession(one_node())
    for k in range(5):
        with pytest.raises(errors.Fail, match="negative"):
            session.run(None, [np.array([-1], np.float32)])
        assert session.run(None, [np.array([k], np.float32)])[0] == k


@pytest.mark.parametrize(
    ("function", "attributes", "message"),
    [
        (lambda x, y: x, {}, "missing a required argument: 'y'"),
        (lambda: 1, {}, "too many positional"),
        (lambda x: x, {"k": 1}, "unexpected keyword argument 'k'"),
        (lambda x, *, k: x, {}, "missing a required.*'k'"),
    ],
)
def test_a_node_that_does_not_suit_the_function(
    function: Callable[..., Any], attributes: dict[str, Any], message: str
) -> None:
    sx.register_operator("t", "Op", function)
    with pytest.raises(errors.Error, match=rf"t::Op 'n'.*{message}") as caught:
        sx.InferenceSession(one_node(**attributes))
    assert isinstance(caught.value.__cause__, TypeError)


def test_functions_without_a_signature() -> None:
    sx.register_operator("t", "Op", np.maximum)
    np.testing.assert_array_equal(call(one_node(inputs=2), X, -X)[0], X)


def test_versions() -> None:
    for version in (1, 2, 5):
        sx.register_operator("t", "Op", lambda x, v=version: x + v, since_version=version)
    proto = model("g (float[2,3] x) => (float[2,3] y) { y = t.Op(x) }")
    np.testing.assert_array_equal(call(proto, X)[0], X + 2)
    sx.unregister_operator("t", "Op", 2)
    np.testing.assert_array_equal(call(proto, X)[0], X + 1)
    sx.unregister_operator("t", "Op", 1)
    with pytest.raises(errors.NotImplemented, match="registered from version 5 of its domain on"):
        call(proto, X)
    assert ("t", "Op", 5) in sx.registered_operators()


def test_registering_twice() -> None:
    sx.register_operator("t", "Op", lambda x: x)
    with pytest.raises(errors.InvalidArgument, match="t::Op of version 1 is registered already"):
        sx.register_operator("t", "Op", lambda x: x + 1)
    old = sx.InferenceSession(one_node())
    sx.register_operator("t", "Op", lambda x: x + 1, replace=True)
    np.testing.assert_array_equal(old.run(None, [X])[0], X)
    np.testing.assert_array_equal(call(one_node(), X)[0], X + 1)
    for k in (2, 3):  # as where a cell of a notebook runs again

        @sx.operator("t", "Again")
        def again(x: Any, k: int = k) -> Any:
            return x + k

    np.testing.assert_array_equal(call(one_node(op="Again"), X)[0], X + 3)


def test_what_cannot_be_registered() -> None:
    with pytest.raises(errors.InvalidArgument, match="Relu is built in"):
        sx.register_operator("", "Relu", lambda x: x)
    with pytest.raises(errors.InvalidArgument, match="Relu is built in"):
        sx.register_operator("ai.onnx", "Relu", lambda x: x)
    with pytest.raises(errors.InvalidArgument, match="version 0"):
        sx.register_operator("t", "Op", lambda x: x, since_version=0)
    with pytest.raises(errors.InvalidArgument, match="function of operator t::Op is a int"):
        sx.register_operator("t", "Op", 5)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument, match="no operator t::Op is registered"):
        sx.unregister_operator("t", "Op")


def test_unregistered_operators_say_how_to_register() -> None:
    with pytest.raises(errors.NotImplemented, match=r"t::Op of Op 'n'.*register_operator\('t', 'Op', function\)"):
        sx.InferenceSession(one_node())


def test_operators_of_one_session() -> None:
    options = sx.SessionOptions()
    options.register_operator("t", "Op", np.negative)
    (y,) = sx.InferenceSession(one_node(), options).run(None, [X])
    np.testing.assert_array_equal(y, -X)
    with pytest.raises(errors.NotImplemented):
        sx.InferenceSession(one_node())
    sx.register_operator("t", "Op", lambda x: x)
    np.testing.assert_array_equal(sx.InferenceSession(one_node(), options).run(None, [X])[0], -X)
    session = pickle.loads(pickle.dumps(sx.InferenceSession(one_node(), options)))
    np.testing.assert_array_equal(session.run(None, [X])[0], -X)


@pytest.mark.parametrize("pure", [False, True])
def test_only_pure_functions_are_computed_ahead(pure: bool) -> None:
    calls = []

    def count(x: Any) -> Any:
        calls.append(1)
        return x + 1

    sx.register_operator("t", "Op", count, infer=lambda x: x, pure=pure)
    proto = model("""g (float[2] x) => (float[2] y) <float[2] c = {1, 2}> {
        a = t.Op(c) b = t.Op(x) d = t.Op(x) e = Add(b, d) y = Add(a, e)
    }""")
    session = sx.InferenceSession(proto)
    assert len(calls) == (1 if pure else 0)
    for _ in range(3):
        np.testing.assert_array_equal(session.run(None, [np.zeros(2, np.float32)])[0], [4, 5])
    assert len(calls) == (1 + 3 if pure else 9)


@pytest.mark.parametrize("level", [0, 99])
def test_inside_bodies(level: int) -> None:
    sx.register_operator("t", "Inc", lambda x, *, by=1.0: x + np.float32(by))
    proto = model("""g (float[2] x, bool c, int64 n) => (y, z) {
        y = If (c) <then_branch = a () => (float[2] p) { p = t.Inc(x) },
                    else_branch = b () => (float[2] q) { q = t.Inc <by = 5.0> (x) }>
        go = Constant <value = bool {1}> ()
        z = Loop (n, go, x) <body = l (int64 i, bool k, float[2] v) => (bool o, float[2] w) {
            o = Identity(k) w = t.Inc(v) }>
    }""")
    for output in proto.graph.output:
        output.ClearField("type")
    for c in (True, False):
        y, z = call(proto, np.zeros(2, np.float32), np.array(c), np.array(7), level=level)
        assert y.tolist() == [1.0 if c else 5.0] * 2
        assert z.tolist() == [7.0, 7.0]


@pytest.mark.parametrize("infer", [None, lambda x: sx.TensorType(x.dtype, (x.shape[0], x.shape[0]))])
def test_many_threads(infer: Any) -> None:
    sx.register_operator("t", "Op", lambda x: np.matmul(x, x.T), infer=infer, pure=True)
    proto = model("g (float[N,4] x) => (float[N,N] y) { a = t.Op(x) y = Neg(a) }")
    session = sx.InferenceSession(proto)
    right = []
    done = threading.Event()

    def work(k: int) -> None:
        for n in range(1, 90):  # more shapes than the session makes plans for
            x = np.full((n, 4), k, np.float32)
            right.append(np.array_equal(session.run(None, [x])[0], -(x @ x.T)))

    def look() -> None:
        while not done.wait(0.001):
            session.get_provider_report()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    looker = threading.Thread(target=look)
    for thread in [*threads, looker]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    looker.join()
    assert right == [True] * 6 * 89


def test_infer_waits_for_shapes() -> None:
    """A function that counts on a shape is called again when there is one."""
    sx.register_operator("t", "Op", lambda x: x[0], infer=lambda x: sx.TensorType(x.dtype, x.shape[1:]))
    proto = model("g (float[M,N] x, int64[K] s) => (y) { a = Reshape(x, s) b = t.Op(a) y = Neg(b) }")
    proto.graph.output[0].ClearField("type")
    for level in LEVELS:
        (y,) = call(proto, X, np.array([3, 1, 2]), level=level)
        np.testing.assert_array_equal(y, -X.reshape(3, 1, 2)[0])


def test_between_convolutions() -> None:
    w = np.random.default_rng(1).standard_normal((16, 16, 3, 3)).astype(np.float32)
    sx.register_operator("t", "Op", lambda x: 2 * x, infer=lambda x: x)
    proto = model("""g (float[1,16,20,20] x, float[16,16,3,3] w) => (float[1,16,18,18] y) {
        a = Conv <pads = [1,1,1,1]> (x, w) b = Relu(a) c = t.Op(b) d = Conv(c, w) y = Relu(d)
    }""")
    proto.graph.initializer.append(numpy_helper.from_array(w, "w"))
    del proto.graph.input[1]
    x = np.random.default_rng(2).standard_normal((1, 16, 20, 20)).astype(np.float32)
    plain, fused = (call(proto, x, level=level)[0] for level in (0, 99))
    np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-3)
    assert np.abs(plain).max() > 1


def test_a_function_may_run_a_session() -> None:
    inner = sx.InferenceSession(model("g (float[N,3] x) => (float[N,3] y) { y = Neg(x) }"))
    sx.register_operator("t", "Op", lambda x: inner.run(None, [x])[0])
    np.testing.assert_array_equal(call(one_node(), X)[0], -X)


def test_functions_go_with_the_last_session() -> None:
    class Function:
        def __call__(self, x: Any) -> Any:
            return x

    function = Function()
    gone = weakref.ref(function)
    sx.register_operator("t", "Op", function)
    session = sx.InferenceSession(one_node())
    session.run(None, [X])
    sx.unregister_operator("t", "Op")
    del function
    gc.collect()
    assert gone() is not None
    session.run(None, [X])
    del session
    gc.collect()
    assert gone() is None


def test_saved_models_keep_the_operator(tmp_path: Any) -> None:
    sx.register_operator("t", "Op", lambda x, *, k: x + k, since_version=2, infer=lambda x, **_: x)
    options = sx.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "saved.onnx")
    sx.InferenceSession(one_node(k=3), options)
    saved = onnx.load(tmp_path / "saved.onnx")
    assert {entry.domain: entry.version for entry in saved.opset_import}["t"] == 3
    np.testing.assert_array_equal(call(saved, X)[0], X + 3)
