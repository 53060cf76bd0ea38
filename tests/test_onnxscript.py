"""Models that onnxscript writes: functions with attributes and defaults, loops, branches, custom operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnxscript import FLOAT, INT64, script
from onnxscript import opset21 as op
from onnxscript.values import Opset

import sardonyx as sx

local = Opset("tests.local", 1)
acme = Opset("tests.acme", 1)
N = "N"


@script(local, default_opset=op)
def half_square(x, power: float = 2.0):  # type: ignore[no-untyped-def]
    return op.Pow(x, op.CastLike(op.Constant(value_float=power), x)) * op.CastLike(0.5, x)


@script(local, default_opset=op)
def blend(x, y, weight: float = 0.25):  # type: ignore[no-untyped-def]
    a = half_square(x, power=3.0)
    b = half_square(y)
    return a * weight + b, a - b


@script(local, default_opset=op)
def count_down(x, steps):  # type: ignore[no-untyped-def]
    for _ in range(steps):
        x = half_square(x)
    return x


@script(default_opset=op)
def network(x: FLOAT[N, 4], w: FLOAT[4, 2], n: INT64) -> FLOAT[N, 2]:
    y = op.MatMul(x, w)
    first, second = blend(y, op.Tanh(y))
    for _ in range(n):
        first = half_square(first) + second
    if op.ReduceSum(first, keepdims=0) > 0.0:
        z = count_down(first, op.Constant(value_int=2))
    else:
        z, _unused = blend(first, second, weight=1.5)
    return z


def expected(x: Any, w: Any, n: int) -> Any:
    def square(x: Any, power: float = 2.0) -> Any:
        return x**power * 0.5

    def mix(x: Any, y: Any, weight: float = 0.25) -> Any:
        a, b = square(x, 3.0), square(y)
        return a * weight + b, a - b

    y = (x @ w).astype(np.float64)
    first, second = mix(y, np.tanh(y))
    for _ in range(n):
        first = square(first) + second
    return square(square(first)) if first.sum() > 0 else mix(first, second, 1.5)[0]


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    proto = network.to_model_proto()
    assert {function.name for function in proto.functions} == {"half_square", "blend", "count_down"}
    return proto


@pytest.mark.parametrize("level", list(sx.GraphOptimizationLevel))
@pytest.mark.parametrize("sign", [1, -1])
def test_a_model_with_functions(model: onnx.ModelProto, level: int, sign: int) -> None:
    options = sx.SessionOptions()
    options.graph_optimization_level = level
    session = sx.InferenceSession(model, options)
    rng = np.random.default_rng(3)
    w = rng.uniform(-0.5, 0.5, (4, 2)).astype(np.float32)
    for n, rows in ((0, 3), (2, 3), (1, 5)):
        x = sign * rng.uniform(0, 1, (rows, 4)).astype(np.float32)
        (z,) = session.run(None, {"x": x, "w": w, "n": np.array(n)})
        np.testing.assert_allclose(z, expected(x, w, n), rtol=1e-4, atol=1e-6)


def test_a_function_alone() -> None:
    proto = count_down.to_model_proto(input_types=[FLOAT[3], INT64], output_types=[FLOAT[3]])
    (y,) = sx.InferenceSession(proto).run(None, [np.array([1, 2, 3], np.float32), np.array(3)])
    np.testing.assert_allclose(y, 0.5**7 * np.array([1, 2, 3]) ** 8, rtol=1e-6)


@pytest.fixture
def _softclip() -> Iterator[None]:
    sx.register_operator("tests.acme", "SoftClip", lambda x, *, limit=1.0: np.float32(limit) * np.tanh(x / limit))
    yield
    sx.unregister_operator("tests.acme", "SoftClip")


@pytest.mark.usefixtures("_softclip")
def test_a_custom_operator_inside_a_function() -> None:
    @script(local, default_opset=op)
    def clipped(x, limit: float = 3.0):  # type: ignore[no-untyped-def]
        return acme.SoftClip(x * 2.0, limit=limit)

    @script(default_opset=op)
    def net(x: FLOAT[N]) -> FLOAT[N]:
        return clipped(x) + clipped(x, limit=0.5)

    x = np.linspace(-4, 4, 9, dtype=np.float32)
    (y,) = sx.InferenceSession(net.to_model_proto()).run(None, [x])
    np.testing.assert_allclose(y, 3 * np.tanh(2 * x / 3) + 0.5 * np.tanh(4 * x), rtol=1e-5, atol=1e-6)
