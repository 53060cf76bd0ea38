"""`SessionOptions.precision`: how exact products in bf16 are, that types and bits stay as promised, and the options."""

import copy
import math

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import sardonyx as sx
from tests.cpu import has_bf16_products

BF16_ROUNDING = 2.0**-8  # the most that rounding to bf16 changes a number, relatively


def model(nodes: list, inputs: dict, outputs: list, weights: dict) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def session(graph: ModelProto, precision: str = "bf16", threads: int = 0) -> sx.InferenceSession:
    options = sx.SessionOptions()
    options.precision = precision
    options.intra_op_num_threads = threads
    return sx.InferenceSession(graph.SerializeToString(), options)


def kernels(made: sx.InferenceSession) -> list[str]:
    return [row.kernel for row in made.get_provider_report()]


def product_bound(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What a product may be off: the roundings of both factors, and those of a sum in f32."""
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    return magnitude * (2.02 * BF16_ROUNDING + (a.shape[-1] + 2) * 2.0**-23)


@pytest.mark.parametrize(
    ("rows", "k", "columns"), [(1, 768, 3072), (1, 7, 5), (5, 33, 17), (40, 129, 70), (200, 96, 300)]
)
@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Gemm, both transposed"])
def test_products_round_their_operands_only(rows: int, k: int, columns: int, op: str) -> None:
    rng = np.random.default_rng(rows + k)
    a = rng.standard_normal((rows, k)).astype(np.float32)
    b = rng.standard_normal((k, columns)).astype(np.float32)
    bias = rng.standard_normal(columns).astype(np.float32)
    both = op == "Gemm, both transposed"
    if op == "MatMul":
        nodes = [helper.make_node("MatMul", ["a", "b"], ["p"]), helper.make_node("Add", ["p", "bias"], ["y"])]
    else:
        nodes = [helper.make_node("Gemm", ["a", "b", "bias"], ["y"], transA=int(both), transB=int(both))]
    made = session(model(nodes, {"a": None}, ["y"], {"b": b.T if both else b, "bias": bias}))
    (y,) = made.run(None, {"a": a.T if both else a})
    assert y.dtype == np.float32
    assert "bf16" in " ".join(kernels(made))
    error = np.abs(y - (a.astype(np.float64) @ b.astype(np.float64) + bias))
    assert (error <= product_bound(a, b) + 1e-6 * np.abs(y)).all()
    assert error.max() > 1e-4 * np.abs(y).max() or rows * k < 100  # it was not computed in f32 after all


def test_activation_and_residual_are_f32() -> None:
    rng = np.random.default_rng(0)
    a, r = (rng.standard_normal((24, 64)).astype(np.float32) for _ in range(2))
    b = np.eye(64, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["p"]),
        helper.make_node("Add", ["p", "r"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    (y,) = session(model(nodes, {"a": [24, 64], "r": [24, 64]}, ["y"], {"b": b})).run(None, {"a": a, "r": r})
    expected = np.maximum(a.astype(np.float64) + r, 0)
    # Products with the unit matrix round `a` alone; the residual is exact.
    assert (np.abs(y - expected) <= 1.01 * BF16_ROUNDING * np.abs(a) + 1e-6).all()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_behind_a_product(approximate: str) -> None:
    # Numbers that bf16 holds exactly times the unit matrix: what is left is the error of the function.
    bits = np.linspace(-9, 9, 64 * 129).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    x = bits.view(np.float32).reshape(-1, 64)
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["p"]),
        helper.make_node("Gelu", ["p"], ["y"], approximate=approximate),
    ]
    graph = model(nodes, {"a": [None, 64]}, ["y"], {"b": np.eye(64, dtype=np.float32)})
    exact = x.astype(np.float64)
    inner = np.tanh(np.sqrt(2 / np.pi) * (exact + 0.044715 * exact**3))
    if approximate == "none":
        inner = np.vectorize(math.erf)(exact / np.sqrt(2))
    (y,) = session(graph).run(None, {"a": x})
    assert (np.abs(y - exact / 2 * (1 + inner)) <= 2.0**-14 * np.abs(exact)).all()
    big = np.diag([-1e30, 3e38] * 32).astype(np.float32)
    (y,) = session(graph).run(None, {"a": big})
    assert np.abs(y[0, 0]) < 1e30 * 2.0**-14
    assert y[1, 1] == pytest.approx(3e38, rel=2.0**-7)


def test_swish_behind_a_product() -> None:
    bits = np.linspace(-90, 90, 64 * 129).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    x = bits.view(np.float32).reshape(-1, 64)
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["p"]),
        helper.make_node("Sigmoid", ["p"], ["s"]),
        helper.make_node("Mul", ["p", "s"], ["y"]),
    ]
    graph = model(nodes, {"a": [None, 64]}, ["y"], {"b": np.eye(64, dtype=np.float32)})
    (y,) = session(graph).run(None, {"a": x})
    exact = x / (1 + np.exp(-x.astype(np.float64)))
    assert (np.abs(y - exact) <= 2.0**-12 * np.abs(exact) + 2.0**-100 * np.abs(x)).all()
    big = np.diag([-1e30, 3e38] * 32).astype(np.float32)
    (y,) = session(graph).run(None, {"a": big})
    assert abs(y[0, 0]) <= 1e30 * 2.0**-100
    assert y[1, 1] == pytest.approx(3e38, rel=2.0**-7)


def test_recurrent() -> None:
    rng = np.random.default_rng(4)
    hidden, inputs = 96, 40
    weights = {
        "w": rng.standard_normal((2, 4 * hidden, inputs)).astype(np.float32) / 6,
        "r": rng.standard_normal((2, 4 * hidden, hidden)).astype(np.float32) / 10,
    }
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=hidden, direction="bidirectional")
    graph = model([node], {"x": None}, ["y"], weights)
    x = rng.standard_normal((20, 3, inputs)).astype(np.float32)
    (exact,), (y,) = (session(graph, precision).run(None, {"x": x}) for precision in ("f32", "bf16"))
    assert 1e-5 < np.abs(y - exact).max() < 4 * 2.0**-8
    assert np.array_equal(session(graph, threads=1).run(None, {"x": x[:, 1:2]})[0], y[:, :, 1:2])


def test_same_bits_for_any_threads_and_batch() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal((6, 50, 300)).astype(np.float32)
    b = rng.standard_normal((300, 170)).astype(np.float32)
    graph = model([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": ["n", "m", 300]}, ["y"], {"b": b})
    (expected,) = session(graph, threads=1).run(None, {"a": a})
    made = session(graph)
    assert np.array_equal(made.run(None, {"a": a})[0], expected)
    for image in range(6):
        assert np.array_equal(made.run(None, {"a": a[image : image + 1]})[0][0], expected[image])
    assert np.array_equal(made.run(None, {"a": a[2:3, 7:8]})[0][0, 0], expected[2, 7])


@pytest.mark.parametrize(
    ("rows", "keys", "causal"), [(1, 40, False), (37, 37, False), (150, 150, True), (9, 200, False)]
)
def test_attention(rows: int, keys: int, causal: bool) -> None:
    rng = np.random.default_rng(rows)
    q = rng.standard_normal((2, 3, rows, 64)).astype(np.float32)
    k, v = (rng.standard_normal((2, 3, keys, 64)).astype(np.float32) for _ in range(2))
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=int(causal))
    graph = model([node], {"q": None, "k": None, "v": None}, ["y"], {})
    (y,) = session(graph).run(None, {"q": q, "k": k, "v": v})
    scores = np.einsum("bhqd,bhkd->bhqk", q.astype(np.float64), k.astype(np.float64)) / 8
    off = np.einsum("bhqd,bhkd->bhqk", np.abs(q), np.abs(k)).astype(np.float64) / 8 * 2.02 * BF16_ROUNDING
    if causal:
        scores = np.where(np.tril(np.ones((rows, keys), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bhqk,bhkd->bhqd", weights, v)
    # Scores that are off by e change weights by exp(2 e) at most; weights and values round once each.
    factor = np.expm1(2 * off) + 2.02 * BF16_ROUNDING
    bound = np.einsum("bhqk,bhkd->bhqd", weights * factor, np.abs(v)) + 1e-5
    assert (np.abs(y - expected) <= bound).all()
    assert np.array_equal(session(graph, threads=1).run(None, {"q": q, "k": k, "v": v})[0], y)
    one = {"q": q[1:], "k": k[1:], "v": v[1:]}
    assert np.array_equal(session(graph).run(None, one)[0][0], y[1])


def test_infinities_and_nan_come_through() -> None:
    a = np.zeros((20, 32), np.float32)
    a[3, 5], a[4, 6], a[5, 7] = np.inf, np.nan, 3e38
    b = np.eye(32, dtype=np.float32)
    graph = model([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": None}, ["y"], {"b": b})
    (y,) = session(graph).run(None, {"a": a})
    assert y[3, 5] == np.inf
    assert np.isnan(y[4]).all()
    assert abs(y[5, 7] - 3e38) <= 3e38 * BF16_ROUNDING
    assert (y[:3] == 0).all()


def test_bodies_of_control_flow_take_part() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((8, 64)).astype(np.float32), rng.standard_normal((64, 64)).astype(np.float32)
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, inputs, [f"{name}_y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)],
        )
        for name, op, inputs in (("then", "MatMul", ["a", "b"]), ("else", "Identity", ["a"]))
    }
    nodes = [
        helper.make_node("ReduceSum", ["a"], ["sum"], keepdims=0),
        helper.make_node("Less", ["zero", "sum"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branches["then"], else_branch=branches["else"]),
    ]
    graph = model(nodes, {"a": [8, 64]}, ["y"], {"b": b, "zero": np.float32(-1e9)})
    exact = a.astype(np.float64) @ b
    short, full = (session(graph, precision).run(None, {"a": a})[0] for precision in ("bf16", "f32"))
    assert (np.abs(short - exact) <= product_bound(a, b)).all()
    assert np.abs(short - exact).max() > 50 * np.abs(full - exact).max()


def test_f64_stays_f64() -> None:
    a, b = np.full((2, 3), 1 + 2.0**-40), np.ones((3, 2))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.DOUBLE, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [2, 2])],
        [numpy_helper.from_array(b, "b")],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    assert np.array_equal(session(whole).run(None, {"a": a})[0], a @ b)


def test_the_option() -> None:
    options = sx.SessionOptions()
    assert options.precision is sx.Precision.F32
    options.precision = "bf16"
    assert options.precision is sx.Precision.BF16
    assert copy.copy(options).precision == "bf16"
    assert "bf16" in repr(options)
    for wrong in ("bfloat16", 16, None):
        with pytest.raises(TypeError, match="one of 'f32', 'bf16'"):
            options.precision = wrong


# Convolutions: data in blocks of channels are bf16 where the CPU has bf16 dot products, else all stays f32.


def bf16(x: np.ndarray) -> np.ndarray:
    """`x` rounded to bf16, as f64."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).astype(np.float64)


def exactly(graph: ModelProto, feeds: dict) -> list:
    """The model's results in f64."""
    wide = ModelProto()
    wide.CopyFrom(graph)
    for value in [*wide.graph.input, *wide.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for i, weight in enumerate(wide.graph.initializer):
        array = numpy_helper.to_array(weight)
        if array.dtype == np.float32:
            wide.graph.initializer[i].CopyFrom(numpy_helper.from_array(array.astype(np.float64), weight.name))
    return ReferenceEvaluator(wide).run(None, {name: x.astype(np.float64) for name, x in feeds.items()})


def in_bf16(made: sx.InferenceSession) -> bool:
    return any("bf16" in kernel for kernel in kernels(made))


@pytest.mark.parametrize(
    ("channels", "filters", "group", "kernel", "stride", "dilation", "pads"),
    [
        (3, 17, 1, (7, 7), (2, 2), (1, 1), (3, 3, 3, 3)),
        (1, 9, 1, (3, 5), (1, 1), (2, 3), (1, 2, 3, 4)),
        (24, 33, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
        (17, 40, 1, (1, 1), (2, 3), (1, 1), (1, 0, 0, 2)),
        (19, 35, 1, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
        (32, 16, 1, (3, 2), (1, 1), (2, 2), (2, 1, 2, 1)),
        (40, 48, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        (130, 128, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        (21, 21, 21, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        (32, 32, 32, (5, 4), (2, 1), (1, 1), (2, 2, 2, 1)),
        (9, 9, 9, (3, 3), (1, 1), (3, 2), (3, 2, 3, 2)),
        (16, 16, 16, (3, 1), (1, 1), (1, 1), (1, 0, 1, 0)),
        (16, 24, 2, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ],
)
def test_convolutions(
    channels: int, filters: int, group: int, kernel: tuple, stride: tuple, dilation: tuple, pads: tuple
) -> None:
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((2, channels, 15, 13)).astype(np.float32)
    w = rng.standard_normal((filters, channels // group, *kernel)).astype(np.float32)
    bias = rng.standard_normal(filters).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=group, strides=stride, dilations=dilation, pads=pads)
    graph = model([node], {"x": [None, channels, None, None]}, ["y"], {"w": w, "b": bias})
    made = session(graph)
    (y,) = made.run(None, {"x": x})
    (exact,) = exactly(graph, {"x": x})
    (magnitude,) = exactly(model([node], {"x": None}, ["y"], {"w": np.abs(w), "b": np.abs(bias)}), {"x": np.abs(x)})
    terms = channels // group * kernel[0] * kernel[1]
    # Each factor is rounded once, in Winograd's F(2x2) twice, and the result once.
    rounding = 2.02 * BF16_ROUNDING + 2.0**-8 * 2.02 if in_bf16(made) else 0.0
    assert (np.abs(y - exact) <= magnitude * (rounding + 8 * (terms + 4) * 2.0**-24)).all()
    if group in (1, channels):
        assert in_bf16(made) == has_bf16_products()
    assert np.array_equal(session(graph, threads=1).run(None, {"x": x[1:]})[0], y[1:])
    if not in_bf16(made):
        assert np.array_equal(session(graph, "f32").run(None, {"x": x})[0], y)


def residual_network(rng: np.random.Generator, channels: int) -> ModelProto:
    """Pools, a residual, a gate for each channel, a Concat, a Clip, a norm, a transposed convolution and a mean."""
    weights = {
        "w0": rng.standard_normal((channels, 3, 3, 3)) / 5,
        "w1": rng.standard_normal((channels, channels, 3, 3)) / np.sqrt(9 * channels),
        "w2": rng.standard_normal((channels, 1, 3, 3)) / 3,
        "w3": rng.standard_normal((channels, channels, 1, 1)) / np.sqrt(channels),
        "w4": rng.standard_normal((2 * channels, 20, 2, 2)) / np.sqrt(2 * channels),
        "low": np.array(-0.7),
        "high": np.array(1.3),
        "scale": rng.standard_normal(channels),
        "shift": rng.standard_normal(channels),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], group=channels, pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["e", "b"], ["f"]),
        helper.make_node("Clip", ["f", "low", "high"], ["g"]),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]),
        helper.make_node("Conv", ["h", "w3"], ["i"]),
        helper.make_node("Sigmoid", ["i"], ["j"]),
        helper.make_node("Mul", ["g", "j"], ["k"]),
        helper.make_node("AveragePool", ["k"], ["l"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("GroupNormalization", ["l", "scale", "shift"], ["m"], num_groups=channels // 8),
        helper.make_node("Concat", ["m", "b"], ["n"], axis=1),
        helper.make_node("ConvTranspose", ["n", "w4"], ["y"], strides=[2, 2]),
    ]
    as_f32 = {name: value.astype(np.float32) for name, value in weights.items()}
    return model(nodes, {"x": ["n", 3, "h", "w"]}, ["y"], as_f32)


@pytest.mark.parametrize("channels", [16, 32, 48])
def test_a_network_in_blocks(channels: int) -> None:
    rng = np.random.default_rng(channels)
    graph = residual_network(rng, channels)
    x = rng.standard_normal((2, 3, 22, 18)).astype(np.float32)
    made = session(graph)
    (y,) = made.run(None, {"x": x})
    (exact,) = exactly(graph, {"x": x})
    assert y.dtype == np.float32
    # Ten roundings, one after another, of numbers that mostly add up as noise does.
    root = np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2))
    assert root <= (10 * BF16_ROUNDING / 2 if in_bf16(made) else 1e-5)
    if in_bf16(made):
        ops = {row.op for row in made.get_provider_report()}
        assert {"sardonyx::BlockedUpsample", "sardonyx::BlockedGroupNorm", "sardonyx::ScaleChannels"} <= ops
        assert root > 1e-4  # it was not computed in f32 after all
    assert np.array_equal(session(graph, threads=1).run(None, {"x": x})[0], y)
    assert np.array_equal(made.run(None, {"x": x[1:]})[0], y[1:])


def test_channels_last_and_inner_values() -> None:
    rng = np.random.default_rng(3)
    weights = {
        "w": (rng.standard_normal((20, 1, 7, 7)) / 7).astype(np.float32),
        "v": (rng.standard_normal((20, 20)) / 4).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], group=20, pads=[3, 3, 3, 3]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 3, 1, 2]),
        helper.make_node("Add", ["d", "x"], ["y"]),
    ]
    graph = model(nodes, {"x": [1, 20, 9, 11]}, ["y", "a"], weights)
    x = rng.standard_normal((1, 20, 9, 11)).astype(np.float32)
    for y, exact in zip(session(graph).run(None, {"x": x}), exactly(graph, {"x": x}), strict=True):
        assert y.dtype == np.float32
        assert np.abs(y - exact).max() <= 4 * BF16_ROUNDING * np.abs(exact).max()


@pytest.mark.parametrize("size", [1, 3])
def test_infinities_and_nan_come_through_convolutions(size: int) -> None:
    x = np.zeros((1, 18, 9, 30), np.float32)
    x[0, 3, 4, 5], x[0, 4, 4, 15], x[0, 5, 4, 25] = np.inf, np.nan, 3e38
    w = np.zeros((18, 18, size, size), np.float32)
    w[range(18), range(18), size // 2, size // 2] = 1
    pads = [size // 2] * 4
    graph = model([helper.make_node("Conv", ["x", "w"], ["y"], pads=pads)], {"x": [1, 18, 9, 30]}, ["y"], {"w": w})
    options = sx.SessionOptions()
    options.precision, options.winograd = "bf16", False
    (y,) = sx.InferenceSession(graph.SerializeToString(), options).run(None, {"x": x})
    assert y[0, 3, 4, 5] == np.inf
    assert np.isnan(y[0, 4, 4, 15])
    assert abs(y[0, 5, 4, 25] - 3e38) <= 3e38 * BF16_ROUNDING
    far = np.delete(y, range(3, 28), axis=3)
    assert (far == 0).all()


def test_bytes_and_bf16_in_one_network() -> None:
    rng = np.random.default_rng(9)
    weights = {
        "w": rng.integers(-9, 9, (32, 16, 1, 1)).astype(np.int8),
        "scale": np.float32(0.05),
        "zero": np.uint8(128),
        "w_scale": np.float32(0.02),
        "w_zero": np.int8(0),
        "v": (rng.standard_normal((32, 32, 1, 1)) / 6).astype(np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["b"]),
        helper.make_node("Conv", ["a", "b"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["d", "scale", "zero"], ["e"]),
        helper.make_node("HardSwish", ["e"], ["f"]),
        helper.make_node("Conv", ["f", "v"], ["g"]),
        helper.make_node("QuantizeLinear", ["g", "scale", "zero"], ["h"]),
        helper.make_node("DequantizeLinear", ["h", "scale", "zero"], ["y"]),
    ]
    graph = model(nodes, {"x": [1, 16, 7, 9]}, ["y"], weights)
    x = rng.standard_normal((1, 16, 7, 9)).astype(np.float32)
    (y,), (exact,) = (session(graph, precision).run(None, {"x": x}) for precision in ("bf16", "f32"))
    assert np.abs(y - exact).max() <= 0.0501  # a step of the quantization
