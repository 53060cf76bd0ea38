"""Optimised sessions against raw ones and the ONNX reference, on random small graphs that the passes rewrite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession as Onnxruntime

import sardonyx as sx

Levels = sx.GraphOptimizationLevel
LEVELS = [Levels.ORT_DISABLE_ALL, Levels.ORT_ENABLE_BASIC, Levels.ORT_ENABLE_ALL]
ROUNDS = 10


class Builder:
    """A model in the making. `terms` bounds how many roundings of numbers of order `scale` an element goes through."""

    def __init__(self, seed: int, dtype: Any = np.float32) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.feeds: list[dict[str, np.ndarray]] = [{}, {}]
        self.outputs: list[str] = []
        self.terms = 8
        self.crops = False  # negative pads, of which the ONNX reference knows nothing
        self.count = 0

    def chance(self, share: float = 0.5) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def values(self, shape: Any) -> np.ndarray:
        return self.rng.uniform(-1, 1, shape).astype(self.dtype)

    def input(self, *shape: int | str) -> str:
        """An input; an extent that is a name is 3 in the first feed and 1 in the second."""
        name = self.name("x")
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        for batch, feed in zip((3, 1), self.feeds):
            feed[name] = 2 * self.values([batch if isinstance(d, str) else d for d in shape])
        return name

    def const(self, value: Any, dtype: Any = None) -> str:
        name = self.name("w")
        array = np.asarray(value, dtype or self.dtype)
        if self.chance(0.2):
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        else:
            self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *value: int) -> str:
        return self.const(value, np.int64)

    def __call__(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [self.name(op.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def either(self, op: str, a: str, b: str) -> str:
        """A commutative operator with its operands in any order."""
        return str(self(op, a, b) if self.chance() else self(op, b, a))

    def maybe_output(self, name: str) -> str:
        if self.chance(0.15) and name not in self.outputs:
            self.outputs.append(name)
        return name

    def model(self) -> onnx.ModelProto:
        outputs = [helper.make_empty_tensor_value_info(name) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, outputs, self.initializers)
        graph_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return onnx.shape_inference.infer_shapes(graph_model)


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray], level: Any) -> list[np.ndarray]:
    options = sx.SessionOptions()
    options.graph_optimization_level = level
    session = sx.InferenceSession(model.SerializeToString(), options)
    assert [port.name for port in session.get_outputs()] == [port.name for port in model.graph.output]
    return list(session.run(None, feed))


def compare(b: Builder, found: list[np.ndarray], expected: list[Any], epsilon: float, what: str) -> None:
    tolerance = epsilon * b.terms
    for name, x, y in zip(b.outputs, found, expected):
        y = np.asarray(y)
        assert x.dtype == y.dtype and x.shape == y.shape, (name, what, x.shape, y.shape)
        scale = max(1.0, float(np.max(np.abs(y), initial=0))) if y.dtype.kind == "f" else 0
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale, err_msg=f"{name}: {what}")


def check(b: Builder) -> None:
    model = b.model()
    reference = Onnxruntime(model.SerializeToString()) if b.crops else ReferenceEvaluator(model)
    own = float(np.finfo(b.dtype).eps)
    for feed in b.feeds:
        raw, *others = (run(model, feed, level) for level in LEVELS)
        # The reference computes erf in f32 whatever the type.
        compare(b, raw, reference.run(None, feed), max(own, 1.2e-7), "raw session and reference")
        for level, found in zip(LEVELS[1:], others):
            compare(b, found, raw, own, f"{level} and raw session")


def convolution(b: Builder, x: str, channels: int, rank: int, **attributes: Any) -> tuple[str, int]:
    groups = b.pick(1, 1, channels)
    filters = groups * b.pick(1, 2, 3)
    kernel = [b.pick(1, 2, 3) for _ in range(rank)]
    w = b.const(b.values([filters, channels // groups, *kernel]))
    inputs = [x, w] + ([b.const(b.values(filters))] if b.chance() else [])
    b.terms = max(b.terms, 8 * channels // groups * int(np.prod(kernel)))
    if b.chance(0.3):  # another reader of the weights
        b.outputs.append(b("Conv", *inputs, group=groups, **attributes))
    return b("Conv", *inputs, group=groups, **attributes), filters


def activation(b: Builder, x: str) -> str:
    kind = b.pick("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Gelu", "Elu", "Clip", "Softplus", "none")
    if kind == "none":
        return x
    if kind == "Clip":
        return str(b("Clip", x, b.const(-0.25), b.const(0.5)) if b.chance() else b("Clip", x, "", b.const(0.5)))
    return str(b(kind, x))


def conv_bn(b: Builder) -> None:
    rank, channels = b.pick(1, 2, 2, 3), b.pick(1, 2, 4)
    x = b.input(b.pick("N", 2), channels, *b.rng.integers(4, 8, rank).tolist())
    attributes = b.pick({}, {"pads": [1] * 2 * rank}, {"auto_pad": "SAME_UPPER"}, {"strides": [2] * rank})
    t, filters = convolution(b, x, channels, rank, **attributes)
    b.maybe_output(t)
    for _ in range(b.pick(1, 2)):
        if b.chance():
            parameters = [b.const(b.values(filters)) for _ in range(3)]
            variance = b.const(np.abs(b.values(filters)) + 0.1)
            t = b("BatchNormalization", t, *parameters, variance, epsilon=b.pick(1e-5, 0.25))
        else:
            shape = b.pick([], [1], [filters] + [1] * rank, [1, filters] + [1] * rank, [1] * (rank + 3))
            t = b.either(b.pick("Mul", "Add"), t, b.const(b.values(shape)))
            if len(shape) > rank + 2:
                break
        b.maybe_output(t)
    b.outputs.append(activation(b, t))


def inverted_residual(b: Builder) -> None:
    channels, expanded = b.pick(8, 17), b.pick(9, 32, 40)
    x = b.input(b.pick("N", 2), channels, *b.rng.integers(3, 20, 2).tolist())
    kernel = b.pick(3, 5)
    edges = b.pick({"auto_pad": "SAME_UPPER"}, {"pads": [kernel // 2] * 4}, {"pads": [2, 1, 1, 2]})
    t = b("Conv", x, b.const(b.values((expanded, channels, 1, 1))), b.const(b.values(expanded)))
    t = b.maybe_output(activation(b, t))
    windows = b.const(b.values((expanded, 1, kernel, kernel)))
    t = activation(b, b("Conv", t, windows, group=expanded, strides=[b.pick(1, 2)] * 2, **edges))
    b.outputs.append(b("Conv", t, b.const(b.values((channels, expanded, 1, 1)))))
    b.terms += channels + kernel * kernel + expanded


def pad_conv(b: Builder) -> None:
    rank, channels = b.pick(1, 2, 3), 2
    x = b.input(b.pick("N", 1), channels, *b.rng.integers(5, 8, rank).tolist())
    low = b.pick(0, 0, -1)
    b.crops = low < 0
    spatial = b.rng.integers(low, 3, 2 * rank).tolist()
    inputs = [b.const(b.pick(0, 0, 0, 1))] if b.chance() else [""]
    mode = b.pick("constant", "constant", "edge", "reflect") if low == 0 else "constant"
    if b.chance(0.25):
        pads, inputs = spatial, [*inputs, b.ints(*range(2, rank + 2))]
    else:
        pads = [0, 0, *spatial[:rank], 0, 0, *spatial[rank:]]
    t = b.maybe_output(b("Pad", x, b.ints(*pads), *inputs, mode=mode))
    attributes = b.pick({}, {"pads": [1] * 2 * rank}, {"auto_pad": "VALID"}, {"auto_pad": "SAME_LOWER"})
    b.outputs.append(convolution(b, t, channels, rank, **attributes)[0])


def transposes(b: Builder) -> None:
    rank = b.pick(2, 3, 4)
    t = b.input(*[b.pick("N", 1, 1, 2, 3) if i == 0 else b.pick(1, 2, 5) for i in range(rank)])
    for _ in range(b.pick(2, 3, 4)):
        t = b("Transpose", t) if b.chance(0.3) else b("Transpose", t, perm=b.rng.permutation(rank).tolist())
        b.maybe_output(t)
        if b.chance(0.3):
            t = b("Neg", t)
    b.outputs.append(b("Transpose", t))


def activations(b: Builder) -> None:
    t = b.input("N", b.pick(1, 7, 33))
    shape = b.pick([], [1], [1, 1], [1, 1, 1])

    def scalar(value: float) -> str:
        return b.const(np.full(shape, value))

    kind = b.pick("swish", "hard", "clipped", "gelu")
    if kind == "swish":
        inner = b.either("Mul", t, scalar(1.702)) if b.chance() else t
        y = b.either("Mul", t, b.maybe_output(b("Sigmoid", inner)))
    elif kind == "hard":
        y = b.either("Mul", t, b.maybe_output(b("HardSigmoid", t, alpha=b.pick(1 / 6, 0.2), beta=0.5)))
    elif kind == "clipped":
        c = b("Clip", b.either("Add", t, scalar(3)), b.const(0), b.const(6))
        if b.chance():
            c = b("Div", c, scalar(6)) if b.chance() else b.either("Mul", c, scalar(1 / 6))
            y = b.either("Mul", t, b.maybe_output(c))
        else:
            y = b("Div", b.either("Mul", t, c), scalar(6))
    else:
        d = b("Div", t, scalar(2**0.5)) if b.chance() else b.either("Mul", t, scalar(0.5**0.5))
        s = b.maybe_output(b.either("Add", b("Erf", d), scalar(1)))
        parts = [t, s, scalar(0.5)]
        b.rng.shuffle(parts)
        y = b.either("Mul", b.maybe_output(b.either("Mul", parts[0], parts[1])), parts[2])
    b.outputs.append(y)


def layer_norm(b: Builder) -> None:
    n = b.pick(5, 16)
    x = b.input("N", 4, n)
    axes = b.ints(*b.pick([-1], [-1], [2], [1], [1, 2]))
    d = b.maybe_output(b("Sub", x, b("ReduceMean", x, axes)))
    square = b("Mul", d, d) if b.chance() else b("Pow", d, b.const(2))
    e = b.either("Add", b("ReduceMean", square, axes), b.const(np.full(b.pick([], [1]), 1e-3)))
    y = b("Div", d, b.maybe_output(b("Sqrt", e)))
    y = b.either("Mul", y, b.const(b.values(b.pick([n], [n], [1], [4, n]))))
    b.outputs.append(b.either("Add", y, b.const(b.values(b.pick([n], [n], [1], [1, 1, 1, n])))))
    b.terms = 8 * 4 * n


def products(b: Builder) -> None:
    k, n = b.pick(1, 7, 20), b.pick(1, 4, 33)
    b.terms = 8 * k
    if b.chance(0.3):
        a = b.input("N", k)
        transposed = int(b.chance())
        w = b.const(b.values([n, k] if transposed else [k, n]))
        c = [b.const(b.values(b.pick([n], [n], [1], [1, n], [])))] if b.chance(0.7) else []
        t = b("Gemm", a, w, *c, transB=transposed, alpha=b.pick(1.0, 0.5), beta=b.pick(1.0, 1.0, 2.0))
        shape: list[Any] = ["N", n]
    else:
        a_shape, b_shape, shape = b.pick(
            (["N", k], [k, n], ["N", n]),
            (["N", 3, k], [k, n], ["N", 3, n]),
            ([k], [k, n], [n]),
            (["N", k], [k], ["N"]),
            (["N", 1, 2, k], [2, k, n], ["N", 2, 2, n]),
        )
        t = b("MatMul", b.input(*a_shape), b.const(b.values(b_shape)))
    b.maybe_output(t)
    for _ in range(b.pick(1, 2, 3)):
        kind = b.pick("bias", "residual", "narrow", "inner")
        last = shape[-1]
        if kind == "bias" and isinstance(last, int):
            t = b.either("Add", t, b.const(b.values(b.pick([last], [last], [1, last], [1], []))))
        elif kind == "residual":
            t = b.either("Add", t, b.input(*shape))
        elif kind == "narrow":
            t = b.either("Add", t, b.input(*[1 if b.chance() else d for d in shape]))
        elif kind == "inner":
            t = b.either("Add", t, b("Neg", b.input(*shape)))
        b.maybe_output(t)
    b.outputs.append(activation(b, t))


def branch(b: Builder, name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [helper.make_empty_tensor_value_info(output)])


def branches(b: Builder) -> None:
    x = b.input("N", 3)
    t = b("Exp", x)
    for _ in range(b.pick(1, 2)):
        k = b.const(b.values(3))
        condition = b.const(b.chance(), np.bool_)
        if b.chance():
            condition = b("Not", condition)
        u, v, inner = b.name("u"), b.name("v"), b.name("i")
        then = [helper.make_node("Add", [t, k], [inner]), helper.make_node("Identity", [inner], [u])]
        other = [helper.make_node("Identity", [b.pick(x, t, k)], [v])]
        if b.chance():
            nested = helper.make_node(
                "If",
                [condition],
                [u + "n"],
                then_branch=branch(b, "p", [helper.make_node("Mul", [inner, x], [u + "p"])], u + "p"),
                else_branch=branch(b, "q", [helper.make_node("Neg", [inner], [u + "q"])], u + "q"),
            )
            then = [then[0], nested, helper.make_node("Identity", [u + "n"], [u])]
        s = b("If", condition, then_branch=branch(b, "then", then, u), else_branch=branch(b, "else", other, v))
        t = s if b.chance() else b("Add", s, x)
        b.maybe_output(t)
    if t not in b.outputs:
        b.outputs.append(t)


def loops(b: Builder) -> None:
    x = b.input("N", 3)
    k = b("Neg", b.const(b.values([3])))
    trips = b.const(b.pick(1, 4, 5), np.int64)
    i, c, state, s, s2, scan, co = (b.name(n) for n in ("i", "c", "state", "s", "t", "scan", "co"))
    body_nodes = [
        helper.make_node("Identity", [c], [co]),
        helper.make_node("Neg", [k], [s + "k"]),  # a constant, once k is folded
        helper.make_node("Mul", [state, s + "k"], [s]),
        helper.make_node("Add", [s, x], [s2 if b.chance() else s + "z"]),
        helper.make_node("Dropout", [s], [scan]),
    ]
    if body_nodes[3].output[0] != s2:
        body_nodes.append(helper.make_node("Sigmoid", [s + "z"], [s + "g"]))
        body_nodes.append(helper.make_node("Mul", [s + "z", s + "g"], [s2]))
    body = helper.make_graph(
        body_nodes,
        "body",
        [
            helper.make_tensor_value_info(i, TensorProto.INT64, []),
            helper.make_tensor_value_info(c, TensorProto.BOOL, []),
            helper.make_tensor_value_info(state, TensorProto.FLOAT, ["N", 3]),
        ],
        [
            helper.make_tensor_value_info(co, TensorProto.BOOL, []),
            helper.make_tensor_value_info(s2, TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info(scan, TensorProto.FLOAT, ["N", 3]),
        ],
    )
    b.terms = 64
    final, scanned = b("Loop", trips, b.const(True, np.bool_), b("Identity", x), outputs=2, body=body)
    b.outputs.append(final)
    if b.chance():
        b.outputs.append(b("Reshape", scanned, b.ints(-1)))  # the reference concatenates where it should stack


def identities(b: Builder) -> None:
    one = b.const(np.full(b.pick([], [1], [1, 1], [1, 1, 1]), 1))
    t = b.input("N", 6)
    steps: list[Callable[[str], str]] = [
        lambda t: b("Identity", t),
        lambda t: b("Cast", t, to=helper.np_dtype_to_tensor_dtype(b.dtype)),
        lambda t: b.either("Mul", t, one),
        lambda t: b("Div", t, one),
        lambda t: b("Sub", t, b.const(b.pick(0.0, -0.0))),
        lambda t: b("Pow", t, b.const(b.pick(1, 2))),
        lambda t: b("Concat", t, axis=0),
        lambda t: b("Max", t),
        lambda t: b("Dropout", t),
        lambda t: b("Expand", t, b.const([1], np.int64)),
        lambda t: b("Reshape", b("Reshape", t, b.ints(-1)), b.ints(-1, 6)),
        lambda t: b("Reshape", b("Unsqueeze", t, b.ints(0)), b.ints(-1, b.pick(2, 6))),
        lambda t: b("Reshape", b("Shape", t) and t, b("Shape", t)),
    ]
    for _ in range(b.pick(3, 6)):
        t = b.maybe_output(b.pick(*steps)(t))
    b.outputs = b.outputs + [t] if t not in b.outputs else b.outputs


FAMILIES = [
    conv_bn, pad_conv, transposes, activations, layer_norm, products, branches, loops, identities,
    inverted_residual,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_levels_agree(family: Callable[[Builder], None], seed: int) -> None:
    b = Builder(1000 * FAMILIES.index(family) + seed)
    family(b)
    check(b)


@pytest.mark.parametrize("family", [activations, layer_norm, products], ids=lambda family: family.__name__)
@pytest.mark.parametrize("dtype", [np.float16, np.float64], ids=["f16", "f64"])
def test_levels_agree_in_other_types(family: Callable[[Builder], None], dtype: Any) -> None:
    for seed in range(ROUNDS):
        b = Builder(500 + seed, dtype)
        family(b)
        check(b)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nan_and_infinities_come_out_alike(seed: int) -> None:
    b = Builder(seed)
    activations(b)
    model = b.model()
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-40], np.float32)
    feed = {name: np.resize(special, (8, value.shape[1])) for name, value in b.feeds[0].items()}
    raw, *others = (run(model, feed, level) for level in LEVELS)
    for found in others:
        for x, y in zip(raw, found):
            np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_a_residual_that_the_product_reads_is_not_overwritten() -> None:
    b = Builder(0)
    t = b("Neg", b.input("N", 8))
    b.outputs.append(b("Relu", b("Add", t, b("MatMul", t, b.const(b.values([8, 8]))))))
    b.terms = 64
    check(b)


def test_integers_are_no_activation() -> None:
    b = Builder(0, np.int32)
    name = "x"
    b.inputs.append(helper.make_tensor_value_info(name, TensorProto.INT32, ["N"]))
    clipped = b("Clip", b("Add", name, b.const(3)), b.const(0), b.const(6))
    b.outputs.append(b("Div", b("Mul", name, clipped), b.const(6)))
    feed = {name: np.arange(-5, 9, dtype=np.int32)}
    model = b.model()
    for level in LEVELS:
        x = feed[name].astype(np.int64)
        product = x * np.clip(x + 3, 0, 6)
        np.testing.assert_array_equal(run(model, feed, level)[0], np.trunc(product / 6))


def test_spelled_out_dequantization_of_large_weights_is_computed_at_load() -> None:
    """As files older than per-channel DequantizeLinear have it: a Cast, a Sub and a Mul."""
    rng = np.random.default_rng(3)
    q = rng.integers(-128, 128, (700, 600)).astype(np.int8)
    scale = rng.random((700, 1), np.float32)
    nodes = [
        helper.make_node("Cast", ["q"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "zero"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["w"]),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    weights = {"q": q, "zero": np.full((700, 1), 3, np.float32), "scale": scale}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 600])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 700])
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    session = sx.InferenceSession(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8).SerializeToString()
    )
    data = rng.standard_normal((3, 600), np.float32)
    expected = data.astype(np.float64) @ ((q.astype(np.float64) - 3) * scale).T
    np.testing.assert_allclose(session.run(None, {"x": data})[0], expected, rtol=1e-4, atol=600 * 2**-24 * 131 * 4)
    assert {row.op.removeprefix("sardonyx::") for row in session.get_provider_report()} == {"MatMul"}
