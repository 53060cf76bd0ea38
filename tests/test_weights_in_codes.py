"""Products with weights behind DequantizeLinear keep them as codes, and come out as with weights in f32."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import sardonyx as sx

INTEGERS = {
    "int8": (np.int8, 8),
    "uint8": (np.uint8, 8),
    "int4": (ml_dtypes.int4, 4),
    "uint4": (ml_dtypes.uint4, 4),
}


def codes(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype, bits = INTEGERS[kind]
    low = 0 if kind.startswith("u") else -(1 << (bits - 1))
    return rng.integers(low, low + (1 << bits), shape).astype(np.int32).astype(dtype)


def build(
    kind: str, k: int, n: int, block: int | None, zeros: str, gemm: bool, dtype: type = np.float32
) -> tuple[bytes, np.ndarray, np.ndarray | None]:
    """A model, and what its weights and bias are in f64."""
    rng = np.random.default_rng(k * 7 + n)
    weights = codes(rng, kind, (n, k) if gemm else (k, n))
    axis = (1 if gemm else 0) if block else (0 if gemm else 1)
    if block is None:
        shape: tuple[int, ...] = ()
    elif block == 0:
        shape = (n,)
    else:
        blocks = -(-k // block)
        shape = (n, blocks) if gemm else (blocks, n)
    scales = rng.uniform(0.01, 0.1, shape).astype(dtype)
    initializers = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(scales, "s")]
    zero = np.zeros(shape, np.int32)
    if zeros != "none":
        points = codes(rng, kind, shape if zeros == "each" else ())
        points = np.broadcast_to(points, shape).copy()
        initializers.append(numpy_helper.from_array(points, "z"))
        zero = points.astype(np.int32)

    def spread(values: np.ndarray) -> np.ndarray:
        if block is None:
            return values
        if block == 0:
            return values[:, None] if gemm else values[None, :]
        return np.repeat(values, block, axis)[: weights.shape[0], : weights.shape[1]]

    exact = (weights.astype(np.int32) - spread(zero)) * spread(scales.astype(np.float64))
    inputs = ["w", "s"] + (["z"] if zeros != "none" else [])
    nodes = [helper.make_node("DequantizeLinear", inputs, ["d"], axis=axis, block_size=block or 0)]
    bias = None
    if gemm:
        bias = rng.normal(size=n).astype(dtype)
        initializers.append(numpy_helper.from_array(bias, "b"))
        nodes.append(helper.make_node("Gemm", ["x", "d", "b"], ["y"], transB=1))
        exact = exact.T
    else:
        nodes.append(helper.make_node("MatMul", ["x", "d"], ["y"]))
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, ["m", k])],
        [helper.make_tensor_value_info("y", element, ["m", n])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString(), exact, bias


@pytest.mark.parametrize("gemm", [False, True], ids=["matmul", "gemm"])
@pytest.mark.parametrize("zeros", ["none", "one", "each"])
@pytest.mark.parametrize(("k", "n", "block"), [(64, 40, 32), (100, 33, 16), (37, 5, 0), (64, 96, None), (24, 64, 8)])
@pytest.mark.parametrize("kind", INTEGERS)
def test_products(kind: str, k: int, n: int, block: int | None, zeros: str, gemm: bool) -> None:
    model, weights, bias = build(kind, k, n, block, zeros, gemm)
    session = sx.InferenceSession(model)
    assert {row.op for row in session.get_provider_report()} == {"sardonyx::MatMulDequantized"}
    rng = np.random.default_rng(1)
    wide = rng.normal(size=(19, k)).astype(np.float32)
    (all_rows,) = session.run(None, {"x": wide})
    expected = wide.astype(np.float64) @ weights + (0 if bias is None else bias)
    scale = np.abs(wide.astype(np.float64)) @ np.abs(weights) + (0 if bias is None else np.abs(bias))
    assert np.max(np.abs(all_rows - expected) / (scale + 1e-30)) < k * 2.0**-24 + 2.0**-23
    for m in (1, 4, 9):
        (rows,) = session.run(None, {"x": wide[:m]})
        np.testing.assert_array_equal(rows, all_rows[:m])


def test_the_same_bits_as_with_weights_in_f32() -> None:
    model, _, _ = build("int4", 96, 48, 32, "each", False)
    options = sx.SessionOptions()
    options.graph_optimization_level = sx.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = np.random.default_rng(2).normal(size=(3, 96)).astype(np.float32)
    (plain,) = sx.InferenceSession(model, options).run(None, {"x": x})
    (kept,) = sx.InferenceSession(model).run(None, {"x": x})
    np.testing.assert_array_equal(kept, plain)


def test_half_precision() -> None:
    model, weights, _ = build("int4", 64, 32, 32, "none", False, np.float16)
    x = np.random.default_rng(2).normal(size=(3, 64)).astype(np.float16)
    (y,) = sx.InferenceSession(model).run(None, {"x": x})
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, x.astype(np.float64) @ weights, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("columns", [9, 64])
def test_bytes_on_both_sides_are_multiplied_as_integers(columns: int) -> None:
    rng = np.random.default_rng(4)
    weights = rng.integers(-128, 128, (36, columns)).astype(np.int8)
    scales = rng.uniform(0.01, 0.02, columns).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["dx"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["dw"], axis=1),
        helper.make_node("MatMul", ["dx", "dw"], ["p"]),
        helper.make_node("Add", ["b", "p"], ["y"]),
    ]
    bias = rng.normal(size=columns).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["b", "m", 36])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.float32(0.05), "xs"),
            numpy_helper.from_array(np.uint8(7), "xz"),
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(scales, "ws"),
            numpy_helper.from_array(bias, "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    session = sx.InferenceSession(model)
    assert {row.op for row in session.get_provider_report()} == {"com.microsoft::MatMulIntegerToFloat"}
    x = rng.integers(0, 256, (2, 17, 36)).astype(np.uint8)
    (y,) = session.run(None, {"x": x})
    expected = (x.astype(np.int64) - 7) @ weights.astype(np.int64) * (0.05 * scales.astype(np.float64)) + bias
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-5)
