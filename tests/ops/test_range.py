"""Range, ConstantOfShape, EyeLike, OneHot: types, rounding of lengths, empty results, old opsets."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from tests.ops.harness import Case, check, const, raises


def scalars(dtype, *values):
    return [const(v, dtype) for v in values]


def steps(dtype):
    def expected(start, limit, delta):
        n = max(int(np.ceil((float(limit) - float(start)) / float(delta))), 0)
        return np.array([float(start) + i * float(delta) for i in range(n)]).astype(dtype)

    return expected


test_range = check(
    [
        Case("Range", scalars(t, *v), expect=steps(t), id=f"{np.dtype(t).name}-{v}")
        for t in (np.int16, np.int32, np.int64, np.float32, np.float64, np.float16, ml_dtypes.bfloat16)
        for v in [(1, 9, 2), (10, 4, -2), (0, 5, 1), (3, 3, 1), (5, 1, 1), (-3, 4, 3)]
    ]
    + [
        Case("Range", scalars(np.float32, 0, 1, 0.1), expect=steps(np.float32)),
        Case("Range", scalars(np.float32, 0.5, -2, -0.3), expect=steps(np.float32)),
        Case("Range", scalars(np.int64, 2**62, 2**62 + 3, 1), expect=np.arange(2**62, 2**62 + 3)),
        Case("Range", scalars(np.int64, -(2**63), 2**63 - 1, 2**62), expect=np.array([-(2**63), -(2**62), 0, 2**62])),
        Case("Range", scalars(np.int64, 0, 5, 1), opset=11),
        raises(Case("Range", scalars(np.int64, 0, 5, 0)), "delta is 0"),
        raises(Case("Range", scalars(np.float32, 0, 5, 0)), "delta is 0"),
        raises(Case("Range", scalars(np.float32, 0, np.inf, 1)), "elements"),
        raises(Case("Range", scalars(np.int64, -(2**63), 2**63 - 1, 1)), "too long"),
    ]
)


def value(dtype, x):
    return {"value": helper.make_tensor("v", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [1], [x])}


test_constant_of_shape = check(
    [
        Case(
            "ConstantOfShape",
            [const(shape, np.int64)],
            value(np.int64, 7),
            expect=np.full(shape, 7, np.int64),
            id=f"{shape}",
        )
        for shape in ([2, 3], [], [0], [4], [1000, 300])
    ]
    + [
        Case("ConstantOfShape", [const([2, 3])], value(t, 3), expect=np.full((2, 3), 3, t), id=np.dtype(t).name)
        for t in (np.int8, np.uint16, np.int32, np.float16, ml_dtypes.bfloat16, np.float64, ml_dtypes.float8_e5m2)
    ]
    + [
        Case("ConstantOfShape", [const([2, 3])], value(np.bool_, True), expect=np.full((2, 3), True)),
        Case("ConstantOfShape", [const([2, 3])], expect=np.zeros((2, 3), np.float32)),
        Case("ConstantOfShape", [const([2])], value(np.int64, 7), opset=9, expect=np.array([7, 7])),
        raises(Case("ConstantOfShape", [const([2, -1])]), "negative extent|would have the shape"),
    ]
)

test_eye_like = check(
    [Case("EyeLike", [np.zeros((3, 5), np.float32)], {"k": k}) for k in (0, 1, -1, 4, 5, -2, -3, 2**62, -(2**63))]
    + [
        Case("EyeLike", [np.zeros((4, 4), np.int32)], {"dtype": TensorProto.DOUBLE}, expect=np.eye(4)),
        Case("EyeLike", [np.zeros((3, 2), np.float16)], opset=9, expect=np.eye(3, 2).astype(np.float16)),
        Case("EyeLike", [np.zeros((2, 3), ml_dtypes.bfloat16)], expect=np.eye(2, 3).astype(ml_dtypes.bfloat16)),
        Case("EyeLike", [np.zeros((2, 3), np.bool_)], expect=np.eye(2, 3).astype(np.bool_)),
        Case("EyeLike", [np.zeros((0, 3), np.int8)], expect=np.zeros((0, 3), np.int8)),
        raises(Case("EyeLike", [np.zeros((3,), np.float32)]), "rank 2 expected"),
    ]
)


def one_hot(axis):
    def expected(indices, depth, values):
        n = int(np.ravel(depth)[0])
        at = np.trunc(indices.astype(np.float64)).astype(np.int64)
        hot = (
            np.stack([(at == i) | (at == i - n) for i in range(n)], axis) if n else np.zeros((*indices.shape, 0), bool)
        )
        return np.where(hot, values[1], values[0]).astype(values.dtype)

    return expected


test_one_hot = check(
    [
        Case("OneHot", [np.array(x, t), const(4, d), np.array([2, 5], v)], {"axis": a}, expect=one_hot(a))
        for x in ([0, 2, 3], [[1, -1], [-4, 0]], [4, -5, 1])
        for a in (-1, 0, 1)
        for t, d, v in [
            (np.int64, np.int64, np.float32),
            (np.float32, np.float32, np.int32),
            (np.int8, np.uint8, np.float16),
        ]
    ]
    + [
        Case("OneHot", [np.array(2), const([3]), np.array([0, 1], np.float32)], expect=one_hot(0)),
        Case(
            "OneHot",
            [np.array([np.nan, np.inf, 1], np.float32), const(3), np.array([0, 1], np.float32)],
            expect=np.array([[0] * 3, [0] * 3, [0, 1, 0]], np.float32),
        ),
        Case(
            "OneHot",
            [np.zeros((0,), np.int64), const(3), np.array([0, 1], np.float32)],
            expect=np.zeros((0, 3), np.float32),
        ),
        Case(
            "OneHot",
            [np.array([1, 0]), const(2), np.array(["n", "y"], object)],
            expect=np.array([["n", "y"], ["y", "n"]], object),
        ),
        Case(
            "OneHot",
            [np.array([1, 0]), const(2), np.array([0, 1], ml_dtypes.bfloat16)],
            expect=np.array([[0, 1], [1, 0]], ml_dtypes.bfloat16),
        ),
        Case("OneHot", [np.array([1, 0]), const([2]), np.array([0, 1])], opset=9, expect=np.array([[0, 1], [1, 0]])),
        raises(Case("OneHot", [np.array([1]), const(-2), np.array([0, 1])]), "depth is -2|would have the shape"),
        raises(Case("OneHot", [np.array([1]), const(2), np.array([0, 1, 2])]), "two elements"),
        raises(Case("OneHot", [np.array([1]), const(2), np.array([0, 1])], {"axis": 3}), "axis 3 is out of range"),
    ]
)
