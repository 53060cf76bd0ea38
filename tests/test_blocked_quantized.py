"""Quantized convolutions in blocks of channels give the bytes of exact sums, whatever their shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import sardonyx as sx

ONNX_TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


class Parameters(NamedTuple):
    scale: np.float32
    zero: np.ndarray


def parameters(rng: np.random.Generator, dtype: str, scale: float) -> Parameters:
    limits = np.iinfo(dtype)
    return Parameters(np.float32(scale), np.array(rng.integers(limits.min // 2, limits.max // 2), dtype))


def saturate(value: np.ndarray, zero: np.ndarray) -> np.ndarray:
    limits = np.iinfo(zero.dtype)
    low, high = np.float32(int(limits.min) - int(zero)), np.float32(int(limits.max) - int(zero))
    return (np.rint(np.clip(value, low, high)).astype(np.int32) + int(zero)).astype(zero.dtype)


class Geometry(NamedTuple):
    channels: int
    filters: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1


def convolve(
    x: np.ndarray, of_x: Parameters, w: np.ndarray, w_zero: np.ndarray, bias: np.ndarray, scale: np.ndarray, g: Geometry
) -> np.ndarray:
    """The sums of QLinearConv as f32, times the scales."""
    top, left, bottom, right = g.pads
    data = np.pad(x.astype(np.int64) - int(of_x.zero), ((0, 0), (0, 0), (top, bottom), (left, right)))
    weights = w.astype(np.int64) - w_zero.astype(np.int64).reshape(-1, 1, 1, 1)
    height, width = (
        (n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(data.shape[2:], g.dilations, g.kernel, g.strides)
    )
    sums = np.zeros((len(x), g.filters, height, width), np.int64)
    for i in range(g.kernel[0]):
        for j in range(g.kernel[1]):
            rows = slice(i * g.dilations[0], i * g.dilations[0] + (height - 1) * g.strides[0] + 1, g.strides[0])
            columns = slice(j * g.dilations[1], j * g.dilations[1] + (width - 1) * g.strides[1] + 1, g.strides[1])
            tap = data[:, :, rows, columns]
            if g.group == 1:
                sums += np.einsum("nchw,fc->nfhw", tap, weights[:, :, i, j])
            else:
                sums += tap * weights[:, 0, i, j].reshape(1, -1, 1, 1)
    sums += bias.reshape(1, -1, 1, 1)
    return sums.astype(np.float32) * scale.reshape(1, -1, 1, 1)


class Network:
    """x -> QLinearConv (-> QLinearAdd of it and x, where `residual` says so)."""

    def __init__(self, g: Geometry, x_type: str, w_type: str, w_zero: str, residual: bool, seed: int = 0) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.g, self.residual = g, residual
        limits = np.iinfo(w_type)
        shape = (g.filters, g.channels // g.group, *g.kernel)
        self.w = rng.integers(limits.min, limits.max + 1, shape).astype(w_type)
        middle = 0 if w_type == "int8" else 128
        zeros = {
            "middle": np.array(middle),
            "one": np.array(middle + 9),
            "each": rng.integers(middle - 9, middle + 9, g.filters),
        }
        self.w_zero = zeros[w_zero].astype(w_type)
        self.w_scale = rng.uniform(0.001, 0.01, 1 if w_zero == "one" else g.filters).astype(np.float32)
        self.bias = rng.integers(-5000, 5000, g.filters).astype(np.int32)
        self.of_x = parameters(rng, x_type, 0.05)
        depth = g.channels // g.group * g.kernel[0] * g.kernel[1]
        self.of_y = parameters(rng, x_type, 0.02 * np.sqrt(depth))
        self.of_sum = parameters(rng, x_type, 0.03 * np.sqrt(depth))

    def model(self) -> bytes:
        names = {}

        def constant(value: np.ndarray) -> str:
            name = f"c{len(names)}"
            names[name] = numpy_helper.from_array(np.asarray(value), name)
            return name

        def of(p: Parameters) -> list[str]:
            return [constant(p.scale), constant(p.zero)]

        w = [constant(self.w), constant(self.w_scale), constant(self.w_zero)]
        attributes = {
            "strides": self.g.strides,
            "dilations": self.g.dilations,
            "pads": self.g.pads,
            "group": self.g.group,
        }
        conv = helper.make_node(
            "QLinearConv", ["x", *of(self.of_x), *w, *of(self.of_y), constant(self.bias)], ["t"], **attributes
        )
        nodes = [conv]
        if self.residual:
            inputs = ["t", *of(self.of_y), "x", *of(self.of_x), *of(self.of_sum)]
            nodes.append(helper.make_node("QLinearAdd", inputs, ["y"], domain="com.microsoft"))
        nodes[-1].output[0] = "y"
        kind = ONNX_TYPES[str(self.of_x.zero.dtype)]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", kind, ["n", self.g.channels, "h", "w"])],
            [helper.make_tensor_value_info("y", kind, None)],
            list(names.values()),
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()

    def data(self, shape: tuple[int, ...]) -> np.ndarray:
        limits = np.iinfo(self.of_x.zero.dtype)
        return self.rng.integers(limits.min, limits.max + 1, shape).astype(self.of_x.zero.dtype)

    def expected(self, x: np.ndarray) -> np.ndarray:
        scale = self.of_x.scale * self.w_scale / self.of_y.scale
        t = saturate(convolve(x, self.of_x, self.w, self.w_zero, self.bias, scale, self.g), self.of_y.zero)
        if not self.residual:
            return t
        parts = [
            (q.astype(np.float32) - np.float32(p.zero)) * (p.scale / self.of_sum.scale)
            for q, p in ((t, self.of_y), (x, self.of_x))
        ]
        return saturate(parts[0] + parts[1], self.of_sum.zero)


SHAPES = [
    (Geometry(16, 16, (1, 1)), (2, 7, 9)),
    (Geometry(37, 70, (1, 1)), (3, 5, 31)),
    (Geometry(64, 33, (1, 1), strides=(2, 2)), (1, 9, 8)),
    (Geometry(20, 50, (3, 3), pads=(1, 1, 1, 1)), (2, 7, 7)),
    (Geometry(9, 17, (3, 3), strides=(2, 1), pads=(0, 1, 2, 0)), (1, 10, 29)),
    (Geometry(24, 16, (5, 2), dilations=(2, 3), pads=(4, 1, 3, 2)), (2, 9, 11)),
    (Geometry(16, 16, (3, 3), dilations=(2, 2)), (1, 5, 5)),
    (Geometry(8, 40, (7, 1), pads=(3, 0, 3, 0)), (2, 40, 1)),
    (Geometry(3, 24, (3, 3), strides=(2, 2), pads=(0, 0, 1, 1)), (2, 23, 30)),
    (Geometry(3, 18, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3)), (1, 31, 32)),
    (Geometry(1, 5, (5, 4), pads=(2, 3, 2, 0)), (2, 6, 14)),
    (Geometry(3, 16, (3, 3), dilations=(1, 2), pads=(1, 2, 1, 2)), (1, 8, 8)),
    (Geometry(19, 19, (3, 3), pads=(1, 1, 1, 1), group=19), (2, 7, 7)),
    (Geometry(32, 32, (3, 3), strides=(2, 2), pads=(0, 0, 1, 1), group=32), (1, 16, 15)),
    (Geometry(40, 40, (5, 5), pads=(2, 2, 2, 2), group=40), (2, 14, 13)),
    (Geometry(12, 12, (5, 5), strides=(2, 2), pads=(1, 1, 2, 2), group=12), (1, 28, 27)),
    (Geometry(16, 16, (4, 6), strides=(3, 3), dilations=(2, 2), pads=(3, 5, 4, 0), group=16), (1, 20, 33)),
    (Geometry(18, 18, (9, 1), pads=(4, 0, 4, 0), group=18), (1, 30, 1)),
    (Geometry(16, 16, (1, 3), group=16), (1, 3, 100)),
    (Geometry(64, 64, (3, 3), pads=(1, 1, 1, 1)), (2, 28, 30)),
    (Geometry(136, 232, (3, 3), pads=(1, 0, 1, 2)), (1, 21, 19)),
]


@pytest.mark.parametrize(
    ("x_type", "w_type", "w_zero"),
    [("uint8", "int8", "middle"), ("int8", "int8", "each"), ("uint8", "uint8", "middle"), ("int8", "uint8", "one")],
)
@pytest.mark.parametrize(("g", "shape"), SHAPES, ids=lambda case: "-".join(str(part) for part in case))
def test_bytes_of_exact_sums(g: Geometry, shape: tuple[int, int, int], x_type: str, w_type: str, w_zero: str) -> None:
    network = Network(g, x_type, w_type, w_zero, residual=False)
    session = sx.InferenceSession(network.model())
    assert "sardonyx::BlockedQLinearConv" in {row.op for row in session.get_provider_report()}
    x = network.data((shape[0], g.channels, *shape[1:]))
    (y,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, network.expected(x))


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("g", "shape"),
    [
        (Geometry(19, 19, (1, 1)), (3, 5, 7)),
        (Geometry(32, 32, (3, 3), pads=(1, 1, 1, 1)), (1, 13, 11)),
        (Geometry(64, 64, (3, 3), pads=(1, 1, 1, 1)), (2, 29, 27)),
        (Geometry(20, 20, (3, 3), pads=(1, 1, 1, 1), group=20), (2, 9, 17)),
    ],
    ids=lambda case: "-".join(str(part) for part in case),
)
def test_sums_behind_convolutions(g: Geometry, shape: tuple[int, int, int], kind: str) -> None:
    network = Network(g, kind, "int8", "middle", residual=True)
    session = sx.InferenceSession(network.model())
    assert {row.op.removeprefix("sardonyx::") for row in session.get_provider_report()} == {
        "Block",
        "BlockedQLinearConv",
        "Unblock",
    }
    x = network.data((shape[0], g.channels, *shape[1:]))
    (y,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(y, network.expected(x))


@pytest.mark.parametrize("g", [SHAPES[3][0], SHAPES[8][0], SHAPES[14][0], SHAPES[19][0]], ids=str)
def test_threads_and_batches_change_nothing(g: Geometry) -> None:
    network = Network(g, "uint8", "int8", "middle", residual=False)
    x = network.data((5, g.channels, 33, 41))
    results = []
    for threads in (1, 2, 3):
        options = sx.SessionOptions()
        options.intra_op_num_threads = threads
        session = sx.InferenceSession(network.model(), options)
        results.append(session.run(None, {"x": x})[0])
        results.append(np.concatenate([session.run(None, {"x": image[None]})[0] for image in x]))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_no_pixels() -> None:
    network = Network(SHAPES[3][0], "uint8", "int8", "middle", residual=False)
    (y,) = sx.InferenceSession(network.model()).run(None, {"x": np.zeros((0, 20, 4, 4), np.uint8)})
    assert y.shape == (0, 50, 4, 4)


def between(op: str, inputs: list[tuple[str, str]], output: str) -> list:
    """`op` on dequantized inputs, each (value, parameters), quantized again; parameters are named s_NAME and z_NAME."""
    nodes = []
    names = []
    for k, (value, name) in enumerate(inputs):
        names.append(f"{output}_in{k}")
        nodes.append(helper.make_node("DequantizeLinear", [value, f"s_{name}", f"z_{name}"], [names[-1]]))
    nodes.append(helper.make_node(op, names, [f"{output}_f"]))
    nodes.append(helper.make_node("QuantizeLinear", [f"{output}_f", f"s_{output}", f"z_{output}"], [output]))
    return nodes


def squeeze_and_excite(kind: str, channels: int) -> bytes:
    """Conv, Swish, the mean of each channel through a convolution and Sigmoid as a factor, a sum: all on bytes."""
    rng = np.random.default_rng(channels)
    dtype = np.dtype(kind)
    values: dict[str, np.ndarray] = {
        "w": rng.integers(-127, 128, (channels, channels, 3, 3)).astype(np.int8),
        "ws": rng.uniform(0.002, 0.004, channels).astype(np.float32),
        "wz": np.zeros(channels, np.int8),
        "u": rng.integers(-127, 128, (channels, channels, 1, 1)).astype(np.int8),
        "us": np.float32(0.01),
        "uz": np.int8(0),
    }
    for name, scale in {
        "x": 0.02,
        "c": 0.05,
        "g": 0.005,
        "m": 0.03,
        "a": 0.02,
        "e": 0.04,
        "h": 0.006,
        "k": 0.02,
        "y": 0.04,
    }.items():
        values[f"s_{name}"] = np.float32(scale)
        values[f"z_{name}"] = np.array(rng.integers(np.iinfo(dtype).min + 90, np.iinfo(dtype).max - 90), dtype)
    conv = ["s_x", "z_x", "w", "ws", "wz", "s_c", "z_c"]
    gate = ["s_a", "z_a", "u", "us", "uz", "s_e", "z_e"]
    nodes = [
        helper.make_node("QLinearConv", ["x", *conv], ["c"], pads=[1, 1, 1, 1]),
        *between("Sigmoid", [("c", "c")], "g"),
        *between("Mul", [("c", "c"), ("g", "g")], "m"),
        *between("GlobalAveragePool", [("m", "m")], "a"),
        helper.make_node("QLinearConv", ["a", *gate], ["e"]),
        *between("Sigmoid", [("e", "e")], "h"),
        *between("Mul", [("h", "h"), ("m", "m")], "k"),
        *between("Add", [("k", "k"), ("x", "x")], "y"),
    ]
    onnx_type = ONNX_TYPES[kind]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx_type, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info("y", onnx_type, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("channels", [16, 21])
def test_functions_means_and_factors_on_bytes(kind: str, channels: int) -> None:
    model = squeeze_and_excite(kind, channels)
    limits = np.iinfo(kind)
    x = np.random.default_rng(5).integers(limits.min, limits.max + 1, (2, channels, 9, 11)).astype(kind)
    session = sx.InferenceSession(model)
    ops = {row.op.removeprefix("sardonyx::") for row in session.get_provider_report()}
    assert {"BlockedQLinearConv", "QLinearGlobalMean", "BlockedQLinearScale"} <= ops
    assert not ops & {"MapBytes", "DequantizeLinear", "QuantizeLinear", "Sigmoid", "Mul"}
    (y,) = session.run(None, {"x": x})
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    # The judge computes in f32 between the roundings: what lies halfway may go the other way, and on from there.
    off = np.abs(y.astype(int) - expected.astype(int))
    assert off.max() <= 2
    assert np.mean(off) < 0.1


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_maxima_and_channels_side_by_side(kind: str) -> None:
    limits = np.iinfo(kind)
    rng = np.random.default_rng(2)
    g = Geometry(32, 48, (1, 1))
    network = Network(g, kind, "int8", "middle", residual=False)
    model = onnx.load_from_string(network.model())
    del model.graph.node[1:]
    model.graph.node[0].output[0] = "t"
    model.graph.node.append(
        helper.make_node("MaxPool", ["t"], ["p"], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
    )
    model.graph.node.append(helper.make_node("Concat", ["p", "p"], ["y"], axis=1))
    x = rng.integers(limits.min, limits.max + 1, (2, 32, 9, 7)).astype(kind)
    session = sx.InferenceSession(model.SerializeToString())
    assert "sardonyx::BlockedPool" in {row.op for row in session.get_provider_report()}
    (y,) = session.run(None, {"x": x})
    t = network.expected(x)
    padded = np.pad(t, ((0, 0), (0, 0), (1, 1), (0, 1)), constant_values=limits.min)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), axis=(2, 3))[:, :, ::2]
    np.testing.assert_array_equal(y, np.concatenate([windows.max(axis=(4, 5))] * 2, axis=1))
