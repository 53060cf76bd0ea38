"""Gemm and com.microsoft's FusedGemm against NumPy in f64."""

import ml_dtypes
import numpy as np
import pytest

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(8)


def values(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def gemm(a, b, c=None, *, opset=None, op="Gemm", domain="", activation=None, extra=None, **attrs):
    def expect(x, y, z=None):
        left = x.astype(np.float64)
        right = y.astype(np.float64)
        result = (left.T if attrs.get("transA") else left) @ (right.T if attrs.get("transB") else right)
        result = attrs.get("alpha", 1.0) * result
        if z is not None:
            result = result + attrs.get("beta", 1.0) * z.astype(np.float64)
        return (activation(result) if activation else result).astype(a.dtype)

    inputs = [a, const(b)] + ([] if c is None else [const(c)])
    tolerance = {2: 1e-2, 4: 2e-5, 8: 1e-12}[a.dtype.itemsize]
    shapes = "-".join(str(x.value.shape if hasattr(x, "value") else x.shape) for x in inputs)
    name = "-".join([a.dtype.name, shapes, *(f"{k}={v}" for k, v in attrs.items()), f"v{opset}"])
    return Case(
        op,
        inputs,
        {**attrs, **(extra or {})},
        opset=opset,
        domain=domain,
        id=name,
        expect=expect,
        rtol=tolerance,
        atol=tolerance,
    )


test_addend = check(
    [
        gemm(values(6, 9), values(9, 17), c, alpha=0.5, beta=2.0)
        for c in (None, values(), values(1), values(17), values(1, 17), values(6, 1), values(6, 17), values(1, 1))
    ]
    + [
        gemm(values(1, 9), values(9, 17), values(1, 17)),
        gemm(values(5, 9), values(9, 1), values(5, 1)),
        gemm(values(5, 9), values(9, 1), values(1)),
        gemm(values(5, 9), values(9, 4), values(4), beta=0.0),
    ]
)

test_transposed = check(
    [
        gemm(
            values(*((9, 6) if ta else (6, 9))), values(*((17, 9) if tb else (9, 17))), values(17), transA=ta, transB=tb
        )
        for ta in (0, 1)
        for tb in (0, 1)
    ]
)

test_types = check(
    [
        gemm(values(3, 5, dtype=t), values(5, 4, dtype=t), values(4, dtype=t), alpha=0.5)
        for t in (np.float16, ml_dtypes.bfloat16, np.float64)
    ]
    + [
        gemm(
            rng.integers(0, 50, (3, 5)).astype(t),
            rng.integers(0, 50, (4, 5)).astype(t),
            rng.integers(0, 9, (3, 1)).astype(t),
            transB=1,
        )
        for t in (np.int32, np.uint32, np.int64, np.uint64)
    ]
    + [
        gemm(
            values(3, 5, dtype=np.float64),
            values(5, 4, dtype=np.float64),
            values(3, 4, dtype=np.float64),
            beta=0.5,
            transA=0,
        )
    ]
)

test_old = check(
    [
        gemm(values(3, 5), values(5, 4), values(4), opset=1, extra={"broadcast": 1}),
        gemm(values(3, 5), values(5, 4), values(3, 4), opset=6),
        gemm(values(3, 5), values(5, 4), values(4), opset=7),
        gemm(values(3, 5), values(5, 4), values(4), opset=9),
        gemm(values(3, 5), values(5, 4), opset=11),
    ]
)

test_empty = check([gemm(values(0, 5), values(5, 4), values(4)), gemm(values(3, 0), values(0, 4), values(4))])

test_fused = check(
    [
        gemm(values(3, 5), values(5, 4), values(4), op="FusedGemm", domain="com.microsoft", activation=act, extra=extra)
        for act, extra in (
            (lambda x: np.maximum(x, 0), {"activation": "Relu"}),
            (lambda x: np.where(x < 0, 0.1 * x, x), {"activation": "LeakyRelu", "activation_alpha": 0.1}),
            (np.tanh, {"activation": "Tanh"}),
        )
    ]
)

test_errors = check(
    [
        raises(Case("Gemm", [values(3, 4), values(5, 6)]), "inner extents"),
        raises(Case("Gemm", [values(2, 3, 4), values(4, 6)]), "matri"),
        raises(Case("Gemm", [values(3, 4), values(4, 6), values(5)]), "broadcast"),
    ]
)

if __name__ == "__main__":
    pytest.main([__file__])
