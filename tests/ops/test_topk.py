"""TopK: order of equal elements and NaN, axes, types, sizes of k, old opsets."""

import ml_dtypes
import numpy as np

from tests.ops.harness import Case, check, const, raises

rng = np.random.default_rng(1)
TYPES = [
    np.int8,
    np.uint8,
    np.int16,
    np.uint16,
    np.int32,
    np.uint32,
    np.int64,
    np.uint64,
    np.float16,
    ml_dtypes.bfloat16,
    np.float32,
    np.float64,
]


def data(shape, dtype=np.float32, high=100):
    x = np.asarray(rng.integers(-high, high, shape))
    return (np.abs(x) if np.dtype(dtype).kind == "u" else x).astype(dtype)


def top(axis=-1, largest=1):
    def expected(x, k=None):
        n = int(np.ravel(k)[0])
        wide = x.astype(np.float64) if x.dtype.kind not in "iu" else x.astype(object)
        nan = x != x
        key = np.where(nan, 0, -wide if largest else wide)
        order = np.lexsort((key, ~nan if largest else nan), axis)
        order = np.take(order, range(n), axis)
        return [np.take_along_axis(x, order, axis), order.astype(np.int64)]

    return expected


def case(x, k, axis=-1, largest=1, **options):
    attrs = {"axis": axis, "largest": largest}
    return Case("TopK", [x, const([k], np.int64)], attrs, outputs=2, expect=top(axis, largest), **options)


test_topk = check(
    [
        case(data((3, 7, 5), np.float32, 4), k, axis, largest, id=f"{k}-{axis}-{largest}")
        for k, axis in [(1, 0), (3, 0), (1, 1), (4, 1), (7, 1), (2, -1), (5, -1), (0, -1)]
        for largest in (0, 1)
    ]
    + [
        case(data((4, 50), t), k, -1, largest, id=f"{np.dtype(t).name}-{k}-{largest}")
        for t in TYPES
        for k in (1, 7, 50)
        for largest in (0, 1)
    ]
    + [
        case(data((2, 5000), t, 3000), k, id=f"long-{np.dtype(t).name}-{k}")
        for t in (np.float32, np.int64)
        for k in (1, 5, 100, 2000, 4999, 5000)
    ]
    + [
        case(data((2000, 3)), 17, 0),
        case(
            np.array([[1, np.nan, -np.inf, 3, np.inf, np.nan, -0.0, 0.0]], np.float32), 8, -1, 1, id="special-largest"
        ),
        case(
            np.array([[1, np.nan, -np.inf, 3, np.inf, np.nan, -0.0, 0.0]], np.float32), 8, -1, 0, id="special-smallest"
        ),
        case(np.array([np.iinfo(np.int64).min, 0, np.iinfo(np.int64).max]), 3, -1, 0, id="extremes"),
        case(data((0, 5)), 2, id="empty"),
        Case("TopK", [data((3, 4))], {"k": 2}, outputs=2, opset=1, expect=lambda x: top()(x, 2)),
        Case("TopK", [data((3, 4)), const([2])], {"axis": 0}, outputs=2, opset=10, expect=top(0)),
        Case("TopK", [data((3, 4)), const([2])], {"sorted": 0}, outputs=2, opset=11, expect=top()),
        Case("TopK", [data((3, 4)), const([2])], outputs=["", "indices"], expect=lambda x, k: top()(x, k)[1:]),
        raises(case(data((3, 4)), 5), "K is 5"),
        raises(case(data((3, 4)), -1), "K is -1"),
        raises(case(data((3, 4)), 1, 2), "axis 2 is out of range"),
    ]
)
