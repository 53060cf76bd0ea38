"""Reductions over axes, ArgMax and ArgMin, cumulative sums and products."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(4)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.int32, np.int64, np.uint32, np.uint64]


def log_sum_exp(x, axis, keepdims):
    top = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.squeeze(total, axis=axis)


FUNCTIONS = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceL1": lambda x, axis, keepdims: np.sum(np.abs(x), axis=axis, keepdims=keepdims),
    "ReduceL2": lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)),
    "ReduceLogSum": lambda x, axis, keepdims: np.log(np.sum(x, axis=axis, keepdims=keepdims)),
    "ReduceLogSumExp": log_sum_exp,
    "ReduceSumSquare": lambda x, axis, keepdims: np.sum(x * x, axis=axis, keepdims=keepdims),
}
SINCE = {name: 13 if name == "ReduceSum" else 18 for name in FUNCTIONS}


def expected(name, axis, keepdims=True):
    def function(x, *_):
        with np.errstate(all="ignore"):
            return np.asarray(FUNCTIONS[name](x.astype(np.float64), axis=axis, keepdims=keepdims)).astype(x.dtype)

    return function


def data(shape, dtype=np.float32):
    if np.dtype(dtype).kind in "iu":
        return rng.integers(1, 6, shape).astype(dtype)
    return rng.uniform(0.5, 1.5, shape).astype(dtype)


AXES = [(-1,), (0,), (1,), (0, 2), (1, 2), (0, 1, 2, 3), (0, 2, 3), (1, 3), (-2, 0)]
test_axes = check(
    [
        Case(
            name,
            [data((2, 3, 4, 5)), const(axes, np.int64)],
            {"keepdims": k},
            expect=expected(name, axes, bool(k)),
            id=f"{axes}-{k}",
            atol=1e-6,
        )
        for name in FUNCTIONS
        for axes in AXES
        for k in (0, 1)
    ]
)
test_types = check(
    [
        Case(
            name,
            [data((3, 4, 2), t), const([1], np.int64)],
            expect=expected(name, (1,)),
            atol=1e-6 if t is np.float32 else None,
        )
        for name in FUNCTIONS
        for t in FLOATS + INTEGERS
        if not name.startswith("ReduceLog") or t in FLOATS
    ]
    + [
        Case(name, [rng.integers(0, 100, (3, 7)).astype(t), const([1], np.int64)], expect=expected(name, (1,)))
        for name in ["ReduceMax", "ReduceMin"]
        for t in [np.int8, np.uint8, np.bool_]
    ]
    + [
        Case("ReduceMax", [np.array([[np.iinfo(t).min, np.iinfo(t).max]], t)], expect=np.array([[np.iinfo(t).max]], t))
        for t in [np.int64, np.uint64]
    ]
)
test_all = check(
    [Case(name, [data((3, 4))], expect=expected(name, None), atol=1e-6) for name in FUNCTIONS]
    + [Case(name, [data((3, 4))], {"keepdims": 0}, expect=expected(name, None, False), atol=1e-6) for name in FUNCTIONS]
    + [
        Case(name, [data((3, 4)), const([], np.int64)], expect=expected(name, None), atol=1e-6, id="empty-axes")
        for name in FUNCTIONS
    ]
    + [
        Case(
            name,
            [data((3, 4)), const([], np.int64)],
            {"noop_with_empty_axes": 1},
            expect=expected(name, ()),
            atol=1e-6,
            id="noop",
        )
        for name in FUNCTIONS
        if name != "ReduceLogSumExp"
    ]
    + [
        Case(
            name,
            [np.float32(2)],
            expect=np.asarray(expected(name, None)(np.array([2], np.float32))).reshape(()),
            id="scalar",
        )
        for name in FUNCTIONS
    ]
    + [Case("ReduceSum", [data((7, 1, 33)), const([1], np.int64)], expect=expected("ReduceSum", (1,)))]
)
test_large = check(
    [
        Case(name, [data((300, 1001)), const([axis], np.int64)], expect=expected(name, (axis,)), rtol=2e-5)
        for name in ["ReduceSum", "ReduceMean", "ReduceL2", "ReduceMax", "ReduceLogSumExp"]
        for axis in (0, 1)
    ]
    + [
        Case(name, [data((3, 40, 30, 7)), const([0, 2], np.int64)], expect=expected(name, (0, 2)), rtol=2e-5)
        for name in ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceSumSquare", "ReduceMin"]
    ]
)
EMPTY = {
    "ReduceSum": 0,
    "ReduceMax": -np.inf,
    "ReduceMin": np.inf,
    "ReduceProd": 1,
    "ReduceL1": 0,
    "ReduceL2": 0,
    "ReduceLogSum": -np.inf,
    "ReduceLogSumExp": -np.inf,
    "ReduceSumSquare": 0,
    "ReduceMean": np.nan,
}
test_empty = check(
    [
        Case(
            name, [np.zeros((2, 0, 4), np.float32), const([1], np.int64)], expect=np.full((2, 1, 4), value, np.float32)
        )
        for name, value in EMPTY.items()
    ]
    + [
        Case(name, [np.zeros((2, 0, 4)), const([1], np.int64)], expect=np.full((2, 1, 4), float(value)))
        for name, value in EMPTY.items()
    ]
    + [
        Case(name, [np.zeros((2, 0, 4), np.float32), const([0], np.int64)], expect=np.zeros((1, 0, 4), np.float32))
        for name in EMPTY
    ]
    + [
        Case("ReduceMax", [np.zeros((0,), np.bool_)], expect=np.array([False])),
        Case("ReduceMin", [np.zeros((0,), np.bool_)], expect=np.array([True])),
        Case("ReduceMax", [np.zeros((0,), np.int32)], expect=np.array([-(2**31)], np.int32)),
    ]
)
test_special = check(
    [
        Case(
            "ReduceMax",
            [np.array([[1, np.nan], [2, 3]], np.float32), const([1], np.int64)],
            expect=np.array([[np.nan], [3]], np.float32),
        ),
        Case("ReduceMin", [np.array([[1, np.nan], [2, 3]]), const([1], np.int64)], expect=np.array([[np.nan], [2]])),
        Case(
            "ReduceLogSumExp",
            [np.array([[-np.inf, -np.inf], [1000, 1000], [np.inf, 1]]), const([1], np.int64)],
            expect=np.array([[-np.inf], [1000 + np.log(2)], [np.inf]]),
        ),
        Case(
            "ReduceLogSumExp",
            [np.array([[1000, 1000], [-1000, -1000]], np.float32), const([1], np.int64)],
            expect=np.array([[1000 + np.log(2)], [np.log(2) - 1000]], np.float32),
        ),
        Case("ReduceSum", [np.array([2**31 - 1, 1], np.int32)], expect=np.array([-(2**31)], np.int32)),
        Case("ReduceMean", [np.array([1, 2, 4, 4])], expect=np.array([2])),
    ]
)
x = data((3, 4, 5))
test_old = check(
    [Case(name, [x], {"axes": [0, -1]}, opset=SINCE[name] - 1, expect=expected(name, (0, -1))) for name in FUNCTIONS]
    + [Case(name, [x], {"keepdims": 0}, opset=11, expect=expected(name, None, False), atol=1e-6) for name in FUNCTIONS]
    + [Case(name, [x], {"axes": [1]}, opset=1, expect=expected(name, (1,))) for name in FUNCTIONS]
)
test_errors = check(
    [
        raises(Case("ReduceSum", [x, np.array([3])]), "ReduceSum 'node'.*axis 3"),
        raises(Case("ReduceSum", [x, np.array([0, -3])]), "ReduceSum 'node'.*twice"),
        raises(Case("ReduceMean", [np.zeros((2, 2), np.int8)]), "ReduceMean 'node'.*i8"),
    ]
)

ties = np.array([[1, 3, 3, 0], [0, 0, 2, 2]])
test_arg = check(
    [
        Case(op, [ties.astype(t)], {"axis": a, "keepdims": k, "select_last_index": s})
        for op in ["ArgMax", "ArgMin"]
        for a in (0, 1, -1)
        for k in (0, 1)
        for s in (0, 1)
        for t in [np.float32, np.int32]
    ]
    + [
        Case(op, [ties.astype(t)], {"axis": 1})
        for op in ["ArgMax", "ArgMin"]
        for t in [*FLOATS, np.int8, np.uint8, np.int16, np.uint16, np.int64, np.uint64, np.uint32]
    ]
    + [
        Case("ArgMax", [rng.standard_normal((3, 50, 7)).astype(np.float32)], {"axis": 1}),
        Case("ArgMin", [rng.standard_normal((3, 50, 7))], {"axis": 0}),
    ]
    + [
        Case("ArgMax", [np.array([1, np.nan, 5], np.float32)], expect=np.array([1])),
        Case("ArgMin", [np.array([1, np.nan, 0], np.float32)], expect=np.array([1])),
        Case("ArgMax", [np.zeros((0, 3), np.float32)], {"axis": 1}, expect=np.zeros((0, 1), np.int64)),
        raises(Case("ArgMax", [np.zeros((3, 0), np.float32)], {"axis": 1}), "ArgMax 'node'.*empty"),
        raises(Case("ArgMax", [np.zeros((3, 2), np.float32)], {"axis": 2}), "ArgMax 'node'.*axis 2"),
    ]
)


def cumulative(function, axis, exclusive, reverse):
    def expect(x, *_):
        y = np.flip(x.astype(np.float64), axis) if reverse else x.astype(np.float64)
        total = function(y, axis=axis)
        if exclusive:
            total = np.roll(total, 1, axis)
            first = [slice(None)] * x.ndim
            first[axis] = 0
            total[tuple(first)] = 1 if function is np.cumprod else 0
        return (np.flip(total, axis) if reverse else total).astype(x.dtype)

    return expect


test_cumulative = check(
    [
        Case(
            op,
            [data((3, 4, 5), t), const(a, np.int64)],
            {"exclusive": e, "reverse": r},
            expect=cumulative(f, a, e, r),
            atol=1e-6 if t is np.float32 else None,
        )
        for op, f in [("CumSum", np.cumsum), ("CumProd", np.cumprod)]
        for a in (0, 1, -1)
        for e in (0, 1)
        for r in (0, 1)
        for t in [np.float32, np.int64]
    ]
    + [
        Case(op, [data((2, 3), t), const(1, np.int32)], expect=cumulative(f, 1, 0, 0))
        for op, f in [("CumSum", np.cumsum), ("CumProd", np.cumprod)]
        for t in FLOATS + INTEGERS
    ]
    + [
        Case("CumSum", [data((0, 3)), const(0, np.int64)]),
        Case("CumSum", [data((5,)), const([0], np.int64)], expect=cumulative(np.cumsum, 0, 0, 0), id="axis-of-rank-1"),
        raises(Case("CumSum", [data((3,)), np.array(1)]), "CumSum 'node'.*axis 1"),
    ]
)
