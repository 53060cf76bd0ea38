"""Concat and Split: axes, types, empty parts, shape arithmetic, old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
TYPES = [np.uint8, np.bool_, np.float16, ml_dtypes.bfloat16, np.float32, np.int64, np.float64, np.complex128]


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


def strings(*items):
    return np.array(items, object)


test_concat = check(
    [
        Case("Concat", [data((2, a, 3)), data((2, b, 3)), data((2, c, 3))], {"axis": axis})
        for a, b, c in [(1, 2, 3), (0, 4, 1), (0, 0, 0), (1, 1, 1)]
        for axis in (1, -2)
    ]
    + [
        Case("Concat", [data((3, 4), t), data((5, 4), t)], {"axis": 0}, expect=lambda a, b: np.concatenate([a, b]))
        for t in TYPES
    ]
    + [
        Case("Concat", [data((3,))], {"axis": 0}),
        Case("Concat", [data((100, 300)), data((100, 500))], {"axis": 1}),
        Case("Concat", [data((2, 1, 300, 300)), data((2, 2, 300, 300))], {"axis": 1}),
        Case("Concat", [strings("a", "b"), strings("c")], {"axis": 0}, expect=strings("a", "b", "c")),
        Case("Concat", [data((2, 3)), data((2, 4))], opset=1, expect=lambda a, b: np.concatenate([a, b], 1)),
        Case("Concat", [data((2, 3)), data((1, 3))], {"axis": 0}, opset=4),
        Case("Concat", [const([2, 3], np.int64), const([4], np.int64)], {"axis": 0}),
        raises(Case("Concat", [data((2, 3)), data((3, 3))], {"axis": 1}), "axis 0|along axis 1"),
        raises(Case("Concat", [data((2, 3)), data((2, 3))], {"axis": 2}), "axis 2 is out of range"),
    ]
)


def split(axis, at):
    return lambda x, *_: np.split(x, at, axis)


test_split = check(
    [
        Case("Split", [data((6, 4))], {"num_outputs": 3}, outputs=3),
        Case("Split", [data((7, 4))], {"num_outputs": 3}, outputs=3),
        Case("Split", [data((2, 7))], {"num_outputs": 4, "axis": -1}, outputs=4),
        Case("Split", [data((2, 7)), const([3, 0, 4])], {"axis": 1}, outputs=3),
        Case("Split", [data((2, 7), np.float16), const([5, 2])], {"axis": 1}, outputs=2),
        Case("Split", [data((2, 8))], {"axis": 1}, outputs=2, opset=2, expect=split(1, 2)),
        Case("Split", [data((2, 8))], {"axis": 1, "split": [3, 5]}, outputs=2, opset=11, expect=split(1, [3])),
        Case("Split", [data((2, 8)), const([3, 5])], {"axis": -1}, outputs=2, opset=13),
        Case("Split", [data((6,))], {}, outputs=3, opset=13),
        Case("Split", [data((4, 2)), const([1, 3], np.float32)], {}, outputs=2, opset=1, expect=split(0, [1])),
        Case("Split", [data((6, 4))], {"num_outputs": 3}, outputs=["a", "", "c"], expect=lambda x: [x[:2], x[4:]]),
        Case("Split", [strings("a", "b", "c"), const([1, 2])], outputs=2, expect=[strings("a"), strings("b", "c")]),
        Case("Split", [np.zeros((0, 3), np.float32)], {"num_outputs": 2}, outputs=2, expect=lambda x: [x, x]),
        raises(Case("Split", [data((6,)), const([1, 2])], outputs=2), "sum to"),
        raises(Case("Split", [data((6,)), const([7, -1])], outputs=2), "do not cut|negative length"),
        raises(Case("Split", [data((6,)), const([6])], outputs=2), "1 lengths"),
    ]
)
