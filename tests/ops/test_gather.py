"""Gather, GatherElements, GatherND: axes, negative and bad indices, types, shape arithmetic."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
TYPES = [np.int8, np.bool_, np.float16, ml_dtypes.bfloat16, np.float32, np.int64, np.complex128]


def data(shape, dtype=np.float32):
    return np.asarray(rng.integers(0, 100, shape)).astype(dtype)


def index(high, shape, dtype=np.int64):
    return np.asarray(rng.integers(-high, high, shape)).astype(dtype)


def take(axis):
    return lambda x, i: np.take(x, i, axis)


test_gather = check(
    [
        Case("Gather", [data((4, 5, 6)), index((4, 5, 6)[axis], shape, t)], {"axis": axis}, expect=take(axis))
        for axis in (0, 1, 2, -1)
        for shape, t in [((), np.int64), ((3,), np.int32), ((2, 3), np.int64), ((0,), np.int64)]
    ]
    + [Case("Gather", [data((7, 3), t), index(7, (5,))], expect=take(0)) for t in TYPES]
    + [
        Case("Gather", [data((1000, 33)), index(1000, (4, 100))], expect=take(0)),
        Case("Gather", [data((7,)), index(7, (5, 2))], opset=1, expect=take(0)),
        Case("Gather", [np.array(["a", "b", "c"], object), index(3, (4,))], expect=take(0)),
        Case("Gather", [const([5, 6, 7], np.int64), const(1, np.int64)], expect=take(0)),
        raises(Case("Gather", [data((4, 5)), np.array([4])]), "index 4 is out of range; expected -4..3"),
        raises(Case("Gather", [data((4, 5)), np.array([-6])], {"axis": 1}), "index -6 is out of range"),
        raises(Case("Gather", [data((0, 5)), np.array([0])]), "index 0 is out of range"),
        raises(Case("Gather", [data((4, 5)), np.array([0])], {"axis": 2}), "axis 2 is out of range"),
        raises(Case("Gather", [data(()), np.array([0])]), "scalar"),
    ]
)


def along(axis):
    return lambda x, i: np.take_along_axis(
        x[tuple(slice(0, i.shape[k] if k != axis % x.ndim else None) for k in range(x.ndim))], i, axis
    )


test_gather_elements = check(
    [
        Case(
            "GatherElements", [data((4, 5, 6), t), index((4, 5, 6)[axis], shape, i)], {"axis": axis}, expect=along(axis)
        )
        for t, i in [(np.float32, np.int64), (np.float16, np.int32)]
        for axis, shape in [
            (0, (4, 5, 6)),
            (1, (4, 5, 6)),
            (2, (4, 5, 6)),
            (-1, (2, 3, 9)),
            (0, (7, 2, 3)),
            (1, (0, 5, 6)),
        ]
    ]
    + [Case("GatherElements", [data((5,)), index(5, (3,))], opset=11, expect=along(0))]
    + [
        raises(Case("GatherElements", [data((4, 5)), np.full((4, 5), 5)], {"axis": 1}), "index 5 is out of range"),
        raises(Case("GatherElements", [data((4, 5)), np.zeros((5, 5), np.int64)], {"axis": 1}), "reach beyond"),
        raises(Case("GatherElements", [data((4, 5)), np.zeros((5,), np.int64)]), "equal ranks"),
    ]
)

test_gather_nd = check(
    [
        Case("GatherND", [data((4, 5, 6)), index(4, (3, 1))]),
        Case("GatherND", [data((4, 5, 6)), index(4, (3, 2))]),
        Case("GatherND", [data((4, 5, 6)), index(4, (2, 3, 3))]),
        Case("GatherND", [data((4, 5, 6), np.int8), index(4, (3,))]),
        Case("GatherND", [data((4, 5, 6)), index(5, (4, 1))], {"batch_dims": 1}),
        Case("GatherND", [data((4, 5, 6)), index(5, (4, 3, 1))], {"batch_dims": 1}),
        Case("GatherND", [data((2, 3, 4, 5)), index(4, (2, 3, 6, 2))], {"batch_dims": 2}),
        Case("GatherND", [data((4, 5)), index(4, (0, 1))], expect=np.zeros((0, 5), np.float32)),
        Case("GatherND", [data((4, 5)), np.zeros((3, 0), np.int64)], expect=lambda x, i: np.stack([x] * 3)),
        Case("GatherND", [data((4, 5)), index(4, (3, 2))], opset=11),
        raises(Case("GatherND", [data((4, 5)), np.array([[4, 0]])]), "index 4 is out of range"),
        raises(Case("GatherND", [data((4, 5)), np.zeros((2, 3), np.int64)]), "address"),
        raises(Case("GatherND", [data((4, 5)), np.zeros((3, 1), np.int64)], {"batch_dims": 1}), "batch axis 0"),
    ]
)
