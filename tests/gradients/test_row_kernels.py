"""Gradients of f32 Softmax and LayerNormalization, which have kernels of their own, against those in f64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sardonyx.graph import Executor, gradients, op, placeholder

SHAPES = [(1, 1), (3, 7), (2, 5, 16), (2, 3, 1, 33), (40, 130), (5, 1000), (0, 4), (3, 128)]


def found(name: str, dtype: Any, arrays: dict[str, np.ndarray[Any, Any]], **attributes: Any) -> list[Any]:
    xs = [placeholder(key, dtype, array.shape) for key, array in arrays.items()]
    weights, operands = xs[0], xs[1:]
    y = op.__getattr__(name)(*operands, **attributes)
    executor = Executor(gradients((y * weights).sum(), operands))
    return executor.run({x: array.astype(dtype) for x, array in zip(xs, arrays.values(), strict=True)})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [-1, 0])
def test_softmax(shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(3)
    arrays = {"w": rng.normal(size=shape), "x": rng.normal(0, 3, shape)}
    expected = found("Softmax", np.float64, arrays, axis=axis)
    for y, z in zip(found("Softmax", np.float32, arrays, axis=axis), expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_normalization(shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(4)
    rows = shape[axis:]
    arrays = {"w": rng.normal(size=shape), "x": rng.normal(1, 2, shape), "s": rng.normal(1, 0.2, rows)}
    arrays["b"] = rng.normal(size=rows)
    expected = found("LayerNormalization", np.float64, arrays, axis=axis, epsilon=1e-3)
    for y, z in zip(found("LayerNormalization", np.float32, arrays, axis=axis, epsilon=1e-3), expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=2e-5, atol=1e-5)


def test_second_derivatives() -> None:
    """Of what the kernels give, through expressions."""
    rng = np.random.default_rng(5)
    values = {"x": rng.normal(size=(3, 6)), "w": rng.normal(size=(3, 6)), "s": rng.normal(1, 0.2, 6)}

    def second(dtype: Any, normalizes: bool) -> list[Any]:
        x, w, s = (placeholder(key, dtype, value.shape) for key, value in values.items())
        y = op.LayerNormalization(x, s) if normalizes else op.Softmax(x)
        first = gradients((y * w).sum(), [x, s] if normalizes else [x])
        total = (first[0] * first[0]).sum()
        used = [x, w, s] if normalizes else [x, w]
        return Executor(gradients(total, used)).run({t: values[t.name].astype(dtype) for t in used})

    for normalizes in (False, True):
        for y, z in zip(second(np.float32, normalizes), second(np.float64, normalizes), strict=True):
            np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4)
