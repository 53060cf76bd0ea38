"""MatMul and com.microsoft's FusedMatMul against NumPy in f64."""

import ml_dtypes
import numpy as np
from onnx import helper, numpy_helper

from tests.ops.harness import Case, check, const, raises, session

rng = np.random.default_rng(7)


def values(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def integers(*shape, dtype=np.int32):
    return rng.integers(0, 100, shape).astype(dtype)


def product(a, b):
    if a.dtype.kind in "iu":
        return np.matmul(a, b)
    return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64))).astype(a.dtype)


def matmul(a, b, **options):
    tolerance = {} if np.asarray(a).dtype.kind in "iu" else {"rtol": 2e-5, "atol": 1e-5}
    if np.asarray(a).dtype.itemsize == 2:
        tolerance = {"rtol": 1e-2, "atol": 1e-2}
    return Case("MatMul", [a, const(b)], expect=product, **tolerance, **options)


test_shapes = check(
    [
        matmul(values(1, 1), values(1, 1)),
        matmul(values(3, 5), values(5, 7)),
        matmul(values(33, 65), values(65, 129)),
        matmul(values(5), values(5)),
        matmul(values(5), values(5, 3)),
        matmul(values(4, 5), values(5)),
        matmul(values(5), values(2, 3, 5, 4)),
        matmul(values(2, 3, 4, 5), values(5)),
        matmul(values(2, 3, 4, 5), values(5, 6)),
        matmul(values(4, 5), values(2, 3, 5, 6)),
        matmul(values(2, 3, 4, 5), values(2, 3, 5, 6)),
        matmul(values(2, 1, 4, 5), values(3, 5, 6)),
        matmul(values(1, 3, 4, 5), values(2, 1, 5, 6)),
        matmul(values(2, 1, 3, 4, 5), values(4, 1, 5, 6)),
        matmul(values(0, 5), values(5, 7)),
        matmul(values(3, 0), values(0, 7)),
        matmul(values(2, 3, 0), values(0, 4)),
        matmul(values(0, 3, 4), values(4, 2)),
    ]
)

test_types = check(
    [
        matmul(values(3, 17, dtype=dtype), values(17, 9, dtype=dtype))
        for dtype in (np.float16, ml_dtypes.bfloat16, np.float64)
    ]
    + [
        matmul(integers(2, 3, 17, dtype=dtype), integers(17, 9, dtype=dtype))
        for dtype in (np.int32, np.uint32, np.int64, np.uint64)
    ]
    + [
        Case(
            "MatMul",
            [np.full((1, 2), 2**31 - 1, np.int32), np.full((2, 1), 2**31 - 1, np.int32)],
            id="wraps",
            expect=product,
        ),
        Case("MatMul", [values(2, 3), values(3, 4)], opset=1, rtol=1e-5, atol=1e-5, expect=product),
        Case("MatMul", [values(2, 3, dtype=np.float64), values(3, 4, dtype=np.float64)], opset=9, expect=product),
    ]
)

test_special = check(
    [
        matmul(np.array([[np.nan, 1, 2]], np.float32), values(3, 20)),
        matmul(np.array([[np.inf, 1, 2]], np.float32), np.abs(values(3, 20)) + 1),
    ]
)


def fused(a, b, *, transA=0, transB=0, transBatchA=0, transBatchB=0, alpha=1.0):
    def expect(x, y):
        x, y = x.astype(np.float64), y.astype(np.float64)
        if transBatchA:
            x = np.moveaxis(x, 0, -2)
        if transBatchB:
            y = np.moveaxis(y, 0, -2)
        if transA and x.ndim > 1:
            x = np.swapaxes(x, -1, -2)
        if transB and y.ndim > 1:
            y = np.swapaxes(y, -1, -2)
        return (alpha * np.matmul(x, y)).astype(a.dtype)

    attrs = {"transA": transA, "transB": transB, "transBatchA": transBatchA, "transBatchB": transBatchB, "alpha": alpha}
    return Case(
        "FusedMatMul",
        [a, const(b)],
        attrs,
        domain="com.microsoft",
        expect=expect,
        rtol=1e-4,
        atol=1e-5,
        id="-".join([str(a.shape), str(b.shape), *(k for k, v in attrs.items() if v)]),
    )


test_fused = check(
    [
        fused(values(3, 5), values(7, 5), transB=1, alpha=0.5),
        fused(values(5, 3), values(5, 7), transA=1),
        fused(values(2, 5, 3), values(2, 7, 5), transA=1, transB=1, alpha=2.0),
        fused(values(2, 5, 3), values(5, 7), transA=1),
        fused(values(3, 2, 5), values(2, 5, 7), transBatchA=1),
        fused(values(5, 2, 3), values(2, 5, 7), transBatchA=1, transA=1),
        fused(values(2, 3, 5), values(5, 2, 7), transBatchB=1),
        fused(values(2, 3, 5), values(7, 2, 5), transBatchB=1, transB=1),
        fused(values(2, 3, 5, dtype=np.float64), values(7, 5, dtype=np.float64), transB=1, alpha=3.0),
    ]
)

test_errors = check(
    [
        raises(Case("MatMul", [values(3, 4), values(5, 6)]), "inner extents"),
        raises(Case("MatMul", [values(2, 3, 4), values(3, 4, 6)]), "broadcast"),
        raises(Case("MatMul", [values(), values(3)], id="scalar"), "at least one axis"),
    ]
)


def test_weights_that_follow_from_shapes():
    """What one plan packs must not serve another whose shapes give other weights."""
    nodes = [
        helper.make_node("Shape", ["x"], ["inner"], start=1),
        helper.make_node("Concat", ["inner", "columns"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["w"], value=helper.make_tensor("value", 1, [1], [2.0])),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "weights",
        [helper.make_tensor_value_info("x", 1, ["n", "k"])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.array([3]), "columns")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    run = session(model, "ORT_ENABLE_ALL").run
    for k in (4, 9, 4, 200, 3):
        x = values(2, k)
        np.testing.assert_allclose(run(None, {"x": x})[0], np.repeat(2 * x.sum(1, keepdims=True), 3, 1), atol=1e-4)
